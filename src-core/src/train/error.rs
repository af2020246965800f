//! What can end a training run early.

use crate::checkpoint::{CheckpointError, Mismatch, RunError, TensorFileError};
use crate::data::DataError;
use crate::engine::EngineError;
use crate::gpu::GpuError;
use crate::model::ConfigError;
use crate::model::params::{DoesNotFit, ParamError};
use crate::tasks::TaskError;
use crate::tokenizer::TokenizerError;
use crate::weights::Format;

use super::metrics::MetricsError;

/// A training run could not start or continue.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The configuration makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The device failed, or the model does not fit.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// A sample could not be written.
    #[error("no sample could be written: {0}")]
    Sample(EngineError),
    /// The data cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A task cannot be opened.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// The tokenizer cannot be read.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The run's folder is in use, missing, or exists already.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A checkpoint cannot be written or read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A checkpoint's file is damaged.
    #[error(transparent)]
    Tensors(#[from] TensorFileError),
    /// A checkpoint is of another model.
    #[error("the checkpoint does not fit this run's config.json: {0}")]
    OtherModel(#[from] Mismatch),
    /// A weight does not fit the model, or its format.
    #[error(transparent)]
    Parameter(#[from] ParamError),
    /// Weights in blocks are too coarse to be trained.
    #[error("the weights of run {run} are in {format}: such a model answers, but cannot be trained; take the run that it was made from")]
    Blocks {
        /// The run.
        run: String,
        /// The format.
        format: Format,
    },
    /// The metrics cannot be written.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The batch sizes do not divide.
    #[error(
        "a step of {total} tokens is not a whole number of batches of {batch} rows × {seq} tokens = {} tokens; use a multiple of that",
        *batch as u128 * *seq as u128
    )]
    Indivisible {
        /// Tokens per step.
        total: u64,
        /// Rows per batch.
        batch: usize,
        /// Tokens per row.
        seq: usize,
    },
    /// A number that must be positive is not.
    #[error("{option} is {value}; it must be {must}")]
    BadOption {
        /// The option, as it is called in `config.json`.
        option: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        must: &'static str,
    },
    /// A row's activations exceed what the adapter binds at a time.
    #[error(
        "a row of {seq} tokens needs {bytes} bytes in the MLP, but {adapter} binds at most {limit} bytes at a time; the longest row that fits has {longest} tokens"
    )]
    RowTooLong {
        /// Tokens per row.
        seq: usize,
        /// Bytes of its widest activation.
        bytes: u64,
        /// The adapter's limit in bytes.
        limit: u64,
        /// The adapter's name.
        adapter: String,
        /// Tokens of the longest row that fits.
        longest: u64,
    },
    /// The tokenizer has another vocabulary than the model.
    #[error("the model has {model} ids and the tokenizer {tokenizer}; put the run's own tokenizer.json back, or start a new run")]
    OtherVocabulary {
        /// Ids of the model.
        model: usize,
        /// Ids of the tokenizer.
        tokenizer: usize,
    },
    /// A parameter exceeds what the adapter binds at a time.
    #[error(transparent)]
    TooDeep(#[from] DoesNotFit),
    /// The run's config.json is not one of ours.
    #[error("config.json of run {run} cannot be used: {reason}")]
    RunConfig {
        /// The run.
        run: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There are weights but no optimizer moments.
    #[error("the weights of run {run} were imported without an optimizer's moments: start with fresh ones")]
    NoMoments {
        /// The run.
        run: String,
    },
    /// There is no training to continue.
    #[error("run {run} was imported, and has no training to resume; begin a new run with its weights")]
    Imported {
        /// The run.
        run: String,
    },
    /// The saved state is not one of ours.
    #[error("the state saved at step {step} cannot be used: {reason}")]
    State {
        /// The checkpoint's step.
        step: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A loss or a gradient is no longer finite.
    #[error(
        "training has diverged: the loss at step {step} is {loss}{}; train a new run with lower learning rates, from the last checkpoint if it is to begin there",
        first.as_ref().map(|first| format!(", and the first number that is infinite or not a number is in {first}")).unwrap_or_default()
    )]
    Diverged {
        /// The step.
        step: u64,
        /// Its loss.
        loss: f64,
        /// The first tensor of the step that is not finite, if one was found.
        first: Option<String>,
    },
}

impl From<EngineError> for TrainError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Gpu(gpu) => TrainError::Gpu(gpu),
            error => TrainError::Sample(error),
        }
    }
}
