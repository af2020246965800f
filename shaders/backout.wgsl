// Subtracts a share of the middle layer's residual stream before the last norm.
//
//   y = x − λ · m          dL/dm = −λ · g,   dL/dλ = −Σ g · m,     g = dL/dy = dL/dx
//
// Forward: four elements per invocation. The backward pass also computes the partial sums of dL/dλ, one per workgroup;
// `dot.wgsl` adds them.

#include "shared/rows.wgsl"

struct Shape {
    quads: u32,      // N · C / 4
    parts: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;              // [N, C]
@group(0) @binding(2) var<storage, read> x_mid: array<vec4<f32>>;          // [N, C]  m
@group(0) @binding(3) var<storage, read> lambda: array<f32>;               // [1]
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;        // [N, C]

@group(0) @binding(5) var<storage, read> dy: array<vec4<f32>>;             // [N, C]
@group(0) @binding(6) var<storage, read_write> dx_mid: array<vec4<f32>>;   // [N, C]
@group(0) @binding(7) var<storage, read_write> scratch: array<f32>;        // [parts]  Σ g · m

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat(workgroup, groups) * 64u + local;
    if i >= shape.quads { return; }
    y[i] = x[i] - lambda[0] * x_mid[i];
}

@compute @workgroup_size(ROW_LANES)
fn backward({{ lane_arguments() }}) {
    let lane = {{ lane_of_arguments() }};
    let part = row_index(lane);
    if part >= shape.parts { return; }
    let factor = -lambda[0];

    var sum = vec4<f32>(0.0);
    for (var i = part * ROW_LANES + lane.index; i < shape.quads; i += shape.parts * ROW_LANES) {
        let g = dy[i];
        sum += g * x_mid[i];
        dx_mid[i] = factor * g;
    }
    let total = row_sum(sum.x + sum.y + sum.z + sum.w, lane);
    if lane.index == 0u { scratch[part] = total; }
}
