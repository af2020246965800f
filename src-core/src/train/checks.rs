//! What can be rejected before anything is allocated or written: invalid options, and models that the adapter
//! cannot bind.

use crate::gpu::{DType, Gpu};
use crate::model::Config;
use crate::model::params::check_fits;

use super::options::LoopOptions;
use super::{RunConfig, TrainError, Training};

/// The most tokens per step, whose batches are in memory together, and the most steps: beyond them counts would overflow.
const MOST_STEP_TOKENS: u64 = 1 << 28;
const MOST_STEPS: u64 = 1 << 32;

/// Checks that `config` can be trained on `gpu`.
pub fn check(gpu: &Gpu, config: &RunConfig) -> Result<(), TrainError> {
    config.model.validate()?;
    check_options(config)?;
    check_bindings(gpu, config)
}

/// Checks the options alone.
pub(super) fn check_options(config: &RunConfig) -> Result<(), TrainError> {
    let (common, num_iterations) = match &config.training {
        Training::Base(options) => (&options.common, Some(options.num_iterations)),
        Training::Sft(options) => (&options.common, options.num_iterations),
        Training::Imported(_) => return Ok(()),
    };
    let within = |option, value: u64, most: u64, must| match value {
        0 => Err(TrainError::BadOption { option, value: "0".into(), must: "at least 1" }),
        value if value > most => Err(TrainError::BadOption { option, value: value.to_string(), must }),
        _ => Ok(()),
    };
    within("device_batch_size", common.device_batch_size as u64, u64::MAX, "")?;
    within("total_batch_size", common.total_batch_size, MOST_STEP_TOKENS, "at most 268435456 tokens")?;
    within("num_iterations", num_iterations.unwrap_or(1), MOST_STEPS, "at most 4294967296")?;

    // Far below the limit of f32, and far above any sensible rate.
    let rate = |option, value| in_range(option, value, 1e9, "a number from 0 to 1e9");
    rate("embedding_lr", common.embedding_lr)?;
    rate("unembedding_lr", common.unembedding_lr)?;
    rate("matrix_lr", common.matrix_lr)?;
    rate("scalar_lr", common.scalar_lr)?;
    rate("final_lr_frac", common.final_lr_frac)?;
    let part = |option, value| in_range(option, value, 1.0, "between 0 and 1");
    part("warmdown_ratio", common.warmdown_ratio)?;
    match &config.training {
        Training::Base(options) => rate("weight_decay", options.weight_decay)?,
        Training::Sft(options) => {
            rate("init_lr_frac", options.init_lr_frac)?;
            part("warmup_ratio", options.warmup_ratio)?;
        }
        Training::Imported(_) => {}
    }
    accumulation(&config.model, common, common.device_batch_size).map(drop)
}

/// Rejects a value below 0, above `most`, or that is not a number.
fn in_range(option: &'static str, value: f64, most: f64, must: &'static str) -> Result<(), TrainError> {
    if (0.0..=most).contains(&value) { Ok(()) } else { Err(TrainError::BadOption { option, value: value.to_string(), must }) }
}

/// The number of batches of `rows` rows per step.
pub(super) fn accumulation(model: &Config, options: &LoopOptions, rows: usize) -> Result<usize, TrainError> {
    let (total, seq) = (options.total_batch_size, model.sequence_len);
    match (rows as u64).checked_mul(seq as u64) {
        Some(tokens) if total.is_multiple_of(tokens) => Ok((total / tokens) as usize),
        _ => Err(TrainError::Indivisible { total, batch: rows, seq }),
    }
}

/// Rejects a model with a parameter, or a row of activations, that the adapter cannot bind.
fn check_bindings(gpu: &Gpu, config: &RunConfig) -> Result<(), TrainError> {
    let (model, limit, adapter) = (&config.model, gpu.binding_limit(), &gpu.info().name);
    check_fits(model, model.n_embd.div_ceil(model.n_layer), model.head_dim(), limit, adapter)?;
    // The widest activation of a token is the MLP's, with 4·C floats.
    let token = 4 * model.n_embd as u64 * DType::F32.bytes();
    let (seq, bytes) = (model.sequence_len, model.sequence_len as u64 * token);
    if bytes > limit {
        return Err(TrainError::RowTooLong { seq, bytes, limit, adapter: adapter.clone(), longest: limit / token });
    }
    Ok(())
}
