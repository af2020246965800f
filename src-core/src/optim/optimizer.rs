//! The optimizer on the GPU. Its dispatches are recorded once; before each replay the few numbers that change are
//! written to a small tensor.

use crate::gpu::{DType, Gpu, GpuError, Memory, Recorder, Tensor};
use crate::kernels::adamw::{self, Betas, Moments};
use crate::kernels::finite;
use crate::kernels::muon::{self, Scratch, second_len, second_stride};
use crate::kernels::reduce::Matrices;
use crate::kernels::step::Now;
use crate::model::Parameters;
use crate::model::params::Stack;

use super::groups::MUON_BETA2;
use super::{OptimizerConfig, StepValues};

/// State and recorded constants of all parameters.
pub struct Optimizer {
    gpu: Gpu,
    config: OptimizerConfig,
    adamw: Vec<AdamwTensor>,
    muon: Vec<MuonStack>,
    scratch: Scratch,
    /// `[slots, 4]`: a slot for each group of AdamW, then one for each stack of Muon.
    numbers: Tensor,
    /// `[1]` u32: not 0 once a gradient was not finite.
    halt: Tensor,
}

struct AdamwTensor {
    name: String,
    param: Tensor,
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    betas: Betas,
    slot: usize,
    /// Frozen; its moments stay zero.
    held: bool,
}

struct MuonStack {
    names: Vec<String>,
    param: Tensor,
    grad: Tensor,
    momentum_buffer: Tensor,
    second_momentum_buffer: Tensor,
    of: Matrices,
    slot: usize,
}

/// A tensor of the optimizer's state, as it is saved in a checkpoint.
#[derive(Clone, Debug)]
pub struct StateTensor {
    /// `adamw.exp_avg.NAME`, `adamw.exp_avg_sq.NAME`, `muon.momentum_buffer.NAME` or `muon.second_momentum_buffer.NAME`,
    /// where NAME is the parameter's.
    pub name: String,
    /// The values, for [`Gpu::read`] and [`Gpu::write`].
    pub value: Tensor,
}

impl Optimizer {
    /// Zeroed state for `parameters`, which must have gradients.
    pub fn new(gpu: &Gpu, parameters: &Parameters, config: &OptimizerConfig) -> Result<Self, GpuError> {
        let mut adamw = Vec::new();
        for parameter in parameters.iter() {
            let spec = &parameter.spec;
            let (Some(rule), Some(slot)) = (config.adamw(spec.group), OptimizerConfig::ADAMW.iter().position(|&group| group == spec.group))
            else {
                continue;
            };
            let moment = || gpu.zeros(&spec.name, &spec.shape, DType::F32, Memory::Moments);
            adamw.push(AdamwTensor {
                name: spec.name.clone(),
                param: parameter.value().clone(),
                grad: parameters.grad(&spec.name).clone(),
                exp_avg: moment()?,
                exp_avg_sq: moment()?,
                betas: rule.betas,
                slot,
                held: spec.held,
            });
        }
        let mut muon = Vec::new();
        for stack in parameters.stacks() {
            let of = matrices(stack);
            let zeros = |stride| gpu.zeros(&stack.names[0], &[of.count, stride], DType::F32, Memory::Moments);
            muon.push(MuonStack {
                names: stack.names.clone(),
                param: stack.value.clone(),
                grad: stack.grad.clone(),
                momentum_buffer: zeros(of.stride)?,
                second_momentum_buffer: zeros(second_stride(of))?,
                of,
                slot: OptimizerConfig::ADAMW.len() + muon.len(),
            });
        }
        let shapes: Vec<Matrices> = muon.iter().map(|stack| stack.of).collect();
        let slots = OptimizerConfig::ADAMW.len() + muon.len();
        Ok(Self {
            gpu: gpu.clone(),
            config: config.clone(),
            adamw,
            muon,
            scratch: Scratch::allocate(gpu, &shapes)?,
            numbers: gpu.zeros("step numbers", &[slots, 4], DType::F32, Memory::Workspace)?,
            halt: gpu.zeros("halt", &[1], DType::U32, Memory::Workspace)?,
        })
    }

