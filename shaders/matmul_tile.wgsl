// Matrix product through workgroup memory: the form for GPUs. Formula and bindings: `shared/matmul.wgsl`.
//
// A workgroup of {{ (side // lane) * (side // lane) }} invocations computes {{ side }} × {{ side }} elements of one matrix of a batch, each
// invocation {{ lane }} × {{ lane }} of them. Both operands pass through workgroup memory {{ depth }} values of k at a time, as [k, m] and
// [k, n], so that four adjacent values of m or n are one load. While these are multiplied, the next ones are prefetched into
// registers: two vec4s of each operand per invocation. If an operand is contiguous in k, they are the same four k of two rows,
// which are transposed.
//
// Loads past an edge are clamped to it: rows and columns there are not stored, and k is zeroed. With `add` partial,
// k is split, and a workgroup sums one part of it.
//
// Workgroup memory consists of nested arrays with constant indices wherever a lane's position allows: the bounds check of an
// index costs as much as a multiply-add of four elements, and a constant index needs none.

#include "shared/matmul.wgsl"

{% set lanes = (side // lane) * (side // lane) %}     {# side · depth = 8 · lanes #}
{% set quads = lane // 4 %}                           {# of rows and of columns per invocation #}
{% set across = side // 4 // quads %}                 {# invocations along each side of the tile #}
{% set operands = [("a", layout != "tn", "shape.m", "(shape.m / 4u)"), ("b", layout == "nt", "(4u * shape.n_quads)", "shape.n_quads")] %}

{% if format != "f32" %}
{{ rows_of_weights("b", "(shape.k / 4u)") }}
{% endif %}
{% if narrow %}
{{ rows_of_weights("a", "(shape.k / 4u)") }}
{% endif %}

{% for name, along, rows, row_quads in operands %}
{% if along %}
// One k of op({{ name }}): [part of the side, quad, half of it].
struct Slice_{{ name }} {
    values: array<array<array<vec2<f32>, 2>, {{ across }}>, {{ quads }}>,
{% if pad %}
    pad: vec4<f32>,        // so that the lanes which transpose rows write to more banks
{% endif %}
}

// Rows 2·`pair` and 2·`pair` + 1 of the matrix at `start`, four k from `k` on.
fn load_{{ name }}(start: u32, pair: u32, k: u32) -> mat2x4<f32> {
    let k_quads = shape.k / 4u;
    let inside = k < shape.k;
{% if narrow or (name == "b" and format != "f32") %}
    let quad = min(k / 4u, k_quads - 1u);
    let last = {{ rows }} - 1u;
    return mat2x4<f32>(
        select(vec4<f32>(0.0), {{ name }}_quad({{ name }}_row(min(2u * pair, last)), quad), inside),
        select(vec4<f32>(0.0), {{ name }}_quad({{ name }}_row(min(2u * pair + 1u, last)), quad), inside),
    );
{% else %}
    let last = ({{ rows }} - 1u) * k_quads;
    let first = min(2u * pair * k_quads, last);
    let at = start + min(k / 4u, k_quads - 1u);
    return mat2x4<f32>(
        select(vec4<f32>(0.0), {{ name }}[at + first], inside),
        select(vec4<f32>(0.0), {{ name }}[at + min(first + k_quads, last)], inside),
    );
{% endif %}
}
{% else %}
// One k of op({{ name }}): [part of the side, quad].
struct Slice_{{ name }} {
    values: array<array<vec4<f32>, {{ across }}>, {{ quads }}>,
}

// Four columns from 4·`quad` on of rows `k` and `k` + 1 of the matrix at `start`.
fn load_{{ name }}(start: u32, quad: u32, k: u32) -> mat2x4<f32> {
    let at = start + min(k, shape.k - 2u) * {{ row_quads }} + min(quad, {{ row_quads }} - 1u);
    let inside = k < shape.k;
    return mat2x4<f32>(
        select(vec4<f32>(0.0), {{ name }}[at], inside),
        select(vec4<f32>(0.0), {{ name }}[at + {{ row_quads }}], inside),
    );
}
{% endif %}
var<workgroup> {{ name }}_tile: array<Slice_{{ name }}, {{ depth }}>;
{% endfor %}

@compute @workgroup_size({{ lanes }})
fn forward(
    @builtin(workgroup_id) tile: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    if shape.upper == 1u && tile.y < tile.x { return; }
{% if add == "partial" %}
    let matrix = tile.z / shape.parts;
    let begin = (tile.z % shape.parts) * shape.part;
    let end = min(begin + shape.part, shape.k);
{% else %}
    let matrix = tile.z;
    let begin = 0u;
    let end = shape.k;
{% endif %}
    let row = tile.x * {{ side // 4 }}u;           // in quads
    let column = tile.y * {{ side // 4 }}u;
    // This invocation's rows and columns: quad `y`{% if lane == 8 %} and the one half a tile further{% endif %}, likewise `x`.
    let x = local % {{ across }}u;
    let y = local / {{ across }}u;
{% for r in range(lane) %}{% for q in range(quads) %}
    var sum{{ r }}_{{ q }} = vec4<f32>(0.0);
{% endfor %}{% endfor %}

    // What it loads of each operand: a pair of rows and the first of four k, or a quad of columns and the first of two k.
{% for name, along, rows, row_quads in operands %}
    let {{ name }}_start = matrix * shape.{{ name }}_stride;
{% if along %}
    let {{ name }}_pair = local / {{ depth // 4 }}u;
    let {{ name }}_from = {% if name == "a" %}row{% else %}column{% endif %} * 2u + {{ name }}_pair;
    let {{ name }}_k = 4u * (local % {{ depth // 4 }}u);
{% else %}
    let {{ name }}_quad = local % {{ side // 4 }}u;
    let {{ name }}_from = {% if name == "a" %}row{% else %}column{% endif %} + {{ name }}_quad;
    let {{ name }}_k = 2u * (local / {{ side // 4 }}u);
{% endif %}
    var {{ name }}_next = load_{{ name }}({{ name }}_start, {{ name }}_from, begin + {{ name }}_k);
{% endfor %}

    for (var k = begin; k < end; k += {{ depth }}u) {
{% for name, along, rows, row_quads in operands %}
{% if along %}
        let {{ name }}_turned = transpose({{ name }}_next);
{% for j in range(4) %}
        {{ name }}_tile[{{ name }}_k + {{ j }}u].values[{{ name }}_pair / {{ 2 * across }}u][{{ name }}_pair / 2u % {{ across }}u][{{ name }}_pair % 2u] = {{ name }}_turned[{{ j }}];
{% endfor %}
{% else %}
{% for j in range(2) %}
        {{ name }}_tile[{{ name }}_k + {{ j }}u].values[{{ name }}_quad / {{ across }}u][{{ name }}_quad % {{ across }}u] = {{ name }}_next[{{ j }}];
{% endfor %}
{% endif %}
{% endfor %}
        workgroupBarrier();
{% for name, along, rows, row_quads in operands %}
        {{ name }}_next = load_{{ name }}({{ name }}_start, {{ name }}_from, k + {{ depth }}u + {{ name }}_k);
{% endfor %}
        for (var kk = 0u; kk < {{ depth }}u; kk++) {
{% for name, along, rows, row_quads in operands %}{% for q in range(quads) %}
{% set place = name ~ "_tile[kk].values[" ~ q ~ "][" ~ ("y" if name == "a" else "x") ~ "]" %}
            let {{ name }}{{ q }} = {% if along %}vec4<f32>({{ place }}[0], {{ place }}[1]){% else %}{{ place }}{% endif %};
{% endfor %}{% endfor %}
{% for r in range(lane) %}{% for q in range(quads) %}
            sum{{ r }}_{{ q }} = fma(vec4<f32>(a{{ r // 4 }}[{{ r % 4 }}]), b{{ q }}, sum{{ r }}_{{ q }});
{% endfor %}{% endfor %}
        }
        workgroupBarrier();
    }

{% for r in range(lane) %}{% for q in range(quads) %}
    store(tile.z, 4u * (row + y + {{ (r // 4) * across }}u) + {{ r % 4 }}u, column + x + {{ q * across }}u, sum{{ r }}_{{ q }});
{% endfor %}{% endfor %}
}
