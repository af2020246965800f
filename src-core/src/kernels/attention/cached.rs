//! The shape of attention over a KV cache, for both of its kernels.

use crate::gpu::Tensor;
use crate::kernels::kv_cache::check_cursors;

/// The shape of attention over a KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cached {
    /// Query heads, H.
    pub heads: usize,
    /// Key and value heads, K, which divides H. Query head h reads head h / (H / K).
    pub kv_heads: usize,
    /// Channels of a head, D: a multiple of 4, at most 256.
    pub head_dim: usize,
    /// Slots of a sequence in this layer's cache.
    pub ring: usize,
    /// A query at position p sees the positions j with 0 ≤ p − j ≤ window.
    pub window: usize,
}

impl Cached {
    /// Checks the sizes of a pass; returns its tokens and sequences.
    pub(in crate::kernels) fn check(&self, cursors: &Tensor, q: &Tensor, [keys, values]: [&Tensor; 2], o: &Tensor) -> (usize, usize) {
        let Cached { heads, kv_heads, head_dim, ring, .. } = *self;
        let tokens = q.len() / (heads * head_dim);
        assert!(
            head_dim.is_multiple_of(4)
                && (4..=256).contains(&head_dim)
                && heads.is_multiple_of(kv_heads)
                && q.len() == tokens * heads * head_dim
                && o.len() == q.len()
                && keys.len().is_multiple_of(ring * kv_heads * head_dim)
                && keys.len() == values.len(),
            "{self:?} of {:?} over {:?}",
            q.shape(),
            keys.shape()
        );
        (tokens, check_cursors(cursors, tokens))
    }
}