    /// Records one step of all parameters but frozen ones. It overwrites the gradients of Muon's matrices: clear gradients before the next.
    pub fn record(&self, rec: &mut Recorder) {
        for tensor in self.adamw.iter().filter(|tensor| !tensor.held) {
            let moments = Moments { exp_avg: &tensor.exp_avg, exp_avg_sq: &tensor.exp_avg_sq };
            adamw::forward(rec, &tensor.param, &tensor.grad, moments, tensor.betas, self.now(tensor.slot));
        }
        for MuonStack { param, grad, momentum_buffer, second_momentum_buffer, of, slot, .. } in &self.muon {
            let stack = muon::Stack { param, grad, momentum_buffer, second_momentum_buffer };
            muon::forward(rec, stack, *of, MUON_BETA2, &self.scratch, self.now(*slot));
        }
    }

    /// Records a search of all gradients, but frozen ones, for infinities and NaN. Once one is found, [`halt`](Self::halt) is set, and
    /// recorded steps change nothing until [`go_on`](Self::go_on).
    pub fn record_check(&self, rec: &mut Recorder) {
        let small = self.adamw.iter().filter(|tensor| !tensor.held).map(|tensor| &tensor.grad);
        for grad in small.chain(self.muon.iter().map(|stack| &stack.grad)) {
            finite::forward(rec, grad, &self.halt, 0);
        }
    }

    /// `[1]` u32: 1 once a check found a gradient that is not finite.
    pub fn halt(&self) -> &Tensor {
        &self.halt
    }

    /// Lets steps change parameters again.
    pub fn go_on(&self) {
        self.gpu.write(&self.halt, &[0u32]);
    }

    fn now(&self, slot: usize) -> Now<'_> {
        Now { numbers: &self.numbers, slot, halt: &self.halt }
    }

    /// Sets what the next replays of a recorded step use: the scheduled values, the factor of all gradients (one over
    /// the number of micro-batches, times what undoes a loss scale), and `t`, the number of steps made with this
    /// state, including the next one. `t` keeps counting over several schedules if training continues with the same moments.
    pub fn set_step(&self, values: StepValues, gradient_scale: f64, t: u64) {
        assert!(t > 0, "steps are counted from 1");
        let tables = OptimizerConfig::ADAMW.iter().filter_map(|&group| self.config.adamw(group)).map(|rule| {
            let step = adamw::Step { lr: rule.lr * values.lr_multiplier, weight_decay: rule.weight_decay, t, gradient_scale };
            step.numbers(rule.betas)
        });
        let matrices = self.muon.iter().map(|stack| {
            let lr = self.config.muon_lr(stack.of.rows, stack.of.columns) * values.lr_multiplier;
            muon::Step { lr, weight_decay: values.weight_decay, momentum: values.momentum, gradient_scale }.numbers()
        });
        let numbers: Vec<[f32; 4]> = tables.chain(matrices).collect();
        self.gpu.write(&self.numbers, &numbers);
    }

    /// The whole state, in a fixed order with one entry per parameter, so that a checkpoint does not depend on how an
    /// adapter's limits split the stacks.
    pub fn state_tensors(&self) -> Vec<StateTensor> {
        let mut state = Vec::new();
        let mut add = |kind: &str, name: &str, value: Tensor| state.push(StateTensor { name: format!("{kind}.{name}"), value });
        for tensor in &self.adamw {
            add("adamw.exp_avg", &tensor.name, tensor.exp_avg.clone());
            add("adamw.exp_avg_sq", &tensor.name, tensor.exp_avg_sq.clone());
        }
        for stack in &self.muon {
            let Matrices { rows, columns, stride, .. } = stack.of;
            let second = second_len(stack.of);
            let shape = if second == rows { [rows, 1] } else { [1, columns] };
            for (i, name) in stack.names.iter().enumerate() {
                add("muon.momentum_buffer", name, stack.momentum_buffer.view(i * stride, &[rows, columns]));
                let start = i * second_stride(stack.of);
                add("muon.second_momentum_buffer", name, stack.second_momentum_buffer.view(start, &shape));
            }
        }
        state
    }
}

