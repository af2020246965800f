//! Training: the loops, what they measure, and how they resume.

pub mod metrics;
pub mod tensorboard;
