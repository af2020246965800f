// A token's value embedding, added to the values through a gate per key-value head.
//
//   γ_nk = 3 · sigmoid(w_k · h_n[0..12])          v_nk += γ_nk · table_id(n),k
//
//   a_nk = (dL/dv_nk · table_id(n),k) · γ_nk · (1 − γ_nk / 3)
//   dL/dh_n[0..12] += Σ_k a_nk · w_k,   dL/dw_k = Σ_n a_nk · h_n[0..12]
//
// Forward: one workgroup per head of a row. Backward: one per row with all its heads; it leaves a to `dot.wgsl` for dL/dw.
// The table's gradient is that of an embedding with γ as its scale.

#include "shared/rows.wgsl"
#include "shared/weights.wgsl"

struct Shape {
    rows: u32,       // N · K forward, N backward
    heads: u32,      // K
    head_quads: u32, // D / 4
    quads: u32,      // C / 4
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> ids: array<i32>;                  // [N]
@group(0) @binding(2) var<storage, read> table: array<{{ load }}>;          // [V, K, D]
@group(0) @binding(3) var<storage, read> w: array<vec4<f32>>;              // [K, 12]
@group(0) @binding(4) var<storage, read> h: array<vec4<f32>>;              // [N, C]
@group(0) @binding(5) var<storage, read_write> v: array<vec4<f32>>;        // [N, K, D]
@group(0) @binding(6) var<storage, read_write> gate: array<f32>;           // [N, K]  γ

@group(0) @binding(7) var<storage, read> kept: array<f32>;                 // [N, K]  γ
@group(0) @binding(8) var<storage, read> dv: array<vec4<f32>>;             // [N, K, D]
@group(0) @binding(9) var<storage, read_write> dh: array<vec4<f32>>;       // [N, C]
@group(0) @binding(10) var<storage, read_write> scratch: array<f32>;       // [N, K]  a

const GATE_QUADS = 3u;
{{ rows_of_weights("table", "(shape.heads * shape.head_quads)") }}

@compute @workgroup_size(ROW_LANES)
fn forward({{ lane_arguments() }}) {
    let lane = {{ lane_of_arguments() }};
    let row = row_index(lane);
    if row >= shape.rows { return; }
    let n = row / shape.heads;
    let k = row % shape.heads;

    var z = 0.0;
    for (var c = lane.index; c < GATE_QUADS; c += ROW_LANES) {
        z += dot(w[k * GATE_QUADS + c], h[n * shape.quads + c]);
    }
    let g = 3.0 / (1.0 + exp(-row_sum(z, lane)));
    if lane.index == 0u { gate[row] = g; }

    let start = row * shape.head_quads;
    let source = table_row(u32(ids[n]));
    for (var c = lane.index; c < shape.head_quads; c += ROW_LANES) {
        v[start + c] += g * table_quad(source, k * shape.head_quads + c);
    }
}

@compute @workgroup_size(ROW_LANES)
fn backward({{ lane_arguments() }}) {
    let lane = {{ lane_of_arguments() }};
    let n = row_index(lane);
    if n >= shape.rows { return; }
    let source = table_row(u32(ids[n]));

    var d0 = vec4<f32>(0.0);
    var d1 = vec4<f32>(0.0);
    var d2 = vec4<f32>(0.0);
    for (var k = 0u; k < shape.heads; k++) {
        let start = (n * shape.heads + k) * shape.head_quads;
        var sum = vec4<f32>(0.0);
        for (var c = lane.index; c < shape.head_quads; c += ROW_LANES) {
            sum += dv[start + c] * table_quad(source, k * shape.head_quads + c);
        }
        let g = kept[n * shape.heads + k];
        let a = row_sum(sum.x + sum.y + sum.z + sum.w, lane) * g * (1.0 - g / 3.0);
        if lane.index == 0u { scratch[n * shape.heads + k] = a; }
        d0 += a * w[k * GATE_QUADS];
        d1 += a * w[k * GATE_QUADS + 1u];
        d2 += a * w[k * GATE_QUADS + 2u];
    }
    if lane.index == 0u {
        let at = n * shape.quads;
        dh[at] += d0;
        dh[at + 1u] += d1;
        dh[at + 2u] += d2;
    }
}
