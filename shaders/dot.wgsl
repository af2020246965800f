// Sums over a whole batch, in two stages of fixed order.
//
//   product, finish     out[index] += factor · Σ_i a_i · b_i
//   weighted, finish    out[k, m] += Σ_n coef_nk · x_nm,   m < M, for a gate's weight that reads M of x's C channels
//
// The first stage leaves `parts` partial sums of every column in scratch, as [columns, parts]: one subgroup a part, or
// one invocation where subgroups have no fixed size. `finish` adds the parts of a column, a workgroup each. Other
// kernels that form their partial sums on the way end with `finish` too.

struct Shape {
    count: u32,      // quads of a (product), rows N of x (weighted)
    parts: u32,
    sums: u32,       // where the partial sums start in scratch
    index: u32,      // finish: where the first column goes in out
    factor: f32,     // finish
    heads: u32,      // weighted: K
    wide: u32,       // weighted: M / 4
    quads: u32,      // weighted: C / 4
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;              // [N, C]
@group(0) @binding(4) var<storage, read_write> scratch: array<f32>;        // weighted: starts with coef, [N, K]
@group(0) @binding(5) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(ROW_WORKGROUP)
fn product(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let part = row_index(workgroup, groups, local);
    if part >= shape.parts { return; }

    var sum = vec4<f32>(0.0);
    for (var i = part * ROW_LANES + row_lane(local); i < shape.count; i += shape.parts * ROW_LANES) {
        sum += a[i] * b[i];
    }
    let total = row_sum(sum.x + sum.y + sum.z + sum.w);
    if row_lane(local) == 0u { scratch[shape.sums + part] = total; }
}

// A unit is one part of four columns; its lanes take different rows.
@compute @workgroup_size(ROW_WORKGROUP)
fn weighted(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let unit = row_index(workgroup, groups, local);
    if unit >= shape.heads * shape.wide * shape.parts { return; }
    let part = unit % shape.parts;
    let columns = unit / shape.parts;
    let k = columns / shape.wide;
    let m = columns % shape.wide;

    var sum = vec4<f32>(0.0);
    for (var n = part * ROW_LANES + row_lane(local); n < shape.count; n += shape.parts * ROW_LANES) {
        sum += scratch[n * shape.heads + k] * x[n * shape.quads + m];
    }
    let total = vec4<f32>(row_sum(sum.x), row_sum(sum.y), row_sum(sum.z), row_sum(sum.w));
    if row_lane(local) == 0u {
        let at = shape.sums + 4u * columns * shape.parts + part;
        scratch[at] = total.x;
        scratch[at + shape.parts] = total.y;
        scratch[at + 2u * shape.parts] = total.z;
        scratch[at + 3u * shape.parts] = total.w;
    }
}

const LANES = 64u;
var<workgroup> shares: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn finish(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let column = workgroup.x;
    var sum = 0.0;
    for (var part = local; part < shape.parts; part += LANES) {
        sum += scratch[shape.sums + column * shape.parts + part];
    }
    shares[local] = sum;
    workgroupBarrier();
    if local > 0u { return; }

    var total = 0.0;
    for (var lane = 0u; lane < LANES; lane++) {
        total += shares[lane];
    }
    out[shape.index + column] += shape.factor * total;
}
