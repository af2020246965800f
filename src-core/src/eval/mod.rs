//! Evaluation of a model.

pub mod bits_per_byte;
pub mod chat;
pub mod core;
mod finished;
mod split;

pub use finished::{Checkpoint, Finished, FinishedError};
pub use split::BatchLosses;
