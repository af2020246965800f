// What both forms of attention over a KV cache share: the formula and the bindings.
//
//   s_j = q·k_j / √D for the positions j with 0 ≤ p − j ≤ window          o = Σ_j exp(s_j) v_j / Σ_j exp(s_j)
//
// Online softmax (Milakov and Gimelshein 2018, arXiv 1805.02867).

#include "shared/cache.wgsl"
#include "shared/cursor.wgsl"
#include "shared/exp_low.wgsl"

struct Shape {
    heads: u32,      // H
    kv_heads: u32,   // K
    fresh: u32,      // tokens of each sequence
    ring: u32,       // slots of a sequence in the cache
    window: u32,
    shares: u32,
    scale: f32,      // 1 / √D
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;           // [sequences]
@group(0) @binding(2) var<storage, read> q: array<vec4<f32>>;              // [N, H, D], N = sequences · fresh
@group(0) @binding(3) var<storage, read> keys: array<{{ load }}>;            // [rows of the cache, ring, K, D]
@group(0) @binding(4) var<storage, read> values: array<{{ load }}>;          // [rows of the cache, ring, K, D]
@group(0) @binding(5) var<storage, read_write> o: array<vec4<f32>>;        // [N, H, D]
@group(0) @binding(6) var<storage, read_write> parts: array<vec4<f32>>;    // [N, H, shares, D + 4]  unscaled o; maximum, sum

const LOWEST = -1e30;        // the running maximum before the first score: exp(anything − itself) stays finite

