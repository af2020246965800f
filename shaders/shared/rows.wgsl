// One workgroup per row: {{ lanes }} lanes lie along the row, so that loads are coalesced.
//
// A reduction returns its result to every lane. If all lanes are one subgroup it is one operation. Otherwise each subgroup
// reduces its own lanes, whatever their number, and the subgroups are added in order in workgroup memory; without
// subgroups all lanes are. So a sum has the same order, and the same bits, every time on one adapter.
//
// Reductions contain barriers: they must be called in uniform control flow.

{% set whole = subgroup_least >= lanes %}

const ROW_LANES = {{ lanes }}u;

struct Lane {
    workgroup: vec3<u32>,
    groups: vec3<u32>,
    index: u32,    // along the row
{% if subgroup_least > 0 and not whole %}
    of_subgroup: u32,
    subgroup: u32,
    subgroups: u32,
{% endif %}
}

{# An entry point's arguments, and a `Lane` made of them. An entry point must not take built-in values in a structure: in
   HLSL naga gives subgroup built-ins no semantics there, and writes the workgroup's number for the number of workgroups. #}
{% macro lane_arguments() %}
    @builtin(workgroup_id) built_in_workgroup: vec3<u32>,
    @builtin(num_workgroups) built_in_groups: vec3<u32>,
    @builtin(local_invocation_index) built_in_index: u32,
{% if subgroup_least > 0 and not whole %}
    @builtin(subgroup_invocation_id) built_in_of_subgroup: u32,
    @builtin(subgroup_id) built_in_subgroup: u32,
    @builtin(num_subgroups) built_in_subgroups: u32,
{% endif %}
{% endmacro %}
{% macro lane_of_arguments() -%}
Lane(built_in_workgroup, built_in_groups, built_in_index{% if subgroup_least > 0 and not whole %}, built_in_of_subgroup, built_in_subgroup, built_in_subgroups{% endif %})
{%- endmacro %}

// The workgroup's index in a grid that may be folded.
fn row_index(lane: Lane) -> u32 {
    return flat(lane.workgroup, lane.groups);
}

{% macro joined(name, a, b) %}{% if name == "row_max" %}max({{ a }}, {{ b }}){% else %}{{ a }} + {{ b }}{% endif %}{% endmacro %}

{% for name, type, of_subgroup in [
    ("row_sum", "f32", "subgroupAdd"), ("row_sum4", "vec4<f32>", "subgroupAdd"), ("row_max", "f32", "subgroupMax")
] %}
{% if whole %}
fn {{ name }}(value: {{ type }}, lane: Lane) -> {{ type }} {
    return {{ of_subgroup }}(value);
}
{% elif subgroup_least > 0 %}
var<workgroup> {{ name }}_parts: array<{{ type }}, {{ (lanes + subgroup_least - 1) // subgroup_least }}>;

fn {{ name }}(value: {{ type }}, lane: Lane) -> {{ type }} {
    let part = {{ of_subgroup }}(value);
    if lane.of_subgroup == 0u { {{ name }}_parts[lane.subgroup] = part; }
    workgroupBarrier();
    var all = {{ name }}_parts[0];
    for (var i = 1u; i < lane.subgroups; i++) { all = {{ joined(name, "all", name ~ "_parts[i]") }}; }
    // The next reduction may write only after the last lane has read.
    workgroupBarrier();
    return all;
}
{% else %}
var<workgroup> {{ name }}_values: array<{{ type }}, ROW_LANES>;
var<workgroup> {{ name }}_parts: array<{{ type }}, 8>;

fn {{ name }}(value: {{ type }}, lane: Lane) -> {{ type }} {
    {{ name }}_values[lane.index] = value;
    workgroupBarrier();
    if lane.index < 8u {
        var part = {{ name }}_values[lane.index];
        for (var i = lane.index + 8u; i < ROW_LANES; i += 8u) { part = {{ joined(name, "part", name ~ "_values[i]") }}; }
        {{ name }}_parts[lane.index] = part;
    }
    workgroupBarrier();
    var all = {{ name }}_parts[0];
    for (var i = 1u; i < 8u; i++) { all = {{ joined(name, "all", name ~ "_parts[i]") }}; }
    return all;
}
{% endif %}
{% endfor %}

{% if sums is defined %}
// {{ sums }} sums at once, with the barriers of one: `row_meet` takes each lane's contributions, then any lane may get any sum
// from `row_met`. It uses workgroup memory only, in the same order for each sum: for many values subgroup operations cost
// more than memory. Call it only once.
var<workgroup> met_values: array<array<vec4<f32>, {{ lanes }}>, {{ sums }}>;
var<workgroup> met_parts: array<array<vec4<f32>, 8>, {{ sums }}>;

fn row_meet(values: array<vec4<f32>, {{ sums }}>, lane: Lane) {
{% for i in range(sums) %}
    met_values[{{ i }}][lane.index] = values[{{ i }}];
{% endfor %}
    workgroupBarrier();
{% for item in range(0, 8 * sums, lanes) %}
    if lane.index + {{ item }}u < {{ 8 * sums }}u {
        let sum = (lane.index + {{ item }}u) / 8u;
        let first = lane.index % 8u;
        var part = met_values[sum][first];
{% for i in range(1, lanes // 8) %}
        part += met_values[sum][first + {{ 8 * i }}u];
{% endfor %}
        met_parts[sum][first] = part;
    }
{% endfor %}
    workgroupBarrier();
}

fn row_met(sum: u32) -> vec4<f32> {
    var whole = met_parts[sum][0];
{% for i in range(1, 8) %}
    whole += met_parts[sum][{{ i }}];
{% endfor %}
    return whole;
}
{% endif %}
