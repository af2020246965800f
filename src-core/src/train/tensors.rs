//! Transfers tensors between a GPU and the files of a checkpoint, one at a time.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::checkpoint::{SourceError, TensorFile, TensorSource, TensorSpec};
use crate::gpu::{Gpu, Tensor};
use crate::model::{Config, Parameters};
use crate::optim::Optimizer;
use crate::weights::Format;

use super::TrainError;

/// Named tensors on a GPU.
pub(super) struct GpuTensors<'a> {
    gpu: &'a Gpu,
    tensors: Vec<(String, Tensor)>,
}

impl<'a> GpuTensors<'a> {
    /// The weights of a model.
    pub fn of_model(gpu: &'a Gpu, parameters: &Parameters) -> Self {
        Self { gpu, tensors: parameters.iter().map(|parameter| (parameter.spec.name.clone(), parameter.value().clone())).collect() }
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
        self.tensors.iter().map(|(name, tensor)| TensorSpec::plain(name, tensor.shape())).collect()
    }

    fn fetch(&mut self, index: usize) -> Result<Cow<'_, [f32]>, SourceError> {
        Ok(Cow::Owned(self.gpu.read(&self.tensors[index].1)?))
    }
}

/// Loads the weights of a checkpoint for inference, in `format`, or each tensor in the format of the file.
///
/// # Errors
/// If the file has other tensors than a model of `config` or cannot be read, memory runs out, or a weight is out of the range
/// of its format.
pub fn load(gpu: &Gpu, config: &Config, weights: &mut TensorFile, format: Option<Format>) -> Result<Parameters, TrainError> {
    let specs = config.param_specs();
    weights.expect(&specs.iter().map(|spec| (spec.name.as_str(), spec.shape.as_slice())).collect::<Vec<_>>())?;
    let stored: HashMap<String, Format> = weights.specs().map(|spec| (spec.name.clone(), spec.format)).collect();
    let parameters = Parameters::frozen_as(gpu, config, &|spec| spec.format(format.unwrap_or(stored[&spec.name])))?;
    for spec in &specs {
        let matrix = weights.read_matrix(&spec.name)?;
        parameters.upload_matrix(gpu, &spec.name, matrix)?;
    }
    Ok(parameters)
}
