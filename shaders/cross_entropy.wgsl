// Softcap and cross-entropy over a chunk of rows of raw logits l = x · lm_headᵀ.
//
//   z = cap · tanh(l / cap)        loss_n = log Σ_v exp(z_nv) − z_n,target      (0 where the target is −1)
//   dL/dl_nv = w · (exp(z_nv − lse_n) − [v = target]) · (1 − (z_nv / cap)²)
//
// `backward` turns the logits into their gradient in place, so that no second array of that size exists. Columns from
// V on are padding: no loss, no gradient. One workgroup per row.
//
// Exponentials: f32 can represent exp(z) for |z| ≤ 87, and the sum of V of them if z + ln V ≤ 88. Since |z| ≤ cap, nothing can
// overflow, and no sum can underflow, as long as cap + ln V ≤ 87: for caps up to 74 with any vocabulary in use. So the usual pass for
// the row's maximum is left out. A fixed shift by cap would not suffice for more: if all z are near −cap, the sum of
// exp(z − cap) is 0 from a cap of 44 on. So with larger caps exponents are relative to the row's highest z, which costs a pass. tanh
// is increasing, so that is the softcap of the highest logit; rounding may put another z above it by a few parts in 10⁷.

#include "shared/nan.wgsl"
#include "shared/rows.wgsl"
#include "shared/tanh.wgsl"

struct Shape {
    rows: u32,          // rows of this chunk
    first: u32,         // the chunk's first row within targets and losses
    vocab: u32,         // V
    quads: u32,         // padded V / 4
    cap: f32,
    shifted: u32,       // whether exponents are relative to the row's highest z
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read_write> logits: array<vec4<f32>>;   // [rows, padded V]
@group(0) @binding(2) var<storage, read> targets: array<i32>;              // [N]
@group(0) @binding(3) var<storage, read_write> losses: array<f32>;         // [N]
@group(0) @binding(4) var<storage, read> weight: array<f32>;               // [1]  w

fn softcap(l: vec4<f32>) -> vec4<f32> {
    return unless_nan4(l, shape.cap * tanh4(l / shape.cap));
}

// x where the four columns from `quad` on are part of the vocabulary, else zero: the exponential of padding may be infinite.
fn inside(quad: u32, x: vec4<f32>) -> vec4<f32> {
    return select(vec4<f32>(0.0), x, counts(quad));
}

fn counts(quad: u32) -> vec4<bool> {
    return 4u * quad + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(shape.vocab);
}

// What the exponents of the row at `start` are relative to: its highest z, or 0.
fn base_of(start: u32, lane: Lane) -> f32 {
    if shape.shifted == 0u { return 0.0; }
    var most = vec4<f32>(-1e30);
    for (var v = lane.index; v < shape.quads; v += ROW_LANES) {
        most = max(most, select(vec4<f32>(-1e30), logits[start + v], counts(v)));
    }
    let highest = row_max(max(max(most.x, most.y), max(most.z, most.w)), lane);
    return softcap(vec4<f32>(highest)).x;
}

@compute @workgroup_size(ROW_LANES)
fn softcap_only({{ lane_arguments() }}) {
    let lane = {{ lane_of_arguments() }};
    let row = row_index(lane);
    if row >= shape.rows { return; }
    for (var v = lane.index; v < shape.quads; v += ROW_LANES) {
        logits[row * shape.quads + v] = softcap(logits[row * shape.quads + v]);
    }
}

@compute @workgroup_size(ROW_LANES)
fn forward({{ lane_arguments() }}) {
    let lane = {{ lane_of_arguments() }};
    let row = row_index(lane);
    if row >= shape.rows { return; }
    let start = row * shape.quads;
    let target_id = targets[shape.first + row];
    let goal = u32(max(target_id, 0));
    let raw = logits[start + goal / 4u];
    let target_z = softcap(raw)[goal % 4u];
    let base = base_of(start, lane);
    var sum = vec4<f32>(0.0);
    for (var v = lane.index; v < shape.quads; v += ROW_LANES) {
        sum += inside(v, exp(softcap(logits[start + v]) - base));
    }
    let lse = base + log(row_sum(sum.x + sum.y + sum.z + sum.w, lane));
    if lane.index == 0u {
        losses[shape.first + row] = select(0.0, lse - target_z, target_id >= 0);
    }
}

// dL/dl of the four columns from `quad` on, from their z.
fn gradient(quad: u32, z: vec4<f32>, lse: f32, goal: u32, w: f32) -> vec4<f32> {
    let column = 4u * quad + vec4<u32>(0u, 1u, 2u, 3u);
    let hit = select(vec4<f32>(0.0), vec4<f32>(1.0), column == vec4<u32>(goal));
    let ratio = z / shape.cap;
    return inside(quad, w * (exp(z - lse) - hit) * (1.0 - ratio * ratio));
}

// A row that fits in the registers of its lanes, {{ held }} quads each, is read once. For a longer one z is computed twice, or on
// CPU adapters, where loads and stores are cheaper than a tanh, written over the logits.
@compute @workgroup_size(ROW_LANES)
fn backward({{ lane_arguments() }}) {
    let lane = {{ lane_of_arguments() }};
    let row = row_index(lane);
    if row >= shape.rows { return; }
    let start = row * shape.quads;
    let target_id = targets[shape.first + row];
    let goal = u32(max(target_id, 0));
    let w = select(0.0, weight[0], target_id >= 0);
    var target_z = 0.0;
    var sum = vec4<f32>(0.0);
{% if held > 0 %}
{% for i in range(held) %}
    let v{{ i }} = lane.index + {{ i * lanes }}u;
    let z{{ i }} = softcap(logits[start + min(v{{ i }}, shape.quads - 1u)]);
    if v{{ i }} == goal / 4u { target_z = z{{ i }}[goal % 4u]; }
{% endfor %}
    var base = 0.0;
    if shape.shifted == 1u {
        var most = vec4<f32>(-1e30);
{% for i in range(held) %}
        most = max(most, select(vec4<f32>(-1e30), z{{ i }}, counts(v{{ i }})));
{% endfor %}
        base = row_max(max(max(most.x, most.y), max(most.z, most.w)), lane);
    }
{% for i in range(held) %}
    sum += inside(v{{ i }}, exp(z{{ i }} - base));
{% endfor %}
{% else %}
    let base = base_of(start, lane);
    // Each lane writes only the quads that it reads, and reads the target's logit before overwriting it.
    if (goal / 4u) % ROW_LANES == lane.index { target_z = softcap(logits[start + goal / 4u])[goal % 4u]; }
    for (var v = lane.index; v < shape.quads; v += ROW_LANES) {
        let z = softcap(logits[start + v]);
{% if cpu %}
        logits[start + v] = z;
{% endif %}
        sum += inside(v, exp(z - base));
    }
{% endif %}
    let sums = row_sum4(vec4<f32>((sum.x + sum.y) + (sum.z + sum.w), target_z, 0.0, 0.0), lane);
    let lse = base + log(sums.x);
    if lane.index == 0u {
        losses[shape.first + row] = select(0.0, lse - sums.y, target_id >= 0);
    }
{% if held > 0 %}
{% for i in range(held) %}
    if v{{ i }} < shape.quads { logits[start + v{{ i }}] = gradient(v{{ i }}, z{{ i }}, lse, goal, w); }
{% endfor %}
{% else %}
    for (var v = lane.index; v < shape.quads; v += ROW_LANES) {
        let z = {% if cpu %}logits[start + v]{% else %}softcap(logits[start + v]){% endif %};
        logits[start + v] = gradient(v, z, lse, goal, w);
    }
{% endif %}
}
