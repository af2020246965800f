// Squared ReLU, in place, and its gradient from the output alone.
//
//   y = max(x, 0)²          dL/dx = dL/dy · 2 · max(x, 0) = dL/dy · 2 · sqrt(y)
//
// Four elements per invocation.

struct Shape {
    quads: u32,      // elements / 4
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read_write> x: array<vec4<f32>>;        // in: x, out: y

@group(0) @binding(2) var<storage, read> y: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dy: array<vec4<f32>>;       // in: dL/dy, out: dL/dx

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat(workgroup, groups) * 64u + local;
    if i >= shape.quads { return; }
    let v = max(x[i], vec4<f32>(0.0));
    x[i] = v * v;
}

@compute @workgroup_size(64)
fn backward(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat(workgroup, groups) * 64u + local;
    if i >= shape.quads { return; }
    dy[i] *= 2.0 * sqrt(y[i]);
}
