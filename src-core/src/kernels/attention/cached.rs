//! The shape and the operands of attention over a KV cache, for both of its kernels.

use crate::gpu::Tensor;
use crate::kernels::kv_cache::{CacheFormat, check_cursors};

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
    /// The format of the cache.
    pub format: CacheFormat,
}

/// What attention over a KV cache reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct CachedOperands<'a> {
    /// Where each sequence's new tokens stand.
    pub cursors: &'a Tensor,
    /// Queries of the same number of new tokens for each sequence of the cursors, `[N, H, D]`.
    pub q: &'a Tensor,
    /// The cache's keys, those of the new tokens included, `[rows, ring, K, D]` in its format.
    pub keys: &'a Tensor,
    /// The cache's values, `[rows, ring, K, D]` in its format.
    pub values: &'a Tensor,
    /// The output, `[N, H, D]`; written.
    pub o: &'a Tensor,
}

impl Cached {
    /// Checks the sizes of a pass; returns its tokens and sequences.
    pub(in crate::kernels) fn check(&self, of: CachedOperands<'_>) -> (usize, usize) {
        let CachedOperands { cursors, q, keys, values, o } = of;
        let Cached { heads, kv_heads, head_dim, ring, format, .. } = *self;
        let tokens = q.len() / (heads * head_dim);
        assert!(
            head_dim.is_multiple_of(4)
                && (4..=256).contains(&head_dim)
                && heads.is_multiple_of(kv_heads)
                && q.len() == tokens * heads * head_dim
                && o.len() == q.len()
                && keys.len().is_multiple_of(format.elements(ring * kv_heads * head_dim))
                && keys.len() == values.len(),
            "{self:?} of {:?} over {:?}",
            q.shape(),
            keys.shape()
        );
        (tokens, check_cursors(cursors, tokens))
    }
}
