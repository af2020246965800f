//! What a kernel must do at least, in operations and in bytes: the two sides of a roofline (Williams, Waterman and
//! Patterson 2009, <https://doi.org/10.1145/1498765.1498785>).
//!
//! Bytes are compulsory: every operand is read once and every result written once, whatever a kernel reads again.
//! Operations are counted as usual, a multiply-add as two, for products and attention; elsewhere memory decides and
//! they are left out.

use super::peak::Roof;

/// Bytes of an f32.
const WORD: f64 = 4.0;

/// The least that a kernel must do.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Work {
    /// Floating-point operations.
    pub flops: f64,
    /// Bytes read and written.
    pub bytes: f64,
}

/// Which side of the roof is nearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Bytes, at the bandwidth of a copy.
    Memory,
    /// Operations, at the peak of f32.
    Arithmetic,
}

impl Work {
    /// `words` f32 values read or written, and nothing to compute.
    pub fn moves(words: usize) -> Self {
        Self { flops: 0.0, bytes: WORD * words as f64 }
    }

    /// A product of `[m, k]` and `[k, n]`: 2·m·n·k operations. `also` are words that are read besides, such as those added to.
    pub fn product([m, n, k]: [usize; 3], also: usize) -> Self {
        Self { flops: 2.0 * (m * n) as f64 * k as f64, ..Self::moves(m * k + k * n + m * n + also) }
    }

    /// Two products of a query with each of `pairs` keys and values of `head_dim` channels: 4·D operations a pair
    /// (Dao et al. 2022, <https://arxiv.org/abs/2205.14135>).
    pub fn attention(pairs: usize, head_dim: usize, words: usize) -> Self {
        Self { flops: 4.0 * pairs as f64 * head_dim as f64, ..Self::moves(words) }
    }

    /// The backward pass: five products where the forward pass has two, one of them the scores again.
    pub fn attention_backward(pairs: usize, head_dim: usize, words: usize) -> Self {
        Self { flops: 10.0 * pairs as f64 * head_dim as f64, ..Self::moves(words) }
    }

    /// Seconds under the roof: what the slower of the two sides takes.
    pub fn seconds(self, roof: &Roof) -> f64 {
        (self.flops / roof.f32_fma).max(self.bytes / roof.copy)
    }

    /// The side of the roof that decides.
    pub fn bound(self, roof: &Roof) -> Bound {
        if self.flops / roof.f32_fma > self.bytes / roof.copy { Bound::Arithmetic } else { Bound::Memory }
    }
}

/// Query-key pairs of `seq` tokens in order of which each sees `window` before it, and itself.
pub fn pairs(seq: usize, window: usize) -> usize {
    (0..seq).map(|row| row.min(window) + 1).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOF: Roof = Roof { copy: 10.0, read: 20.0, buffer_bytes: 1, f32_fma: 100.0, f16_fma: None, matrix: vec![] };

    #[test]
    fn the_slower_side_of_the_roof_decides() {
        let work = Work { flops: 500.0, bytes: 20.0 };
        assert_eq!((work.seconds(&ROOF), work.bound(&ROOF)), (5.0, Bound::Arithmetic));
        let work = Work { flops: 100.0, bytes: 20.0 };
        assert_eq!((work.seconds(&ROOF), work.bound(&ROOF)), (2.0, Bound::Memory));
    }

    #[test]
    fn work_is_counted_as_the_formulas_say() {
        assert_eq!(Work::product([2, 3, 5], 6), Work { flops: 60.0, bytes: 4.0 * 37.0 });
        assert_eq!([pairs(4, 0), pairs(4, 1), pairs(4, 9)], [4, 7, 10]);
        assert_eq!(Work::attention(10, 8, 3), Work { flops: 320.0, bytes: 12.0 });
    }
}
