//! From what a person asks for to what nc-core needs: the numbers that suit small runs on a desktop.

use std::path::Path;

use nc_core::gpu::{Gpu, Numerics};
use nc_core::kernels::precision::Precision;
use nc_core::model::Config;
use nc_core::model::params::largest_depth_that_fits;
use nc_core::optim::{Horizon, HorizonOptions};
use nc_core::tasks::HeldOut;
use nc_core::train::memory::step_memory;
use nc_core::train::trainer::Arithmetic;
use nc_core::train::{LoopOptions, PretrainOptions, RunConfig, SftOptions, Source, Training};

use super::Order;
use crate::error::{AppError, AppResult};
use crate::models::fit;
use crate::types::{Budget, TrainPlan};

/// Channels per layer of depth, and of a head; the reference's.
const ASPECT_RATIO: usize = 64;
const HEAD_DIM: usize = 128;

/// Attention windows of the layers, in turn: short, short, short, long.
const WINDOWS: &str = "SSSL";

/// What suits a kind of GPU.
struct Suits {
    /// Tokens of a step, about.
    step_tokens: u64,
    /// Rows of a batch at most.
    rows: u64,
    /// Tokens of the vocabulary.
    vocab_size: usize,
    /// Learning rates of matrices, the embedding and the unembedding, before the batch's factor.
    rates: [f64; 3],
    /// Tokens of a validation.
    eval_tokens: u64,
}

/// The processor itself: small steps at raised rates teach the most in a few minutes. A GPU: the reference's rates.
fn suits(gpu: &Gpu) -> Suits {
    if gpu.capabilities().cpu {
        Suits { step_tokens: 2048, rows: 8, vocab_size: 512, rates: [0.15, 2.0, 0.06], eval_tokens: 32 * 1024 }
    } else {
        Suits { step_tokens: 32_768, rows: 16, vocab_size: 4096, rates: [0.02, 0.3, 0.008], eval_tokens: 256 * 1024 }
    }
}

/// Tokens of the vocabulary of a new tokenizer.
pub fn vocab_size(gpu: &Gpu) -> usize {
    suits(gpu).vocab_size
}

/// The model that is asked for, with a vocabulary of `vocab_size` tokens.
pub fn model(gpu: &Gpu, order: &Order, vocab_size: usize) -> AppResult<Config> {
    let at = |depth| Config::from_depth(depth, ASPECT_RATIO, HEAD_DIM, order.context as usize, vocab_size, WINDOWS);
    let config = at(order.depth as usize)?;
    match largest_depth_that_fits(gpu.binding_limit(), &at(1)?, ASPECT_RATIO, HEAD_DIM) {
        Some(largest) if largest < config.n_layer => {
            Err(AppError::bad_input(format!("{} takes models of up to {largest} layers.", gpu.info().name)))
        }
        _ => Ok(config),
    }
}

/// The run of the base model over `steps` steps.
pub fn pretraining(gpu: &Gpu, order: &Order, model: Config, steps: u64) -> AppResult<RunConfig> {
    let suits = suits(gpu);
    let (rows, step_tokens) = batch(&suits, order.context);
    let reference = Config::from_depth(12, ASPECT_RATIO, HEAD_DIM, order.context as usize, model.vocab_size, WINDOWS)?;
    let horizon = Horizon::plan(
        &model,
        &reference,
        &HorizonOptions { num_iterations: Some(steps), total_batch_size: Some(step_tokens), ..HorizonOptions::default() },
    );
    let [matrix_lr, embedding_lr, unembedding_lr] = suits.rates;
    let training = Training::Base(PretrainOptions {
        data: order.data.clone(),
        num_iterations: steps,
        weight_decay: horizon.weight_decay,
        warmup_steps: (steps / 20).clamp(1, 40),
        sample_every: Some((steps / 8).max(10)),
        common: LoopOptions {
            seed: order.seed,
            device_batch_size: rows as usize,
            total_batch_size: step_tokens,
            lr_scale: horizon.lr_scale,
            embedding_lr,
            unembedding_lr,
            matrix_lr,
            scalar_lr: 0.5,
            warmdown_ratio: 0.65,
            final_lr_frac: 0.05,
            eval_every: Some((steps / 10).max(10)),
            eval_tokens: suits.eval_tokens.max(rows * order.context),
            // What a crash may cost at most.
            save_every: Some((steps / 10).clamp(10, 200)),
            keep_last: Some(2),
            numerics: Numerics::Exact,
            precision: Precision::F32,
        },
    });
    Ok(RunConfig { model, training, from: None })
}

