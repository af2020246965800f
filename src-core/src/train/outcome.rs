//! The environment of a training run, and its result.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::checkpoint::home::Home;
use crate::gpu::Gpu;
use crate::tokenizer::Tokenizer;

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The step that this process began with. Equal to `step` if the run was already complete.
    pub first_step: u64,
    /// The last step that was done.
    pub step: u64,
    /// Total steps of the run, if known.
    pub num_iterations: Option<u64>,
    /// Whether it was interrupted before its last step.
    pub interrupted: bool,
    /// Bits per byte of the last validation, if there was one in this process.
    pub val_bpb: Option<f64>,
    /// The lowest bits per byte of the run.
    pub min_val_bpb: Option<f64>,
    /// The first bits per byte of the run, if measured in this process.
    pub first_val_bpb: Option<f64>,
    /// Smoothed loss in nats.
    pub loss: Option<f64>,
    /// Rows of data with nothing to learn from.
    pub left_out: u64,
    /// Seconds spent in steps.
    pub training_seconds: f64,
    /// Peak bytes of GPU memory.
    pub peak_memory: u64,
}

/// The environment of a run.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    /// The device.
    pub gpu: &'a Gpu,
    /// The home folder with all runs.
    pub home: &'a Home,
    /// The run's tokenizer.
    pub tokenizer: &'a Arc<Tokenizer>,
    /// Set to make the run finish the step in progress, save, and end.
    pub interrupt: &'a AtomicBool,
}
