//! Generation and scoring with a trained model.

mod generate;
mod sampler;
mod score;

pub use generate::{GenerateOptions, Generator};
pub use sampler::Sampler;
pub use score::score;
