//! Evaluation of a model.

pub mod bits_per_byte;
