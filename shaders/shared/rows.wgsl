// A row a workgroup: {{ lanes }} lanes lie along the row, so that neighbours read neighbours.
//
// A reduction gives its result to every lane. Where all lanes are one subgroup it is one operation. Elsewhere each subgroup
// reduces its own lanes, however many the driver put into it, and workgroup memory adds the subgroups in order; without
// subgroups it adds all lanes in order. So a sum has the same order, and the same bits, every time on one adapter.
//
// Reductions hold barriers: they must be called in uniform control flow.

{% set whole = subgroup_least >= lanes %}

const ROW_LANES = {{ lanes }}u;

struct Lane {
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,    // along the row
{% if subgroup_least > 0 and not whole %}
    @builtin(subgroup_invocation_id) of_subgroup: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
{% endif %}
}

// The workgroup's number in a grid that may be folded.
fn row_index(lane: Lane) -> u32 {
    return flat(lane.workgroup, lane.groups);
}

{% for name, type in [("row_sum", "f32"), ("row_sum4", "vec4<f32>")] %}
{% if whole %}
fn {{ name }}(value: {{ type }}, lane: Lane) -> {{ type }} {
    return subgroupAdd(value);
}
{% elif subgroup_least > 0 %}
var<workgroup> {{ name }}_parts: array<{{ type }}, {{ (lanes + subgroup_least - 1) // subgroup_least }}>;

fn {{ name }}(value: {{ type }}, lane: Lane) -> {{ type }} {
    let part = subgroupAdd(value);
    if lane.of_subgroup == 0u { {{ name }}_parts[lane.subgroup] = part; }
    workgroupBarrier();
    var sum = {{ name }}_parts[0];
    for (var i = 1u; i < lane.subgroups; i++) { sum += {{ name }}_parts[i]; }
    // The next reduction may write only after the last lane has read.
    workgroupBarrier();
    return sum;
}
{% else %}
var<workgroup> {{ name }}_values: array<{{ type }}, ROW_LANES>;
var<workgroup> {{ name }}_parts: array<{{ type }}, 8>;

fn {{ name }}(value: {{ type }}, lane: Lane) -> {{ type }} {
    {{ name }}_values[lane.index] = value;
    workgroupBarrier();
    if lane.index < 8u {
        var part = {{ name }}_values[lane.index];
        for (var i = lane.index + 8u; i < ROW_LANES; i += 8u) { part += {{ name }}_values[i]; }
        {{ name }}_parts[lane.index] = part;
    }
    workgroupBarrier();
    var sum = {{ name }}_parts[0];
    for (var i = 1u; i < 8u; i++) { sum += {{ name }}_parts[i]; }
    return sum;
}
{% endif %}
{% endfor %}
