// Attention of new tokens over a KV cache, one query at a time: the form for GPUs.
//
// A workgroup of {{ lanes }} lanes handles one head of one query and loops over its share of the positions. Teams of {{ team }} lanes
// take four positions per iteration each. The lanes of a team lie along D, so that loads are coalesced, and hold their channels of
// q and o in registers. Their contributions to the four products are reduced in workgroup memory, in two steps: groups of eight
// lanes, then all groups. So nothing depends on subgroups. Each team has its own maximum and sum; teams are merged at the end,
// in order.
//
// With several shares per head, each passes its maximum, sum and unscaled output to `combine` (flash-decoding: Dao and
// others 2023), so that one long context can keep a whole GPU busy. A query's result does not depend on other sequences.
//
// Scores are in base 2: log₂e is part of the scale.

#include "shared/attention_decode.wgsl"

{% set dq = head_dim // 4 %}
{% set quads = (dq + team - 1) // team %}
{% set teams = lanes // team %}
{% set fours = team // 4 %}
{% set eights = [fours // 2, 1] | max %}

const TEAM = {{ team }}u;
const TURN = {{ 4 * teams }}u;    // positions per iteration
const LOG2_E = 1.442695041;
const ORDER = vec4<u32>(0u, 1u, 2u, 3u);

// Arrays are nested so that bounds checks of indices are cheap.
var<workgroup> of_lanes: array<array<array<vec4<f32>, {{ fours }}>, {{ teams }}>, 4>;          // [position][team][lane]
var<workgroup> of_eights: array<array<vec4<f32>, {{ fours }}>, {{ teams }}>;                   // [team][eight, twice][position]
var<workgroup> outputs: array<array<array<vec4<f32>, {{ team }}>, {{ teams }}>, {{ quads }}>;  // [quad][team][lane]
var<workgroup> ends: array<vec2<f32>, {{ teams }}>;                                            // [team]  maximum, sum

// The factor that rescales sums from one maximum to another, x = old − new ≤ 0. For very low x it need not be exact.
fn shrunk(x: vec4<f32>) -> vec4<f32> {
    return exp2_low(max(x, vec4<f32>(-100.0)));
}

@compute @workgroup_size({{ lanes }})
fn forward(
    @builtin(workgroup_id) workgroup: vec3<u32>,       // head, share, token
    @builtin(local_invocation_index) local: u32,
) {
    let head = workgroup.x;
    let share = workgroup.y;
    let token = workgroup.z;
    let cursor = cursors[token / shape.fresh];
    if token % shape.fresh >= cursor.count { return; }
    let position = cursor.position + token % shape.fresh;
    let before = min(position, shape.window);
    // Slots are numbered on past the ring's end, which they pass at most once.
    let first = (position - before) % shape.ring;
    let each = (before / shape.shares + TURN) / TURN * TURN;
    let start = first + share * each;
    let end = min(start + each, first + before + 1u);

    let team = local / TEAM;
    let lane = local % TEAM;
    let four = lane / 4u;
    let of_four = lane % 4u;
    let eight = four % {{ eights }}u;
    let stride = shape.kv_heads * {{ dq }}u;
    let row = cursor.row * shape.ring * stride + head / (shape.heads / shape.kv_heads) * {{ dq }}u;
    let out = (token * shape.heads + head) * {{ dq }}u;
{% for i in range(quads) %}
{% if (i + 1) * team <= dq %}
    let c{{ i }} = lane + {{ i * team }}u;
    let q{{ i }} = shape.scale * LOG2_E * q[out + c{{ i }}];
{% else %}
    let c{{ i }} = min(lane + {{ i * team }}u, {{ dq - 1 }}u);
    let q{{ i }} = select(0.0, shape.scale * LOG2_E, lane + {{ i * team }}u < {{ dq }}u) * q[out + c{{ i }}];
{% endif %}
    var o{{ i }} = vec4<f32>(0.0);
{% endfor %}
    var top = LOWEST;
    var sum = 0.0;
    for (var at = start; at < end; at += TURN) {
        // Past the end the last position is repeated.
        let mine = at + 4u * team + ORDER;
        let counted = min(mine, vec4<u32>(end - 1u));
        // Before the ring's end the unsigned difference wraps round and is the larger.
        let slot = row + min(counted, counted - shape.ring) * stride;
{% for j in range(4) %}
        {
{% for i in range(quads) %}
            let key{{ i }} = {{ cached_quad("keys", "slot[" ~ j ~ "] + c" ~ i) }};
{% endfor %}
            var product = q0.x * key0.x;
{% for i in range(quads) %}
{% for c in range(0 if i else 1, 4) %}
            product = fma(q{{ i }}[{{ c }}], key{{ i }}[{{ c }}], product);
{% endfor %}
{% endfor %}
            of_lanes[{{ j }}][team][four][of_four] = product;
        }
{% endfor %}
        workgroupBarrier();
        let part = of_lanes[of_four][team][eight]{% if team > 4 %} + of_lanes[of_four][team][eight + {{ eights }}u]{% endif %};
        of_eights[team][four][of_four] = (part.x + part.y) + (part.z + part.w);
        workgroupBarrier();
        let s = of_eights[team][0]{% for e in range(1, eights) %} + of_eights[team][{{ e }}]{% endfor %};
        let next = max(top, max(max(s.x, s.y), max(s.z, s.w)));
        let shrink = shrunk(vec4<f32>(top - next)).x;
        let p = select(vec4<f32>(0.0), exp2_low(s - next), mine < vec4<u32>(end));
        sum = sum * shrink + ((p.x + p.y) + (p.z + p.w));
        top = next;
{% for i in range(quads) %}
        o{{ i }} *= shrink;
{% for j in range(4) %}
        o{{ i }} = fma(vec4<f32>(p[{{ j }}]), {{ cached_quad("values", "slot[" ~ j ~ "] + c" ~ i) }}, o{{ i }});
{% endfor %}
{% endfor %}
    }

    if lane == 0u { ends[team] = vec2<f32>(top, sum); }
{% for i in range(quads) %}
    outputs[{{ i }}][team][lane] = o{{ i }};
{% endfor %}
    workgroupBarrier();
    // From here on lane l of team t handles that lane's quad number t.
    if local >= {{ dq }}u { return; }
    top = ends[0].x;
{% for t in range(1, teams) %}
    top = max(top, ends[{{ t }}].x);
{% endfor %}
    sum = 0.0;
    var whole = vec4<f32>(0.0);
{% for t in range(teams) %}
    {
        let shrink = shrunk(vec4<f32>(ends[{{ t }}].x - top)).x;
        sum += shrink * ends[{{ t }}].y;
        whole += shrink * outputs[team][{{ t }}][lane];
    }
{% endfor %}
{% if shared %}
    let part = (out / {{ dq }}u * shape.shares + share) * {{ dq + 1 }}u;
    parts[part + local] = whole;
    if local == 0u { parts[part + {{ dq }}u] = vec4<f32>(top, sum, 0.0, 0.0); }
{% else %}
    o[out + local] = whole / sum;
{% endif %}
}

// Four shares at a time, so that loads do not wait for each other.
@compute @workgroup_size({{ lanes }})
fn combine(
    @builtin(workgroup_id) workgroup: vec3<u32>,       // head, –, token
    @builtin(local_invocation_index) local: u32,
) {
    let token = workgroup.z;
    if token % shape.fresh >= cursors[token / shape.fresh].count || local >= {{ dq }}u { return; }
    let at = token * shape.heads + workgroup.x;
    var top = LOWEST;
    var sum = 0.0;
    var whole = vec4<f32>(0.0);
    for (var share = 0u; share < shape.shares; share += 4u) {
        let four = share + ORDER;
        let part = (at * shape.shares + min(four, vec4<u32>(shape.shares - 1u))) * {{ dq + 1 }}u;
{% for j in range(4) %}
        let end{{ j }} = parts[part[{{ j }}] + {{ dq }}u];
        let part{{ j }} = parts[part[{{ j }}] + local];
{% endfor %}
        let tops = vec4<f32>(end0.x, end1.x, end2.x, end3.x);
        let next = max(top, max(max(tops.x, tops.y), max(tops.z, tops.w)));
        let shrink = shrunk(vec4<f32>(top - next)).x;
        let p = select(vec4<f32>(0.0), shrunk(tops - next), four < vec4<u32>(shape.shares));
        sum = sum * shrink + ((p.x * end0.y + p.y * end1.y) + (p.z * end2.y + p.w * end3.y));
        whole = whole * shrink + ((p.x * part0 + p.y * part1) + (p.z * part2 + p.w * part3));
        top = next;
    }
    o[at * {{ dq }}u + local] = whole / sum;
}
