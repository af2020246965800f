//! Random operands and the error measures that checks and tests share.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// `Σ |a·b|`: what rounding errors of a dot product are relative to, since its terms may cancel.
pub fn sizes(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a) * f64::from(b)).abs()).sum()
}

/// ‖got − want‖ / max(‖want‖, floor); infinite for NaN and for a difference from zero.
pub fn error_beside(got: &[f32], want: &[f64], floor: f64) -> f64 {
    let difference: f64 = got.iter().zip(want).map(|(&g, &w)| (f64::from(g) - w).powi(2)).sum();
    let norm: f64 = want.iter().map(|w| w * w).sum();
    if difference.is_nan() {
        f64::INFINITY
    } else if difference == 0.0 {
        0.0
    } else {
        difference.sqrt() / norm.sqrt().max(floor)
    }
}

/// `len` numbers, uniform in (−span, span).
pub fn random(seed: u64, len: usize, span: f32) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| rng.random_range(-span..span)).collect()
}

/// The same numbers in f64.
pub fn wide(data: &[f32]) -> Vec<f64> {
    data.iter().map(|&v| f64::from(v)).collect()
}

/// The sum of both, in f64: the expected result of a kernel that adds to `before`.
pub fn add(before: &[f32], more: &[f64]) -> Vec<f64> {
    before.iter().zip(more).map(|(&before, more)| f64::from(before) + more).collect()
}
