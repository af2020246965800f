// What both attention kernels share: the formulas, the bindings, and an exponential.
//
//   s_ij = q_i·k_j / √D            for 0 ≤ i − j ≤ window          p_ij = exp(s_ij − lse_i)
//   o_i  = Σ_j p_ij v_j            lse_i = log Σ_j exp(s_ij)
//   dv_j = Σ_i p_ij do_i           ds_ij = p_ij (do_i·v_j − delta_i),   delta_i = do_i·o_i
//   dq_i = Σ_j ds_ij k_j / √D      dk_j  = Σ_i ds_ij q_i / √D
//
// Online softmax: Milakov and Gimelshein 2018 (arXiv 1805.02867). Tiles and the backward pass: Dao 2023 (arXiv
// 2307.08691). Query head h reads key and value head h / (H / K).

#include "shared/exp_low.wgsl"
{% if cached %}
#include "shared/cache.wgsl"
{% endif %}

{# Keys and values of a batch are floats. #}
{% set far_load = load if cached else "vec4<f32>" %}
{% macro far_quad(name, at) %}{% if cached %}{{ cached_quad(name, at) }}{% else %}{{ name }}[{{ at }}]{% endif %}{% endmacro %}

struct Shape {
    seq: u32,        // T
    heads: u32,      // H
    kv_heads: u32,   // K
    window: u32,
    scale: f32,      // 1 / √D
    ring: u32,       // slots of a sequence, if k and v are a KV cache
    quads: u32,      // D / 4: drivers unroll a loop with a literal bound, and run out of registers, but not one up to this
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;            // [B, T, H, D]
@group(0) @binding(2) var<storage, read> k: array<{{ far_load }}>;         // [B, T, K, D]
@group(0) @binding(3) var<storage, read> v: array<{{ far_load }}>;         // [B, T, K, D]
@group(0) @binding(4) var<storage, read_write> o: array<vec4<f32>>;      // [B, T, H, D]
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;          // [B, T, H]

@group(0) @binding(6) var<storage, read> d_o: array<vec4<f32>>;          // [B, T, H, D]
@group(0) @binding(7) var<storage, read> kept: array<f32>;               // [B, T, H]  lse
@group(0) @binding(8) var<storage, read> delta: array<f32>;              // [B, T, H]
@group(0) @binding(9) var<storage, read_write> dq: array<vec4<f32>>;     // [B, T, H, D]
@group(0) @binding(10) var<storage, read_write> dk: array<vec4<f32>>;    // [B, T, K, D]
@group(0) @binding(11) var<storage, read_write> dv: array<vec4<f32>>;    // [B, T, K, D]

{% if cached %}
#include "shared/cursor.wgsl"

// A sequence's T queries follow `position` tokens that the cache already holds; its keys and values are in row `row` of k
// and v, [rows, ring, K, D], at their position mod ring.
@group(0) @binding(12) var<storage, read> cursors: array<Cursor>;        // [B]

// The slot of a position, clamped to `last`. What one query sees wraps round the ring at most once; `origin` is the
// last position in slot 0 before it.
fn slot(position: u32, last: u32, origin: u32) -> u32 {
    let at = min(position, last) - origin;
    return select(at, at - shape.ring, at >= shape.ring);
}
{% endif %}

{# The row of keys or values, or in a pass over keys of queries, that belongs to position `at`. #}
{% macro other(at) %}{% if cached %}slot({{ at }}, base + last, origin){% else %}min({{ at }}, last){% endif %}{% endmacro %}
{% set plus_base = " + base" if cached else "" %}

// A masked score, and the running maximum before the first one. Metal's fast math assumes that every number is finite, so
// this and its differences are; and a masked score gets the weight 0 explicitly, not because its exponential underflows.
const LOWEST = -1e30;

fn max4(x: vec4<f32>) -> f32 { return max(max(x.x, x.y), max(x.z, x.w)); }
fn sum4(x: vec4<f32>) -> f32 { return (x.x + x.y) + (x.z + x.w); }
