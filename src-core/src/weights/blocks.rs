//! Blocks of integers with a scale.

use half::f16;

use super::{BLOCK, Format};

/// The scale and the codes of `values`, a block in `format`. A block with NaN or infinity gets the scale NaN, so that it shows.
pub(super) fn encode(values: &[f32], format: Format) -> (f16, [i8; BLOCK]) {
    let largest = values.iter().fold(0f32, |largest, &value| if value.abs() > largest.abs() { value } else { largest });
    if !values.iter().all(|value| value.is_finite()) {
        return (f16::NAN, [1; BLOCK]);
    }
    if largest == 0.0 {
        return (f16::ZERO, [0; BLOCK]);
    }
    let scale = match format {
        Format::Q4 => scale_of_four_bits(values, largest),
        _ => largest.abs() / 127.0,
    };
    // Codes follow the scale as it is stored.
    let scale = f16::from_f32(scale.clamp(-f16::MAX.to_f32(), f16::MAX.to_f32()));
    (scale, codes(values, scale.to_f32(), range(format)))
}

/// The least and the greatest code.
fn range(format: Format) -> (f32, f32) {
    if format == Format::Q4 { (-8.0, 7.0) } else { (-127.0, 127.0) }
}

fn codes(values: &[f32], scale: f32, (least, most): (f32, f32)) -> [i8; BLOCK] {
    let mut codes = [0; BLOCK];
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    for (code, value) in codes.iter_mut().zip(values) {
        *code = (value * inverse).round_ties_even().clamp(least, most) as i8;
    }
    codes
}

/// The scale with the least square error. The one that maps the largest value to −8 uses the whole range, but clipping that
/// value a little, or leaving room, is often better for the others: a few such scales are tried, and each is then fitted to
/// the codes that it gives.
fn scale_of_four_bits(values: &[f32], largest: f32) -> f32 {
    let mut best = (0.0, largest / -8.0);
    for step in -12..=8 {
        let scale = largest / (-8.0 + 0.125 * step as f32);
        let codes = codes(values, scale, range(Format::Q4));
        let (mut product, mut square) = (0.0, 0.0);
        for (&code, &value) in codes.iter().zip(values) {
            product += f32::from(code) * value;
            square += f32::from(code) * f32::from(code);
        }
        // The best scale for these codes is product / square, and takes product² / square from the error.
        if square > 0.0 && product * product / square > best.0 {
            best = (product * product / square, product / square);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::testing::random;
    use proptest::prelude::*;

    fn decoded((scale, codes): (f16, [i8; BLOCK])) -> Vec<f32> {
        codes.iter().map(|&code| scale.to_f32() * f32::from(code)).collect()
    }

    fn error(values: &[f32], decoded: &[f32]) -> f64 {
        values.iter().zip(decoded).map(|(a, b)| f64::from(a - b).powi(2)).sum()
    }

    proptest! {
        #[test]
        fn eight_bits_are_within_half_a_step(seed: u64, magnitude in -3i32..4) {
            let values = random(seed, BLOCK, 10f32.powi(magnitude));
            let step = values.iter().fold(0f32, |most, value| most.max(value.abs())) / 127.0;
            // The scale is rounded to 11 bits, so the largest codes may be off by a little more.
            for (value, decoded) in values.iter().zip(decoded(encode(&values, Format::Q8))) {
                prop_assert!((value - decoded).abs() <= 0.57 * step + 1e-7, "{value} became {decoded}, a step is {step}");
            }
        }

        #[test]
        fn four_bits_are_no_worse_than_the_full_range(seed: u64) {
            let values = random(seed, BLOCK, 1.0);
            let largest = values.iter().fold(0f32, |most, &value| if value.abs() > most.abs() { value } else { most });
            let plain = f16::from_f32(largest / -8.0);
            let plain = decoded((plain, codes(&values, plain.to_f32(), range(Format::Q4))));
            let got = decoded(encode(&values, Format::Q4));
            prop_assert!(error(&values, &got) <= 1.001 * error(&values, &plain));
        }
    }

    #[test]
    fn zeros_stay_zeros_and_what_is_no_number_shows() {
        for format in [Format::Q8, Format::Q4] {
            assert_eq!(decoded(encode(&[0.0; BLOCK], format)), [0.0; BLOCK]);
            for strange in [f32::NAN, f32::INFINITY] {
                let mut values = [0.5; BLOCK];
                values[7] = strange;
                assert!(decoded(encode(&values, format)).iter().all(|value| value.is_nan()), "{format} of {strange}");
            }
        }
    }

    #[test]
    fn a_block_of_one_sign_uses_its_end_of_the_range() {
        let values: Vec<f32> = (0..BLOCK).map(|i| i as f32 / 4.0).collect();
        for sign in [1.0, -1.0] {
            let values: Vec<f32> = values.iter().map(|value| sign * value).collect();
            let (_, codes) = encode(&values, Format::Q4);
            assert!(codes.iter().all(|&code| code <= 0) && codes[BLOCK - 1] == -8, "{codes:?}");
        }
    }
}