fn matrices(stack: &Stack) -> Matrices {
    Matrices { count: stack.names.len(), rows: stack.rows, columns: stack.columns, stride: stack.stride }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Bench, random};
    use crate::model::{Architecture, Config};
    use std::collections::BTreeMap;

    /// Grouped queries, one key-value head, and a depth at which shapes coincide.
    fn config() -> Config {
        Config {
            sequence_len: 64,
            vocab_size: 100,
            n_layer: 3,
            n_head: 4,
            n_kv_head: 1,
            n_embd: 32,
            window_pattern: "SL".into(),
            architecture: Architecture::CURRENT,
        }
    }

    struct Training {
        parameters: Parameters,
        optimizer: Optimizer,
    }

    impl Training {
        fn start(bench: &Bench) -> Self {
            let parameters = Parameters::allocate(bench.gpu(), &config()).unwrap();
            parameters.initialise(bench.gpu(), &config(), 1);
            let optimizer = Optimizer::new(bench.gpu(), &parameters, &OptimizerConfig::new(32, 1.0)).unwrap();
            Self { parameters, optimizer }
        }

        /// Replays `steps` steps of one recording, with gradients that depend on the step.
        fn steps(&self, bench: &Bench, steps: std::ops::RangeInclusive<u64>) {
            let mut rec = Recorder::new(bench.gpu());
            self.optimizer.record(&mut rec);
            let recording = rec.finish().unwrap();
            for t in steps {
                for (i, parameter) in self.parameters.iter().enumerate() {
                    let grad = random(t * 1000 + i as u64, parameter.spec.len(), 0.01);
                    bench.gpu().write(self.parameters.grad(&parameter.spec.name), &grad);
                }
                let values = StepValues { lr_multiplier: t as f64 / 5.0, momentum: 0.85 + 0.01 * t as f64, weight_decay: 0.28 };
                self.optimizer.set_step(values, 0.5, t);
                recording.run();
            }
            bench.gpu().wait().unwrap();
        }

        fn everything(&self, bench: &Bench) -> BTreeMap<String, Vec<f32>> {
            let weights = self.parameters.iter().map(|parameter| (parameter.spec.name.clone(), bench.values(parameter.value())));
            let state = self.optimizer.state_tensors().into_iter().map(|state| (state.name, bench.values(&state.value)));
            weights.chain(state).collect()
        }
    }

    /// Names are unique and cover every parameter twice; saved state and weights resume to the same bits.
    #[test]
    fn state_carried_over_by_name_resumes_to_the_same_bits() {
        let bench = Bench::new();
        let whole = Training::start(&bench);
        whole.steps(&bench, 1..=4);

        let first = Training::start(&bench);
        first.steps(&bench, 1..=2);
        let saved = first.everything(&bench);
        assert_eq!(saved.len(), 3 * config().param_specs().len());

        let second = Training::start(&bench);
        for spec in config().param_specs() {
            second.parameters.upload(bench.gpu(), &spec.name, &spec.shape, &saved[&spec.name]).unwrap();
        }
        for state in second.optimizer.state_tensors() {
            bench.gpu().write(&state.value, &saved[&state.name]);
        }
        second.steps(&bench, 3..=4);
        assert!(second.everything(&bench) == whole.everything(&bench), "the resumed run differs");
        assert!(saved != whole.everything(&bench));
    }

    /// The whole step is a few dozen dispatches: about thirty per matrix shape, and one per other tensor.
    #[test]
    fn a_step_is_batched_over_matrices_of_one_shape() {
        let bench = Bench::new();
        let training = Training::start(&bench);
        let mut rec = Recorder::new(bench.gpu());
        training.optimizer.record(&mut rec);
        let (shapes, others) = (training.optimizer.muon.len(), training.optimizer.adamw.len());
        assert_eq!(shapes, 5);
        assert!(rec.finish().unwrap().dispatches() <= 33 * shapes + others);
    }
}
