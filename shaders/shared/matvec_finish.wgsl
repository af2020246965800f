// The epilogue of a matrix-vector product, shared by both of its shaders.

{% if finish == "softcap" %}
#include "shared/nan.wgsl"
#include "shared/tanh.wgsl"
{% endif %}

fn finish(at: u32, sum: vec4<f32>) {
{% if finish == "into" %}
    y[at] += sum;
{% elif finish == "relu2" %}
    let positive = max(sum, vec4<f32>(0.0));
    y[at] = positive * positive;
{% elif finish == "softcap" %}
    y[at] = unless_nan4(sum, shape.cap * tanh4(sum / shape.cap));
{% else %}
    y[at] = sum;
{% endif %}
}
