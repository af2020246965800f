// RMS norm over the last axis, without learned weights.
//
//   r_i = 1 / sqrt(mean_c(x_ic²) + eps)          y_ic = x_ic · r_i
//   dL/dx_ic = r_i · (g_ic − y_ic · mean_c(g_ic · y_ic)),   g = dL/dy
//
// One workgroup per row. The backward pass needs y and r but not x, and adds to dx, which already holds the residual stream's gradient.

#include "shared/rows.wgsl"

struct Shape {
    rows: u32,       // N
    quads: u32,      // C / 4
    eps: f32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;              // [N, C]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;        // [N, C]
@group(0) @binding(3) var<storage, read_write> scale: array<f32>;          // [N]  r

@group(0) @binding(4) var<storage, read> normed: array<vec4<f32>>;         // [N, C]  y
@group(0) @binding(5) var<storage, read> kept: array<f32>;                 // [N]  r
@group(0) @binding(6) var<storage, read> dy: array<vec4<f32>>;             // [N, C]
@group(0) @binding(7) var<storage, read_write> dx: array<vec4<f32>>;       // [N, C]

@compute @workgroup_size(ROW_LANES)
fn forward({{ lane_arguments() }}) {
    let lane = {{ lane_of_arguments() }};
    let row = row_index(lane);
    if row >= shape.rows { return; }
    let start = row * shape.quads;

    var sum = vec4<f32>(0.0);
    for (var c = lane.index; c < shape.quads; c += ROW_LANES) {
        let v = x[start + c];
        sum += v * v;
    }
    let mean = row_sum(sum.x + sum.y + sum.z + sum.w, lane) / f32(4u * shape.quads);
    let r = inverseSqrt(mean + shape.eps);

    if lane.index == 0u { scale[row] = r; }
    for (var c = lane.index; c < shape.quads; c += ROW_LANES) {
        y[start + c] = x[start + c] * r;
    }
}

@compute @workgroup_size(ROW_LANES)
fn backward({{ lane_arguments() }}) {
    let lane = {{ lane_of_arguments() }};
    let row = row_index(lane);
    if row >= shape.rows { return; }
    let start = row * shape.quads;

    var sum = vec4<f32>(0.0);
    for (var c = lane.index; c < shape.quads; c += ROW_LANES) {
        sum += dy[start + c] * normed[start + c];
    }
    let mean = row_sum(sum.x + sum.y + sum.z + sum.w, lane) / f32(4u * shape.quads);
    let r = kept[row];

    for (var c = lane.index; c < shape.quads; c += ROW_LANES) {
        dx[start + c] += r * (dy[start + c] - normed[start + c] * mean);
    }
}
