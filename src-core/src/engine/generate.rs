//! Continuing a sequence of tokens, the simple way: every token runs the whole context again.
//!
//! Command streams are recorded for a few lengths, each twice the one before; a context is padded up to the next of
//! them. Attention is causal, so what stands behind the last token changes nothing before it.

use crate::gpu::{Gpu, GpuError, Recorder, Recording, Tensor};
use crate::model::{Activations, Keep, Model};

use super::Sampler;

/// The shortest length that command streams are recorded for.
const SHORTEST: usize = 64;

/// How to continue.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateOptions {
    /// Tokens to write at most.
    pub max_tokens: usize,
    /// 0 takes the likeliest token; higher is more varied.
    pub temperature: f64,
    /// Draw from this many of the likeliest tokens only.
    pub top_k: Option<usize>,
    /// Seed of the draws.
    pub seed: u64,
    /// Tokens that end the text; they are not part of it.
    pub stop: Vec<u32>,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self { max_tokens: 128, temperature: 0.8, top_k: Some(50), seed: 42, stop: Vec::new() }
    }
}

/// Continues sequences with one model.
pub struct Generator<'a> {
    gpu: Gpu,
    model: &'a Model,
    streams: Vec<Stream>,
}

/// Command streams for contexts of up to a length.
struct Stream {
    acts: Activations,
    trunk: Recording,
    /// Logits of the token at each position of a chunk.
    heads: Vec<(Recording, Tensor)>,
    rows: usize,
}

impl<'a> Generator<'a> {
    /// A generator that has recorded nothing yet.
    pub fn new(gpu: &Gpu, model: &'a Model) -> Self {
        Self { gpu: gpu.clone(), model, streams: Vec::new() }
    }

    /// Continues `prompt` and returns the new tokens. `each` hears of every token as it comes and ends the text by
    /// returning false. When the context is full, its first half is forgotten.
    pub fn generate(&mut self, prompt: &[u32], options: &GenerateOptions, each: &mut dyn FnMut(u32) -> bool) -> Result<Vec<u32>, GpuError> {
        let context = self.model.config.sequence_len;
        let mut sampler = Sampler::new(options.temperature, options.top_k, options.seed);
        let mut ids = prompt.to_vec();
        let mut written = Vec::new();
        while written.len() < options.max_tokens {
            if ids.len() > context {
                ids.drain(..ids.len() - context / 2);
            }
            let logits = self.next_logits(&ids)?;
            let token = sampler.next(&logits).ok_or_else(|| GpuError::Refused {
                what: "the logits of the next token".into(),
                reason: "they are not numbers; the weights are damaged or training diverged".into(),
            })?;
            if options.stop.contains(&token) {
                break;
            }
            written.push(token);
            ids.push(token);
            if !each(token) {
                break;
            }
        }
        Ok(written)
    }

    /// Softcapped logits `[V]` of the token after `ids`, at most `sequence_len` of them and at least one.
    pub fn next_logits(&mut self, ids: &[u32]) -> Result<Vec<f32>, GpuError> {
        let (gpu, vocab) = (self.gpu.clone(), self.model.config.vocab_size);
        let stream = self.stream(ids.len())?;
        let mut padded: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
        padded.resize(stream.acts.tokens(), 0);
        gpu.write(&stream.acts.ids, &padded);
        stream.trunk.run();
        let last = ids.len() - 1;
        let (head, logits) = &stream.heads[last / stream.rows];
        head.run();
        let row = last % stream.rows;
        let width = logits.shape()[1];
        let values: Vec<f32> = gpu.read(&logits.view(row * width, &[width]))?;
        Ok(values[..vocab].to_vec())
    }

    fn stream(&mut self, len: usize) -> Result<&Stream, GpuError> {
        let length = len.max(SHORTEST).next_power_of_two().min(self.model.config.sequence_len).max(len);
        if let Some(index) = self.streams.iter().position(|stream| stream.acts.seq == length) {
            return Ok(&self.streams[index]);
        }
        let acts = Activations::allocate(&self.gpu, &self.model.config, 1, length, Keep::Nothing)?;
        let rows = HEAD_ROWS.min(length);
        let mut trunk = Recorder::new(&self.gpu);
        self.model.record_trunk(&mut trunk, &acts);
        let mut heads = Vec::new();
        for first in (0..length).step_by(rows) {
            let mut head = Recorder::new(&self.gpu);
            let logits = self.model.record_logits(&mut head, &acts, first, rows.min(length - first));
            heads.push((head.finish()?, logits));
        }
        self.streams.push(Stream { acts, trunk: trunk.finish()?, heads, rows });
        Ok(&self.streams[self.streams.len() - 1])
    }
}

/// Logits are computed for this many positions at a time; a chunk starts on a 256-byte border.
const HEAD_ROWS: usize = 64;
