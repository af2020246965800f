//! Transfers tensors between a GPU and the files of a checkpoint, one at a time.

use std::borrow::Cow;

use crate::checkpoint::{SourceError, TensorFile, TensorSource, TensorSpec};
use crate::gpu::{Gpu, Tensor};
use crate::model::Parameters;
use crate::optim::Optimizer;

use super::TrainError;

/// Named tensors on a GPU.
pub(super) struct GpuTensors<'a> {
    gpu: &'a Gpu,
    tensors: Vec<(String, Tensor)>,
}

impl<'a> GpuTensors<'a> {
    /// The weights of a model.
    pub fn of_model(gpu: &'a Gpu, parameters: &Parameters) -> Self {
        Self { gpu, tensors: parameters.iter().map(|parameter| (parameter.spec.name.clone(), parameter.value.clone())).collect() }
    }

    /// The moments of an optimizer.
    pub fn of_optimizer(gpu: &'a Gpu, optimizer: &Optimizer) -> Self {
        Self { gpu, tensors: optimizer.state_tensors().into_iter().map(|state| (state.name, state.value)).collect() }
    }

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

impl TensorSource for GpuTensors<'_> {
    fn specs(&self) -> Vec<TensorSpec> {
        self.tensors.iter().map(|(name, tensor)| TensorSpec { name: name.clone(), shape: tensor.shape().to_vec() }).collect()
    }

    fn fetch(&mut self, index: usize) -> Result<Cow<'_, [f32]>, SourceError> {
        Ok(Cow::Owned(self.gpu.read(&self.tensors[index].1)?))
    }
}

/// Fills a model's parameters from the weights of a checkpoint, which must hold exactly these.
pub fn restore(gpu: &Gpu, parameters: &Parameters, weights: &mut TensorFile) -> Result<(), TrainError> {
    GpuTensors::of_model(gpu, parameters).restore(weights)
}
