// NaN, told by its bits. Compilers with fast mathematics, Metal's among them, take no number to be NaN: a comparison of
// floats may come out either way then, and min, max and sign make numbers of it. Integers they leave alone. It is safe for
// numbers as they come from memory; of a result of arithmetic a compiler could still say that it cannot be NaN.

fn is_nan4(x: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
}

// y, but what x is where that is NaN.
fn unless_nan4(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(select(bitcast<vec4<u32>>(y), bitcast<vec4<u32>>(x), is_nan4(x)));
}