/// The run that teaches the base model to answer: from its last checkpoint, with its learning rates.
pub fn fine_tuning(order: &Order, base: &RunConfig, source: Source, conversations: &Path) -> AppResult<RunConfig> {
    let Training::Base(pretrained) = &base.training else {
        return Err(AppError::bad_input(format!("The model {} is no base model; choose another name.", order.name)));
    };
    let steps = (pretrained.num_iterations / 4).clamp(20, 400);
    let training = Training::Sft(SftOptions {
        tasks: vec![conversations.display().to_string()],
        data: None,
        offline: true,
        held_out: HeldOut::default(),
        skip_unsupported: false,
        files: Vec::new(),
        moment_steps: source.step,
        num_iterations: Some(steps),
        sample_every: Some((steps / 4).max(10)),
        init_lr_frac: 0.8,
        warmup_ratio: 0.0,
        common: LoopOptions {
            seed: order.seed,
            warmdown_ratio: 0.5,
            final_lr_frac: 0.0,
            eval_every: Some((steps / 2).max(10)),
            save_every: Some((steps / 4).max(10)),
            ..pretrained.common.clone()
        },
    });
    Ok(RunConfig { model: base.model.clone(), training, from: Some(source) })
}

/// Tokens of a step.
pub fn step_tokens(gpu: &Gpu, order: &Order) -> u64 {
    batch(&suits(gpu), order.context).1
}

/// Rows of a batch, and tokens of a step.
fn batch(suits: &Suits, context: u64) -> (u64, u64) {
    let rows = (suits.step_tokens / context).clamp(1, suits.rows);
    (rows, suits.step_tokens.next_multiple_of(rows * context))
}

/// The steps that it takes to train on so many tokens.
pub fn steps_of(tokens: u64, step_tokens: u64) -> u64 {
    tokens.div_ceil(step_tokens).max(1)
}

/// Part of the minutes that pretraining gets; fine-tuning, validations and samples take the rest.
pub const PRETRAINING_SHARE: f64 = 0.75;

/// What an order would make, and whether it can.
pub fn plan(gpu: &Gpu, memory: Option<u64>, order: &Order) -> AppResult<TrainPlan> {
    let suits = suits(gpu);
    let vocab_size = suits.vocab_size;
    let model = model(gpu, order, vocab_size)?;
    let (rows, tokens_per_step) = batch(&suits, order.context);
    let steps = match order.budget {
        Budget::Steps { steps } => Some(steps),
        Budget::Tokens { tokens } => Some(steps_of(tokens, tokens_per_step)),
        Budget::Minutes { .. } => None,
    };
    let memory_bytes = step_memory(gpu, &model, rows as usize, Arithmetic::default())?.total();
    let config = pretraining(gpu, order, model.clone(), steps.unwrap_or(100))?;
    Ok(TrainPlan {
        parameters: model.param_counts().total as u64,
        n_embd: model.n_embd as u64,
        n_head: model.n_head as u64,
        vocab_size: vocab_size as u64,
        tokens_per_step,
        steps,
        tokens: steps.map(|steps| steps * tokens_per_step),
        memory_bytes,
        fit: fit(memory_bytes, memory),
        problem: nc_core::train::check(gpu, &config).err().map(AppError::from),
        gpu: gpu.info().name.clone(),
    })
}
