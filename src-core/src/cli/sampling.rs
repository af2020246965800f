//! Sampling options, for every subcommand that generates text.

use crate::engine::Sampling;

/// How tokens are drawn.
#[derive(clap::Args, Clone, Debug)]
pub struct SamplingArgs {
    /// 0 takes the likeliest token each time; higher is more varied [default: 0.6 in a chat, else 0.8]
    #[arg(long, short, value_name = "T", allow_negative_numbers = true)]
    pub temperature: Option<f64>,
    /// Draw only from the N likeliest tokens; 0 for all
    #[arg(long, short = 'k', value_name = "N", default_value_t = 50, allow_negative_numbers = true)]
    pub top_k: usize,
    /// Draw from the fewest tokens that together have this probability; 1 for all
    #[arg(long, value_name = "P", default_value_t = 1.0, allow_negative_numbers = true)]
    pub top_p: f64,
    /// Draw from tokens with at least this fraction of the likeliest one's probability; 0 for all
    #[arg(long, value_name = "P", default_value_t = 0.0, allow_negative_numbers = true)]
    pub min_p: f64,
    /// Repetition penalty: above 1, tokens that occurred become less likely; 1 for none
    #[arg(long, value_name = "F", default_value_t = 1.0, allow_negative_numbers = true)]
    pub repetition_penalty: f64,
    /// Seed of the draws: the same seed gives the same text
    #[arg(long, value_name = "N", default_value_t = 42, allow_negative_numbers = true)]
    pub seed: u64,
}

impl SamplingArgs {
    /// The engine's options; `temperature` is the default.
    pub fn sampling(&self, temperature: f64) -> Sampling {
        Sampling {
            temperature: self.temperature.unwrap_or(temperature),
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            seed: self.seed,
        }
    }
}
