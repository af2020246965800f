//! Evaluation of a model.

pub mod bits_per_byte;
pub mod chat;
pub mod core;
mod split;

pub use split::BatchLosses;
