//! How much GPU memory a training step takes: the formula of `docs/MEMORY.md`, term by term.
//!
//! It says before anything is allocated what will fit, and a test holds it against what a step really allocates.

use crate::gpu::Memory;
use crate::kernels;
use crate::model::activations::LOGITS_BYTES;
use crate::model::{Config, Group};

/// Bytes of GPU memory, by what they are for; the kinds are those of [`Memory::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepMemory {
    /// Master parameters and rotary tables.
    pub weights: u64,
    /// A gradient for each parameter.
    pub gradients: u64,
    /// AdamW's two moments; Muon's momentum and, per row or column, its second moment.
    pub moments: u64,
    /// What the forward pass keeps.
    pub activations: u64,
    /// Buffers of the backward pass, and Muon's scratch.
    pub workspace: u64,
}

impl StepMemory {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights + self.gradients + self.moments + self.activations + self.workspace
    }

    /// The part that is of `kind`; what is staged for upload and read-back is too little to be counted here.
    pub fn of(&self, kind: Memory) -> u64 {
        match kind {
            Memory::Weights => self.weights,
            Memory::Gradients => self.gradients,
            Memory::Moments => self.moments,
            Memory::Activations => self.activations,
            Memory::Workspace => self.workspace,
            Memory::Staging => 0,
        }
    }
}

/// The memory of a step of `config` with batches of `rows` rows, without what the autotuner adds (docs/MEMORY.md).
pub fn step_memory(config: &Config, rows: usize) -> StepMemory {
    let n = rows * config.sequence_len;
    let (c, h, k, d, l) = (config.n_embd, config.n_head, config.n_kv_head, config.head_dim(), config.n_layer);
    let v = config.padded_vocab();
    let specs = config.param_specs();
    let parameters: usize = specs.iter().map(|spec| spec.len()).sum();
    let matrices: usize = specs.iter().filter(|spec| spec.group == Group::Matrix).map(|spec| spec.len()).sum();

    let rotary = config.sequence_len * d;
    // Two norms' outputs and scales, q, k, v, their scales, the gate, attention's output and log-sum-exp, the hidden layer.
    let layer = 2 * (c + 1) + (h * d + h) + 2 * k * d + 2 * k + (h * d + h) + 4 * c;
    // The stream before each layer and after the last; embedding, its norm, the final norm; ids, targets and losses.
    let ends = (l + 1) * c + 3 * c + 6;
    let chunk = (LOGITS_BYTES / (4 * v) / 64 * 64).max(64).min(n);
    let activations = n * (l * layer + ends) + chunk * v;

    // Of the stream, of x0, of the middle and of a norm; of attention's output, q, k and v; of the hidden layer.
    let backward = n * (4 * c + 2 * h * d + h + 2 * k * d + 4 * c + 1) + v + kernels::scratch_len(n, k);
    // The largest stack of matrices of one shape, and two Gram matrices for each of the largest such stack.
    let mut stacks = std::collections::BTreeMap::<&[usize], usize>::new();
    for spec in specs.iter().filter(|spec| spec.group == Group::Matrix) {
        *stacks.entry(&spec.shape).or_default() += 1;
    }
    let largest = |size: &dyn Fn(&[usize]) -> usize| stacks.iter().map(|(shape, count)| count * size(shape)).max().unwrap_or(0);
    let muon = largest(&|shape| shape.iter().product()) + 2 * largest(&|shape| shape.iter().min().map_or(0, |least| least * least));

    let bytes = |floats: usize| 4 * floats as u64;
    StepMemory {
        weights: bytes(parameters + rotary),
        gradients: bytes(parameters),
        moments: bytes(2 * (parameters - matrices) + matrices),
        activations: bytes(activations),
        workspace: bytes(backward + muon),
    }
}
