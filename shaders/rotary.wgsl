// Rotary embedding, norm over the head and gain, fused, in place on queries or keys.
//
//   z1 = x1 · cos + x2 · sin,   z2 = −x1 · sin + x2 · cos          x1, x2: the halves of a head; angles of its position
//   r = 1 / sqrt(mean(z²) + eps),   y = gain · r · z
//
//   dL/dz = gain · r · (g − y · mean(g · y) / gain²),     g = dL/dy
//   dL/dx1 = dz1 · cos − dz2 · sin,   dL/dx2 = dz1 · sin + dz2 · cos
//
// A rotation preserves the norm, so the mean is taken before it. One workgroup per head of a row.

#include "shared/rows.wgsl"

struct Shape {
    rows: u32,       // N · H
    half_quads: u32, // D / 8
    heads: u32,      // H
    seq: u32,        // T
    offset: u32,     // position of a sequence's first row
    eps: f32,
    gain: f32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> cosines: array<vec4<f32>>;        // [positions, D/2]
@group(0) @binding(2) var<storage, read> sines: array<vec4<f32>>;          // [positions, D/2]
@group(0) @binding(3) var<storage, read_write> x: array<vec4<f32>>;        // [N, H, D]  in: x, out: y
@group(0) @binding(4) var<storage, read_write> scale: array<f32>;          // [N, H]  r

@group(0) @binding(5) var<storage, read> y: array<vec4<f32>>;              // [N, H, D]
@group(0) @binding(6) var<storage, read> kept: array<f32>;                 // [N, H]  r
@group(0) @binding(7) var<storage, read_write> dy: array<vec4<f32>>;       // [N, H, D]  in: dL/dy, out: dL/dx

// Where the angles of a row's position start in the tables.
fn angles(row: u32) -> u32 {
    return ((row / shape.heads) % shape.seq + shape.offset) * shape.half_quads;
}

@compute @workgroup_size(ROW_LANES)
fn forward({{ lane_arguments() }}) {
    let lane = {{ lane_of_arguments() }};
    let row = row_index(lane);
    if row >= shape.rows { return; }
    let first = row * 2u * shape.half_quads;
    let second = first + shape.half_quads;

    var sum = vec4<f32>(0.0);
    for (var c = lane.index; c < shape.half_quads; c += ROW_LANES) {
        let x1 = x[first + c];
        let x2 = x[second + c];
        sum += x1 * x1 + x2 * x2;
    }
    let mean = row_sum(sum.x + sum.y + sum.z + sum.w, lane) / f32(8u * shape.half_quads);
    let r = inverseSqrt(mean + shape.eps);
    if lane.index == 0u { scale[row] = r; }

    let factor = shape.gain * r;
    let at = angles(row);
    for (var c = lane.index; c < shape.half_quads; c += ROW_LANES) {
        let x1 = factor * x[first + c];
        let x2 = factor * x[second + c];
        let cosine = cosines[at + c];
        let sine = sines[at + c];
        x[first + c] = x1 * cosine + x2 * sine;
        x[second + c] = x2 * cosine - x1 * sine;
    }
}

@compute @workgroup_size(ROW_LANES)
fn backward({{ lane_arguments() }}) {
    let lane = {{ lane_of_arguments() }};
    let row = row_index(lane);
    if row >= shape.rows { return; }
    let first = row * 2u * shape.half_quads;
    let second = first + shape.half_quads;

    var sum = vec4<f32>(0.0);
    for (var c = lane.index; c < shape.half_quads; c += ROW_LANES) {
        sum += dy[first + c] * y[first + c] + dy[second + c] * y[second + c];
    }
    let mean = row_sum(sum.x + sum.y + sum.z + sum.w, lane) / f32(8u * shape.half_quads);
    let along = mean / (shape.gain * shape.gain);

    let factor = shape.gain * kept[row];
    let at = angles(row);
    for (var c = lane.index; c < shape.half_quads; c += ROW_LANES) {
        let d1 = factor * (dy[first + c] - along * y[first + c]);
        let d2 = factor * (dy[second + c] - along * y[second + c]);
        let cosine = cosines[at + c];
        let sine = sines[at + c];
        dy[first + c] = d1 * cosine - d2 * sine;
        dy[second + c] = d1 * sine + d2 * cosine;
    }
}
