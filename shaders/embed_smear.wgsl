// New tokens of cached sequences: embedding, norm and smear, fused, for a pass that has no backward pass.
//
//   e_t = wte[id_t] / sqrt(mean(wte[id_t]²) + eps)
//   s_t = sigmoid(gate_w · e_t[0..24]) if there is a previous token, else 0          x_t = e_t + λ · s_t · e_{t−1}
//
// In a model without smear, x_t = e_t.
//
// The cursor holds the token before a sequence's first new one, so that only its id must be kept between passes.
// One workgroup per token.

#include "shared/rows.wgsl"
#include "shared/weights.wgsl"
#include "shared/cursor.wgsl"

struct Shape {
    rows: u32,       // N = sequences · fresh
    quads: u32,      // C / 4
    fresh: u32,      // tokens of each sequence
    eps: f32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(2) var<storage, read> ids: array<i32>;                  // [N]
@group(0) @binding(3) var<storage, read> wte: array<{{ load }}>;            // [V, C]
@group(0) @binding(6) var<storage, read_write> x: array<vec4<f32>>;        // [N, C]
{% if smear %}
@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;           // [sequences]
@group(0) @binding(4) var<storage, read> gate_w: array<vec4<f32>>;         // [24]
@group(0) @binding(5) var<storage, read> lambda: array<f32>;               // [1]

const GATE_QUADS = 6u;
{% endif %}

{{ rows_of_weights("wte", "shape.quads") }}

// The norm's factor for the row of wte that starts at `at`.
fn factor(at: u32, lane: Lane) -> f32 {
    var sum = vec4<f32>(0.0);
    for (var c = lane.index; c < shape.quads; c += ROW_LANES) {
        let v = wte_quad(at, c);
        sum += v * v;
    }
    return inverseSqrt(row_sum(sum.x + sum.y + sum.z + sum.w, lane) / f32(4u * shape.quads) + shape.eps);
}

@compute @workgroup_size(ROW_LANES)
fn forward({{ lane_arguments() }}) {
    let lane = {{ lane_of_arguments() }};
    let row = row_index(lane);
    if row >= shape.rows { return; }
    // The id is −1 if a token could not be drawn.
    let here = wte_row(u32(max(ids[row], 0)));
    let r = factor(here, lane);
{% if smear %}
    let cursor = cursors[row / shape.fresh];
    let t = row % shape.fresh;
    var before = wte_row(cursor.before);
    if t > 0u { before = wte_row(u32(max(ids[row - 1u], 0))); }

    var z = 0.0;
    for (var c = lane.index; c < GATE_QUADS; c += ROW_LANES) {
        z += dot(gate_w[c], r * wte_quad(here, c));
    }
    let s = select(1.0 / (1.0 + exp(-row_sum(z, lane))), 0.0, cursor.position + t == 0u);
    let share = lambda[0] * s * factor(before, lane);
    for (var c = lane.index; c < shape.quads; c += ROW_LANES) {
        x[row * shape.quads + c] = r * wte_quad(here, c) + share * wte_quad(before, c);
    }
{% else %}
    for (var c = lane.index; c < shape.quads; c += ROW_LANES) {
        x[row * shape.quads + c] = r * wte_quad(here, c);
    }
{% endif %}
}
