// A matrix times a few vectors, without workgroup memory: the form that is fastest on CPU adapters.
//
//   y_m = f(r_m · (W · x_m))        W [N, K], x [M, K], y [M, N]        f: nothing, + y_m, ReLU², or softcap
//   r_m = 1, or 1 / sqrt(mean(x_m²) + eps), which makes it W · norm(x_m)
//
// A workgroup is one subgroup and computes {{ rows }} rows × {{ subgroup * quads * 4 }} columns of y: every lane holds {{ quads * 4 }} columns, whose
// rows of W it reads in order. The values of x are loaded {{ subgroup }} quads at a time, spread over the lanes, and
// broadcast. Sums run over k in order, one chain per element, and do not depend on M; with blocks each has its own chain, and the
// scaled sums of blocks are added in order. Plain floats give the bits of `matmul_lane.wgsl`.
//
// Drivers of CPUs load lane by lane, so what counts is the number of loads: a load of packed weights carries more of them, and
// in panels those of all lanes are contiguous.
//
// K and N are multiples of 4. Columns past the edge are computed from clamped loads, or from the zeros that end the last panel, and
// not stored; past the end of a row x counts as zero.

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
@group(0) @binding(2) var<storage, read> w: array<{{ "u64" if wide else load }}>;            // [N, K]
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;      // [M, N]
{% if norm %}
@group(0) @binding(4) var<storage, read_write> scale: array<f32>;        // [M]  r
{% endif %}

#include "shared/matvec_finish.wgsl"

{% set panel = 4 * quads * subgroup %}                    {# rows of W in a panel #}
{% set step = 8 if blocks else subgroup %}                {# quads along k of an iteration: a block, or one of every lane #}
{% set x_loads = (step + subgroup - 1) // subgroup %}
{% set block_words = (8 // load_quads) * panel + panel // 2 %}

@compute @workgroup_size({{ subgroup }})
fn forward(
    @builtin(workgroup_id) tile: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let row = tile.x * {{ rows }}u;
    let column = tile.y * {{ subgroup * quads }}u + lane;            // in quads; the next of this lane is {{ subgroup }} further
    let last = shape.k_quads - 1u;
{% if blocks %}
    var block = tile.y * (shape.k_quads / 8u) * {{ block_words }}u;
{% elif panels %}
    let w_start = tile.y * shape.k_quads * {{ panel }}u + 4u * lane;
{% else %}
    let w_row = 4u * min(column, shape.n_quads - 1u) * shape.k_quads;
{% endif %}
{% for r in range(rows) %}
    let x{{ r }}_row = min(row + {{ r }}u, shape.m - 1u) * shape.k_quads;
{% for q in range(quads) %}
    var sum{{ r }}_{{ q }} = vec4<f32>(0.0);
{% endfor %}
{% if norm %}
    var squares{{ r }} = vec4<f32>(0.0);
{% endif %}
{% endfor %}

    for (var k = 0u; k < shape.k_quads; k += {{ step }}u) {
{% for i in range(x_loads) %}
        let mine{{ i }} = k + lane + {{ i * subgroup }}u;
        let here{{ i }} = mine{{ i }} <= last{% if (i + 1) * subgroup > step %} && lane + {{ i * subgroup }}u < {{ step }}u{% endif %};
{% for r in range(rows) %}
        let x{{ r }}_{{ i }} = select(vec4<f32>(0.0), x[x{{ r }}_row + min(mine{{ i }}, last)], here{{ i }});
{% if norm %}
        squares{{ r }} += x{{ r }}_{{ i }} * x{{ r }}_{{ i }};
{% endif %}
{% endfor %}
{% endfor %}
{% if blocks %}
{% for r in range(rows) %}{% for q in range(quads) %}
        var part{{ r }}_{{ q }} = vec4<f32>(0.0);
{% endfor %}{% endfor %}
{% endif %}
{% for l in range(step // load_quads) %}
        {
{% if blocks %}
            let at = block + {{ l * panel }}u + 4u * lane;
{% elif panels %}
            let at = w_start + min(k + {{ l }}u, last) * {{ panel }}u;
{% else %}
            let at = w_row + min(k + {{ l }}u, last);
{% endif %}
{% for q in range(quads) %}
{% if panels %}
{{ panel_loads("load" ~ q ~ "_", "w", "at + " ~ 4 * q * subgroup ~ "u") }}
{% else %}
{% for j in range(4) %}
            let load{{ q }}_{{ j }} = w[at + {{ j }}u * shape.k_quads];
{% endfor %}
{% endif %}
{% endfor %}
{% for h in range(load_quads) %}
{% set quad = l * load_quads + h %}
            {
{% for q in range(quads) %}
{% for j in range(4) %}
                let w{{ q }}_{{ j }} = unpack_weights(load{{ q }}_{{ j }}, {{ h }}u);
{% endfor %}
{% for kk in range(4) %}
                let k{{ kk }}_{{ q }} = vec4<f32>(w{{ q }}_0[{{ kk }}], w{{ q }}_1[{{ kk }}], w{{ q }}_2[{{ kk }}], w{{ q }}_3[{{ kk }}]);
{% endfor %}
{% endfor %}
{% for r in range(rows) %}
                let x{{ r }} = subgroupBroadcast(x{{ r }}_{{ quad // subgroup }}, {{ quad % subgroup }}u);
{% set sum = "part" if blocks else "sum" %}
{% for kk in range(4) %}{% for q in range(quads) %}
                {{ sum }}{{ r }}_{{ q }} = fma(vec4<f32>(x{{ r }}[{{ kk }}]), k{{ kk }}_{{ q }}, {{ sum }}{{ r }}_{{ q }});
{% endfor %}{% endfor %}
{% endfor %}
            }
{% endfor %}
        }
{% endfor %}
{% if blocks %}
{% for q in range(quads) %}
{{ panel_scales("scale" ~ q, "w", "block + " ~ ((8 // load_quads) * panel + 2 * q * subgroup) ~ "u + 2u * lane") }}
{% for r in range(rows) %}
        sum{{ r }}_{{ q }} = fma(scale{{ q }}, part{{ r }}_{{ q }}, sum{{ r }}_{{ q }});
{% endfor %}
{% endfor %}
        block += {{ block_words }}u;
{% endif %}
    }

{% if norm %}
{% for r in range(rows) %}
    let mean{{ r }} = subgroupAdd(squares{{ r }}.x + squares{{ r }}.y + squares{{ r }}.z + squares{{ r }}.w) / f32(4u * shape.k_quads);
    let r{{ r }} = inverseSqrt(mean{{ r }} + shape.eps);
    if column == 0u && row + {{ r }}u < shape.m { scale[row + {{ r }}u] = r{{ r }}; }
{% for q in range(quads) %}
    sum{{ r }}_{{ q }} *= r{{ r }};
{% endfor %}
{% endfor %}
{% endif %}
{% for q in range(quads) %}
    if column + {{ q * subgroup }}u < shape.n_quads {
{% for r in range(rows) %}
        if row + {{ r }}u < shape.m { finish((row + {{ r }}u) * shape.n_quads + column + {{ q * subgroup }}u, sum{{ r }}_{{ q }}); }
{% endfor %}
    }
{% endfor %}
}
