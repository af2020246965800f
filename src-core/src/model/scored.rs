//! A pass over new tokens of cached sequences that scores them: for each the loss of the token that follows it, and the likeliest one.

use crate::gpu::{DType, Gpu, GpuError, Memory, Recorder, Tensor};
use crate::kernels::cross_entropy::{self, Chunk};
use crate::kernels::matvec::Finish;
use crate::kernels::norm;
use crate::kernels::sample::{self, Draw};

use super::activations::chunk_rows;
use super::cached::{End, project};
use super::{Cache, CachedPass, Config, Model};

/// What scoring reads and writes, in addition to a pass of N tokens. The logits exist in chunks of rows.
pub struct Scores {
    /// The token that follows each one, `[N]` i32; −1 for none.
    pub targets: Tensor,
    /// Its loss in nats, `[N]`; 0 where there is none.
    pub losses: Tensor,
    /// The token with the highest softcapped logit in that place, of equal ones the first, `[N]` i32; −1 if a logit is NaN.
    pub likeliest: Tensor,
    logits: Tensor,  // [R, padded V], R rows of a chunk
    draws: Tensor,   // [R, 8]
    seen: Tensor,    // [R, ⌈V/32⌉]
    weights: Tensor, // [R, scratch]
}

impl Scores {
    /// For passes of up to `tokens` tokens.
    pub fn allocate(gpu: &Gpu, config: &Config, tokens: usize) -> Result<Self, GpuError> {
        let (vocab, padded, rows) = (config.vocab_size, config.padded_vocab(), chunk_rows(gpu, config, tokens));
        let zeros = |name: &str, shape: &[usize], dtype: DType| gpu.zeros(name, shape, dtype, Memory::Activations);
        let scratch = sample::scratch_len(gpu.capabilities(), vocab, padded);
        let draws = zeros("draws", &[rows, Draw::WORDS], DType::U32)?;
        if !gpu.only_counts() {
            gpu.write(&draws, bytemuck::cast_slice::<Draw, u32>(&vec![Draw::GREEDY; rows]));
        }
        Ok(Self {
            targets: zeros("targets", &[tokens], DType::I32)?,
            losses: zeros("losses", &[tokens], DType::F32)?,
            likeliest: zeros("likeliest tokens", &[tokens], DType::I32)?,
            logits: zeros("logits", &[rows, padded], DType::F32)?,
            draws,
            seen: zeros("tokens seen", &[rows, vocab.div_ceil(32)], DType::U32)?,
            weights: gpu.zeros("weights of tokens", &[rows, scratch], DType::F32, Memory::Workspace)?,
        })
    }

    /// The same buffers for a pass of fewer tokens.
    pub fn part(&self, tokens: usize) -> Self {
        let head = |tensor: &Tensor| tensor.view(0, &[tokens]);
        Self {
            targets: head(&self.targets),
            losses: head(&self.losses),
            likeliest: head(&self.likeliest),
            logits: self.logits.clone(),
            draws: self.draws.clone(),
            seen: self.seen.clone(),
            weights: self.weights.clone(),
        }
    }
}

impl Model {
    /// Records [`record_cached`](Self::record_cached) and scoring every token of the pass. Reads the targets.
    pub fn record_scored(&self, rec: &mut Recorder, pass: &CachedPass, cache: &Cache, scores: &Scores) {
        self.record_cached_to(rec, pass, cache, End::Stream);
        let (vocab, padded, cap) = (self.config.vocab_size, self.config.padded_vocab(), self.config.architecture.softcap);
        let (tokens, c) = (pass.ids.len(), self.config.n_embd);
        let x = self.record_backout(rec, &pass.stream, &pass.mixed); // [N, C]
        norm::forward(rec, x, &pass.h, &pass.scale, self.config.architecture.norm_eps); // [N, C]
        let most = scores.logits.shape()[0];
        for first in (0..tokens).step_by(most) {
            let rows = most.min(tokens - first);
            let head = |tensor: &Tensor| tensor.view(0, &[rows, tensor.shape()[1]]);
            let logits = scores.logits.view(0, &[rows, padded]);
            project(rec, &pass.h.view(first * c, &[rows, c]), None, self.parameters.weight("lm_head.weight"), &logits, Finish::Store); // [R, V]
            cross_entropy::forward(rec, Chunk { first, rows, vocab, cap }, &logits, &scores.targets, &scores.losses);
            cross_entropy::softcap(rec, Chunk { first: 0, rows, vocab, cap }, &logits);
            let likeliest = scores.likeliest.view(first, &[rows]);
            sample::forward(rec, vocab, &logits, &head(&scores.draws), &head(&scores.seen), &likeliest, &head(&scores.weights));
        }
    }
}
