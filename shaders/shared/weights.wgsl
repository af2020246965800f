// How a weight is read, in any format. A load holds four weights along a row, or eight of q4; q8 and q4 have a scale for each 32
// weights, two of them in a word. `src-core/src/weights` writes what this reads.

{% set blocks = format in ["q8", "q4"] %}
{% set load_quads = 2 if format == "q4" else 1 %}
{% set load = "vec4<f32>" if format == "f32" else ("vec2<u32>" if format in ["bf16", "f16"] else "u32") %}

// Four weights of a load, before their scale: of q4 those of its first or its second half.
fn unpack_weights(load: {{ load }}, half: u32) -> vec4<f32> {
{% if format == "f32" %}
    return load;
{% elif format == "bf16" %}
    return bitcast<vec4<f32>>(vec4<u32>(load.x << 16u, load.x & 0xffff0000u, load.y << 16u, load.y & 0xffff0000u));
{% elif format == "f16" %}
    return vec4<f32>(unpack2x16float(load.x), unpack2x16float(load.y));
{% elif format == "q8" %}
    return vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(load << 24u, load << 16u, load << 8u, load)) >> vec4<u32>(24u));
{% else %}
    let four = load >> (16u * half);
    return vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(four << 28u, four << 24u, four << 20u, four << 16u)) >> vec4<u32>(28u));
{% endif %}
}

{# Reads `name`, whose rows of `quads` · 4 weights are stored one after another: their loads, then their scales. #}
{% macro rows_of_weights(name, quads) %}
{% if blocks %}
fn {{ name }}_row(row: u32) -> u32 {
    return row * ({{ quads }} / {{ load_quads }}u + ({{ quads }} / 8u + 1u) / 2u);
}

// The scale of the weights from 4·`quad` on, in the row that starts at `start`.
fn {{ name }}_scale(start: u32, quad: u32) -> f32 {
    let pair = unpack2x16float({{ name }}[start + {{ quads }} / {{ load_quads }}u + quad / 16u]);
    return select(pair.x, pair.y, (quad / 8u) % 2u == 1u);
}
{% else %}
fn {{ name }}_row(row: u32) -> u32 {
    return row * {{ quads }};
}
{% endif %}

// Four weights from 4·`quad` on, of the row that starts at `start`.
fn {{ name }}_quad(start: u32, quad: u32) -> vec4<f32> {
{% if blocks %}
    return {{ name }}_scale(start, quad) * unpack_weights({{ name }}[start + quad / {{ load_quads }}u], quad % {{ load_quads }}u);
{% else %}
    return unpack_weights({{ name }}[start + quad], 0u);
{% endif %}
}
{% endmacro %}
