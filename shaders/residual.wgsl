// Mixes the residual stream with the embedding it started from, at the beginning of layer i.
//
//   y = r_i · x + w_i · x0
//   dL/dx = r_i · g,   dL/dx0 += w_i · g,   dL/dr_i = Σ g · x,   dL/dw_i = Σ g · x0,     g = dL/dy
//
// Forward: four elements per invocation. The backward pass also computes the partial sums of both scalars' gradients,
// one per workgroup; `dot.wgsl` adds them.

#include "shared/rows.wgsl"

struct Shape {
    quads: u32,      // N · C / 4
    layer: u32,      // i
    parts: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;              // [N, C]
@group(0) @binding(2) var<storage, read> x0: array<vec4<f32>>;             // [N, C]
@group(0) @binding(3) var<storage, read> resid_lambdas: array<f32>;        // [L]  r
@group(0) @binding(4) var<storage, read> x0_lambdas: array<f32>;           // [L]  w
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;        // [N, C]

@group(0) @binding(6) var<storage, read_write> dx: array<vec4<f32>>;       // [N, C]  in: g, out: dL/dx
@group(0) @binding(7) var<storage, read_write> dx0: array<vec4<f32>>;      // [N, C]
@group(0) @binding(8) var<storage, read_write> scratch: array<f32>;        // [2, parts]

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat(workgroup, groups) * 64u + local;
    if i >= shape.quads { return; }
    y[i] = resid_lambdas[shape.layer] * x[i] + x0_lambdas[shape.layer] * x0[i];
}

@compute @workgroup_size(ROW_LANES)
fn backward({{ lane_arguments() }}) {
    let lane = {{ lane_of_arguments() }};
    let part = row_index(lane);
    if part >= shape.parts { return; }
    let r = resid_lambdas[shape.layer];
    let w = x0_lambdas[shape.layer];

    var by_x = vec4<f32>(0.0);
    var by_x0 = vec4<f32>(0.0);
    for (var i = part * ROW_LANES + lane.index; i < shape.quads; i += shape.parts * ROW_LANES) {
        let g = dx[i];
        by_x += g * x[i];
        by_x0 += g * x0[i];
        dx[i] = r * g;
        dx0[i] += w * g;
    }
    let dr = row_sum(by_x.x + by_x.y + by_x.z + by_x.w, lane);
    let dw = row_sum(by_x0.x + by_x0.y + by_x0.z + by_x0.w, lane);
    if lane.index == 0u {
        scratch[part] = dr;
        scratch[shape.parts + part] = dw;
    }
}
