//! Python's numbers: integers of any size and floats of 64 bits, and the rules by which they mix.
//!
//! An operation on two integers is exact, except for `/`, whose quotient is rounded once to the nearest float. With a
//! float on either side, the other is rounded to a float first. If Python raises an error (a division by zero, an
//! integer too large for a float) there is no result; a float that overflows becomes infinite, as in Python.

use std::fmt;

use num_bigint::{BigInt, BigUint, Sign};

/// A Python number.
#[derive(Clone, Debug, PartialEq)]
pub enum Number {
    /// An `int`.
    Int(BigInt),
    /// A `float`.
    Float(f64),
}

impl Number {
    /// Reads digits, with a point for a float. As in Python, an integer other than 0 does not begin with 0.
    pub fn from_literal(literal: &str) -> Option<Self> {
        if literal.contains('.') {
            return literal.parse().ok().map(Self::Float);
        }
        let value: BigInt = literal.parse().ok()?;
        (!literal.starts_with('0') || value.sign() == Sign::NoSign).then_some(Self::Int(value))
    }

    /// `-self`.
    pub fn negate(self) -> Self {
        match self {
            Self::Int(value) => Self::Int(-value),
            Self::Float(value) => Self::Float(-value),
        }
    }

    /// `self + other`.
    pub fn add(self, other: Self) -> Option<Self> {
        self.combine(other, |a, b| Some(Self::Int(a + b)), |a, b| Some(a + b))
    }

    /// `self - other`.
    pub fn subtract(self, other: Self) -> Option<Self> {
        self.combine(other, |a, b| Some(Self::Int(a - b)), |a, b| Some(a - b))
    }

    /// `self * other`.
    pub fn multiply(self, other: Self) -> Option<Self> {
        self.combine(other, |a, b| Some(Self::Int(a * b)), |a, b| Some(a * b))
    }

    /// `self / other`, always a float.
    pub fn divide(self, other: Self) -> Option<Self> {
        self.combine(other, |a, b| quotient(&a, &b).map(Self::Float), |a, b| (b != 0.0).then(|| a / b))
    }

    /// `self // other`: the quotient rounded down.
    pub fn floor_divide(self, other: Self) -> Option<Self> {
        self.combine(other, |a, b| floor_of_ints(&a, &b).map(Self::Int), floor_of_floats)
    }

    fn combine(self, other: Self, ints: impl Fn(BigInt, BigInt) -> Option<Self>, floats: impl Fn(f64, f64) -> Option<f64>) -> Option<Self> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => ints(a, b),
            (a, b) => floats(a.into_float()?, b.into_float()?).map(Self::Float),
        }
    }

    fn into_float(self) -> Option<f64> {
        match self {
            Self::Int(value) => quotient(&value, &BigInt::from(1)),
            Self::Float(value) => Some(value),
        }
    }
}

/// As Python's `str` prints it.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) if value.is_nan() => f.write_str("nan"),
            Self::Float(value) if value.is_infinite() => write!(f, "{value}"),
            Self::Float(value) => write_float(*value, f),
        }
    }
}

/// Writes a finite float with the fewest digits that read back as the same float, and with an exponent if it is below
/// 1e-4 or at least 1e16.
fn write_float(value: f64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if value.is_sign_negative() {
        f.write_str("-")?;
    }
    let (digits, exponent) = shortest_digits(value.abs());
    match usize::try_from(exponent) {
        Err(_) if exponent >= -4 => write!(f, "0.{}{digits}", "0".repeat(exponent.unsigned_abs() as usize - 1)),
        Ok(exponent) if exponent < 16 => {
            let (whole, fraction) = digits.split_at(digits.len().min(exponent + 1));
            let fraction = if fraction.is_empty() { "0" } else { fraction };
            write!(f, "{whole}{}.{fraction}", "0".repeat(exponent + 1 - whole.len()))
        }
        _ => {
            let (first, more) = digits.split_at(1);
            let point = if more.is_empty() { "" } else { "." };
            let sign = if exponent < 0 { '-' } else { '+' };
            write!(f, "{first}{point}{more}e{sign}{:02}", exponent.unsigned_abs())
        }
    }
}

/// The fewest digits that read back as `value`, and the power of ten of the first. If two such decimals are equally
/// close, Python takes the one with the even last digit; the standard library does so only if it is told how many
/// digits to write, and then does not check whether they read back.
fn shortest_digits(value: f64) -> (String, i32) {
    let shortest = format!("{value:e}");
    let after_point = shortest.find('e').unwrap_or(shortest.len()).saturating_sub(2);
    let even = format!("{value:.after_point$e}");
    let written = if even.parse() == Ok(value) { even } else { shortest };
    let (digits, exponent) = written.split_once('e').unwrap_or((&written, "0"));
    (digits.replace('.', ""), exponent.parse().unwrap_or(0))
}

/// Bits of a float's significand.
const SIGNIFICAND: i64 = f64::MANTISSA_DIGITS as i64;

