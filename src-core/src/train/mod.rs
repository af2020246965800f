//! Training: the loops, what they measure, and how they resume to the bit.

mod error;
mod event;
pub mod memory;
pub mod metrics;
pub mod options;
pub mod pretrain;
mod state;
pub mod tensorboard;
mod tensors;
pub mod trainer;

pub use error::TrainError;
pub use event::{Event, StepReport};
pub use options::{PretrainOptions, RunConfig, Source};
pub use pretrain::{Outcome, Start, check, pretrain};
