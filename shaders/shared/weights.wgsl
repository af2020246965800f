// How a weight is read, in any format. A load holds four weights along a row, or eight of q4; q8 and q4 have a scale for each 32
// weights, two of them in a word. `src-core/src/weights` writes what this reads.

{% set blocks = format in ["q8", "q4"] %}
{% set load_quads = 2 if format == "q4" else 1 %}
{% set load = "vec4<f32>" if format == "f32" else ("vec2<u32>" if format in ["bf16", "f16"] else "u32") %}

{# Panels are read two words at a time where there are 64-bit integers: a driver of a CPU takes as long for one. #}
{% set packed = layout is defined and layout == "packed" %}
{% set wide = int64 and (packed or (panels is defined and panels)) %}

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

{# Declares `name`: load `at` of `buffer`, of this type. #}
{% macro wide_load(name, type, buffer, at) %}
{% if type == "vec2<u32>" %}
            let {{ name }}_both = {{ buffer }}[{{ at }}];
            let {{ name }} = vec2<u32>(u32({{ name }}_both), u32({{ name }}_both >> 32u));
{% else %}
            let {{ name }}_low = {{ buffer }}[2u * ({{ at }})];
            let {{ name }}_high = {{ buffer }}[2u * ({{ at }}) + 1u];
            let {{ name }} = bitcast<vec4<f32>>(vec4<u32>(
                u32({{ name }}_low), u32({{ name }}_low >> 32u), u32({{ name }}_high), u32({{ name }}_high >> 32u),
            ));
{% endif %}
{% endmacro %}

{# Declares `NAME0` … `NAME3`: four loads of a panel that lie one after another in `buffer`, from load `at` on, a multiple of 4. #}
{% macro panel_loads(name, buffer, at) %}
{% for j in range(4) %}
{% if not wide %}
            let {{ name }}{{ j }} = {{ buffer }}[{{ at }} + {{ j }}u];
{% elif load != "u32" %}
{{ wide_load(name ~ j, load, buffer, at ~ " + " ~ j ~ "u") }}
{% elif j % 2 == 0 %}
            let {{ name }}{{ j }}_both = {{ buffer }}[({{ at }}) / 2u + {{ j // 2 }}u];
            let {{ name }}{{ j }} = u32({{ name }}{{ j }}_both);
            let {{ name }}{{ j + 1 }} = u32({{ name }}{{ j }}_both >> 32u);
{% endif %}
{% endfor %}
{% endmacro %}

{# Declares `name`: the scales of four rows of a panel, from word `at` of `buffer` on, an even number. #}
{% macro panel_scales(name, buffer, at) %}
{% if wide %}
            let {{ name }}_both = {{ buffer }}[({{ at }}) / 2u];
            let {{ name }} = vec4<f32>(unpack2x16float(u32({{ name }}_both)), unpack2x16float(u32({{ name }}_both >> 32u)));
{% else %}
            let {{ name }} = vec4<f32>(unpack2x16float({{ buffer }}[{{ at }}]), unpack2x16float({{ buffer }}[{{ at }} + 1u]));
{% endif %}
{% endmacro %}