/// The exponent of the smallest positive float, 2^-1074.
const SMALLEST: i64 = f64::MIN_EXP as i64 - SIGNIFICAND;

/// `a / b` rounded once, ties to even. `None` if `b` is 0 or the quotient too large for a float. Zero has the sign of
/// a quotient: `0 / -5` is `-0.0`.
fn quotient(a: &BigInt, b: &BigInt) -> Option<f64> {
    if b.sign() == Sign::NoSign {
        return None;
    }
    let size = quotient_of_sizes(a.magnitude(), b.magnitude())?;
    Some(if (a.sign() == Sign::Minus) != (b.sign() == Sign::Minus) { -size } else { size })
}

fn quotient_of_sizes(a: &BigUint, b: &BigUint) -> Option<f64> {
    if a.bits() == 0 {
        return Some(0.0);
    }
    // The quotient times 2^-scale is an integer of 55 or 56 bits, two or more beyond a significand, or of fewer when
    // the float is subnormal; there the scale still leaves two bits below the smallest float.
    let scale = (a.bits() as i64 - b.bits() as i64 - (SIGNIFICAND + 2)).max(SMALLEST - 2);
    if scale > 1 << 10 {
        return None;
    }
    let (a, b) = if scale < 0 { (a << scale.unsigned_abs(), b.clone()) } else { (a.clone(), b << scale.unsigned_abs()) };
    let whole = u64::try_from(&a / &b).ok()?;
    // What is below the last bit only matters for ties: a one represents any of it.
    let bits = whole | u64::from(&b * whole != a);

    let length = i64::from(u64::BITS - bits.leading_zeros());
    let spare = (length - SIGNIFICAND).max(SMALLEST - scale);
    let (kept, rest, half) = (bits >> spare, bits & ((1 << spare) - 1), 1 << (spare - 1));
    let rounded = kept + u64::from(rest > half || (rest == half && kept % 2 == 1));
    let value = scaled(rounded as f64, scale + spare);
    value.is_finite().then_some(value)
}

/// `value * 2^exponent`, for exponents from -1074 to 1023, without rounding in between: in two steps, for one of 2^-1074
/// would be no normal float.
fn scaled(value: f64, exponent: i64) -> f64 {
    let power = |exponent: i64| f64::from_bits(((exponent + 1023) as u64) << (f64::MANTISSA_DIGITS - 1));
    let half = exponent / 2;
    value * power(half) * power(exponent - half)
}

/// `a // b` of integers: rounded down, where BigInt's own quotient is rounded towards zero.
fn floor_of_ints(a: &BigInt, b: &BigInt) -> Option<BigInt> {
    if b.sign() == Sign::NoSign {
        return None;
    }
    let (quotient, rest) = (a / b, a % b);
    let inexact = rest.sign() != Sign::NoSign;
    let negative = a.sign() != b.sign();
    Some(if inexact && negative { quotient - 1 } else { quotient })
}

