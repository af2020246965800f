// tanh by the continued fraction x/(1 + x²/(3 + x²/(5 + …))) truncated at 13, and by exp where that is accurate enough: CPU
// drivers' own tanh is off by 4e-5 near zero. NaN may become any number (`nan.wgsl`).
fn tanh4(x: vec4<f32>) -> vec4<f32> {
    let s = x * x;
    let small = x * (135135.0 + s * (17325.0 + s * (378.0 + s))) / (135135.0 + s * (62370.0 + s * (3150.0 + s * 28.0)));
    let large = sign(x) * (1.0 - 2.0 / (exp(2.0 * min(abs(x), vec4<f32>(20.0))) + 1.0));
    return select(small, large, abs(x) >= vec4<f32>(1.5));
}
