// Peak memory bandwidth: coalesced accesses of four floats, and no other work.
//
//   copy: to = from          sum: one for every {{ turns }} quads of `from`

const LANES = {{ lanes }}u;
const TURNS = {{ turns }}u;

struct Shape {
    quads: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> source: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> to: array<vec4<f32>>;       // copy: as many as source
@group(0) @binding(3) var<storage, read_write> sums: array<f32>;           // sum: one per invocation

@compute @workgroup_size(LANES)
fn copy(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let start = flat(workgroup, groups) * (LANES * TURNS) + local;
    for (var turn = 0u; turn < TURNS; turn++) {
        let quad = start + LANES * turn;
        if quad < shape.quads { to[quad] = source[quad]; }
    }
}

@compute @workgroup_size(LANES)
fn sum(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let group = flat(workgroup, groups);
    let start = group * (LANES * TURNS) + local;
    var total = vec4<f32>(0.0);
    for (var turn = 0u; turn < TURNS; turn++) {
        let quad = start + LANES * turn;
        if quad < shape.quads { total += source[quad]; }
    }
    sums[group * LANES + local] = total.x + total.y + total.z + total.w;
}
