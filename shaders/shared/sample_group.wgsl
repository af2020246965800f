// Operations over the lanes of a workgroup that owns a row.
//
// The workgroup is one subgroup on CPU adapters, where barriers are expensive, and 256 lanes with workgroup memory elsewhere.
// Every sum has a fixed order.

{% if shared %}
const LANES = 256u;
const PART = 16u;    // lanes whose values one lane reduces
var<workgroup> values: array<vec4<u32>, 256>;
var<workgroup> parts: array<vec4<u32>, 16>;

// The minimum of the lanes' values.
fn group_min(value: u32, lane: u32) -> u32 {
    values[lane].x = value;
    workgroupBarrier();
    if lane < PART {
        var part = NONE;
        for (var i = 0u; i < PART; i++) { part = min(part, values[lane * PART + i].x); }
        parts[lane].x = part;
    }
    workgroupBarrier();
    var least = NONE;
    for (var i = 0u; i < PART; i++) { least = min(least, parts[i].x); }
    return least;
}

// The sum of the lanes' values.
fn group_sum(value: vec4<f32>, lane: u32) -> vec4<f32> {
    values[lane] = bitcast<vec4<u32>>(value);
    workgroupBarrier();
    if lane < PART {
        var part = vec4<f32>(0.0);
        for (var i = 0u; i < PART; i++) { part += bitcast<vec4<f32>>(values[lane * PART + i]); }
        parts[lane] = bitcast<vec4<u32>>(part);
    }
    workgroupBarrier();
    var sum = vec4<f32>(0.0);
    for (var i = 0u; i < PART; i++) { sum += bitcast<vec4<f32>>(parts[i]); }
    return sum;
}

// The exclusive prefix sum of the lanes' values. Must be called after `group_sum` of the same values.
fn group_before(value: f32, lane: u32) -> f32 {
    var sum = 0.0;
    for (var i = 0u; i < lane / PART; i++) { sum += bitcast<f32>(parts[i].x); }
    for (var i = lane / PART * PART; i < lane; i++) { sum += bitcast<f32>(values[i].x); }
    workgroupBarrier();
    return sum;
}

// Lets every lane read what the others wrote to `levels`.
fn settle() { storageBarrier(); }
{% else %}
const LANES = {{ subgroup }}u;
fn group_min(value: u32, lane: u32) -> u32 { return subgroupMin(value); }
fn group_sum(value: vec4<f32>, lane: u32) -> vec4<f32> { return subgroupAdd(value); }
fn group_before(value: f32, lane: u32) -> f32 { return subgroupExclusiveAdd(value); }
fn settle() { subgroupBarrier(); }
{% endif %}

