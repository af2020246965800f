// Rounds numbers to 16 bits, `format` bf16 or f16: to nearest, ties to even.
//
// In integers, because pack2x16float may round either way and may give anything for a number that is out of range, and lavapipe with
// 16 lanes rounds ties up in `round`. Above the largest number comes infinity; NaN stays NaN.

{% if format == "f16" %}
fn narrow2(x: vec2<f32>) -> u32 {
    let bits = bitcast<vec2<u32>>(x);
    let size = bits & vec2<u32>(0x7fffffffu);
    // Adding just under half of the last place that is kept, and one more if that is odd, carries where rounding goes up.
    let normal = ((size + 0xfffu + ((size >> vec2<u32>(13u)) & vec2<u32>(1u))) >> vec2<u32>(13u)) - (112u << 10u);
    // Below 2^-14 the last place is always 2^-24: the smaller the number, the further its digits move.
    let digits = (size & vec2<u32>(0x7fffffu)) | vec2<u32>(0x800000u);
    let places = min(126u - min(size >> vec2<u32>(23u), vec2<u32>(112u)), vec2<u32>(25u));
    let small = (digits + (vec2<u32>(1u) << (places - 1u)) - 1u + ((digits >> places) & vec2<u32>(1u))) >> places;
    var half = select(normal, small, size < vec2<u32>(0x38800000u));
    half = select(half, vec2<u32>(0x7c00u), size >= vec2<u32>(0x477ff000u));
    half = select(half, vec2<u32>(0x7e00u), size > vec2<u32>(0x7f800000u));
    half |= (bits >> vec2<u32>(16u)) & vec2<u32>(0x8000u);
    return half.x | (half.y << 16u);
}
{% else %}
fn narrow2(x: vec2<f32>) -> u32 {
    let bits = bitcast<vec2<u32>>(x);
    let rounded = (bits + 0x7fffu + ((bits >> vec2<u32>(16u)) & vec2<u32>(1u))) >> vec2<u32>(16u);
    // Rounding could carry a NaN into infinity or past the sign.
    let half = select(rounded, (bits >> vec2<u32>(16u)) | vec2<u32>(0x40u), (bits & vec2<u32>(0x7fffffffu)) > vec2<u32>(0x7f800000u));
    return half.x | (half.y << 16u);
}
{% endif %}
