// How a KV cache is read: floats, or two numbers of 16 bits in a word, `format` bf16 or f16. A load holds four channels.

#include "shared/weights.wgsl"

{# Four channels of `name`, which are load `at`. #}
{% macro cached_quad(name, at) -%}
{% if format == "f32" %}{{ name }}[{{ at }}]{% else %}unpack_weights({{ name }}[{{ at }}], 0u){% endif %}
{%- endmacro %}
