//! How much GPU memory generation takes in addition to the model, before anything is allocated: counted by a dry run of the
//! allocations themselves. `docs/MEMORY.md` has the formula for people.

use crate::gpu::Gpu;
use crate::model::{Cache, CacheFormat, Config, Model, Parameters};
use crate::weights::Format;

use super::EngineError;
use super::decoder::Decoder;

/// GPU memory of a [`Decoder`] in bytes, by [`Memory`](crate::gpu::Memory) kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecoderMemory {
    /// Buffers of the passes.
    pub activations: u64,
    /// Scratch of the passes, and the weights for drawing tokens.
    pub workspace: u64,
    /// Uniforms, and the read-back buffer of the drawn tokens.
    pub staging: u64,
    /// The KV cache.
    pub cache: u64,
}

impl DecoderMemory {
    /// All kinds together.
    pub fn total(&self) -> u64 {
        self.activations + self.workspace + self.staging + self.cache
    }
}

/// The memory of a decoder of a model with weights in `format` and a cache in `cache`, of `rows` rows with a capacity of `capacity`
/// tokens each, after it has prefilled prompts of up to `prompt` new tokens; also if `gpu` has not as much.
///
/// It depends on `gpu` through its form of kernels and the autotuner's choices, since some need scratch for partial sums or packed
/// operands. Where nothing is chosen yet, the built-in choices are counted.
///
/// # Errors
/// If the sizes are beyond counting, or the device was lost.
pub fn decoder_memory(
    gpu: &Gpu,
    config: &Config,
    format: Format,
    cache: CacheFormat,
    rows: usize,
    capacity: usize,
    prompt: usize,
) -> Result<DecoderMemory, EngineError> {
    let gpu = gpu.counting()?;
    let model = Model::new(&gpu, config, Parameters::frozen(&gpu, config, format)?)?;
    let mut decoder = Decoder::with_cache(&gpu, &model, rows, capacity, cache)?;
    for fresh in 1..=prompt.min(Cache::LONGEST_PASS).min(decoder.capacity()) {
        decoder.pass_for(fresh)?;
    }
    // Of the model there are only weights.
    let [_weights, _gradients, _moments, activations, workspace, staging, cache] = gpu.memory().by_kind;
    Ok(DecoderMemory { activations, workspace, staging, cache })
}