/// `a // b` of floats as Python defines it, by the exact remainder: `(a - a mod b) / b`, which lies within rounding of an
/// integer, taken to that integer. `1 // 0.1` is 9, because the float 0.1 is a little more than a tenth.
fn floor_of_floats(a: f64, b: f64) -> Option<f64> {
    if b == 0.0 {
        return None;
    }
    let rest = a % b;
    let mut quotient = (a - rest) / b;
    // The remainder has the sign of `a`; rounding down wants one with the sign of `b`.
    if rest != 0.0 && (rest < 0.0) != (b < 0.0) {
        quotient -= 1.0;
    }
    if quotient == 0.0 {
        return Some(0.0_f64.copysign(a / b));
    }
    let floor = quotient.floor();
    Some(if quotient - floor > 0.5 { floor + 1.0 } else { floor })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn int(value: i128) -> BigInt {
        BigInt::from(value)
    }

    fn printed(value: f64) -> String {
        Number::Float(value).to_string()
    }

    #[test]
    fn floats_are_printed_as_python_prints_them() {
        for (value, expected) in [
            (0.1 + 0.2, "0.30000000000000004"),
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (1e16, "1e+16"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (1e15, "1000000000000000.0"),
            (120.0, "120.0"),
            (1e-4, "0.0001"),
            (0.0125, "0.0125"),
            // Halfway between two decimals of 17 digits: the even one.
            (4_906_524_619_352_133.0 / 4.0, "1226631154838033.2"),
            (4_906_524_619_352_135.0 / 4.0, "1226631154838033.8"),
            // The closer one, ...801e-14, reads back as another float.
            (2f64.powi(-44), "5.684341886080802e-14"),
            (1e-5, "1e-05"),
            (-1.5e-7, "-1.5e-07"),
            (1e100, "1e+100"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (-f64::NAN, "nan"),
        ] {
            assert_eq!(printed(value), expected);
        }
    }

    #[test]
    fn quotients_are_rounded_once() {
        // Ties to even, just above and just below a tie, at the end of the 53 bits.
        let tie = (1i128 << 53) + 1;
        assert_eq!(quotient(&int(tie), &int(1)), Some(9_007_199_254_740_992.0));
        assert_eq!(quotient(&int((tie << 60) + 1), &(int(1) << 60)), Some(9_007_199_254_740_994.0));
        assert_eq!(quotient(&int((tie << 60) - 1), &(int(1) << 60)), Some(9_007_199_254_740_992.0));
        assert_eq!(quotient(&int(tie + 2), &int(1)), Some(9_007_199_254_740_996.0));
        assert_eq!(quotient(&int(0), &int(-5)).map(f64::to_bits), Some((-0.0_f64).to_bits()));
        assert_eq!(quotient(&int(1), &int(0)), None);
    }

    #[test]
    fn quotients_reach_the_ends_of_the_floats() {
        let one = int(1);
        assert_eq!(quotient(&(int(1) << 1023), &one), Some(2f64.powi(1023)));
        let max = int((1 << 53) - 1) << 971;
        assert_eq!(quotient(&max, &one), Some(f64::MAX));
        // Half a unit more rounds up and out; anything less rounds down to the largest.
        let half = int(1) << 970;
        assert_eq!(quotient(&(&max + &half), &one), None);
        assert_eq!(quotient(&(&max + &half - 1), &one), Some(f64::MAX));
        assert_eq!(quotient(&(int(1) << 5000), &one), None);
        // The smallest, the tie below it, just above the tie, and far below.
        assert_eq!(quotient(&one, &(int(1) << 1074)), Some(5e-324));
        assert_eq!(quotient(&one, &(int(1) << 1075)), Some(0.0));
        assert_eq!(quotient(&int(3), &(int(1) << 1076)), Some(5e-324));
        assert_eq!(quotient(&int(3), &(int(1) << 1075)), Some(1e-323));
        assert_eq!(quotient(&one, &(int(1) << 9000)), Some(0.0));
        // The largest subnormal, and the tie above it, which is the smallest normal.
        assert_eq!(quotient(&int((1 << 52) - 1), &(int(1) << 1074)), Some(f64::MIN_POSITIVE - 5e-324));
        assert_eq!(quotient(&int((1 << 53) - 1), &(int(1) << 1075)), Some(f64::MIN_POSITIVE));
    }

    #[test]
    fn floor_division_rounds_down() {
        for (a, b, expected) in [(7, 2, 3), (-7, 2, -4), (7, -2, -4), (-7, -2, 3), (6, -2, -3), (0, -2, 0)] {
            assert_eq!(floor_of_ints(&int(a), &int(b)), Some(int(expected)));
            assert_eq!(floor_of_floats(a as f64, b as f64), Some(expected as f64));
        }
        assert_eq!(floor_of_ints(&int(1), &int(0)), None);
        assert_eq!(floor_of_floats(1.0, 0.1), Some(9.0));
        assert_eq!(floor_of_floats(-1.0, f64::INFINITY), Some(-1.0));
        assert!(floor_of_floats(f64::INFINITY, 1.0).is_some_and(f64::is_nan));
        assert_eq!(floor_of_floats(0.0, -5.0).map(f64::to_bits), Some((-0.0_f64).to_bits()));
        assert_eq!(floor_of_floats(1.0, -0.0), None);
    }

    #[test]
    fn integers_too_large_for_a_float_do_not_mix_with_one() {
        let large = Number::from_literal(&"9".repeat(400)).unwrap();
        assert_eq!(large.clone().add(Number::Float(1.0)), None);
        assert_eq!(Number::Float(0.0).multiply(large.clone()), None);
        assert_eq!(large.clone().divide(large).unwrap(), Number::Float(1.0));
    }

    proptest! {
        /// Reading decimals is rounded once by the standard library: an integer's digits give the same float.
        #[test]
        fn integers_round_to_the_float_that_their_digits_name(digits in "[1-9][0-9]{0,330}") {
            let expected = digits.parse::<f64>().ok().filter(|value| value.is_finite());
            prop_assert_eq!(Number::from_literal(&digits).unwrap().into_float(), expected);
        }

        /// A decimal fraction is a quotient by a power of ten.
        #[test]
        fn quotients_by_powers_of_ten_are_decimal_fractions(digits in "[1-9][0-9]{0,60}", places in 0u32..400) {
            let expected: f64 = format!("{digits}e-{places}").parse().unwrap();
            prop_assert_eq!(quotient(&digits.parse().unwrap(), &int(10).pow(places)), Some(expected));
        }

        /// Both are exact as floats, so that the processor's division is rounded once too.
        #[test]
        fn quotients_of_small_integers_are_those_of_floats(a in -(1i64 << 53)..1 << 53, b in 1i64..1 << 53) {
            prop_assert_eq!(quotient(&BigInt::from(a), &BigInt::from(b)), Some(a as f64 / b as f64));
        }

        #[test]
        fn printed_floats_read_back(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            prop_assert_eq!(printed(value).parse::<f64>().unwrap().to_bits(), bits);
        }
    }
}
