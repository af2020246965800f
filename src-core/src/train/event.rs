//! Events of a training run: the command line prints them, another program may draw them.

use std::path::PathBuf;

use serde::Serialize;

use crate::tasks::FileSummary;

/// How long a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// A number of steps.
    Steps(u64),
    /// As many steps as it takes to train once on every conversation.
    Epoch {
        /// The number of conversations.
        conversations: usize,
    },
}

/// One optimizer step, as in `metrics.jsonl`.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    /// The step, from 0.
    pub step: u64,
    /// How long the run is.
    #[serde(skip)]
    pub length: Length,
    /// Progress of the run after this step, from 0 to 1.
    #[serde(skip)]
    pub progress: f64,
    /// Mean loss of the step's tokens in nats, before the step.
    pub loss: f64,
    /// Exponential moving average of the loss, with bias correction.
    pub smooth_loss: f64,
    /// Bits per byte of the step's tokens.
    pub bpb: f64,
    /// Factor applied to the learning rates.
    pub lr_multiplier: f64,
    /// Tokens trained on after this step.
    pub tokens: u64,
    /// The epoch: how many times reading the data has started.
    pub epoch: u64,
    /// Wall-clock seconds of the step.
    pub seconds: f64,
    /// Tokens per second.
    pub tokens_per_second: f64,
    /// Floating-point operations per second, by the model's FLOP count.
    pub flops_per_second: f64,
    /// Bytes of GPU memory in use.
    pub memory: u64,
    /// In f16: the factor of the step's loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<f64>,
    /// Whether a gradient overflowed f16, so that the step changed nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
    /// Estimated seconds remaining.
    #[serde(skip)]
    pub eta_seconds: f64,
}

/// An event of a run.
#[derive(Clone, Debug)]
pub enum Event {
    /// Training begins, or continues, with step `step`.
    Start {
        /// First step.
        step: u64,
        /// How long the run is.
        length: Length,
        /// Parameters of the model.
        parameters: usize,
        /// Floating-point operations per token.
        flops_per_token: u64,
        /// Rows per batch.
        device_batch_size: usize,
        /// Batches per step.
        accumulation: usize,
        /// Bytes of GPU memory in use.
        memory: u64,
        /// The adapter's name.
        adapter: String,
    },
    /// GPU memory is too small: a batch has `to` rows instead of the requested `from`.
    BatchHalved {
        /// Rows before.
        from: usize,
        /// Rows now.
        to: usize,
        /// Batches per step now; the tokens per step stay the same.
        accumulation: usize,
    },
    /// Checkpoints that resuming skipped, with what is wrong with each.
    Rejected {
        /// One sentence per checkpoint.
        reasons: Vec<String>,
    },
    /// A file of conversations was read.
    Conversations(FileSummary),
    /// The data has no validation split, so there will be no validation.
    NoValidation,
    /// A step is done.
    Step(StepReport),
    /// Bits per byte on the validation split, before step `step`.
    Validation {
        /// The step.
        step: u64,
        /// Bits per byte.
        bpb: f64,
        /// The lowest so far.
        min_bpb: f64,
    },
    /// Text that the model wrote.
    Sample {
        /// The step.
        step: u64,
        /// Prompt and continuation.
        text: String,
    },
    /// A checkpoint is saved.
    Saved {
        /// The step.
        step: u64,
        /// Its folder.
        path: PathBuf,
    },
}
