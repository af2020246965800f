// Rounds to 16 bits, to nearest, ties to even. In integers, because WGSL lets `pack2x16float` round either way and leaves numbers
// outside the range of f16 undefined, and lets compilers assume that there are no infinities and no NaN.

// Two numbers as the halves of a word, the first in the lower one.
fn narrow2(x: vec2<f32>) -> u32 {
    let bits = bitcast<vec2<u32>>(x);
    let size = bits & vec2<u32>(0x7fffffffu);
    let is_nan = size > vec2<u32>(0x7f800000u);
{% if format == "bf16" %}
    let rounded = (bits + 0x7fffu + ((bits >> vec2<u32>(16u)) & vec2<u32>(1u))) >> vec2<u32>(16u);
    let half = select(rounded, vec2<u32>(0x7fc0u), is_nan);
{% else %}
    let sign = (bits >> vec2<u32>(16u)) & vec2<u32>(0x8000u);
    // From 2⁻¹⁴ on the exponent is rebased; below, numbers are multiples of 2⁻²⁴. From 65,520 on they round to infinity.
    let normal = (size + 0xfffu + ((size >> vec2<u32>(13u)) & vec2<u32>(1u)) - 0x38000000u) >> vec2<u32>(13u);
    let subnormal = vec2<u32>(round(min(abs(x), vec2<f32>(1.0)) * 16777216.0));
    let finite = select(normal, subnormal, size < vec2<u32>(0x38800000u));
    let infinite = select(finite, vec2<u32>(0x7c00u), size >= vec2<u32>(0x477ff000u));
    let half = sign | select(infinite, vec2<u32>(0x7e00u), is_nan);
{% endif %}
    return half.x | (half.y << 16u);
}
