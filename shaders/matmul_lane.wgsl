// Matrix product with register tiles and no workgroup memory: the form that is fastest on CPU adapters. Formula and bindings:
// `shared/matmul.wgsl`.
//
// A workgroup is one subgroup and computes {{ rows }} rows × {{ subgroup * quads * 4 }} columns of one matrix of a batch: every lane holds
// all {{ rows }} rows of {{ quads }} groups of four columns. The values of A are loaded once per subgroup, spread over its
// lanes, and broadcast; so each value that a lane loads feeds many multiply-adds.
//
// Layout `packed` reads both operands from the panels of `pack.wgsl`, of {{ rows }} rows of A and {{ subgroup * quads * 4 }} columns of B. With
// `panels` B is a weight, which was stored in such panels in any format. With `narrow` both were packed in 16 bits.
// In other cases, rows and columns past the edge are computed from clamped loads. In either case they are not stored.

#include "shared/matmul.wgsl"

{% set tn = layout == "tn" %}
{% set along_k = layout == "nt" or packed %}     {# a vec4 of B is four k of a column #}
{% set panel = 4 * subgroup * quads %}           {# columns of B in a panel #}
{% set block_words = (8 // load_quads) * panel + panel // 2 %}
{% set a_loads = (rows + subgroup - 1) // subgroup %}

@compute @workgroup_size({{ subgroup }})
fn forward(
    @builtin(workgroup_id) tile: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let row = tile.x * {{ rows }}u;
    if shape.upper == 1u && (tile.y + 1u) * {{ subgroup * quads * 4 }}u <= row { return; }
    let column = tile.y * {{ subgroup * quads }}u + lane;     // in quads; the next of this lane is {{ subgroup }} further
{% for q in range(quads) %}
    let column{{ q }} = min(column + {{ q * subgroup }}u, shape.n_quads - 1u);
{% endfor %}
    let a_start = tile.z * shape.a_stride;
    let b_start = tile.z * shape.b_stride;
    let k_quads = shape.k / 4u;

    // Where this lane's parts of A and B begin.
{% if packed or panels %}
    var b_at = b_start + tile.y * {% if blocks %}(k_quads / 8u) * {{ block_words }}u{% else %}k_quads * {{ panel }}u{% endif %} + 4u * lane;
{% endif %}
{% if packed %}
    var a_at = a_start + tile.x * k_quads * {{ rows }}u + lane;
{% else %}
{% for i in range(a_loads) %}
{% if tn %}
    // share {{ i }} of the 4 × {{ rows // 4 }} quads: k = share / {{ rows // 4 }}, rows from 4 · (share % {{ rows // 4 }})
    let share{{ i }} = min(lane + {{ i * subgroup }}u, {{ rows - 1 }}u);
    var a{{ i }}_at = a_start + (share{{ i }} / {{ rows // 4 }}u) * (shape.m / 4u)
        + min(row / 4u + share{{ i }} % {{ rows // 4 }}u, shape.m / 4u - 1u);
{% else %}
    var a{{ i }}_at = a_start + min(row + min(lane + {{ i * subgroup }}u, {{ rows - 1 }}u), shape.m - 1u) * k_quads;
{% endif %}
{% endfor %}
{% if panels %}
{% elif along_k %}
{% for q in range(quads) %}{% for j in range(4) %}
    var b{{ q }}_{{ j }}_at = b_start + (4u * column{{ q }} + {{ j }}u) * k_quads;
{% endfor %}{% endfor %}
{% else %}
    var b_at = b_start;
{% endif %}
{% endif %}

{% for r in range(rows) %}{% for q in range(quads) %}
    var sum{{ r }}_{{ q }} = vec4<f32>(0.0);
{% endfor %}{% endfor %}

{% macro loads_of_a() %}
{% for i in range(a_loads) %}
{% if packed %}
{% if wide_a %}
{{ wide_load("load_a" ~ i, load_a, "a", "a_at + " ~ i * subgroup ~ "u") }}
{% else %}
        let load_a{{ i }} = a[a_at + {{ i * subgroup }}u];
{% endif %}
        let a{{ i }} = {% if narrow %}unpack_weights(load_a{{ i }}, 0u){% else %}load_a{{ i }}{% endif %};
{% else %}
        let a{{ i }} = a[a{{ i }}_at];
        a{{ i }}_at += {% if tn %}shape.m{% else %}1u{% endif %};
{% endif %}
{% endfor %}
{% if packed %}
        a_at += {{ rows }}u;
{% endif %}
{% endmacro %}
{# Four columns of B for each of four k, from four k of each of four columns. #}
{% macro turn_b() %}
{% for q in range(quads) %}{% for kk in range(4) %}
        let b{{ kk }}_{{ q }} = vec4<f32>(w{{ q }}_0[{{ kk }}], w{{ q }}_1[{{ kk }}], w{{ q }}_2[{{ kk }}], w{{ q }}_3[{{ kk }}]);
{% endfor %}{% endfor %}
{% endmacro %}
{% macro multiply() %}
{% if tn %}
{% for kk in range(4) %}{% for g in range(rows // 4) %}
{% set s = kk * (rows // 4) + g %}
        let a_{{ kk }}_{{ g }} = subgroupBroadcast(a{{ s // subgroup }}, {{ s % subgroup }}u);
{% for j in range(4) %}{% for q in range(quads) %}
        sum{{ 4 * g + j }}_{{ q }} = fma(vec4<f32>(a_{{ kk }}_{{ g }}[{{ j }}]), b{{ kk }}_{{ q }}, sum{{ 4 * g + j }}_{{ q }});
{% endfor %}{% endfor %}
{% endfor %}{% endfor %}
{% else %}
{% for r in range(rows) %}
        let row{{ r }} = subgroupBroadcast(a{{ r // subgroup }}, {{ r % subgroup }}u);
{% for kk in range(4) %}{% for q in range(quads) %}
        sum{{ r }}_{{ q }} = fma(vec4<f32>(row{{ r }}[{{ kk }}]), b{{ kk }}_{{ q }}, sum{{ r }}_{{ q }});
{% endfor %}{% endfor %}
{% endfor %}
{% endif %}
{% endmacro %}

{% if blocks %}
    for (var block = 0u; block < k_quads; block += 8u) {
{% for q in range(quads) %}
{{ panel_scales("scale" ~ q, "b", "b_at - 2u * lane + " ~ ((8 // load_quads) * panel + 2 * q * subgroup) ~ "u") }}
{% endfor %}
        for (var l = 0u; l < {{ 8 // load_quads }}u; l++) {
{% for q in range(quads) %}
{{ panel_loads("load" ~ q ~ "_", "b", "b_at + " ~ 4 * q * subgroup ~ "u") }}
{% endfor %}
            b_at += {{ panel }}u;
            // Not unrolled: the body fills the instruction cache.
            for (var half = 0u; half < {{ load_quads }}u; half++) {
{{ loads_of_a() }}
{% for q in range(quads) %}{% for j in range(4) %}
            let w{{ q }}_{{ j }} = scale{{ q }}[{{ j }}] * unpack_weights(load{{ q }}_{{ j }}, half);
{% endfor %}{% endfor %}
{{ turn_b() }}
{{ multiply() }}
            }
        }
        b_at += {{ panel // 2 }}u;
    }
{% else %}
    for (var k = 0u; k < k_quads; k++) {
{{ loads_of_a() }}
{% if along_k %}
{% for q in range(quads) %}
{% if packed or panels %}
{{ panel_loads("load" ~ q ~ "_", "b", "b_at + " ~ 4 * q * subgroup ~ "u") }}
{% endif %}
{% for j in range(4) %}
{% if packed or panels %}
        let w{{ q }}_{{ j }} = unpack_weights(load{{ q }}_{{ j }}, 0u);
{% else %}
        let w{{ q }}_{{ j }} = b[b{{ q }}_{{ j }}_at];
        b{{ q }}_{{ j }}_at += 1u;
{% endif %}
{% endfor %}
{% endfor %}
{{ turn_b() }}
{% if packed or panels %}
        b_at += {{ panel }}u;
{% endif %}
{% else %}
{% for kk in range(4) %}{% for q in range(quads) %}
        let b{{ kk }}_{{ q }} = b[b_at + {{ kk }}u * shape.n_quads + column{{ q }}];
{% endfor %}{% endfor %}
        b_at += 4u * shape.n_quads;
{% endif %}
{{ multiply() }}
    }
{% endif %}

{% for r in range(rows) %}{% for q in range(quads) %}
    store(tile.z, row + {{ r }}u, column + {{ q * subgroup }}u, sum{{ r }}_{{ q }});
{% endfor %}{% endfor %}
}
