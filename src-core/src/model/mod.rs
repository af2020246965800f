//! The model: its configuration and what follows from it, its parameters, and the passes over them. Knows no tokenizer.

pub mod activations;
mod architecture;
pub mod backward;
mod cache;
mod cached;
pub mod config;
pub mod flops;
mod forward;
mod head;
pub mod init;
mod linear;
mod named;
pub mod params;
mod scored;
pub mod spec;
mod stream;

pub use activations::{Activations, Keep};
pub use architecture::Architecture;
pub use backward::Gradients;
pub use cache::Cache;
pub use cached::{CachedPass, Want};
pub use config::{Config, ConfigError};
pub use params::Parameters;
pub use scored::Scores;
pub use spec::{Group, ParamCounts, ParamSpec};

pub use crate::kernels::kv_cache::CacheFormat;

use crate::gpu::{DType, Gpu, GpuError, Memory, Recorder, Tensor};
use crate::kernels::precision::Precision;
use crate::kernels::rotary;

/// A model on a GPU: its configuration, parameters, and the tables that follow from it.
pub struct Model {
    /// The configuration.
    pub config: Config,
    /// Parameters and their gradients.
    pub parameters: Parameters,
    /// What the inputs of linear layers are rounded to in passes over whole batches.
    pub precision: Precision,
    windows: Vec<usize>,
    cos: Tensor, // [positions, D/2]
    sin: Tensor, // [positions, D/2]
}

impl Model {
    /// A model around parameters that are already on `gpu`, in f32.
    pub fn new(gpu: &Gpu, config: &Config, parameters: Parameters) -> Result<Self, GpuError> {
        let (cos, sin) = rotary_tables(gpu, config, config.sequence_len)?;
        Ok(Self { windows: config.window_sizes(), cos, sin, config: config.clone(), parameters, precision: Precision::F32 })
    }

    /// The same, for sequences of up to `positions` tokens, if that is more than the context. Windows stay as they are. Nothing was
    /// trained there; the reference evaluates so, with tables for ten times the context.
    pub fn reaching(self, gpu: &Gpu, positions: usize) -> Result<Self, GpuError> {
        if positions <= self.positions() {
            return Ok(self);
        }
        let (cos, sin) = rotary_tables(gpu, &self.config, positions)?;
        Ok(Self { cos, sin, ..self })
    }

    /// The positions that a token can have: those of the context, unless more were asked for.
    pub fn positions(&self) -> usize {
        self.cos.shape()[0]
    }

    /// The same, with products from inputs in `precision`.
    pub fn in_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Records the losses of a batch without gradients. Reads `acts.ids` and `acts.targets`.
    pub fn record_evaluation(&self, rec: &mut Recorder, acts: &Activations) {
        self.record_trunk(rec, acts);
        self.record_losses(rec, acts);
    }
}

/// Cosines and sines for `positions` positions, `[positions, D/2]` each.
fn rotary_tables(gpu: &Gpu, config: &Config, positions: usize) -> Result<(Tensor, Tensor), GpuError> {
    let head_dim = config.head_dim();
    let table = |name: &str| gpu.zeros(name, &[positions, head_dim / 2], DType::F32, Memory::Weights);
    let (cos, sin) = (table("rotary cosines")?, table("rotary sines")?);
    if !gpu.only_counts() {
        let (cosines, sines) = rotary::tables(positions, head_dim, config.architecture.rope_base);
        gpu.write(&cos, &cosines);
        gpu.write(&sin, &sines);
    }
    Ok((cos, sin))
}
