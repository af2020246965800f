// Attention of new tokens over a cache, a query at a time, the lanes along D: the form for GPUs.
//
// A workgroup of {{ lanes }} lanes takes one head of one query and walks over its share of the positions, four at a time. With several
// shares a head, each leaves its maximum, its sum and its unscaled output to `combine` (flash-decoding: Dao and others
// 2023), so that one long context can keep a whole GPU busy. What a query gets does not depend on other sequences.

#include "shared/attention_decode.wgsl"

{% set dq = head_dim // 4 %}
{% set outs = (dq + lanes - 1) // lanes %}

{% if subgroup > 0 %}
fn sum_over_lanes(x: vec4<f32>, local: u32) -> vec4<f32> { return subgroupAdd(x); }
{% else %}
var<workgroup> crossing: array<vec4<f32>, {{ lanes }}>;

fn sum_over_lanes(x: vec4<f32>, local: u32) -> vec4<f32> {
    crossing[local] = x;
    for (var half = {{ lanes // 2 }}u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half { crossing[local] += crossing[local + half]; }
    }
    workgroupBarrier();
    let sum = crossing[0];
    workgroupBarrier();
    return sum;
}
{% endif %}

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
    let first = position - min(position, shape.window);
    let each = ((position - first) / shape.shares + 4u) / 4u * 4u;
    let start = first + share * each;
    let end = min(start + each, position + 1u);

    let kv_head = head / (shape.heads / shape.kv_heads);
    let stride = shape.kv_heads * {{ dq }}u;
    let row = cursor.row * shape.ring;
    let out = (token * shape.heads + head) * {{ dq }}u;
{% for i in range(outs) %}
    let c{{ i }} = min(local + {{ i * lanes }}u, {{ dq - 1 }}u);
    let mine{{ i }} = select(0.0, shape.scale, local + {{ i * lanes }}u < {{ dq }}u);
    let q{{ i }} = mine{{ i }} * q[out + c{{ i }}];
    var o{{ i }} = vec4<f32>(0.0);
{% endfor %}
    var top = LOWEST;
    var sum = 0.0;
    for (var at = start; at < end; at += 4u) {
        var dots = vec4<f32>(0.0);
{% for j in range(4) %}
        let key{{ j }} = (row + min(at + {{ j }}u, position) % shape.ring) * stride + kv_head * {{ dq }}u;
{% for i in range(outs) %}
        dots[{{ j }}] += dot(q{{ i }}, keys[key{{ j }} + c{{ i }}]);
{% endfor %}
{% endfor %}
        let seen = vec4<u32>(at) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(end);
        let s = select(vec4<f32>(LOWEST), sum_over_lanes(dots, local), seen);
        let next = max(top, max(max(s.x, s.y), max(s.z, s.w)));
        let shrink = exp_low(vec4<f32>(top - next)).x;
        let p = select(vec4<f32>(0.0), exp_low(s - next), seen);
        sum = sum * shrink + ((p.x + p.y) + (p.z + p.w));
        top = next;
{% for i in range(outs) %}
        o{{ i }} = o{{ i }} * shrink + (p.x * values[key0 + c{{ i }}] + p.y * values[key1 + c{{ i }}])
            + (p.z * values[key2 + c{{ i }}] + p.w * values[key3 + c{{ i }}]);
{% endfor %}
    }

{% if shared %}
    let part = (out / {{ dq }}u * shape.shares + share) * {{ dq + 1 }}u;
{% for i in range(outs) %}
    if local + {{ i * lanes }}u < {{ dq }}u { parts[part + c{{ i }}] = o{{ i }}; }
{% endfor %}
    if local == 0u { parts[part + {{ dq }}u] = vec4<f32>(top, sum, 0.0, 0.0); }
{% else %}
{% for i in range(outs) %}
    if local + {{ i * lanes }}u < {{ dq }}u { o[out + c{{ i }}] = o{{ i }} / sum; }
{% endfor %}
{% endif %}
}

@compute @workgroup_size({{ lanes }})
fn combine(
    @builtin(workgroup_id) workgroup: vec3<u32>,       // head, –, token
    @builtin(local_invocation_index) local: u32,
) {
    let token = workgroup.z;
    if token % shape.fresh >= cursors[token / shape.fresh].count { return; }
    let at = token * shape.heads + workgroup.x;
    let part = at * shape.shares * {{ dq + 1 }}u;
    var top = LOWEST;
    for (var share = 0u; share < shape.shares; share++) {
        top = max(top, parts[part + share * {{ dq + 1 }}u + {{ dq }}u].x);
    }
    for (var c = local; c < {{ dq }}u; c += {{ lanes }}u) {
        var sum = 0.0;
        var together = vec4<f32>(0.0);
        for (var share = 0u; share < shape.shares; share++) {
            let start = part + share * {{ dq + 1 }}u;
            let weight = exp(parts[start + {{ dq }}u].x - top);
            sum += weight * parts[start + {{ dq }}u].y;
            together += weight * parts[start + c];
        }
        o[at * {{ dq }}u + c] = together / sum;
    }
}
