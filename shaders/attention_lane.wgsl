// Flash attention in register tiles, with one subgroup per workgroup: the form that is fastest on CPU adapters.
//
// Every pass has the same structure. A workgroup owns `rows` rows of one head (queries, or keys with their values) and loops
// over the other side in tiles of four rows per lane. A tile of scores is a product with the lanes along the tile: each
// value that a lane loads is used for all owned rows, which are spread over the subgroup and broadcast. The
// scores are then transposed, through workgroup memory, to lanes with one owned row each, so that softmax needs no reduction
// over lanes; and multiplied with the tile with the lanes along D, which hold the sums. Tiles outside the window or above
// the diagonal are skipped. Each sum runs in order of rows: the same bits every time.
//
// Where a tile extends past the last row, loads are clamped and the scores masked.

#include "shared/attention.wgsl"

{% set lanes = subgroup if subgroup > 0 else 8 %}
{% set tile = 4 * lanes %}
{% set dq = head_dim // 4 %}
{% set outs = (dq + lanes - 1) // lanes %}
{% set shares = (rows + lanes - 1) // lanes %}
// One subgroup only needs its own memory accesses ordered; the wider barrier, which is free on a GPU,
// costs a CPU adapter a coroutine switch.
{% set barrier = "subgroupBarrier" if cpu else "workgroupBarrier" %}

var<workgroup> scores: array<vec4<f32>, {{ rows * lanes }}>;     // [rows, tile]  s, then p
{% if pass != "forward" %}
var<workgroup> slopes: array<vec4<f32>, {{ rows * lanes }}>;     // [rows, tile]  dP, then dS
{% endif %}

{# to[owned row] = factor · a·b for this lane's four rows of the tile. #}
{% macro product(to, a, a_at, b, b_start, b_stride, factor) %}
{% for j in range(4) %}
        let {{ to }}_{{ j }}_at = {{ b_start }} + {{ other("tile + 4u * lane + " ~ j ~ "u") }} * {{ b_stride }};
{% endfor %}
{% for r in range(rows) %}
        var {{ to }}{{ r }} = vec4<f32>(0.0);
{% endfor %}
        for (var d = 0u; d < {{ dq }}u; d++) {
{% for i in range(shares) %}
            let own{{ i }} = {{ a }}[{{ a_at }}{{ i }} + d]{{ factor }};
{% endfor %}
{% for j in range(4) %}
            let b{{ j }} = {{ far_quad(b, to ~ "_" ~ j ~ "_at + d") }};
{% endfor %}
{% for j in range(4) %}
            let d{{ j }} = vec4<f32>(b0[{{ j }}], b1[{{ j }}], b2[{{ j }}], b3[{{ j }}]);
{% endfor %}
{% for r in range(rows) %}
            let a{{ r }} = subgroupBroadcast(own{{ r // lanes }}, {{ r % lanes }}u);
{% for j in range(4) %}
            {{ to }}{{ r }} = fma(vec4<f32>(a{{ r }}[{{ j }}]), d{{ j }}, {{ to }}{{ r }});
{% endfor %}
{% endfor %}
        }
{% endmacro %}

{# Stores a tile, minus an offset, where lanes along the owned rows can read it. #}
{% macro hand_over(to, from, offset) %}
{% for r in range(rows) %}
        {{ to }}[lane + {{ r * lanes }}u] = {{ from }}{{ r }}{{ offset }};
{% endfor %}
{% endmacro %}

{# Whether this lane's owned row i sees, or is seen by, the tile's rows from 4 · quad. #}
{% macro seen(i) -%}
{% if pass == "backward_keys" -%}
vec4<u32>(tile + 4u * quad - row{{ i }}) + vec4<u32>(0u, 1u, 2u, 3u) <= vec4<u32>(reach{{ i }})
{%- else -%}
vec4<u32>(row{{ i }}{{ plus_base }} - tile - 4u * quad) - vec4<u32>(0u, 1u, 2u, 3u) <= vec4<u32>(shape.window)
{%- endif %}
{%- endmacro %}

{# exp(score − offset) of the same, 0 where they are masked. #}
{% macro weight(i, offset) -%}
select(vec4<f32>(0.0), exp_low(scores[at{{ i }} + quad]{{ offset }}), {{ seen(i) }})
{%- endmacro %}

{# One lane writes for an owned row, even if there are more lanes than rows. #}
{% macro one(i) %}{% if rows % lanes %}if lane + {{ i * lanes }}u < {{ rows }}u {% endif %}{% endmacro %}

{#
  sum[owned row] += Σ over the tile of weight · x, lanes along D. Two rows of the tile per iteration: four would be no faster,
  and take a CPU driver a quarter longer to compile.
#}
{% macro gather(sum, weights, x, x_start, x_stride) %}
        for (var pair = 0u; pair < 2u * quads_here; pair++) {
{% for i in range(shares) %}
            let four{{ i }} = {{ weights }}[at{{ i }} + pair / 2u];
            let own{{ i }} = select(four{{ i }}.xy, four{{ i }}.zw, pair % 2u == 1u);
{% endfor %}
{% for j in range(2) %}
            let x{{ j }}_at = {{ x_start }} + {{ other("tile + 2u * pair + " ~ j ~ "u") }} * {{ x_stride }};
{% for c in range(outs) %}
            let x{{ j }}_{{ c }} = {{ far_quad(x, "x" ~ j ~ "_at + min(lane + " ~ c * lanes ~ "u, " ~ (dq - 1) ~ "u)") }};
{% endfor %}
{% endfor %}
{% for r in range(rows) %}
            let w{{ r }} = subgroupBroadcast(own{{ r // lanes }}, {{ r % lanes }}u);
{% for j in range(2) %}{% for c in range(outs) %}
            {{ sum }}{{ r }}_{{ c }} = fma(vec4<f32>(w{{ r }}[{{ j }}]), x{{ j }}_{{ c }}, {{ sum }}{{ r }}_{{ c }});
{% endfor %}{% endfor %}
{% endfor %}
        }
{% endmacro %}

{% macro sums(name) %}
{% for r in range(rows) %}{% for c in range(outs) %}
    var {{ name }}{{ r }}_{{ c }} = vec4<f32>(0.0);
{% endfor %}{% endfor %}
{% endmacro %}

{# Stores the owned rows of a sum. Selecting the row in a loop, instead of one store per row, halves a CPU driver's compile time. #}
{% macro store(to, start, stride, factor) %}
    for (var r = 0u; r <= row_last - row; r++) {
{% for c in range(outs) %}
        var {{ to }}_{{ c }} = {{ to }}0_{{ c }};
{% for r in range(1, rows) %}
        {{ to }}_{{ c }} = select({{ to }}_{{ c }}, {{ to }}{{ r }}_{{ c }}, r == {{ r }}u);
{% endfor %}
        {% if dq % lanes %}if lane + {{ c * lanes }}u < {{ dq }}u {% endif %}{
            {{ to }}[{{ start }} + (row + r) * {{ stride }} + lane + {{ c * lanes }}u] = {{ to }}_{{ c }}{{ factor }};
        }
{% endfor %}
    }
{% endmacro %}

@compute @workgroup_size({{ lanes }})
fn {{ pass }}(
    @builtin(workgroup_id) workgroup: vec3<u32>,       // block of owned rows, head, sequence
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
{% set queries = pass != "backward_keys" %}
    // The blocks with the most work start first.
    let row = {% if queries %}(groups.x - 1u - workgroup.x){% else %}workgroup.x{% endif %} * {{ rows }}u;
    let last = shape.seq - 1u;
    let row_last = min(row + {{ rows - 1 }}u, last);
    let q_stride = shape.heads * {{ dq }}u;
    let k_stride = shape.kv_heads * {{ dq }}u;
    let group = shape.heads / shape.kv_heads;
    let stat_start = workgroup.z * shape.seq;
{% if queries %}
    let head = workgroup.y;
    let q_start = stat_start * q_stride + head * {{ dq }}u;
{% if cached %}
    let base = cursors[workgroup.z].position;
    let tiles_start = base + row - min(base + row, shape.window);
    let tiles_last = base + row_last;
    let origin = tiles_start / shape.ring * shape.ring;
    let k_start = cursors[workgroup.z].row * shape.ring * k_stride + head / group * {{ dq }}u;
{% else %}
    let k_start = stat_start * k_stride + head / group * {{ dq }}u;
    let tiles_start = row - min(row, shape.window);
    let tiles_last = row_last;
{% endif %}
{% else %}
    let k_start = stat_start * k_stride + workgroup.y * {{ dq }}u;
    let tiles_start = row;
    let tiles_last = row_last + min(last - row_last, shape.window);
{% endif %}
{% for i in range(shares) %}
    let share{{ i }} = min(lane + {{ i * lanes }}u, {{ rows - 1 }}u);
    let row{{ i }} = row + share{{ i }};
    let at{{ i }} = share{{ i }} * {{ lanes }}u;
    let own_at{{ i }} = {% if queries %}q{% else %}k{% endif %}_start + min(row{{ i }}, last) * {% if queries %}q{% else %}k{% endif %}_stride;
{% endfor %}

{% if pass == "forward" %}
{% for i in range(shares) %}
    var top{{ i }} = LOWEST;
    var sum{{ i }} = 0.0;
{% endfor %}
{{ sums("o") }}
{% elif pass == "backward_queries" %}
{% for i in range(shares) %}
    let stat{{ i }} = (stat_start + min(row{{ i }}, last)) * shape.heads + head;
    let lse{{ i }} = kept[stat{{ i }}];
    let delta{{ i }} = delta[stat{{ i }}];
{% endfor %}
{{ sums("dq") }}
{% else %}
{{ sums("dk") }}
{{ sums("dv") }}
{% for i in range(shares) %}
    let reach{{ i }} = min(shape.window, last - min(row{{ i }}, last));
{% endfor %}
    for (var head = workgroup.y * group; head < (workgroup.y + 1u) * group; head++) {
    let q_start = stat_start * q_stride + head * {{ dq }}u;
{% endif %}

    for (var tile = tiles_start; tile <= tiles_last; tile += {{ tile }}u) {
        let quads_here = min({{ lanes }}u, (tiles_last - tile) / 4u + 1u);
{% if queries %}
{{ product("s", "q", "own_at", "k", "k_start", "k_stride", " * shape.scale") }}
{{ hand_over("scores", "s", "") }}
{% else %}
        // What the tile's queries subtract.
        var lse4: vec4<f32>;
        var delta4: vec4<f32>;
{% for j in range(4) %}
        let stat{{ j }} = (stat_start + min(tile + 4u * lane + {{ j }}u, last)) * shape.heads + head;
        lse4[{{ j }}] = kept[stat{{ j }}];
        delta4[{{ j }}] = delta[stat{{ j }}];
{% endfor %}
{{ product("s", "k", "own_at", "q", "q_start", "q_stride", " * shape.scale") }}
{{ hand_over("scores", "s", " - lse4") }}
{{ product("dp", "v", "own_at", "d_o", "q_start", "q_stride", "") }}
{{ hand_over("slopes", "dp", " - delta4") }}
{% endif %}
{% if pass == "backward_queries" %}
{{ product("dp", "d_o", "own_at", "v", "k_start", "k_stride", "") }}
{{ hand_over("slopes", "dp", "") }}
{% endif %}
        {{ barrier }}();

{% if pass == "forward" %}
{% for i in range(shares) %}
        var most{{ i }} = vec4<f32>(top{{ i }});
{% endfor %}
        for (var quad = 0u; quad < quads_here; quad++) {
{% for i in range(shares) %}
            most{{ i }} = max(most{{ i }}, select(vec4<f32>(LOWEST), scores[at{{ i }} + quad], {{ seen(i) }}));
{% endfor %}
        }
{% for i in range(shares) %}
        let next{{ i }} = max4(most{{ i }});
        let shrink{{ i }} = exp_low(vec4<f32>(top{{ i }} - next{{ i }})).x;
        var add{{ i }} = vec4<f32>(0.0);
{% endfor %}
        // No lane reads another lane's row here, so each may be overwritten at once.
        for (var quad = 0u; quad < quads_here; quad++) {
{% for i in range(shares) %}
            let p{{ i }} = {{ weight(i, " - next" ~ i) }};
            add{{ i }} += p{{ i }};
            {{ one(i) }}{ scores[at{{ i }} + quad] = p{{ i }}; }
{% endfor %}
        }
{% for i in range(shares) %}
        top{{ i }} = next{{ i }};
        sum{{ i }} = sum{{ i }} * shrink{{ i }} + sum4(add{{ i }});
{% endfor %}
{% for r in range(rows) %}
        let shrink_{{ r }} = subgroupBroadcast(shrink{{ r // lanes }}, {{ r % lanes }}u);
{% for c in range(outs) %}
        o{{ r }}_{{ c }} *= shrink_{{ r }};
{% endfor %}
{% endfor %}
        {{ barrier }}();
{{ gather("o", "scores", "v", "k_start", "k_stride") }}
{% else %}
        for (var quad = 0u; quad < quads_here; quad++) {
{% for i in range(shares) %}
{% if queries %}
            let ds{{ i }} = {{ weight(i, " - lse" ~ i) }} * (slopes[at{{ i }} + quad] - delta{{ i }});
            {{ one(i) }}{ slopes[at{{ i }} + quad] = ds{{ i }}; }
{% else %}
            let p{{ i }} = {{ weight(i, "") }};
            let ds{{ i }} = p{{ i }} * slopes[at{{ i }} + quad];
            {{ one(i) }}{ scores[at{{ i }} + quad] = p{{ i }}; slopes[at{{ i }} + quad] = ds{{ i }}; }
{% endif %}
{% endfor %}
        }
        {{ barrier }}();
{% if queries %}
{{ gather("dq", "slopes", "k", "k_start", "k_stride") }}
{% else %}
{{ gather("dv", "scores", "d_o", "q_start", "q_stride") }}
{{ gather("dk", "slopes", "q", "q_start", "q_stride") }}
{% endif %}
{% endif %}
        {{ barrier }}();
    }

{% if pass == "forward" %}
{% for i in range(shares) if not cached %}
    if lane + {{ i * lanes }}u < {{ rows }}u && row{{ i }} <= last {
        lse[(stat_start + row{{ i }}) * shape.heads + head] = top{{ i }} + log(sum{{ i }});
    }
{% endfor %}
{% for r in range(rows) %}
    let part{{ r }} = 1.0 / subgroupBroadcast(sum{{ r // lanes }}, {{ r % lanes }}u);
{% for c in range(outs) %}
    o{{ r }}_{{ c }} *= part{{ r }};
{% endfor %}
{% endfor %}
{{ store("o", "q_start", "q_stride", "") }}
{% elif pass == "backward_queries" %}
{{ store("dq", "q_start", "q_stride", " * shape.scale") }}
{% else %}
    }
{{ store("dk", "k_start", "k_stride", " * shape.scale") }}
{{ store("dv", "k_start", "k_stride", "") }}
{% endif %}
}
