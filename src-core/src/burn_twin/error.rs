//! What can go wrong in the twin. Burn panics on mismatched shapes, which would be a bug in this module.

use burn::tensor::wgpu::WgpuInitError;
use burn::tensor::{ExecutionError, TensorReadError};

use crate::gpu::GpuError;
use crate::model::ConfigError;

/// Why the twin could not be built or run.
#[derive(Debug, thiserror::Error)]
pub enum TwinError {
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A parameter of the configuration is missing from the map.
    #[error("the parameter {0} is missing")]
    Missing(String),
    /// A parameter's shape differs from the configuration's.
    #[error("the parameter {name} has shape {got:?} with {values} values; the configuration asks for {want:?}")]
    Shape {
        /// Its name.
        name: String,
        /// Its shape in the map.
        got: Vec<usize>,
        /// Its number of values in the map.
        values: usize,
        /// The configuration's shape.
        want: Vec<usize>,
    },
    /// Token ids or targets do not fill whole rows, or are outside the vocabulary.
    #[error("{0}")]
    Batch(String),
    /// Automatic differentiation gave a parameter no gradient.
    #[error("the loss does not depend on the parameter {0}")]
    NoGradient(String),
    /// Burn refused the device.
    #[error("Burn cannot use this device: {0}")]
    Device(#[from] WgpuInitError),
    /// A computation failed in Burn.
    #[error("a computation in Burn failed: {0}")]
    Execution(#[from] ExecutionError),
    /// Values could not be read back from Burn.
    #[error("values could not be read back from Burn: {0}")]
    Read(#[from] TensorReadError),
    /// Our device, which also runs Burn's kernels, reported an error.
    #[error(transparent)]
    Gpu(#[from] GpuError),
}
