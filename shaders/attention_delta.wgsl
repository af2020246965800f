// What the backward pass of attention subtracts from dP: delta_i = Σ_c do_ic · o_ic, for every query head of every token.
//
// One workgroup per row.

#include "shared/rows.wgsl"

struct Shape {
    rows: u32,       // B · T · H
    quads: u32,      // D / 4
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> o: array<vec4<f32>>;              // [B, T, H, D]
@group(0) @binding(2) var<storage, read> d_o: array<vec4<f32>>;            // [B, T, H, D]
@group(0) @binding(3) var<storage, read_write> delta: array<f32>;          // [B, T, H]

@compute @workgroup_size(ROW_LANES)
fn forward({{ lane_arguments() }}) {
    let lane = {{ lane_of_arguments() }};
    let row = row_index(lane);
    if row >= shape.rows { return; }
    let start = row * shape.quads;

    var sum = vec4<f32>(0.0);
    for (var c = lane.index; c < shape.quads; c += ROW_LANES) {
        sum += o[start + c] * d_o[start + c];
    }
    let total = row_sum((sum.x + sum.y) + (sum.z + sum.w), lane);
    if lane.index == 0u { delta[row] = total; }
}
