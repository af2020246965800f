//! Transfers tensors between a GPU and the files of a checkpoint, one at a time.

use std::borrow::Cow;
use std::collections::HashMap;

use half::f16;

use crate::checkpoint::{SourceError, TensorFile, TensorSource, TensorSpec};
use crate::gpu::{Gpu, Tensor};
use crate::model::{Config, Group, ParamSpec, Parameters};
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

/// Whether f16 suits a parameter better than bf16: the embedding and the unembedding, unless they have values beyond f16. Their
/// rounding shows in the logits more than that of all other weights together, and f16 has three bits more in the same space.
fn is_finer_in_f16(spec: &ParamSpec, weights: &mut TensorFile) -> Result<bool, TrainError> {
    if !matches!(spec.group, Group::Wte | Group::LmHead) {
        return Ok(false);
    }
    Ok(weights.read(&spec.name)?.into_iter().all(|value| value.abs() <= f16::MAX.to_f32()))
}

/// Loads the weights of a checkpoint for inference, in `format`, or each tensor in the format of the file. With bf16, the embedding
/// and the unembedding are f16 if they fit, and were not bf16 before.
///
/// # Errors
/// If the file has other tensors than a model of `config` or cannot be read, memory runs out, or a weight is out of the range
/// of its format.
pub fn load(gpu: &Gpu, config: &Config, weights: &mut TensorFile, format: Option<Format>) -> Result<Parameters, TrainError> {
    let specs = config.param_specs();
    weights.expect(&specs.iter().map(|spec| (spec.name.as_str(), spec.shape.as_slice())).collect::<Vec<_>>())?;
    let mut formats: HashMap<String, Format> = weights.specs().map(|spec| (spec.name.clone(), spec.format)).collect();
    if let Some(format) = format {
        for spec in &specs {
            let finer = format == Format::Bf16 && formats[&spec.name] == Format::F32 && is_finer_in_f16(spec, weights)?;
            formats.insert(spec.name.clone(), if finer { Format::F16 } else { format });
        }
    }
    let parameters = Parameters::frozen_as(gpu, config, &|spec| spec.format(formats[&spec.name]))?;
    for spec in &specs {
        let matrix = weights.read_matrix(&spec.name)?;
        parameters.upload_matrix(gpu, &spec.name, matrix)?;
    }
    Ok(parameters)
}
