//! Parameters to the twin and gradients from it: by the reference's names, as plain numbers.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::model::{Config, Group, ParamSpec};

use super::TwinError;

/// Tensors by the reference's names: shape, and values in row-major order.
pub type NamedTensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Random parameters with which every part of the model affects the result: unlike the initialisation of a training run, no
/// projection is zero, no gate is at its midpoint, and the logits reach into the nonlinear range of the softcap.
pub fn random(config: &Config, seed: u64) -> NamedTensors {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let uniform_of_deviation = |deviation: f32| (-3f32.sqrt() * deviation, 3f32.sqrt() * deviation);
    config
        .param_specs()
        .into_iter()
        .map(|spec| {
            let inputs = *spec.shape.last().unwrap_or(&1) as f32;
            let (low, high) = match spec.group {
                Group::Wte | Group::ValueEmbeds => uniform_of_deviation(0.8),
                Group::Matrix => uniform_of_deviation(inputs.powf(-0.5)),
                Group::LmHead => uniform_of_deviation(5.0 * inputs.powf(-0.5)),
                Group::ResidLambdas | Group::X0Lambdas => (0.4, 1.2),
                Group::Smear if spec.len() == 1 => (0.3, 0.9),
                Group::Smear => uniform_of_deviation(0.5),
            };
            let values = (0..spec.len()).map(|_| rng.random_range(low..high)).collect();
            (spec.name, (spec.shape, values))
        })
        .collect()
}

/// The values of `spec` in `parameters`, if they have the right shape.
pub(super) fn find<'a>(parameters: &'a NamedTensors, spec: &ParamSpec) -> Result<&'a [f32], TwinError> {
    let (shape, values) = parameters.get(&spec.name).ok_or_else(|| TwinError::Missing(spec.name.clone()))?;
    if *shape != spec.shape || values.len() != spec.len() {
        return Err(TwinError::Shape { name: spec.name.clone(), got: shape.clone(), values: values.len(), want: spec.shape.clone() });
    }
    Ok(values)
}
