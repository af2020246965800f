// Sums over a whole batch, in two stages of fixed order.
//
//   product, finish     out[index] += factor · Σ_i a_i · b_i
//   weighted, finish    out[k, m] += Σ_n coef_nk · x_nm,   m < M, for a gate's weight that reads M of x's C channels
//
// The first stage leaves `parts` partial sums of every column in scratch, as [columns, parts]: one workgroup per part.
// `finish` adds the parts of a column, one workgroup per column. Other kernels that compute partial sums end with
// `finish` too.

#include "shared/rows.wgsl"

struct Shape {
    count: u32,      // quads of a (product), rows N of x (weighted), columns (finish)
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

@compute @workgroup_size(ROW_LANES)
fn product({{ lane_arguments() }}) {
    let lane = {{ lane_of_arguments() }};
    let part = row_index(lane);
    if part >= shape.parts { return; }

    var sum = vec4<f32>(0.0);
    for (var i = part * ROW_LANES + lane.index; i < shape.count; i += shape.parts * ROW_LANES) {
        sum += a[i] * b[i];
    }
    let total = row_sum(sum.x + sum.y + sum.z + sum.w, lane);
    if lane.index == 0u { scratch[shape.sums + part] = total; }
}

// A unit is one part of four columns; its lanes take different rows.
@compute @workgroup_size(ROW_LANES)
fn weighted({{ lane_arguments() }}) {
    let lane = {{ lane_of_arguments() }};
    let unit = row_index(lane);
    if unit >= shape.heads * shape.wide * shape.parts { return; }
    let part = unit % shape.parts;
    let columns = unit / shape.parts;
    let k = columns / shape.wide;
    let m = columns % shape.wide;

    var sum = vec4<f32>(0.0);
    for (var n = part * ROW_LANES + lane.index; n < shape.count; n += shape.parts * ROW_LANES) {
        sum += scratch[n * shape.heads + k] * x[n * shape.quads + m];
    }
    let total = row_sum4(sum, lane);
    if lane.index == 0u {
        let at = shape.sums + 4u * columns * shape.parts + part;
        scratch[at] = total.x;
        scratch[at + shape.parts] = total.y;
        scratch[at + 2u * shape.parts] = total.z;
        scratch[at + 3u * shape.parts] = total.w;
    }
}

@compute @workgroup_size(ROW_LANES)
fn finish({{ lane_arguments() }}) {
    let lane = {{ lane_of_arguments() }};
    let column = row_index(lane);
    if column >= shape.count { return; }
    var sum = 0.0;
    for (var part = lane.index; part < shape.parts; part += ROW_LANES) {
        sum += scratch[shape.sums + column * shape.parts + part];
    }
    let total = row_sum(sum, lane);
    if lane.index == 0u { out[shape.index + column] += shape.factor * total; }
}
