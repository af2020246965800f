//! The least work of a kernel, in operations and in bytes: the two sides of a roofline (Williams, Waterman and
//! Patterson 2009, <https://doi.org/10.1145/1498765.1498785>).
//!
//! Bytes are compulsory: every operand is read once and every result written once, even if a kernel rereads some.
//! Operations are counted as usual, a multiply-add as two, for products and attention; other kernels are bound by memory and
//! have none.

use super::peak::Roof;

/// Bytes of an f32.
const WORD: f64 = 4.0;

/// The least work of a kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Work {
    /// Floating-point operations.
    pub flops: f64,
    /// Bytes read and written.
    pub bytes: f64,
}

/// Which side of the roofline is the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Bytes, at the bandwidth of a copy.
    Memory,
    /// Operations, at the peak of f32.
    Arithmetic,
}

impl Work {
    /// `words` f32 values read or written, and no operations.
    pub fn moves(words: usize) -> Self {
        Self { flops: 0.0, bytes: WORD * words as f64 }
    }

    /// A product of `[m, k]` and `[k, n]`: 2·m·n·k operations. `also` are additional words read, such as those added to.
    pub fn product([m, n, k]: [usize; 3], also: usize) -> Self {
        Self { flops: 2.0 * (m * n) as f64 * k as f64, ..Self::moves(m * k + k * n + m * n + also) }
    }

    /// A product of `[m, k]` and a weight `[n, k]` of `weight_bytes`.
    pub fn linear([m, n, k]: [usize; 3], weight_bytes: u64) -> Self {
        let moved = Self::moves(m * k + m * n);
        Self { flops: 2.0 * (m * n) as f64 * k as f64, bytes: moved.bytes + weight_bytes as f64 }
    }

    /// Two products of a query with each of `pairs` keys and values of `head_dim` channels: 4·D operations per pair
    /// (Dao et al. 2022, <https://arxiv.org/abs/2205.14135>).
    pub fn attention(pairs: usize, head_dim: usize, words: usize) -> Self {
        Self { flops: 4.0 * pairs as f64 * head_dim as f64, ..Self::moves(words) }
    }

    /// The backward pass: five products instead of the forward pass's two, one of them recomputing the scores.
    pub fn attention_backward(pairs: usize, head_dim: usize, words: usize) -> Self {
        Self { flops: 10.0 * pairs as f64 * head_dim as f64, ..Self::moves(words) }
    }

    /// Seconds at the roof: those of the slower of the two sides.
    pub fn seconds(self, roof: &Roof) -> f64 {
        (self.flops / roof.f32_fma).max(self.bytes / roof.copy)
    }

    /// The side of the roofline that is the bound.
    pub fn bound(self, roof: &Roof) -> Bound {
        if self.flops / roof.f32_fma > self.bytes / roof.copy { Bound::Arithmetic } else { Bound::Memory }
    }
}

/// Query-key pairs of a sequence of `seq` tokens, each of which sees `window` tokens before it, and itself.
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
