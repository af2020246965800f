// Flash attention through workgroup memory: the form for GPUs.
//
// A workgroup owns `rows` rows of one head (queries, or keys with their values) and loops over the other side in tiles of
// `tile` rows. Its invocations form a grid, rows / 4 down and tile / 4 across. Every pass consists of two products:
//
//   product    scores [rows, tile] = owned rows · (rows of the tile)ᵀ      4 × 4 per invocation, in registers
//   gather     sums [rows, D] += weights [rows, tile] · rows of the tile   4 rows by a share of D per invocation
//
// Both read from workgroup memory, `left` · `right`, which is filled with as much as fits between two barriers. Tiles
// outside the window or above the diagonal are skipped. Where a tile extends past the last row, loads are clamped and
// weights are 0. Each sum runs in a fixed order: the same bits every time.
//
// naga clamps each index of a workgroup array separately. So the arrays are nested in such a way that an index is
// constant per invocation, a loop counter or a literal, and the clamps stay out of the loops or cost one scalar operation.

#include "shared/attention.wgsl"

{% set queries = pass != "backward_keys" %}          {# which rows are owned #}
{% set down = rows // 4 %}
{% set across = tile // 4 %}
{% set lanes = down * across %}
{% set quads = head_dim // 4 %}
{% set outs = (quads + across - 1) // across %}      {# quads of D that an invocation sums #}
{% set run = 4 if slice > 4 else slice %}            {# quads of a row that adjacent invocations load together #}
{% set batch = [across, down // outs] | min %}       {# quads of the tile's rows that `right` holds at once for a gather #}

// Owned row 4y + i at [i][y]: a slice of its D, or its weights for the tile.
var<workgroup> left: array<array<array<vec4<f32>, {{ across }}>, {{ down }}>, 4>;
// For a product, quad c of the tile's row 4x + j at [c][j][x]. For a gather, row after row, each {{ outs }} × {{ across }} quads of D.
var<workgroup> right: array<array<array<vec4<f32>, {{ across }}>, 4>, {{ down }}>;

{# Quad `c` of a slice of D from quad `d`. #}
{% macro quad(c) %}{% if quads % slice %}min(d + {{ c }}, {{ quads - 1 }}u){% else %}d + {{ c }}{% endif %}{% endmacro %}

{% macro fill_left(a) %}
{% for n in range([rows * slice // lanes, 1] | max) %}
            {
                let r = left_row + {{ n * lanes // run % rows }}u;
                let c = left_quad + {{ n * lanes // (run * rows) * run }}u;
                {% if rows * slice < lanes %}if c < {{ slice }}u {% endif %}{
                    left[r % 4u][r / 4u][c] = {{ a }}[own_start + min(row + r, last) * own_stride + {{ quad("c") }}];
                }
            }
{% endfor %}
{% endmacro %}

{# Adjacent invocations write adjacent columns x, whose rows lie 4 apart. #}
{% macro fill_right(b) %}
{% for n in range([tile * slice // lanes, 1] | max) %}
            {
                let m = right_row + {{ n * lanes // run % tile }}u;
                let c = right_quad + {{ n * lanes // (run * tile) * run }}u;
                {% if tile * slice < lanes %}if c < {{ slice }}u {% endif %}{
                    let at = {{ other("tile + m % " ~ across ~ "u * 4u + m / " ~ across ~ "u") }};
                    right[c][m / {{ across }}u][m % {{ across }}u] = {{ far_quad(b, "far_start + at * far_stride + " ~ quad("c")) }};
                }
            }
{% endfor %}
{% endmacro %}

{# Whether owned row i sees, or is seen by, this invocation's four rows of the tile. #}
{% macro seen(i) -%}
{% if queries -%}
vec4<u32>(own{{ plus_base }} + {{ i }}u - far) - vec4<u32>(0u, 1u, 2u, 3u) <= vec4<u32>(shape.window)
{%- else -%}
vec4<u32>(far - own - {{ i }}u) + vec4<u32>(0u, 1u, 2u, 3u) <= vec4<u32>(min(shape.window, last - min(own + {{ i }}u, last)))
{%- endif %}
{%- endmacro %}

{# to[i] = a · b, vectors over this invocation's rows 4x + j of the tile. #}
{% macro product(to, a, b) %}
{% for i in range(4) %}
        var {{ to }}{{ i }} = vec4<f32>(0.0);
{% endfor %}
        for (var d = 0u; d < shape.quads; d += {{ slice }}u) {
{{ fill_left(a) }}
{{ fill_right(b) }}
            workgroupBarrier();
            let end = min(d + {{ slice }}u, shape.quads);
            for (var at = d; at < end; at++) {
                let c = at % {{ slice }}u;
{% for j in range(4) %}
                let b{{ j }} = right[c][{{ j }}][x];
{% endfor %}
{% for i in range(4) %}
                let a{{ i }} = left[{{ i }}][y][c];
{% for e in range(4) %}
                {{ to }}{{ i }} = fma(vec4<f32>(a{{ i }}[{{ e }}]), vec4<f32>(b0[{{ e }}], b1[{{ e }}], b2[{{ e }}], b3[{{ e }}]), {{ to }}{{ i }});
{% endfor %}
{% endfor %}
            }
            workgroupBarrier();
        }
{% endmacro %}

{# sum[i][n] += weights · b, for this invocation's owned rows i and its quads x + n · across of D. #}
{% macro gather(sum, weights, b) %}
{% for i in range(4) %}
        left[{{ i }}][y][x] = {{ weights }}{{ i }};
{% endfor %}
        for (var quad = 0u; quad < quads_here; quad += {{ batch }}u) {
{% for step in range(4 * batch // down) %}
            {
                let r = y + {{ step * down }}u;
                let at = far_start + {{ other("tile + 4u * quad + r") }} * far_stride;
{% for n in range(outs) %}
                right[(r * {{ outs }}u + {{ n }}u) / 4u][(r * {{ outs }}u + {{ n }}u) % 4u][x] = {{ far_quad(b, "at + min(x + " ~ n * across ~ "u, " ~ (quads - 1) ~ "u)") }};
{% endfor %}
            }
{% endfor %}
            workgroupBarrier();
            let end = min(quad + {{ batch }}u, quads_here);
            for (var at = quad; at < end; at++) {
                let line = at % {{ batch }}u * {{ outs }}u;
{% for i in range(4) %}
                let w{{ i }} = left[{{ i }}][y][at];
{% endfor %}
{% for j in range(4) %}{% for n in range(outs) %}
                let b{{ j }}_{{ n }} = right[line + {{ (j * outs + n) // 4 }}u][{{ (j * outs + n) % 4 }}][x];
{% for i in range(4) %}
                {{ sum }}{{ i }}_{{ n }} = fma(vec4<f32>(w{{ i }}[{{ j }}]), b{{ j }}_{{ n }}, {{ sum }}{{ i }}_{{ n }});
{% endfor %}
{% endfor %}{% endfor %}
            }
            workgroupBarrier();
        }
{% endmacro %}

{# to = function(to, from) over all invocations of the same rows, in order: vectors over the owned rows i. #}
{% macro fold(to, function, from) %}
        right[y / 4u][y % 4u][x] = {{ from }};
        workgroupBarrier();
        for (var n = 0u; n < {{ across }}u; n += 8u) {
{% for m in range(8) %}
            {{ to }} = {{ function }}({{ to }}, right[y / 4u][y % 4u][n + {{ m }}u]);
{% endfor %}
        }
        workgroupBarrier();
{% endmacro %}

{# What the forward pass saved for four queries. #}
{% macro statistics(first) %}
    var lse4: vec4<f32>;
    var delta4: vec4<f32>;
{% for e in range(4) %}
    let stat{{ e }} = (stat_start + min({{ first }} + {{ e }}u, last)) * shape.heads + head;
    lse4[{{ e }}] = kept[stat{{ e }}];
    delta4[{{ e }}] = delta[stat{{ e }}];
{% endfor %}
{% endmacro %}

{# The same for the queries in a vector of scores: one owned query, or four in the tile. #}
{% macro of(statistic, i) %}{{ statistic }}{% if queries %}[{{ i }}]{% endif %}{% endmacro %}

{% macro sums(name) %}
{% for i in range(4) %}{% for n in range(outs) %}
    var {{ name }}{{ i }}_{{ n }} = vec4<f32>(0.0);
{% endfor %}{% endfor %}
{% endmacro %}

{% macro store(to, factor) %}
{% for i in range(4) %}{% for n in range(outs) %}
    if own + {{ i }}u <= last && x + {{ n * across }}u < {{ quads }}u {
        {{ to }}[own_start + (own + {{ i }}u) * own_stride + x + {{ n * across }}u] = {{ to }}{{ i }}_{{ n }}{{ factor }};
    }
{% endfor %}{% endfor %}
{% endmacro %}

fn plus(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> { return a + b; }

@compute @workgroup_size({{ lanes }})
fn {{ pass }}(
    @builtin(workgroup_id) workgroup: vec3<u32>,       // block of owned rows, head, sequence
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    // Invocations are arranged in blocks of 8 across: so a subgroup of 32 reads 8 columns and 4 rows, not 16 and 2 or 32 and 1.
    let x = min(local % 8u + local / {{ 8 * down }}u * 8u, {{ across - 1 }}u);
    let y = min(local / 8u % {{ down }}u, {{ down - 1 }}u);
    // What this invocation loads for a product: first row and quad.
    let left_row = local / {{ run }}u % {{ rows }}u;
    let left_quad = local % {{ run }}u + local / {{ run * rows }}u * {{ run }}u;
    let right_row = local / {{ run }}u % {{ tile }}u;
    let right_quad = local % {{ run }}u + local / {{ run * tile }}u * {{ run }}u;
    // The blocks with the most work start first.
    let row = {% if queries %}(groups.x - 1u - workgroup.x){% else %}workgroup.x{% endif %} * {{ rows }}u;
    let own = row + 4u * y;
    let last = shape.seq - 1u;
    let row_last = min(row + {{ rows - 1 }}u, last);
    let q_stride = shape.heads * {{ quads }}u;
    let k_stride = shape.kv_heads * {{ quads }}u;
    let group = shape.heads / shape.kv_heads;
    let stat_start = workgroup.z * shape.seq;
{% if queries %}
    let head = workgroup.y;
    let own_stride = q_stride;
    let own_start = stat_start * q_stride + head * {{ quads }}u;
    let far_stride = k_stride;
{% if cached %}
    let base = cursors[workgroup.z].position;
    let tiles_start = base + row - min(base + row, shape.window);
    let tiles_last = base + row_last;
    let origin = tiles_start / shape.ring * shape.ring;
    let far_start = cursors[workgroup.z].row * shape.ring * k_stride + head / group * {{ quads }}u;
{% else %}
    let far_start = stat_start * k_stride + head / group * {{ quads }}u;
    let tiles_start = row - min(row, shape.window);
    let tiles_last = row_last;
{% endif %}
{% else %}
    let own_stride = k_stride;
    let own_start = stat_start * k_stride + workgroup.y * {{ quads }}u;
    let far_stride = q_stride;
    let tiles_start = row;
    let tiles_last = row_last + min(last - row_last, shape.window);
{% endif %}

{% if pass == "forward" %}
    var top = vec4<f32>(LOWEST);       // maximum scores of the owned rows
    var sum = vec4<f32>(0.0);          // of this invocation's own weights
{{ sums("o") }}
{% elif queries %}
{{ statistics("own") }}
{{ sums("dq") }}
{% else %}
{{ sums("dk") }}
{{ sums("dv") }}
    for (var head = workgroup.y * group; head < (workgroup.y + 1u) * group; head++) {
    let far_start = stat_start * q_stride + head * {{ quads }}u;
{% endif %}

    for (var tile = tiles_start; tile <= tiles_last; tile += {{ tile }}u) {
        let quads_here = min({{ across }}u, (tiles_last - tile) / 4u + 1u);
        let far = tile + 4u * x;
{{ statistics("far") if not queries }}
{{ product("s", "q" if queries else "k", "k" if queries else "q") }}
{% if pass == "forward" %}
{% for i in range(4) %}
        s{{ i }} = select(vec4<f32>(LOWEST), s{{ i }} * shape.scale, {{ seen(i) }});
{% endfor %}
        var next = top;
{{ fold("next", "max", "vec4<f32>(max4(s0), max4(s1), max4(s2), max4(s3))") }}
        let shrink = exp_low(top - next);
        top = next;
{% for i in range(4) %}
        s{{ i }} = select(vec4<f32>(0.0), exp_low(s{{ i }} - next[{{ i }}]), s{{ i }} > vec4<f32>(LOWEST));
{% for n in range(outs) %}
        o{{ i }}_{{ n }} *= shrink[{{ i }}];
{% endfor %}
{% endfor %}
        sum = sum * shrink + vec4<f32>(sum4(s0), sum4(s1), sum4(s2), sum4(s3));
{{ gather("o", "s", "v") }}
{% else %}
{% for i in range(4) %}
        s{{ i }} = select(vec4<f32>(0.0), exp_low(s{{ i }} * shape.scale - {{ of("lse4", i) }}), {{ seen(i) }});
{% endfor %}
{{ product("ds", "d_o" if queries else "v", "v" if queries else "d_o") }}
{% for i in range(4) %}
        ds{{ i }} = s{{ i }} * (ds{{ i }} - {{ of("delta4", i) }});
{% endfor %}
{{ gather("dq", "ds", "k") if queries else gather("dv", "s", "d_o") ~ gather("dk", "ds", "q") }}
{% endif %}
    }

{% if pass == "forward" %}
    var all = vec4<f32>(0.0);
{{ fold("all", "plus", "sum") }}
{% for i in range(4) %}
{% if not cached %}
    if x == 0u && own + {{ i }}u <= last { lse[(stat_start + own + {{ i }}u) * shape.heads + head] = top[{{ i }}] + log(all[{{ i }}]); }
{% endif %}
{% for n in range(outs) %}
    o{{ i }}_{{ n }} *= 1.0 / all[{{ i }}];
{% endfor %}
{% endfor %}
{{ store("o", "") }}
{% elif queries %}
{{ store("dq", " * shape.scale") }}
{% else %}
    }
{{ store("dk", " * shape.scale") }}
{{ store("dv", "") }}
{% endif %}
}
