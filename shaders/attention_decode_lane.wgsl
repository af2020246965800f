// Attention of new tokens over a KV cache, one query at a time, with the lanes along the positions: the form for CPU adapters,
// where a sum over lanes is expensive.
//
// A workgroup is one subgroup and handles one head of one query. An iteration covers {{ lanes }} positions: every lane computes the
// score of one; then, with the lanes along D, the values of all are added, weighted by their scores, which are broadcast.

#include "shared/attention_decode.wgsl"

{% set dq = head_dim // 4 %}
{% set outs = (dq + lanes - 1) // lanes %}

@compute @workgroup_size({{ lanes }})
fn forward(
    @builtin(workgroup_id) workgroup: vec3<u32>,       // head, –, token
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let head = workgroup.x;
    let token = workgroup.z;
    let cursor = cursors[token / shape.fresh];
    if token % shape.fresh >= cursor.count { return; }
    let position = cursor.position + token % shape.fresh;
    let first = position - min(position, shape.window);

    let stride = shape.kv_heads * {{ dq }}u;
    let start = cursor.row * shape.ring * stride + head / (shape.heads / shape.kv_heads) * {{ dq }}u;
    let out = (token * shape.heads + head) * {{ dq }}u;
{% for i in range(outs) %}
    let c{{ i }} = min(lane + {{ i * lanes }}u, {{ dq - 1 }}u);
    let q{{ i }} = shape.scale * q[out + c{{ i }}];
    var o{{ i }} = vec4<f32>(0.0);
{% endfor %}
    var top = LOWEST;
    var sum = 0.0;
    // Slots wrap round at most once between the first position and the last.
    var slot = first % shape.ring;
    for (var at = first; at <= position; at += {{ lanes }}u) {
        let mine = slot + min(lane, position - at);
        let key = start + select(mine, mine - shape.ring, mine >= shape.ring) * stride;
        var dots = vec4<f32>(0.0);
{% for d in range(dq) %}
        dots = fma(subgroupBroadcast(q{{ d // lanes }}, {{ d % lanes }}u), {{ cached_quad("keys", "key + " ~ d ~ "u") }}, dots);
{% endfor %}
        let s = select(LOWEST, (dots.x + dots.y) + (dots.z + dots.w), at + lane <= position);
        let next = max(top, subgroupMax(s));
        let both = exp_low(vec4<f32>(s - next, top - next, 0.0, 0.0));
        let p = select(0.0, both.x, at + lane <= position);
        sum = sum * both.y + subgroupAdd(p);
        top = next;
{% for i in range(outs) %}
        o{{ i }} *= both.y;
{% endfor %}
{% for j in range(lanes) %}
        {
            let value = subgroupBroadcast(key, {{ j }}u);
            let weight = subgroupBroadcast(p, {{ j }}u);
{% for i in range(outs) %}
            o{{ i }} = fma(vec4<f32>(weight), {{ cached_quad("values", "value + c" ~ i) }}, o{{ i }});
{% endfor %}
        }
{% endfor %}
        slot += {{ lanes }}u;
        slot = select(slot, slot - shape.ring, slot >= shape.ring);
    }
{% for i in range(outs) %}
    if lane + {{ i * lanes }}u < {{ dq }}u { o[out + c{{ i }}] = o{{ i }} / sum; }
{% endfor %}
}
