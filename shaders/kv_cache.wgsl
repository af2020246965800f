// From the projections of new tokens to queries, and to keys and values in a KV cache.
//
//   q = gain · norm(rotate(q'))    K[slot] = gain · norm(rotate(k'))    V[slot] = v' (+ γ · table_id)    slot = position mod ring
//   γ = 3 · sigmoid(w · (r · x)[0..12])
//
// Rotation and norm as in `rotary.wgsl`, the gate of the value embedding as in `value_gate.wgsl`; x is the stream before
// its norm and r the norm's factor. A layer's cache has `ring` slots per sequence: as many as the context with full attention,
// fewer with a window, where new keys overwrite old ones. One workgroup per head of a token.
//
// The cache's format is `cache`: f32, bf16 or f16.

#include "shared/rows.wgsl"
#include "shared/weights.wgsl"
#include "shared/cursor.wgsl"

struct Shape {
    rows: u32,       // N · (H + 2 · K), N = sequences · fresh
    heads: u32,      // H
    kv_heads: u32,   // K
    half_quads: u32, // D / 8
    fresh: u32,      // tokens of each sequence
    ring: u32,       // slots of a sequence
    eps: f32,
    gain: f32,
    at: array<vec4<u32>, 3>,    // of q', k' and v': quads to the first, and from one token to the next
    quads: u32,      // C / 4
}

{% set slot_load = "vec4<f32>" if cache == "f32" else "vec2<u32>" %}
@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;           // [sequences]
@group(0) @binding(2) var<storage, read> cosines: array<vec4<f32>>;        // [positions, D/2]
@group(0) @binding(3) var<storage, read> sines: array<vec4<f32>>;          // [positions, D/2]
@group(0) @binding(4) var<storage, read> from_q: array<vec4<f32>>;         // [N, H, D] at a stride
@group(0) @binding(5) var<storage, read> from_k: array<vec4<f32>>;         // [N, K, D] at a stride
@group(0) @binding(6) var<storage, read> from_v: array<vec4<f32>>;         // [N, K, D] at a stride
@group(0) @binding(7) var<storage, read_write> q: array<vec4<f32>>;        // [N, H, D]
@group(0) @binding(8) var<storage, read_write> keys: array<{{ slot_load }}>;   // [rows of the cache, ring, K, D]
@group(0) @binding(9) var<storage, read_write> values: array<{{ slot_load }}>; // [rows of the cache, ring, K, D]
{% if gated %}
@group(0) @binding(10) var<storage, read> ids: array<i32>;                 // [N]
@group(0) @binding(11) var<storage, read> table: array<{{ load }}>;         // [V, K, D]
@group(0) @binding(12) var<storage, read> w: array<vec4<f32>>;             // [K, 12]
@group(0) @binding(13) var<storage, read> x: array<vec4<f32>>;             // [N, C]
@group(0) @binding(14) var<storage, read> scale: array<f32>;               // [N]  r

const GATE_QUADS = 3u;
{{ rows_of_weights("table", "(shape.kv_heads * 2u * shape.half_quads)") }}
{% endif %}

{% if cache == "f32" %}
fn held(x: vec4<f32>) -> vec4<f32> { return x; }
{% else %}
{% set format = cache %}
#include "shared/narrow.wgsl"

// What a slot holds. Numbers past the range become its ends: an infinite value would turn every later output into infinity or NaN,
// even where its weight is 0. What was infinite or NaN before stays so, for the logits to show it.
fn held(x: vec4<f32>) -> vec2<u32> {
    const LARGEST = {{ "0x477fe000u" if cache == "f16" else "0x7f7f0000u" }};
    let bits = bitcast<vec4<u32>>(x);
    let size = bits & vec4<u32>(0x7fffffffu);
    let inside = select(min(size, vec4<u32>(LARGEST)), size, size >= vec4<u32>(0x7f800000u));
    let y = bitcast<vec4<f32>>(inside | (bits & vec4<u32>(0x80000000u)));
    return vec2<u32>(narrow2(y.xy), narrow2(y.zw));
}
{% endif %}

{% macro turned(source, to, at, part) %}
        let first = shape.at[{{ part }}].x + token * shape.at[{{ part }}].y + head * 2u * shape.half_quads;
        let second = first + shape.half_quads;
        var sum = vec4<f32>(0.0);
        for (var c = lane.index; c < shape.half_quads; c += ROW_LANES) {
            sum += {{ source }}[first + c] * {{ source }}[first + c] + {{ source }}[second + c] * {{ source }}[second + c];
        }
        let mean = row_sum(sum.x + sum.y + sum.z + sum.w, lane) / f32(8u * shape.half_quads);
        let factor = shape.gain * inverseSqrt(mean + shape.eps);
        for (var c = lane.index; c < shape.half_quads; c += ROW_LANES) {
            let x1 = factor * {{ source }}[first + c];
            let x2 = factor * {{ source }}[second + c];
            let y1 = x1 * cosines[angles + c] + x2 * sines[angles + c];
            let y2 = x2 * cosines[angles + c] - x1 * sines[angles + c];
            {{ to }}[{{ at }} + c] = {{ "y1" if part == 0 else "held(y1)" }};
            {{ to }}[{{ at }} + shape.half_quads + c] = {{ "y2" if part == 0 else "held(y2)" }};
        }
{% endmacro %}

@compute @workgroup_size(ROW_LANES)
fn store({{ lane_arguments() }}) {
    let lane = {{ lane_of_arguments() }};
    let row = row_index(lane);
    if row >= shape.rows { return; }
    let all = shape.heads + 2u * shape.kv_heads;
    let token = row / all;
    let cursor = cursors[token / shape.fresh];
    if token % shape.fresh >= cursor.count { return; }
    let position = cursor.position + token % shape.fresh;
    let angles = position * shape.half_quads;
    let slot = (cursor.row * shape.ring + position % shape.ring) * shape.kv_heads;

    var head = row % all;
    if head < shape.heads {
        let to = (token * shape.heads + head) * 2u * shape.half_quads;
{{ turned("from_q", "q", "to", 0) }}
        return;
    }
    head -= shape.heads;
    if head < shape.kv_heads {
        let to = (slot + head) * 2u * shape.half_quads;
{{ turned("from_k", "keys", "to", 1) }}
        return;
    }
    head -= shape.kv_heads;
    let to = (slot + head) * 2u * shape.half_quads;
    let start = shape.at[2].x + token * shape.at[2].y + head * 2u * shape.half_quads;
{% if gated %}
    var z = 0.0;
    for (var c = lane.index; c < GATE_QUADS; c += ROW_LANES) {
        z += dot(w[head * GATE_QUADS + c], scale[token] * x[token * shape.quads + c]);
    }
    let g = 3.0 / (1.0 + exp(-row_sum(z, lane)));
    let source = table_row(u32(max(ids[token], 0)));
    let first = head * 2u * shape.half_quads;
    for (var c = lane.index; c < 2u * shape.half_quads; c += ROW_LANES) {
        values[to + c] = held(from_v[start + c] + g * table_quad(source, first + c));
    }
{% else %}
    for (var c = lane.index; c < 2u * shape.half_quads; c += ROW_LANES) {
        values[to + c] = held(from_v[start + c]);
    }
{% endif %}
}
