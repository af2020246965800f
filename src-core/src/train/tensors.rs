//! GPU tensors as the source of a checkpoint: read back one at a time.

use std::borrow::Cow;

use crate::checkpoint::{SourceError, TensorFile, TensorSource, TensorSpec};
use crate::gpu::{Gpu, Tensor};

use super::TrainError;

/// Named tensors on a GPU.
pub(super) struct GpuTensors<'a> {
    pub gpu: &'a Gpu,
    pub tensors: Vec<(String, Tensor)>,
}

impl TensorSource for GpuTensors<'_> {
    fn specs(&self) -> Vec<TensorSpec> {
        self.tensors.iter().map(|(name, tensor)| TensorSpec { name: name.clone(), shape: tensor.shape().to_vec() }).collect()
    }

    fn fetch(&mut self, index: usize) -> Result<Cow<'_, [f32]>, SourceError> {
        Ok(Cow::Owned(self.gpu.read(&self.tensors[index].1)?))
    }
}

impl GpuTensors<'_> {
    /// Fills every tensor from `file`, which must hold exactly these.
    pub fn restore(&self, file: &mut TensorFile) -> Result<(), TrainError> {
        let shapes: Vec<(&str, &[usize])> = self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.shape())).collect();
        file.expect(&shapes)?;
        for (name, tensor) in &self.tensors {
            self.gpu.write(tensor, &file.read(name)?);
        }
        Ok(())
    }
}
