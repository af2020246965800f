//! The options of training, resolved: what a run's `config.json` keeps, so that a resumed run cannot differ.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::gpu::Numerics;
use crate::tasks::{FileSummary, HeldOut};

/// Options that every stage has, named as the reference names them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoopOptions {
    /// Seed of whatever the stage draws by chance.
    pub seed: u64,
    /// Rows of a batch; halved when memory runs short.
    pub device_batch_size: usize,
    /// Tokens of a step.
    pub total_batch_size: u64,
    /// Factor of learning rates for that batch.
    pub lr_scale: f64,
    /// Learning rate of the token embedding.
    pub embedding_lr: f64,
    /// Learning rate of lm_head.
    pub unembedding_lr: f64,
    /// Learning rate of the matrices.
    pub matrix_lr: f64,
    /// Learning rate of the lambdas.
    pub scalar_lr: f64,
    /// Part of the run over which the learning rate falls.
    pub warmdown_ratio: f64,
    /// What is left of it at the end.
    pub final_lr_frac: f64,
    /// Steps between validations; none if absent.
    pub eval_every: Option<u64>,
    /// Tokens of a validation.
    pub eval_tokens: u64,
    /// Steps between checkpoints; only the last step's if absent.
    pub save_every: Option<u64>,
    /// Checkpoints that are kept; all if absent.
    pub keep_last: Option<usize>,
    /// Which kernels may be chosen. In the fast class checkpoints record which were, so that a resumed run has the same bits.
    #[serde(default, skip_serializing_if = "Numerics::is_exact")]
    pub numerics: Numerics,
}

/// Options of pretraining.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PretrainOptions {
    /// Files and folders of text.
    pub data: Vec<PathBuf>,
    /// Optimizer steps.
    pub num_iterations: u64,
    /// Muon's weight decay at step 0, already scaled to the horizon.
    pub weight_decay: f64,
    /// Steps over which the learning rate rises.
    pub warmup_steps: u64,
    /// Steps between samples; none if absent.
    pub sample_every: Option<u64>,
    /// What every stage has; the seed is that of the initial weights.
    #[serde(flatten)]
    pub common: LoopOptions,
}

/// Options of supervised fine-tuning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SftOptions {
    /// The tasks whose conversations are mixed, as they are written on the command line.
    pub tasks: Vec<String>,
    /// A folder with the tasks' files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// Whether nothing may be fetched.
    pub offline: bool,
    /// What files of conversations hold out for validation. Runs from before there was a choice do not say.
    #[serde(default = "HeldOut::unrecorded")]
    pub held_out: HeldOut,
    /// Whether conversations that cannot be represented are left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_unsupported: bool,
    /// What was found in the files of conversations when the run began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileSummary>,
    /// Steps that were made with the optimizer's moments before this run; 0 where it begins with none.
    pub moment_steps: u64,
    /// Optimizer steps; every conversation once if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_iterations: Option<u64>,
    /// Steps between samples; none if absent.
    #[serde(default)]
    pub sample_every: Option<u64>,
    /// Factor of all learning rates.
    pub init_lr_frac: f64,
    /// Part of the run over which the learning rate rises.
    pub warmup_ratio: f64,
    /// What every stage has; the seed is that of the mixture's order.
    #[serde(flatten)]
    pub common: LoopOptions,
}
