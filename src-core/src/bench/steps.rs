//! Whole steps: training, prefill and decoding of a model with random weights.

use std::time::Instant;

use crate::data::batch::Batch;
use crate::engine::EngineError;
use crate::engine::decoder::{Decoder, Feed};
use crate::gpu::{Gpu, GpuError};
use crate::kernels::sample::Draw;
use crate::model::{CacheFormat, Config, Model};
use crate::optim::{OptimizerConfig, Schedule};
use crate::train::trainer::{Arithmetic, Trainer};

use super::clock::median;

/// A model in training on pseudo-random tokens.
pub struct Training {
    gpu: Gpu,
    /// The step that is timed.
    pub trainer: Trainer,
    batch: Batch,
    bytes: Vec<u32>,
    schedule: Schedule,
    step: u64,
}

impl Training {
    /// A newly initialised model of `config`, and a batch of `rows` rows; a step is one batch.
    pub fn new(gpu: &Gpu, config: &Config, rows: usize, arithmetic: Arithmetic) -> Result<Self, GpuError> {
        let trainer = Trainer::new(gpu, config, &OptimizerConfig::new(config.n_embd, 1.0), rows, arithmetic)?;
        trainer.model.parameters.initialise(gpu, config, 42);
        Ok(Self {
            gpu: gpu.clone(),
            trainer,
            batch: random_batch(rows, config.sequence_len, config.vocab_size),
            bytes: vec![1; config.vocab_size],
            schedule: Schedule::pretraining(1000, 0.28),
            step: 0,
        })
    }

    /// Seconds of one step, from upload to loss.
    pub fn step(&mut self) -> Result<f64, GpuError> {
        let start = Instant::now();
        let pending = self.trainer.step(vec![self.batch.clone()], self.step, self.schedule.at(self.step))?;
        self.step += 1;
        self.trainer.finish(pending, &self.bytes)?;
        self.gpu.wait()?;
        Ok(start.elapsed().as_secs_f64())
    }
}

/// A batch of pseudo-random tokens, the same each time.
fn random_batch(rows: usize, seq: usize, vocab: usize) -> Batch {
    let ids: Vec<i32> = (0..rows * (seq + 1))
        .map(|i| ((i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize % vocab)
        .map(|id| id as i32)
        .collect();
    let window = |offset: usize| ids.chunks_exact(seq + 1).flat_map(|row| row[offset..offset + seq].to_vec()).collect();
    Batch { rows, row_len: seq, inputs: window(0), targets: window(1) }
}

/// A prompt of pseudo-random tokens.
pub fn prompt(tokens: usize, vocab: usize) -> Vec<u32> {
    (0..tokens as u32).map(|i| i.wrapping_mul(2_654_435_761) % vocab as u32).collect()
}

/// Median seconds of prefilling `prompt` into an empty cache in `format`, over `repeats` runs after a warm-up.
pub fn prefill_seconds(gpu: &Gpu, model: &Model, format: CacheFormat, prompt: &[u32], repeats: usize) -> Result<f64, EngineError> {
    let mut decoder = Decoder::with_cache(gpu, model, 1, prompt.len(), format)?;
    let mut seconds = Vec::new();
    for repeat in 0..=repeats {
        decoder.prefill(0, &[])?;
        gpu.wait()?;
        let start = Instant::now();
        decoder.prefill(0, prompt)?;
        gpu.wait()?;
        if repeat > 0 {
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    Ok(median(seconds))
}

/// Median seconds of a pass that verifies `tokens` tokens after `prompt` in a cache in `format`, over `repeats` runs after a warm-up.
pub fn verify_seconds(
    gpu: &Gpu,
    model: &Model,
    format: CacheFormat,
    prompt: &[u32],
    tokens: usize,
    temperature: f32,
    repeats: usize,
) -> Result<f64, EngineError> {
    let mut decoder = Decoder::with_cache(gpu, model, 1, prompt.len() + tokens, format)?;
    decoder.prefill(0, prompt)?;
    let draws = vec![Draw { temperature, uniform: 0.5, ..Draw::GREEDY }; tokens];
    let mut seconds = Vec::new();
    for repeat in 0..=repeats {
        let start = Instant::now();
        decoder.verify(0, &prompt[..tokens], &draws)?;
        if repeat > 0 {
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    Ok(median(seconds))
}

/// A batch of rows that decode after the same prompt.
pub struct Decoding<'a> {
    /// The decoder that is timed.
    pub decoder: Decoder<'a>,
    feeds: Vec<Feed>,
    draw: Draw,
}

impl<'a> Decoding<'a> {
    /// `rows` rows that hold all of `prompt` but its last token in a cache in `format`, with space for `room` more tokens.
    ///
    /// # Errors
    /// If the GPU's memory does not suffice.
    pub fn new(
        gpu: &Gpu,
        model: &'a Model,
        format: CacheFormat,
        rows: usize,
        prompt: &[u32],
        room: usize,
        temperature: f32,
    ) -> Result<Self, EngineError> {
        let mut decoder = Decoder::with_cache(gpu, model, rows, prompt.len() + room, format)?;
        let (last, before) = prompt.split_last().unwrap_or((&0, &[]));
        decoder.prefill(0, before)?;
        decoder.fork()?;
        let draw = Draw { temperature, uniform: 0.5, ..Draw::GREEDY };
        Ok(Self { decoder, feeds: vec![Feed::Token(*last, draw); rows], draw })
    }

    /// Median seconds of a step over `tokens` of them.
    pub fn step_seconds(&mut self, tokens: usize) -> Result<f64, EngineError> {
        let mut seconds = Vec::with_capacity(tokens);
        for _ in 0..tokens {
            let start = Instant::now();
            let drawn = self.decoder.step(&self.feeds)?;
            seconds.push(start.elapsed().as_secs_f64());
            self.feeds = drawn.into_iter().map(|token| Feed::Token(token.unwrap_or(0), self.draw)).collect();
        }
        Ok(median(seconds))
    }
}
