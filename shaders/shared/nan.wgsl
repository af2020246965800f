// Detects NaN by its bits. Compilers with fast math, Metal's among them, assume that no number is NaN: a comparison of
// floats may then give either result, and min, max and sign turn it into a number. Integers are not affected. This is safe for
// numbers loaded from memory; for a result of arithmetic a compiler could still conclude that it cannot be NaN.

fn is_nan4(x: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
}

// y, but x where x is NaN.
fn unless_nan4(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(select(bitcast<vec4<u32>>(y), bitcast<vec4<u32>>(x), is_nan4(x)));
}
