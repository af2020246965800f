// A matrix times a few vectors, read at the speed of memory: the form for GPUs.
//
//   y_m = f(r_m · (W · x_m))        W [N, K], x [M, K], y [M, N]        f: nothing, + y_m, ReLU², or softcap
//   r_m = 1, or 1 / sqrt(mean(x_m²) + eps), which makes it W · norm(x_m)
//
// A workgroup of {{ lanes }} lanes computes {{ rows }} rows × 4 columns of y. Its lanes lie along k, so that neighbours read neighbours in
// W, every value of which is read once and meets all rows of x. The lanes' sums are added at the end, always in the
// same order, whatever M is.
//
// K and N are multiples of 4. Rows past the last one are computed from clamped loads and not stored.

#include "shared/rows.wgsl"

struct Shape {
    m: u32,
    n_quads: u32,         // N / 4
    k_quads: u32,         // K / 4
    cap: f32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;            // [M, K]
@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>;            // [N, K]
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;      // [M, N]
{% if norm %}
@group(0) @binding(4) var<storage, read_write> scale: array<f32>;        // [M]  r
{% endif %}

#include "shared/matvec_finish.wgsl"

@compute @workgroup_size(ROW_LANES)
fn forward(lane: Lane) {
    let row = lane.workgroup.z * {{ rows }}u;
    let column = row_index(lane);                            // in quads
    if column >= shape.n_quads { return; }
    let w_row = 4u * column * shape.k_quads;
{% for r in range(rows) %}
    let x{{ r }}_row = min(row + {{ r }}u, shape.m - 1u) * shape.k_quads;
    var sum{{ r }} = vec4<f32>(0.0);
{% if norm %}
    var squares{{ r }} = vec4<f32>(0.0);
{% endif %}
{% endfor %}

    for (var k = lane.index; k < shape.k_quads; k += ROW_LANES) {
        let w0 = w[w_row + k];
        let w1 = w[w_row + k + shape.k_quads];
        let w2 = w[w_row + k + 2u * shape.k_quads];
        let w3 = w[w_row + k + 3u * shape.k_quads];
{% for r in range(rows) %}
        let x{{ r }} = x[x{{ r }}_row + k];
        sum{{ r }} += vec4<f32>(dot(w0, x{{ r }}), dot(w1, x{{ r }}), dot(w2, x{{ r }}), dot(w3, x{{ r }}));
{% if norm %}
        squares{{ r }} += x{{ r }} * x{{ r }};
{% endif %}
{% endfor %}
    }

{% for r in range(rows) %}
{% if norm %}
    let square{{ r }} = row_sum4(squares{{ r }}, lane);
    let mean{{ r }} = (square{{ r }}.x + square{{ r }}.y + square{{ r }}.z + square{{ r }}.w) / f32(4u * shape.k_quads);
    let r{{ r }} = inverseSqrt(mean{{ r }} + shape.eps);
    if lane.index == 0u && column == 0u && row + {{ r }}u < shape.m { scale[row + {{ r }}u] = r{{ r }}; }
    let total{{ r }} = r{{ r }} * row_sum4(sum{{ r }}, lane);
{% else %}
    let total{{ r }} = row_sum4(sum{{ r }}, lane);
{% endif %}
    if lane.index == 0u && row + {{ r }}u < shape.m { finish((row + {{ r }}u) * shape.n_quads + column, total{{ r }}); }
{% endfor %}
}
