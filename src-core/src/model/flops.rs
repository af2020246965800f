//! FLOPs per token, by the usual count: two for each parameter that a token is multiplied with in the forward
//! pass and four in the backward pass, plus attention (PaLM, <https://arxiv.org/abs/2204.02311>, appendix B).

use crate::kernels::kv_cache::CacheFormat;
use crate::weights::{Format, Order, Storage};

use super::Config;
use super::spec::Usage;

/// Bytes of a model's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightBytes {
    /// All parameters, as the reference counts for its model bandwidth utilisation.
    pub stored: u64,
    /// Those that decoding a token reads.
    pub read: u64,
}

impl Config {
    /// Training FLOPs per token, forward and backward: `6 · matmul parameters + Σ_layers 12 · H · D · min(window, T)`.
    pub fn flops_per_token(&self) -> u64 {
        let attended: u64 = self.windows().map(|window| window.min(self.sequence_len as u64)).sum();
        6 * self.num_matmul_params() as u64 + 12 * self.n_embd as u64 * attended
    }

    /// FLOPs to decode one token that attends to a KV cache of `context` tokens, or to its window if that is shorter.
    pub fn decode_flops(&self, context: usize) -> u64 {
        let attended: u64 = self.windows().map(|window| window.min(context as u64)).sum();
        2 * self.num_matmul_params() as u64 + 4 * self.n_embd as u64 * attended
    }

    /// FLOPs to prefill a prompt of `tokens` tokens: token t attends to min(t, window) tokens. Saturates.
    pub fn prefill_flops(&self, tokens: usize) -> u64 {
        let tokens = tokens as u128;
        let attended: u128 = self
            .windows()
            .map(|window| {
                let window = u128::from(window).min(tokens);
                window * (window + 1) / 2 + (tokens - window) * window
            })
            .sum();
        let flops = 2 * self.num_matmul_params() as u128 * tokens + 4 * self.n_embd as u128 * attended;
        u64::try_from(flops).unwrap_or(u64::MAX)
    }

    /// Bytes of the parameters with weights in `format`, without the padding of panels.
    pub fn weight_bytes(&self, format: Format) -> WeightBytes {
        let mut bytes = WeightBytes { stored: 0, read: 0 };
        for spec in self.param_specs() {
            let storage = Storage { format: spec.format(format), order: Order::Rows };
            let (rows, columns) = (spec.shape[0], spec.len() / spec.shape[0]);
            bytes.stored += storage.bytes(rows, columns);
            // A token needs one row of each embedding table.
            bytes.read += storage.bytes(if spec.usage() == Usage::Table { 1 } else { rows }, columns);
        }
        bytes
    }

    /// Bytes of keys and values that one row's token reads of a cache in `format` after `context` others: at most its window in each
    /// layer.
    pub fn cache_read_bytes(&self, context: usize, format: CacheFormat) -> u64 {
        let slots: u64 = self.windows().map(|window| window.min(context as u64)).sum();
        format.bytes(2 * slots as usize * self.kv_dim())
    }

    fn windows(&self) -> impl Iterator<Item = u64> {
        self.window_sizes().into_iter().map(|window| window as u64)
    }
}
