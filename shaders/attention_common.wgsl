// What both attention kernels share: the formulas, the bindings, and an exponential.
//
//   s_ij = q_i·k_j / √D            for 0 ≤ i − j ≤ window          p_ij = exp(s_ij − lse_i)
//   o_i  = Σ_j p_ij v_j            lse_i = log Σ_j exp(s_ij)
//   dv_j = Σ_i p_ij do_i           ds_ij = p_ij (do_i·v_j − delta_i),   delta_i = do_i·o_i
//   dq_i = Σ_j ds_ij k_j / √D      dk_j  = Σ_i ds_ij q_i / √D
//
// Online softmax: Milakov and Gimelshein 2018 (arXiv 1805.02867). Tiles and the backward pass: Dao 2023 (arXiv
// 2307.08691). Query head h reads key and value head h / (H / K).

struct Shape {
    seq: u32,        // T
    heads: u32,      // H
    kv_heads: u32,   // K
    window: u32,
    scale: f32,      // 1 / √D
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;            // [B, T, H, D]
@group(0) @binding(2) var<storage, read> k: array<vec4<f32>>;            // [B, T, K, D]
@group(0) @binding(3) var<storage, read> v: array<vec4<f32>>;            // [B, T, K, D]
@group(0) @binding(4) var<storage, read_write> o: array<vec4<f32>>;      // [B, T, H, D]
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;          // [B, T, H]

@group(0) @binding(6) var<storage, read> d_o: array<vec4<f32>>;          // [B, T, H, D]
@group(0) @binding(7) var<storage, read> kept: array<f32>;               // [B, T, H]  lse
@group(0) @binding(8) var<storage, read> delta: array<f32>;              // [B, T, H]
@group(0) @binding(9) var<storage, read_write> dq: array<vec4<f32>>;     // [B, T, H, D]
@group(0) @binding(10) var<storage, read_write> dk: array<vec4<f32>>;    // [B, T, K, D]
@group(0) @binding(11) var<storage, read_write> dv: array<vec4<f32>>;    // [B, T, K, D]

const MASKED = -3e38;        // a masked score
const LOWEST = -1e30;        // the running maximum before the first score: exp(MASKED − LOWEST) is 0, not NaN

// exp for x ≤ 0. Lavapipe's own is out by 4e-6. This one, 2^n · 2^f with |f| ≤ ½ and a polynomial of degree 6 for 2^f, is out
// by 1e-7 near 0, more further down as x · log₂e rounds. Below 2^-126 it gives a true 0: smaller factors would make
// denormal sums, which a CPU adds twenty times slower.
fn exp_low(x: vec4<f32>) -> vec4<f32> {
{% if cpu %}
    let t = max(x * 1.442695041, vec4<f32>(-127.0));
    let n = round(t);
    let f = t - n;
    var y = fma(f, vec4<f32>(1.546144470e-4), vec4<f32>(1.340042818e-3));
    y = fma(f, y, vec4<f32>(9.618056679e-3));
    y = fma(f, y, vec4<f32>(5.550327227e-2));
    y = fma(f, y, vec4<f32>(2.402265092e-1));
    y = fma(f, y, vec4<f32>(6.931472067e-1));
    y = fma(f, y, vec4<f32>(1.0));
    return y * bitcast<vec4<f32>>((vec4<i32>(n) + 127) << vec4<u32>(23u));
{% else %}
    return exp(x);
{% endif %}
}

fn max4(x: vec4<f32>) -> f32 { return max(max(x.x, x.y), max(x.z, x.w)); }
fn sum4(x: vec4<f32>) -> f32 { return (x.x + x.y) + (x.z + x.w); }
