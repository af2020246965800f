// The end of a matrix product that was split along k: adds the parts of every element in order, then does what
// `shared/matmul.wgsl` does with a finished sum. `a` holds the parts, `[batch, parts, M, N]`. An invocation adds four elements.

#include "shared/matmul.wgsl"

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let quads = shape.m * shape.n_quads;
    let quad = flat(workgroup, groups) * 64u + local;
    if quad >= quads { return; }
    let first = workgroup.z * shape.parts * quads + quad;
    var sum = a[first];
    for (var part = 1u; part < shape.parts; part++) { sum += a[first + part * quads]; }
    store(workgroup.z, quad / shape.n_quads, quad % shape.n_quads, sum);
}
