//! A second implementation of the model in [Burn](https://burn.dev), without any of our kernels or gradients.
//!
//! It has two purposes. On Burn's CPU backend its automatic differentiation checks the hand-written backward pass, in
//! float64 where the kernels' rounding must be distinguished from a bug. On burn-wgpu, sharing our device, it is
//! the baseline of the benchmark of our training step. Nothing else in the program uses it, and it is built
//! only with the cargo feature `burn`.

mod bench;
mod error;
mod model;
mod parameters;

pub use bench::{Trainer, bench_step, share_device};
pub use error::TwinError;
pub use model::{Evaluation, Twin};
pub use parameters::{NamedTensors, random};

pub use burn::tensor::{DType, Device};
