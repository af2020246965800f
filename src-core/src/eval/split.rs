//! Bits per byte over batches of a data set.

use super::bits_per_byte::BitsPerByte;
use crate::data::batch::Batch;
use crate::gpu::{Gpu, GpuError, Recorder, Recording};
use crate::model::{Activations, Keep, Model};

/// Computes the losses of batches of one shape: recorded once, without gradients.
pub struct BatchLosses {
    gpu: Gpu,
    acts: Activations,
    recording: Recording,
}

impl BatchLosses {
    /// For batches of `rows` rows of `sequence_len` tokens.
    ///
    /// # Errors
    /// If the GPU fails, or lacks memory: fewer rows need less.
    pub fn new(gpu: &Gpu, model: &Model, rows: usize) -> Result<Self, GpuError> {
        let acts = Activations::allocate(gpu, &model.config, rows, model.config.sequence_len, Keep::Nothing)?;
        let mut rec = Recorder::new(gpu);
        model.record_evaluation(&mut rec, &acts);
        Ok(Self { gpu: gpu.clone(), acts, recording: rec.finish()? })
    }

    /// Adds a batch to `sum`. `token_bytes` are those of every token of the vocabulary.
    ///
    /// # Errors
    /// If the GPU fails.
    pub fn add(&self, batch: &Batch, token_bytes: &[u32], sum: &mut BitsPerByte) -> Result<(), GpuError> {
        self.gpu.write(&self.acts.ids, &batch.inputs);
        self.gpu.write(&self.acts.targets, &batch.targets);
        self.recording.run();
        let losses: Vec<f32> = self.gpu.read(&self.acts.losses)?;
        sum.add(&losses, &batch.targets, token_bytes);
        Ok(())
    }
}
