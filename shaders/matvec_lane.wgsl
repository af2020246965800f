// A matrix times a few vectors, without workgroup memory: the form that is fastest on CPU adapters.
//
//   y_m = f(r_m · (W · x_m))        W [N, K], x [M, K], y [M, N]        f: nothing, + y_m, ReLU², or softcap
//   r_m = 1, or 1 / sqrt(mean(x_m²) + eps), which makes it W · norm(x_m)
//
// A workgroup is one subgroup and computes {{ rows }} rows × {{ subgroup * 4 }} columns of y: every lane holds four columns, whose rows
// of W it reads in order. The values of x are loaded {{ subgroup }} quads at a time, spread over the lanes, and
// broadcast. Sums run over k in order, one chain per element, as in `matmul_lane.wgsl`: they do not depend on M.
//
// K and N are multiples of 4. Columns past the edge are computed from clamped loads and not stored; past the end of a row x
// counts as zero.

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

@compute @workgroup_size({{ subgroup }})
fn forward(
    @builtin(workgroup_id) tile: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let row = tile.x * {{ rows }}u;
    let column = tile.y * {{ subgroup }}u + lane;            // in quads
    let w_row = 4u * min(column, shape.n_quads - 1u) * shape.k_quads;
    let last = shape.k_quads - 1u;
{% for r in range(rows) %}
    let x{{ r }}_row = min(row + {{ r }}u, shape.m - 1u) * shape.k_quads;
    var sum{{ r }} = vec4<f32>(0.0);
{% if norm %}
    var squares{{ r }} = vec4<f32>(0.0);
{% endif %}
{% endfor %}

    for (var k = 0u; k < shape.k_quads; k += {{ subgroup }}u) {
        let here = k + lane <= last;
        let mine = min(k + lane, last);
{% for r in range(rows) %}
        let x{{ r }} = select(vec4<f32>(0.0), x[x{{ r }}_row + mine], here);
{% if norm %}
        squares{{ r }} += x{{ r }} * x{{ r }};
{% endif %}
{% endfor %}
{% for i in range(subgroup) %}
        {
            let at = w_row + min(k + {{ i }}u, last);
            let w0 = w[at];
            let w1 = w[at + shape.k_quads];
            let w2 = w[at + 2u * shape.k_quads];
            let w3 = w[at + 3u * shape.k_quads];
{% for r in range(rows) %}
            let x{{ r }}_k = subgroupBroadcast(x{{ r }}, {{ i }}u);
{% for kk in range(4) %}
            sum{{ r }} = fma(vec4<f32>(x{{ r }}_k[{{ kk }}]), vec4<f32>(w0[{{ kk }}], w1[{{ kk }}], w2[{{ kk }}], w3[{{ kk }}]), sum{{ r }});
{% endfor %}
{% endfor %}
        }
{% endfor %}
    }

{% if norm %}
{% for r in range(rows) %}
    let mean{{ r }} = subgroupAdd(squares{{ r }}.x + squares{{ r }}.y + squares{{ r }}.z + squares{{ r }}.w) / f32(4u * shape.k_quads);
    let r{{ r }} = inverseSqrt(mean{{ r }} + shape.eps);
    if column == 0u && row + {{ r }}u < shape.m { scale[row + {{ r }}u] = r{{ r }}; }
    sum{{ r }} *= r{{ r }};
{% endfor %}
{% endif %}
    if column > shape.n_quads - 1u { return; }
{% for r in range(rows) %}
    if row + {{ r }}u < shape.m { finish((row + {{ r }}u) * shape.n_quads + column, sum{{ r }}); }
{% endfor %}
}
