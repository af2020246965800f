//! How long to train, with what batch size, and the resulting learning rates and weight decay. All constants were tuned at
//! depth 12 and are transferred to other depths by scaling laws.

use crate::model::Config;

/// Tokens in the optimal batch at depth 12.
const REFERENCE_BATCH: f64 = 524_288.0;

/// The optimal batch grows as this power of the horizon (Power Lines, <https://arxiv.org/abs/2505.13738>).
const BATCH_EXPONENT: f64 = 0.383;

/// What the user sets about the horizon. The first of `num_iterations`, `target_flops` and the ratio that is given
/// determines the number of steps.
#[derive(Clone, Debug, PartialEq)]
pub struct HorizonOptions {
    /// Steps, if given.
    pub num_iterations: Option<u64>,
    /// Total training FLOPs, if given.
    pub target_flops: Option<f64>,
    /// Training tokens per scaling parameter.
    pub target_param_data_ratio: f64,
    /// Tokens per batch; derived from the horizon if not given.
    pub total_batch_size: Option<u64>,
    /// Muon's weight decay at depth 12.
    pub weight_decay: f64,
}

impl Default for HorizonOptions {
    fn default() -> Self {
        Self { num_iterations: None, target_flops: None, target_param_data_ratio: 12.0, total_batch_size: None, weight_decay: 0.28 }
    }
}

/// A training run's length and what follows from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Horizon {
    /// Training tokens for the model's size.
    pub target_tokens: u64,
    /// Tokens in a batch.
    pub total_batch_size: u64,
    /// Optimizer steps. Zero if the horizon is shorter than a batch.
    pub num_iterations: u64,
    /// Factor for learning rates at this batch size: √(batch / 2^19).
    pub lr_scale: f64,
    /// Muon's weight decay at step 0.
    pub weight_decay: f64,
}

impl Horizon {
    /// Factor for the learning rates with this many tokens per step: they scale with the square root of the batch.
    pub fn lr_scale_of(total_batch_size: u64) -> f64 {
        (total_batch_size as f64 / REFERENCE_BATCH).sqrt()
    }

    /// Plans the training of `config`; `reference` is the configuration for depth 12 with the same options.
    ///
    /// The weight decay keeps `batch / (lr · decay · tokens)` constant (<https://arxiv.org/abs/2405.13698>).
    pub fn plan(config: &Config, reference: &Config, options: &HorizonOptions) -> Self {
        let ratio = options.target_param_data_ratio;
        let target_tokens = (ratio * config.num_scaling_params() as f64) as u64;
        let reference_tokens = ratio * reference.num_scaling_params() as f64;

        let total_batch_size = options.total_batch_size.unwrap_or_else(|| {
            let best = REFERENCE_BATCH * (target_tokens as f64 / reference_tokens).powf(BATCH_EXPONENT);
            best.log2().round_ties_even().exp2() as u64
        });
        let batch_ratio = total_batch_size as f64 / REFERENCE_BATCH;
        let num_iterations = match (options.num_iterations, options.target_flops) {
            (Some(steps), _) => steps,
            (None, Some(flops)) => (flops / (config.flops_per_token() as f64 * total_batch_size as f64)).round_ties_even() as u64,
            (None, None) => target_tokens.checked_div(total_batch_size).unwrap_or(0),
        };
        Self {
            target_tokens,
            total_batch_size,
            num_iterations,
            lr_scale: Self::lr_scale_of(total_batch_size),
            weight_decay: options.weight_decay * batch_ratio.sqrt() * (reference_tokens / target_tokens as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_come_from_the_first_option_that_is_given() {
        let [config, reference] = [4, 12].map(|depth| Config::from_depth(depth, 64, 128, 512, 4096, "L").unwrap());
        let mut options = HorizonOptions { total_batch_size: Some(4096), ..Default::default() };
        let by_ratio = Horizon::plan(&config, &reference, &options);
        assert_eq!(by_ratio.num_iterations, by_ratio.target_tokens / 4096);

        options.target_flops = Some(10.4 * 4096.0 * config.flops_per_token() as f64);
        assert_eq!(Horizon::plan(&config, &reference, &options).num_iterations, 10);

        options.num_iterations = Some(3);
        assert_eq!(Horizon::plan(&config, &reference, &options).num_iterations, 3);
    }
}
