// The last stage of a matrix product that was split along k: adds the partial sums of every element in order, then applies the
// epilogue of `shared/matmul.wgsl`. `a` holds the partial sums, `[batch, parts, M, N]`. Four elements per invocation.

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
