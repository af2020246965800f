//! The whole optimizer on the CPU in f64, by name: it defines what [`Optimizer`](super::Optimizer) must do.

use std::collections::BTreeMap;

use crate::kernels::{adamw, muon};
use crate::model::ParamSpec;

use super::groups::MUON_BETA2;
use super::{OptimizerConfig, StepValues};

/// Values by parameter name.
pub type Named = BTreeMap<String, Vec<f64>>;

/// The optimizer of some parameters, with the two state tensors of each by its name.
#[derive(Clone, Debug)]
pub struct Twin {
    specs: Vec<ParamSpec>,
    config: OptimizerConfig,
    state: BTreeMap<String, [Vec<f64>; 2]>,
}

impl Twin {
    /// Zeroed state for the parameters `specs`.
    pub fn new(specs: &[ParamSpec], config: &OptimizerConfig) -> Self {
        let state = specs.iter().map(|spec| {
            let second = if config.adamw(spec.group).is_some() { spec.len() } else { spec.shape[0].max(spec.shape[1]) };
            (spec.name.clone(), [vec![0.0; spec.len()], vec![0.0; second]])
        });
        Self { specs: specs.to_vec(), config: config.clone(), state: state.collect() }
    }

    /// Steps all parameters but frozen ones, with the arguments of [`Optimizer::set_step`](super::Optimizer::set_step).
    pub fn step(&mut self, params: &mut Named, grads: &Named, values: StepValues, gradient_scale: f64, t: u64) {
        for ParamSpec { name, shape, group, .. } in self.specs.iter().filter(|spec| !spec.held) {
            let (Some(param), Some(grad), Some([first, second])) = (params.get_mut(name), grads.get(name), self.state.get_mut(name)) else {
                panic!("{name} has no values or no gradient");
            };
            match self.config.adamw(*group) {
                Some(rule) => {
                    let lr = rule.lr * values.lr_multiplier;
                    let step = adamw::Step { lr, weight_decay: rule.weight_decay, t, gradient_scale };
                    adamw::twin::forward(param, grad, first, second, rule.betas, step);
                }
                None => {
                    let (rows, columns) = (shape[0], shape[1]);
                    let lr = self.config.muon_lr(rows, columns) * values.lr_multiplier;
                    let step = muon::Step { lr, weight_decay: values.weight_decay, momentum: values.momentum, gradient_scale };
                    muon::twin::forward(param, grad, first, second, columns, MUON_BETA2, step);
                }
            }
        }
    }
}
