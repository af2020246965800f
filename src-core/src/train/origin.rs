//! The checkpoint of another run from which a run starts.

use super::tensors::GpuTensors;
use super::trainer::Trainer;
use super::{Source, TrainError};
use crate::checkpoint::{self, Run, TensorFile};
use crate::gpu::Gpu;

/// A checkpoint of another run, its hashes checked, open for reading.
#[derive(Debug)]
pub struct Origin {
    source: Source,
    model: TensorFile,
    /// `None` if the run begins with fresh moments.
    optimizer: Option<TensorFile>,
}

impl Origin {
    /// Opens the checkpoint of `step`, or the newest: the weights and, with `moments`, those of the optimizer.
    pub fn open(run: &Run, step: Option<u64>, moments: bool) -> Result<Self, TrainError> {
        let (step, model, optimizer) = if moments {
            let checkpoint = checkpoint::load(run, step)?;
            let optimizer = checkpoint.optimizer.ok_or_else(|| TrainError::NoMoments { run: run.name().to_owned() })?;
            (checkpoint.step, checkpoint.model, Some(optimizer))
        } else {
            let checkpoint = checkpoint::load_model(run, step)?;
            (checkpoint.step, checkpoint.model, None)
        };
        if let Some(format) = model.specs().map(|spec| spec.format).find(|format| format.has_blocks()) {
            return Err(TrainError::Blocks { run: run.name().to_owned(), format });
        }
        Ok(Self { source: Source { run: run.name().to_owned(), step }, model, optimizer })
    }

    /// Which checkpoint it is.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Loads it into a trainer.
    pub(super) fn restore(&mut self, gpu: &Gpu, trainer: &Trainer) -> Result<(), TrainError> {
        GpuTensors::of_model(gpu, &trainer.model.parameters).restore(&mut self.model)?;
        match &mut self.optimizer {
            Some(moments) => GpuTensors::of_optimizer(gpu, &trainer.optimizer).restore(moments),
            None => Ok(()),
        }
    }
}
