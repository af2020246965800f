//! Finds a batch size that fits in memory.

use super::checks::accumulation;
use super::event::Event;
use super::trainer::Trainer;
use super::{LoopOptions, TrainError};
use crate::gpu::{Gpu, GpuError};
use crate::model::Config;
use crate::optim::OptimizerConfig;

/// A trainer with batches of `asked` rows, or, if memory does not suffice, of half as many, and so on: an odd
/// number is divided by its smallest divisor, so that a step consists of whole batches. A resumed run keeps its rows:
/// with others its sums would round differently.
pub(super) fn trainer_that_fits(
    gpu: &Gpu,
    model: &Config,
    options: &LoopOptions,
    asked: usize,
    resumed: bool,
    tell: &mut dyn FnMut(Event),
) -> Result<Trainer, TrainError> {
    let optimizer = optimizer_config(model, options);
    let mut rows = asked;
    loop {
        match Trainer::new(gpu, model, &optimizer, rows, options.arithmetic()) {
            Ok(trainer) => {
                if rows < asked {
                    tell(Event::BatchHalved { from: asked, to: rows, accumulation: accumulation(model, options, rows)? });
                }
                return Ok(trainer);
            }
            Err(GpuError::OutOfMemory { .. } | GpuError::TooLarge { .. }) if !resumed && rows > 1 => {
                rows /= (2..rows).find(|&divisor| rows.is_multiple_of(divisor)).unwrap_or(rows);
                // The driver frees the memory of the failed try only now.
                gpu.wait()?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn optimizer_config(model: &Config, options: &LoopOptions) -> OptimizerConfig {
    OptimizerConfig {
        n_embd: model.n_embd,
        lr_scale: options.lr_scale,
        unembedding_lr: options.unembedding_lr,
        embedding_lr: options.embedding_lr,
        matrix_lr: options.matrix_lr,
        scalar_lr: options.scalar_lr,
    }
}
