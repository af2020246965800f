//! The buffers of a pass that draws a token after each of its own.

use crate::gpu::{DType, Gpu, Memory, Recorder, Recording, Tensor};
use crate::kernels::sample::{self, Draw};
use crate::model::{Cache, CachedPass, Model, Want};

use crate::engine::EngineError;

/// A pass of R tokens, followed by drawing the next after each. The drawn ids replace those of the pass.
pub(super) struct Drawing {
    pub pass: CachedPass,
    pub draws: Tensor, // [R, 8] Draws
    pub seen: Tensor,  // [R, ⌈V/32⌉]
    weights: Tensor,   // [R, scratch]
}

impl Drawing {
    /// For `fresh` new tokens of each of `sequences` sequences, R in all.
    pub fn allocate(gpu: &Gpu, model: &Model, sequences: usize, fresh: usize) -> Result<Self, EngineError> {
        let (vocab, padded) = (model.config.vocab_size, model.config.padded_vocab());
        let rows = sequences * fresh;
        let pass = CachedPass::allocate(gpu, &model.config, sequences, fresh, Want::Logits)?;
        let words = |name: &str, columns: usize| gpu.zeros(name, &[rows, columns], DType::U32, Memory::Activations);
        let scratch = sample::scratch_len(gpu.capabilities(), vocab, padded);
        Ok(Self {
            pass,
            draws: words("draws", Draw::WORDS)?,
            seen: words("tokens seen", vocab.div_ceil(32))?,
            weights: gpu.zeros("weights of tokens", &[rows, scratch], DType::F32, Memory::Workspace)?,
        })
    }

    /// The same buffers for a pass of one sequence with fewer new tokens.
    pub fn shorter(&self, fresh: usize) -> Self {
        let first = |tensor: &Tensor| tensor.view(0, &[fresh, tensor.shape()[1]]);
        Self { pass: self.pass.shorter(fresh), draws: first(&self.draws), seen: first(&self.seen), weights: first(&self.weights) }
    }

    /// Softcapped logits of every token, `[R, padded V]`.
    pub fn logits(&self) -> &Tensor {
        self.pass.logits.as_ref().expect("the pass was allocated with logits")
    }

    /// Records the pass over `cache` and the draws.
    pub fn record(&self, gpu: &Gpu, model: &Model, cache: &Cache) -> Result<Recording, EngineError> {
        let mut rec = Recorder::new(gpu);
        model.record_cached(&mut rec, &self.pass, cache);
        sample::forward(&mut rec, model.config.vocab_size, self.logits(), &self.draws, &self.seen, &self.pass.ids, &self.weights);
        Ok(rec.finish()?)
    }
}
