// Flash attention through workgroup memory: the classic form for GPUs, within the 16 KiB that every adapter has.
//
// Every pass has the same shape. A workgroup of 128 owns `rows` rows of one head (queries, or keys with their values) and
// walks over the other side in tiles of `tile` rows; rows · tile = 2048. Invocations form a grid of rows / 4 by tile / 4,
// and each computes 4 × 4 products of a tile, from slices of 16 channels in workgroup memory. The tile of weights then
// goes through workgroup memory too, and meets the other side's rows, a few at a time, in sums that every invocation
// keeps for its 4 owned rows and its share of D. Tiles outside the window or above the diagonal are never visited. Each
// sum runs in order of rows: the same bits every time.
//
// Where a tile ends past the last row, loads are clamped and the scores masked.

#include "shared/attention.wgsl"

{% set down = rows // 4 %}
{% set across = tile // 4 %}
{% set dq = head_dim // 4 %}
{% set outs = (dq + across - 1) // across %}
{% set batch = 8 if dq <= 32 else 4 %}
{% set pitch = across + 1 %}
{% set slice = 4 * (rows + tile) %}
{% set stage = slice if slice > batch * dq else batch * dq %}

var<workgroup> weights: array<vec4<f32>, {{ rows * pitch }}>;    // [rows, tile]  s, p or dS; a row padded against bank conflicts
var<workgroup> staged: array<vec4<f32>, {{ stage }}>;            // 4 quads of D of both sides' rows, or rows of one side
{% if pass == "forward" %}
var<workgroup> shrinks: array<f32, {{ rows }}>;                  // by how much a row's sums shrink; at the end, 1 / Σ p
{% endif %}

{# to[owned row] = a·b for 4 owned rows and this invocation's 4 rows of the tile. #}
{% macro product(to, a, a_start, a_stride, b, b_start, b_stride) %}
{% for i in range(4) %}
        var {{ to }}{{ i }} = vec4<f32>(0.0);
{% endfor %}
        for (var d = 0u; d < {{ dq }}u; d += 4u) {
            for (var n = local; n < {{ 4 * rows }}u; n += 128u) {
                let c = d + n % 4u;
                let loaded = {{ a }}[{{ a_start }} + min(row + n / 4u, last) * {{ a_stride }} + min(c, {{ dq - 1 }}u)];
                staged[(n % 4u) * {{ rows }}u + n / 4u] = select(vec4<f32>(0.0), loaded, c < {{ dq }}u);
            }
            for (var n = local; n < {{ 4 * tile }}u; n += 128u) {
                // Row 4·x + j goes to j·across + x, so that neighbours read neighbours.
                let at = n / 4u % 4u * {{ across }}u + n / 16u;
                let loaded = {{ b }}[{{ b_start }} + {{ other("tile + n / 4u") }} * {{ b_stride }} + min(d + n % 4u, {{ dq - 1 }}u)];
                staged[{{ 4 * rows }}u + (n % 4u) * {{ tile }}u + at] = loaded;
            }
            workgroupBarrier();
            for (var c = 0u; c < 4u; c++) {
{% for j in range(4) %}
                let b{{ j }} = staged[{{ 4 * rows + j * across }}u + c * {{ tile }}u + x];
{% endfor %}
{% for i in range(4) %}
                let a{{ i }} = staged[c * {{ rows }}u + y + {{ i * down }}u];
                {{ to }}{{ i }} += vec4<f32>(dot(a{{ i }}, b0), dot(a{{ i }}, b1), dot(a{{ i }}, b2), dot(a{{ i }}, b3));
{% endfor %}
            }
            workgroupBarrier();
        }
{% endmacro %}

{# Writes this invocation's weights: 4 owned rows × 4 rows of the tile. #}
{% macro put(from) %}
{% for i in range(4) %}
        weights[(y + {{ i * down }}u) * {{ pitch }}u + x] = {{ from }}{{ i }};
{% endfor %}
{% endmacro %}

{# sum[owned row] += Σ over the tile of weight · b, 4 owned rows and a share of D an invocation. #}
{% macro gather(sum, b, b_start, b_stride) %}
        for (var quad = 0u; quad < quads_here; quad += {{ batch // 4 }}u) {
            for (var n = local; n < {{ batch * dq }}u; n += 128u) {
                staged[n] = {{ b }}[{{ b_start }} + {{ other("tile + 4u * quad + n / " ~ dq ~ "u") }} * {{ b_stride }} + n % {{ dq }}u];
            }
            workgroupBarrier();
            for (var g = 0u; g < {{ batch // 4 }}u; g++) {
{% for i in range(4) %}
                let w{{ i }} = weights[(y + {{ i * down }}u) * {{ pitch }}u + quad + g];
{% endfor %}
{% for j in range(4) %}{% for c in range(outs) %}
                let b{{ j }}_{{ c }} = staged[(4u * g + {{ j }}u) * {{ dq }}u + min(x + {{ c * across }}u, {{ dq - 1 }}u)];
{% for i in range(4) %}
                {{ sum }}{{ i }}_{{ c }} = fma(vec4<f32>(w{{ i }}[{{ j }}]), b{{ j }}_{{ c }}, {{ sum }}{{ i }}_{{ c }});
{% endfor %}
{% endfor %}{% endfor %}
            }
            workgroupBarrier();
        }
{% endmacro %}

{% macro sums(name) %}
{% for i in range(4) %}{% for c in range(outs) %}
    var {{ name }}{{ i }}_{{ c }} = vec4<f32>(0.0);
{% endfor %}{% endfor %}
{% endmacro %}

{% macro store(to, start, stride, factor) %}
{% for i in range(4) %}
    if row{{ i }} <= last {
{% for c in range(outs) %}
        if x + {{ c * across }}u < {{ dq }}u {
            {{ to }}[{{ start }} + row{{ i }} * {{ stride }} + x + {{ c * across }}u] = {{ to }}{{ i }}_{{ c }}{{ factor }};
        }
{% endfor %}
    }
{% endfor %}
{% endmacro %}

@compute @workgroup_size(128)
fn {{ pass }}(
    @builtin(workgroup_id) workgroup: vec3<u32>,       // block of owned rows, head, sequence
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
{% set queries = pass != "backward_keys" %}
    let x = local % {{ across }}u;
    let y = local / {{ across }}u;
    // The blocks with the most work start first.
    let row = {% if queries %}(groups.x - 1u - workgroup.x){% else %}workgroup.x{% endif %} * {{ rows }}u;
    let last = shape.seq - 1u;
    let row_last = min(row + {{ rows - 1 }}u, last);
    let q_stride = shape.heads * {{ dq }}u;
    let k_stride = shape.kv_heads * {{ dq }}u;
    let group = shape.heads / shape.kv_heads;
    let stat_start = workgroup.z * shape.seq;
{% for i in range(4) %}
    let row{{ i }} = row + y + {{ i * down }}u;
{% endfor %}
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

{% if pass == "forward" %}
    // Softmax: invocation n has owned row n.
    let mine = min(local, {{ rows - 1 }}u);
    var top = LOWEST;
    var sum = 0.0;
{{ sums("o") }}
{% elif pass == "backward_queries" %}
{% for i in range(4) %}
    let stat{{ i }} = (stat_start + min(row{{ i }}, last)) * shape.heads + head;
    let lse{{ i }} = kept[stat{{ i }}];
    let delta{{ i }} = delta[stat{{ i }}];
{% endfor %}
{{ sums("dq") }}
{% else %}
{{ sums("dk") }}
{{ sums("dv") }}
    for (var head = workgroup.y * group; head < (workgroup.y + 1u) * group; head++) {
    let q_start = stat_start * q_stride + head * {{ dq }}u;
{% endif %}

    for (var tile = tiles_start; tile <= tiles_last; tile += {{ tile }}u) {
        let quads_here = min({{ across }}u, ((tiles_last - tile) / {{ batch }}u + 1u) * {{ batch // 4 }}u);
        let far = tile + 4u * x;
{% if queries %}
{{ product("s", "q", "q_start", "q_stride", "k", "k_start", "k_stride") }}
{% for i in range(4) %}
        let away{{ i }} = vec4<u32>(row{{ i }}{{ plus_base }} - far) - vec4<u32>(0u, 1u, 2u, 3u);
        s{{ i }} = select(vec4<f32>(MASKED), s{{ i }} * shape.scale, away{{ i }} <= vec4<u32>(shape.window));
{% endfor %}
{% else %}
{{ product("s", "k", "k_start", "k_stride", "q", "q_start", "q_stride") }}
        // What the tile's queries subtract; past the last one, so much that p is 0.
        var lse4: vec4<f32>;
        var delta4: vec4<f32>;
{% for j in range(4) %}
        let stat{{ j }} = (stat_start + min(far + {{ j }}u, last)) * shape.heads + head;
        lse4[{{ j }}] = select(-MASKED, kept[stat{{ j }}], far + {{ j }}u <= last);
        delta4[{{ j }}] = delta[stat{{ j }}];
{% endfor %}
{% for i in range(4) %}
        let away{{ i }} = vec4<u32>(far - row{{ i }}) + vec4<u32>(0u, 1u, 2u, 3u);
        s{{ i }} = exp_low(select(vec4<f32>(MASKED), s{{ i }} * shape.scale - lse4, away{{ i }} <= vec4<u32>(shape.window)));
{% endfor %}
{% endif %}

{% if pass == "forward" %}
{{ put("s") }}
        workgroupBarrier();
        if local < {{ rows }}u {
            var most = vec4<f32>(top);
            for (var quad = 0u; quad < quads_here; quad++) { most = max(most, weights[mine * {{ pitch }}u + quad]); }
            let next = max4(most);
            let shrink = exp_low(vec4<f32>(top - next)).x;
            var add = vec4<f32>(0.0);
            for (var quad = 0u; quad < quads_here; quad++) {
                let p = exp_low(weights[mine * {{ pitch }}u + quad] - next);
                weights[mine * {{ pitch }}u + quad] = p;
                add += p;
            }
            top = next;
            sum = sum * shrink + sum4(add);
            shrinks[mine] = shrink;
        }
        workgroupBarrier();
{% for i in range(4) %}
        let shrink{{ i }} = shrinks[y + {{ i * down }}u];
{% for c in range(outs) %}
        o{{ i }}_{{ c }} *= shrink{{ i }};
{% endfor %}
{% endfor %}
{{ gather("o", "v", "k_start", "k_stride") }}
{% elif pass == "backward_queries" %}
{{ product("dp", "d_o", "q_start", "q_stride", "v", "k_start", "k_stride") }}
{% for i in range(4) %}
        dp{{ i }} = exp_low(s{{ i }} - lse{{ i }}) * (dp{{ i }} - delta{{ i }});
{% endfor %}
{{ put("dp") }}
{{ gather("dq", "k", "k_start", "k_stride") }}
{% else %}
{{ product("dp", "v", "k_start", "k_stride", "d_o", "q_start", "q_stride") }}
{{ put("s") }}
{{ gather("dv", "d_o", "q_start", "q_stride") }}
{% for i in range(4) %}
        dp{{ i }} = s{{ i }} * (dp{{ i }} - delta4);
{% endfor %}
{{ put("dp") }}
{{ gather("dk", "q", "q_start", "q_stride") }}
{% endif %}
    }

{% if pass == "forward" %}
    if local < {{ rows }}u {
        shrinks[mine] = 1.0 / sum;
{% if not cached %}
        if row + mine <= last { lse[(stat_start + row + mine) * shape.heads + head] = top + log(sum); }
{% endif %}
    }
    workgroupBarrier();
{% for i in range(4) %}
    let part{{ i }} = shrinks[y + {{ i * down }}u];
{% for c in range(outs) %}
    o{{ i }}_{{ c }} *= part{{ i }};
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
