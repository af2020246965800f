//! The resolved options of training, as saved in a run's `config.json`, so that a resumed run cannot differ.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::gpu::Numerics;
use crate::kernels::precision::Precision;
use crate::tasks::{FileSummary, HeldOut};

use super::trainer::Arithmetic;

/// Options that every stage has, with the reference's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoopOptions {
    /// Seed of the stage's random draws.
    pub seed: u64,
    /// Rows per batch; halved if memory runs out.
    pub device_batch_size: usize,
    /// Tokens per step.
    pub total_batch_size: u64,
    /// Factor for learning rates at that batch size.
    pub lr_scale: f64,
    /// Learning rate of the token embedding.
    pub embedding_lr: f64,
    /// Learning rate of lm_head.
    pub unembedding_lr: f64,
    /// Learning rate of the matrices.
    pub matrix_lr: f64,
    /// Learning rate of the lambdas.
    pub scalar_lr: f64,
    /// Fraction of the run over which the learning rate falls.
    pub warmdown_ratio: f64,
    /// Fraction of it that remains at the end.
    pub final_lr_frac: f64,
    /// Steps between validations; none if absent.
    pub eval_every: Option<u64>,
    /// Tokens per validation.
    pub eval_tokens: u64,
    /// Steps between checkpoints; only the last step's if absent.
    pub save_every: Option<u64>,
    /// Number of checkpoints to keep; all if absent.
    pub keep_last: Option<usize>,
    /// Which kernels may be chosen. In the fast class checkpoints record the choices, so that a resumed run has the same bits.
    #[serde(default, skip_serializing_if = "Numerics::is_exact")]
    pub numerics: Numerics,
    /// What the inputs of products are rounded to.
    #[serde(default, skip_serializing_if = "Precision::is_f32")]
    pub precision: Precision,
}

impl LoopOptions {
    /// How a step computes.
    pub fn arithmetic(&self) -> Arithmetic {
        Arithmetic { precision: self.precision, numerics: self.numerics }
    }
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
    /// Options of every stage; the seed is that of the initial weights.
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
    /// The rule for holding out conversations for validation. Older runs do not record it.
    #[serde(default = "HeldOut::unrecorded")]
    pub held_out: HeldOut,
    /// Whether conversations that cannot be represented are skipped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_unsupported: bool,
    /// What was found in the files of conversations when the run began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileSummary>,
    /// Steps made with the optimizer's moments before this run; 0 if it begins with fresh ones.
    pub moment_steps: u64,
    /// Optimizer steps; every conversation once if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_iterations: Option<u64>,
    /// Steps between samples; none if absent.
    #[serde(default)]
    pub sample_every: Option<u64>,
    /// Factor applied to all learning rates.
    pub init_lr_frac: f64,
    /// Fraction of the run over which the learning rate rises.
    pub warmup_ratio: f64,
    /// Options of every stage; the seed is that of the mixture's order.
    #[serde(flatten)]
    pub common: LoopOptions,
}
