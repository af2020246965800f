// A matrix times a few vectors, bound by memory bandwidth: the form for GPUs.
//
//   y_m = f(r_m · (W · x_m))        W [N, K], x [M, K], y [M, N]        f: nothing, + y_m, ReLU², or softcap
//   r_m = 1, or 1 / sqrt(mean(x_m²) + eps), which makes it W · norm(x_m)
//
// A workgroup of {{ lanes }} lanes computes {{ rows }} rows × 4 columns of y. Its lanes lie along k, so that loads of W are coalesced;
// every value of W is read once and used for all rows of x. The lanes' sums of all rows are reduced at the end, together and
// always in the same order, whatever M is; then one lane finishes each row.
//
// K and N are multiples of 4. Rows past the last one are computed from clamped loads and not stored.

{% set sums = rows + ((rows + 3) // 4 if norm else 0) %}
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
fn forward({{ lane_arguments() }}) {
    let lane = {{ lane_of_arguments() }};
    let row = lane.workgroup.z * {{ rows }}u;
    let column = row_index(lane);                            // in quads
    if column >= shape.n_quads { return; }
    let w_row = 4u * column * shape.k_quads;
{% for r in range(rows) %}
    let x{{ r }}_row = min(row + {{ r }}u, shape.m - 1u) * shape.k_quads;
    var sum{{ r }} = vec4<f32>(0.0);
{% if norm %}
    var squares{{ r }} = 0.0;
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
        squares{{ r }} += dot(x{{ r }}, x{{ r }});
{% endif %}
{% endfor %}
    }

    var values: array<vec4<f32>, {{ sums }}>;
{% for r in range(rows) %}
    values[{{ r }}] = sum{{ r }};
{% if norm %}
    values[{{ rows + r // 4 }}][{{ r % 4 }}] = squares{{ r }};
{% endif %}
{% endfor %}
    row_meet(values, lane);
    if lane.index >= {{ rows }}u || row + lane.index >= shape.m { return; }
    var total = row_met(lane.index);
{% if norm %}
    let r = inverseSqrt(row_met({{ rows }}u + lane.index / 4u)[lane.index % 4u] / f32(4u * shape.k_quads) + shape.eps);
    if column == 0u { scale[row + lane.index] = r; }
    total *= r;
{% endif %}
    finish((row + lane.index) * shape.n_quads + column, total);
}
