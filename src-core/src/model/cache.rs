//! The KV cache: keys and values of the tokens that a model has seen.
//!
//! A layer with full attention has a slot for every position. One with a sliding window is a ring buffer that overwrites what has
//! left the window: it has as many slots as the window and one pass of new tokens need. The cache knows no positions; they are
//! passed down to every pass as a [`Cursor`](crate::kernels::kv_cache::Cursor).

use crate::gpu::{Gpu, GpuError, Memory, Recorder, Tensor};
use crate::kernels::kv_cache::{self, CacheFormat};

use super::Config;

/// Keys and values of `rows` sequences.
#[derive(Debug)]
pub struct Cache {
    /// Sequences.
    pub rows: usize,
    /// Positions per sequence.
    pub capacity: usize,
    /// What a number in it is.
    pub format: CacheFormat,
    pub(super) layers: Vec<LayerCache>,
}

#[derive(Debug)]
pub(super) struct LayerCache {
    pub keys: Tensor,   // [rows, ring, K, D] in the format, as are the values
    pub values: Tensor, // [rows, ring, K, D]
    pub ring: usize,
}

impl Cache {
    /// The most new tokens of a sequence in one pass.
    pub const LONGEST_PASS: usize = 256;

    /// Slots past a sequence's tokens that may have been written: a pass may have had this many tokens that were not kept.
    pub const UNKEPT: usize = 8;

    /// An empty cache in `format` for `rows` sequences of up to `capacity` tokens, at most the context of `config`.
    ///
    /// # Errors
    /// If a layer's keys exceed the adapter's binding limit, or memory runs out.
    pub fn allocate(gpu: &Gpu, config: &Config, rows: usize, capacity: usize, format: CacheFormat) -> Result<Self, GpuError> {
        Self::beyond_context(gpu, config, rows, capacity.min(config.sequence_len), format)
    }

    /// The same for any capacity: of a model that [reaches](super::Model::reaching) as far.
    pub fn beyond_context(gpu: &Gpu, config: &Config, rows: usize, capacity: usize, format: CacheFormat) -> Result<Self, GpuError> {
        let layer = |ring: usize| -> Result<LayerCache, GpuError> {
            let shape = [rows, ring, config.n_kv_head, format.elements(config.head_dim())];
            let tensor = |name: &str| gpu.zeros(name, &shape, format.dtype(), Memory::Cache);
            Ok(LayerCache { keys: tensor("cached keys")?, values: tensor("cached values")?, ring })
        };
        let layers = rings(config, capacity).into_iter().map(layer).collect::<Result<_, _>>()?;
        Ok(Self { rows, capacity, format, layers })
    }

    /// Bytes that a sequence of `capacity` tokens takes in `format`.
    pub fn bytes_per_row(config: &Config, capacity: usize, format: CacheFormat) -> u64 {
        Self::bytes_beyond_context(config, capacity.min(config.sequence_len), format)
    }

    /// Whether a sequence that has once held `longest` tokens can be truncated to `position` tokens: whether everything that the
    /// next token sees is still there. Position 0, which needs nothing, always works.
    ///
    /// This counts on [`UNKEPT`](Self::UNKEPT) more slots, whether they were written or not, so that the answer, and with it
    /// which kernels compute the rest, does not depend on how tokens were drafted.
    pub fn can_return_to(&self, config: &Config, longest: usize, position: usize) -> bool {
        let (windows, written) = (config.window_sizes(), (longest + Self::UNKEPT).min(self.capacity));
        position == 0 || self.layers.iter().zip(windows).all(|(layer, window)| written <= layer.ring + position.saturating_sub(window))
    }

    /// Bytes that such a sequence takes if it may be longer than the context.
    pub fn bytes_beyond_context(config: &Config, capacity: usize, format: CacheFormat) -> u64 {
        let slots: usize = rings(config, capacity).into_iter().sum();
        format.bytes(2 * slots * config.kv_dim())
    }

    /// Records copying sequences to those after them. Each cursor names a sequence by its row, how many tokens of it are copied by its
    /// position, and to how many next rows by its count.
    pub fn record_fork(&self, rec: &mut Recorder, cursors: &Tensor) {
        for layer in &self.layers {
            kv_cache::fork(rec, &layer.keys, cursors);
            kv_cache::fork(rec, &layer.values, cursors);
        }
    }
}

/// Slots per sequence in each layer.
fn rings(config: &Config, capacity: usize) -> Vec<usize> {
    config.window_sizes().into_iter().map(|window| capacity.min(window + Cache::LONGEST_PASS)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::Bench;
    use crate::model::Architecture;

    fn config() -> Config {
        Config {
            sequence_len: 2048,
            vocab_size: 100,
            n_layer: 3,
            n_head: 2,
            n_kv_head: 1,
            n_embd: 64,
            window_pattern: "SL".into(),
            architecture: Architecture::CURRENT,
        }
    }

    #[test]
    fn a_window_keeps_itself_and_one_pass() {
        assert_eq!(rings(&config(), 2048), [512 + 256, 2048, 2048]);
        assert_eq!(rings(&config(), 600), [600, 600, 600]);
        let bytes = |format| Cache::bytes_per_row(&config(), 2048, format);
        assert_eq!(bytes(CacheFormat::F32), (768 + 2048 + 2048) * 2 * 32 * 4);
        assert_eq!([CacheFormat::F16, CacheFormat::Bf16].map(bytes), [bytes(CacheFormat::F32) / 2; 2]);
    }

    #[test]
    fn a_sequence_can_be_cut_back_until_its_window_was_written_over() {
        let cache = Cache::allocate(Bench::new().gpu(), &config(), 1, 2048, CacheFormat::F32).unwrap();
        let can = |longest, position| cache.can_return_to(&config(), longest, position);
        assert!(can(768, 0) && can(760, 1) && !can(761, 1) && can(768, 700));
        assert!(can(2048, 0) && !can(2048, 1791) && can(2048, 1792) && can(2048, 2048));
    }
}
