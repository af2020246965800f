//! The model a second time, written plainly in [Burn](https://burn.dev): no kernel of ours, no gradient of ours.
//!
//! It serves two ends. On Burn's CPU backend its automatic differentiation checks the hand-written backward pass, in
//! float64 where the kernels' own rounding is to be told apart from a mistake. On burn-wgpu, sharing our device, it is
//! the peer that the benchmark measures our training step against. Nothing else in the program uses it, and it is built
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
