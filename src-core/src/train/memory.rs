//! How much GPU memory a training step takes, before anything is allocated: counted by a dry run of the allocations themselves.
//! `docs/MEMORY.md` has the formula for people.

use crate::gpu::{Gpu, GpuError};
use crate::model::Config;
use crate::optim::OptimizerConfig;

use super::trainer::{Arithmetic, Trainer};

/// GPU memory of a training step in bytes, by [`Memory`](crate::gpu::Memory) kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepMemory {
    /// Parameters, and the rotary tables.
    pub weights: u64,
    /// One gradient per parameter.
    pub gradients: u64,
    /// Moments of AdamW and Muon.
    pub moments: u64,
    /// What the forward pass saves.
    pub activations: u64,
    /// Gradients of activations, Muon's scratch, partial sums and packed operands.
    pub workspace: u64,
    /// Uniforms, and the read-back buffers of losses.
    pub staging: u64,
}

impl StepMemory {
    /// All kinds, in the order of [`Memory::ALL`](crate::gpu::Memory::ALL).
    pub fn by_kind(&self) -> [u64; 6] {
        [self.weights, self.gradients, self.moments, self.activations, self.workspace, self.staging]
    }

    /// The step's peak: nothing is freed while a step runs, so it is the sum of all kinds.
    pub fn total(&self) -> u64 {
        self.by_kind().iter().sum()
    }
}

/// The memory of a step of one batch of `rows` rows of `config.sequence_len` tokens, also if `gpu` has not as much.
///
/// It depends on `gpu` through three properties: its memory and its binding limit, which bound the chunk of logits and the
/// stacks of matrices, and the autotuner's choices, since some kernels pack their operands first. Before the first run of a shape
/// nothing is chosen, and the built-in choices are counted. In the fast numerics class partial sums of products are added, at most
/// 32 MiB each in a batch, in an evaluation and in the update.
///
/// # Errors
/// If the sizes are beyond counting, or the device was lost.
pub fn step_memory(gpu: &Gpu, config: &Config, rows: usize, arithmetic: Arithmetic) -> Result<StepMemory, GpuError> {
    let gpu = gpu.counting()?;
    // What learning rates are does not matter.
    let mut trainer = Trainer::new(&gpu, config, &OptimizerConfig::new(config.n_embd, 1.0), rows, arithmetic)?;
    let (_losses, _check) = (trainer.readback()?, trainer.check_readback()?);
    let [weights, gradients, moments, activations, workspace, staging, _cache] = gpu.memory().by_kind;
    Ok(StepMemory { weights, gradients, moments, activations, workspace, staging })
}
