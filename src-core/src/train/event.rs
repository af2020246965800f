//! What a training run tells while it runs: the command line prints it, another program may draw it.

use std::path::PathBuf;

use serde::Serialize;

use crate::tasks::FileSummary;

/// How long a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// So many steps.
    Steps(u64),
    /// As many steps as it takes to train on every one of so many conversations once.
    Epoch {
        /// The conversations.
        conversations: usize,
    },
}

/// One optimizer step, as `metrics.jsonl` holds it.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    /// The step, from 0.
    pub step: u64,
    /// How long the run is.
    #[serde(skip)]
    pub length: Length,
    /// Part of the run that is done after this step, from 0 to 1.
    #[serde(skip)]
    pub progress: f64,
    /// Mean loss of the step's tokens in nats, before the step.
    pub loss: f64,
    /// Exponential average of the loss, its bias removed.
    pub smooth_loss: f64,
    /// Bits per byte of the step's tokens.
    pub bpb: f64,
    /// Factor of the learning rates.
    pub lr_multiplier: f64,
    /// Tokens trained on after this step.
    pub tokens: u64,
    /// How many times reading the data has started.
    pub epoch: u64,
    /// Wall-clock seconds of the step.
    pub seconds: f64,
    /// Tokens per second.
    pub tokens_per_second: f64,
    /// Floating-point operations per second, by the model's FLOP count.
    pub flops_per_second: f64,
    /// Bytes of GPU memory in use.
    pub memory: u64,
    /// Seconds left, as far as the last steps tell.
    #[serde(skip)]
    pub eta_seconds: f64,
}

/// Something that happened in a run.
#[derive(Clone, Debug)]
pub enum Event {
    /// Training begins, or goes on, with step `step`.
    Start {
        /// First step.
        step: u64,
        /// How long the run is.
        length: Length,
        /// Parameters of the model.
        parameters: usize,
        /// Floating-point operations per token.
        flops_per_token: u64,
        /// Rows of a batch.
        device_batch_size: usize,
        /// Batches of a step.
        accumulation: usize,
        /// Bytes of GPU memory in use.
        memory: u64,
        /// The adapter's name.
        adapter: String,
    },
    /// GPU memory is short: a batch has `to` rows instead of the `from` that were asked for.
    BatchHalved {
        /// Rows before.
        from: usize,
        /// Rows now.
        to: usize,
        /// Batches of a step now; the tokens of a step stay the same.
        accumulation: usize,
    },
    /// Checkpoints that resuming passed over, with what is wrong with each.
    Rejected {
        /// One sentence a checkpoint.
        reasons: Vec<String>,
    },
    /// A file of conversations was read.
    Conversations(FileSummary),
    /// The data holds nothing to validate on, so there will be no validation.
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
