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
#include "shared/weights.wgsl"

struct Shape {
    m: u32,
    n_quads: u32,         // N / 4
    k_quads: u32,         // K / 4
    cap: f32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;            // [M, K]
@group(0) @binding(2) var<storage, read> w: array<{{ load }}>;            // [N, K]
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;      // [M, N]
{% if norm %}
@group(0) @binding(4) var<storage, read_write> scale: array<f32>;        // [M]  r
{% endif %}

#include "shared/matvec_finish.wgsl"
{{ rows_of_weights("w", "shape.k_quads") }}

@compute @workgroup_size(ROW_LANES)
fn forward({{ lane_arguments() }}) {
    let lane = {{ lane_of_arguments() }};
    let row = lane.workgroup.z * {{ rows }}u;
    let column = row_index(lane);                            // in quads
    if column >= shape.n_quads { return; }
{% for j in range(4) %}
    let w{{ j }}_row = w_row(4u * column + {{ j }}u);
{% endfor %}
{% for r in range(rows) %}
    let x{{ r }}_row = min(row + {{ r }}u, shape.m - 1u) * shape.k_quads;
    var sum{{ r }} = vec4<f32>(0.0);
{% if norm %}
    var squares{{ r }} = 0.0;
{% endif %}
{% endfor %}

    for (var at = lane.index; at < shape.k_quads / {{ load_quads }}u; at += ROW_LANES) {
{% for j in range(4) %}
        let load{{ j }} = w[w{{ j }}_row + at];
{% endfor %}
{% if blocks %}
        let scales = vec4<f32>({% for j in range(4) %}w_scale(w{{ j }}_row, {{ load_quads }}u * at){{ ", " if j < 3 }}{% endfor %});
{% endif %}
{% for h in range(load_quads) %}
        {
{% for j in range(4) %}
            let w{{ j }} = unpack_weights(load{{ j }}, {{ h }}u);
{% endfor %}
{% for r in range(rows) %}
            let x{{ r }} = x[x{{ r }}_row + {{ load_quads }}u * at + {{ h }}u];
            sum{{ r }} += {% if blocks %}scales * {% endif %}vec4<f32>(dot(w0, x{{ r }}), dot(w1, x{{ r }}), dot(w2, x{{ r }}), dot(w3, x{{ r }}));
{% if norm %}
            squares{{ r }} += dot(x{{ r }}, x{{ r }});
{% endif %}
{% endfor %}
        }
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
