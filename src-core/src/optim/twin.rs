//! The whole optimizer on the CPU in f64, by name: what [`Optimizer`](super::Optimizer) must do.

use std::collections::BTreeMap;

use crate::kernels::{adamw, muon};
use crate::model::ParamSpec;

use super::groups::MUON_BETA2;
use super::{OptimizerConfig, StepValues};

/// Values by parameter name.
pub type Named = BTreeMap<String, Vec<f64>>;

/// The two state tensors of every parameter, by its name.
#[derive(Clone, Debug, Default)]
pub struct Twin {
    state: BTreeMap<String, [Vec<f64>; 2]>,
}

impl Twin {
    /// Steps every parameter of `specs`, with the arguments of [`Optimizer::set_step`](super::Optimizer::set_step).
    pub fn step(
        &mut self,
        specs: &[ParamSpec],
        params: &mut Named,
        grads: &Named,
        config: &OptimizerConfig,
        values: StepValues,
        gradient_scale: f64,
        t: u64,
    ) {
        for spec in specs {
            let (Some(param), Some(grad)) = (params.get_mut(&spec.name), grads.get(&spec.name)) else {
                panic!("{} has no values or no gradient", spec.name);
            };
            match config.adamw(spec.group) {
                Some(rule) => {
                    let [exp_avg, exp_avg_sq] = self.state(spec, spec.len());
                    let lr = rule.lr * values.lr_multiplier;
                    let step = adamw::Step { lr, weight_decay: rule.weight_decay, t, gradient_scale };
                    adamw::twin::forward(param, grad, exp_avg, exp_avg_sq, rule.betas, step);
                }
                None => {
                    let (rows, columns) = (spec.shape[0], spec.shape[1]);
                    let [momentum, second] = self.state(spec, rows.max(columns));
                    let lr = config.muon_lr(rows, columns) * values.lr_multiplier;
                    let step = muon::Step { lr, weight_decay: values.weight_decay, momentum: values.momentum, gradient_scale };
                    muon::twin::forward(param, grad, momentum, second, columns, MUON_BETA2, step);
                }
            }
        }
    }

    fn state(&mut self, spec: &ParamSpec, second: usize) -> &mut [Vec<f64>; 2] {
        self.state.entry(spec.name.clone()).or_insert_with(|| [vec![0.0; spec.len()], vec![0.0; second]])
    }
}
