// Exponentials for softmax.
//
// exp and exp2 for x ≤ 0. Lavapipe's own have errors of 4e-6. These, 2^n · 2^f with |f| ≤ ½ and a polynomial of degree 6 for 2^f,
// have errors of 1e-7 near 0, exp more for lower x as x · log₂e rounds. Below 2^-126 they give a true 0: smaller factors would lead to
// denormal sums, which a CPU adds twenty times slower.
fn exp2_low(x: vec4<f32>) -> vec4<f32> {
{% if coarse_exp %}
    let t = max(x, vec4<f32>(-127.0));
    let n = round(t);
    let f = t - n;
    var y = fma(f, vec4<f32>(1.546144470e-4), vec4<f32>(1.340042818e-3));
    y = fma(f, y, vec4<f32>(9.618056679e-3));
    y = fma(f, y, vec4<f32>(5.550327227e-2));
    y = fma(f, y, vec4<f32>(2.402265092e-1));
    y = fma(f, y, vec4<f32>(6.931472067e-1));
    y = fma(f, y, vec4<f32>(1.0));
    return y * bitcast<vec4<f32>>((vec4<i32>(n) + 127) << vec4<u32>(23u));
{% else %}
    return exp2(x);
{% endif %}
}

fn exp_low(x: vec4<f32>) -> vec4<f32> {
{% if coarse_exp %}
    return exp2_low(x * 1.442695041);
{% else %}
    return exp(x);
{% endif %}
}
