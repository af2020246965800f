// Adds to every position a gated share of the one before it.
//
//   s_t = sigmoid(gate_w · e_t[0..24]) for t ≥ 1, s_0 = 0          x_t = e_t + λ · s_t · e_{t−1}
//
//   p_t = g_t · e_{t−1},   a_t = λ · p_t · s_t · (1 − s_t),     g = dL/dx
//   dL/de_t = g_t + λ · s_{t+1} · g_{t+1} + a_t · gate_w on [0..24]
//   dL/dλ = Σ p_t · s_t,   dL/dgate_w = Σ a_t · e_t[0..24]
//
// With s_0 = 0 a sequence's first row receives nothing and passes nothing back, so the backward pass need not know
// where sequences start. Forward: one workgroup per row. Backward: a workgroup handles every `parts`-th row and leaves its
// part of dL/dλ and each row's a_t to `dot.wgsl`.

#include "shared/rows.wgsl"

struct Shape {
    rows: u32,       // N
    quads: u32,      // C / 4
    seq: u32,        // T
    parts: u32,
    sums: u32,       // where the parts of dL/dλ start in scratch
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> e: array<vec4<f32>>;              // [N, C]
@group(0) @binding(2) var<storage, read> gate_w: array<vec4<f32>>;         // [24]
@group(0) @binding(3) var<storage, read> lambda: array<f32>;               // [1]
@group(0) @binding(4) var<storage, read_write> x: array<vec4<f32>>;        // [N, C]
@group(0) @binding(5) var<storage, read_write> sigmoid: array<f32>;        // [N]  s

@group(0) @binding(6) var<storage, read> kept: array<f32>;                 // [N]  s
@group(0) @binding(7) var<storage, read> dx: array<vec4<f32>>;             // [N, C]
@group(0) @binding(8) var<storage, read_write> de: array<vec4<f32>>;       // [N, C]
@group(0) @binding(9) var<storage, read_write> scratch: array<f32>;        // a: [N], …, parts of dL/dλ: [parts]

const GATE_QUADS = 6u;

@compute @workgroup_size(ROW_LANES)
fn forward({{ lane_arguments() }}) {
    let lane = {{ lane_of_arguments() }};
    let row = row_index(lane);
    if row >= shape.rows { return; }
    let start = row * shape.quads;

    var z = 0.0;
    for (var c = lane.index; c < GATE_QUADS; c += ROW_LANES) {
        z += dot(gate_w[c], e[start + c]);
    }
    let starts_sequence = row % shape.seq == 0u;
    let s = select(1.0 / (1.0 + exp(-row_sum(z, lane))), 0.0, starts_sequence);
    if lane.index == 0u { sigmoid[row] = s; }

    let share = lambda[0] * s;
    let before = select(start - shape.quads, start, starts_sequence);
    for (var c = lane.index; c < shape.quads; c += ROW_LANES) {
        x[start + c] = e[start + c] + share * e[before + c];
    }
}

@compute @workgroup_size(ROW_LANES)
fn backward({{ lane_arguments() }}) {
    let lane = {{ lane_of_arguments() }};
    let part = row_index(lane);
    if part >= shape.parts { return; }

    var d_lambda = 0.0;
    for (var row = part; row < shape.rows; row += shape.parts) {
        let start = row * shape.quads;
        let before = select(start - shape.quads, start, row == 0u);
        var sum = vec4<f32>(0.0);
        for (var c = lane.index; c < shape.quads; c += ROW_LANES) {
            sum += dx[start + c] * e[before + c];
        }
        let p = row_sum(sum.x + sum.y + sum.z + sum.w, lane);
        let s = kept[row];
        let a = lambda[0] * p * s * (1.0 - s);
        d_lambda += p * s;

        let last = row + 1u == shape.rows;
        let after = select(start + shape.quads, start, last);
        let share = select(lambda[0] * kept[min(row + 1u, shape.rows - 1u)], 0.0, last);
        for (var c = lane.index; c < shape.quads; c += ROW_LANES) {
            var d = dx[start + c] + share * dx[after + c];
            if c < GATE_QUADS { d += a * gate_w[c]; }
            de[start + c] = d;
        }
        if lane.index == 0u { scratch[row] = a; }
    }
    if lane.index == 0u { scratch[shape.sums + part] = d_lambda; }
}
