//! AdamW (Loshchilov and Hutter 2019, <https://arxiv.org/abs/1711.05101>) on one tensor.

use crate::gpu::{Dispatch, Recorder, Shader, Tensor, Value, Variant, grid};

use super::step::Now;

static SHADER: Shader = crate::shader!("adamw");

/// Invocations per workgroup.
const LANES: usize = 128;

/// Constants of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Betas {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// ε, added to the root of the second moment.
    pub eps: f64,
}

/// What changes from step to step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Learning rate.
    pub lr: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// t: updates made with these moments, including this one, at least 1.
    pub t: u64,
    /// Factor applied to the gradient.
    pub gradient_scale: f64,
}

impl Step {
    /// What the kernel reads from its slot of `numbers`.
    pub fn numbers(&self, betas: Betas) -> [f32; 4] {
        let correction = |beta: f64| 1.0 - beta.powf(self.t as f64);
        let keep = 1.0 - self.lr * self.weight_decay;
        [keep, self.lr / correction(betas.beta1), 1.0 / correction(betas.beta2), self.gradient_scale].map(|number| number as f32)
    }
}

/// The moments of a tensor, each with its shape.
#[derive(Clone, Copy, Debug)]
pub struct Moments<'a> {
    /// Running mean of the gradient.
    pub exp_avg: &'a Tensor,
    /// Running mean of its square.
    pub exp_avg_sq: &'a Tensor,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Shape {
    len: u32,
    slot: u32,
    rest1: f32,
    rest2: f32,
    eps: f32,
}

/// Updates `param` and its moments by `grad`. The slot of `now` holds [`Step::numbers`].
pub fn forward(rec: &mut Recorder, param: &Tensor, grad: &Tensor, moments: Moments<'_>, betas: Betas, now: Now<'_>) {
    let Moments { exp_avg, exp_avg_sq } = moments;
    let len = param.len();
    assert!([grad, exp_avg, exp_avg_sq].iter().all(|tensor| tensor.len() == len), "AdamW of {:?}", param.shape());
    now.check();
    let wide = len.is_multiple_of(4);
    let elements = if wide { len / 4 } else { len };
    rec.dispatch(Dispatch {
        shader: &SHADER,
        entry: "forward",
        values: &[("wide", Value::Flag(wide))],
        params: Shape {
            len: elements as u32,
            slot: now.slot as u32,
            rest1: (1.0 - betas.beta1) as f32,
            rest2: (1.0 - betas.beta2) as f32,
            eps: betas.eps as f32,
        },
        bind: &[(1, param), (2, grad), (3, exp_avg), (4, exp_avg_sq), (5, now.numbers), (6, now.halt)],
        groups: grid(elements.div_ceil(LANES)),
    });
}

/// Every specialisation of this shader.
pub fn variants() -> Vec<Variant> {
    [false, true].map(|wide| Variant { shader: &SHADER, entry: "forward", values: vec![("wide", wide.into())] }).to_vec()
}

/// The same on the CPU in f64.
pub mod twin {
    use super::{Betas, Step};

    /// Updates `param`, `exp_avg` and `exp_avg_sq` in place.
    pub fn forward(param: &mut [f64], grad: &[f64], exp_avg: &mut [f64], exp_avg_sq: &mut [f64], betas: Betas, step: Step) {
        let Betas { beta1, beta2, eps } = betas;
        let correction = |beta: f64| 1.0 - beta.powf(step.t as f64);
        let (correction1, correction2) = (correction(beta1), correction(beta2));
        for (((p, g), m), v) in param.iter_mut().zip(grad).zip(exp_avg).zip(exp_avg_sq) {
            let g = g * step.gradient_scale;
            *p *= 1.0 - step.lr * step.weight_decay;
            *m = beta1 * *m + (1.0 - beta1) * g;
            *v = beta2 * *v + (1.0 - beta2) * g * g;
            *p -= step.lr / correction1 * *m / ((*v / correction2).sqrt() + eps);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Bench, random, wide};
    use proptest::prelude::*;

    /// Two steps from zero moments; the moments and the update are compared separately. An element's mean gradient may be
    /// near zero, so its tolerance is relative to the gradients.
    fn check(len: usize, betas: Betas, lr: f64, weight_decay: f64, gradient_scale: f64, seed: u64) {
        let bench = Bench::new();
        let before = random(seed, len, 1.0);
        let grads = [1, 2].map(|t| random(seed.wrapping_add(t), len, 0.1));
        let [mut p, mut m, mut v] = [wide(&before), vec![0.0; len], vec![0.0; len]];
        let [param, exp_avg, exp_avg_sq] = [&before, &vec![0.0; len], &vec![0.0; len]].map(|data| bench.tensor(&[len], data));
        for (t, grad) in (1..).zip(&grads) {
            let step = Step { lr, weight_decay, t, gradient_scale };
            twin::forward(&mut p, &wide(grad), &mut m, &mut v, betas, step);

            let grad = bench.tensor(&[len], grad);
            let numbers = bench.tensor(&[2, 4], &[[f32::NAN; 4], step.numbers(betas)].concat());
            let moments = Moments { exp_avg: &exp_avg, exp_avg_sq: &exp_avg_sq };
            let now = Now { numbers: &numbers, slot: 1, halt: &bench.halt(false) };
            bench.run(|rec| forward(rec, &param, &grad, moments, betas, now));
        }
        let [param, exp_avg, exp_avg_sq] = [param, exp_avg, exp_avg_sq].map(|tensor| wide(&bench.values(&tensor)));
        for i in 0..len {
            let gradient = gradient_scale * f64::from(grads[0][i].abs().max(grads[1][i].abs()));
            let off = [exp_avg[i] - m[i], exp_avg_sq[i] - v[i], param[i] - p[i]].map(f64::abs);
            // Two decays and two updates each round a parameter, which is never larger than this.
            let rounding = 4.0 * 6e-8 * (1.0 + 2.0 * lr);
            let bars = [5e-7 * gradient, 5e-7 * v[i], 2e-6 * lr + rounding];
            assert!(off.iter().zip(bars).all(|(off, bar)| *off <= bar), "element {i} is off by {off:?}, more than {bars:?}");
        }
    }

    proptest! {
        #![proptest_config(Bench::cases(24))]

        #[test]
        fn adamw_equals_its_twin(
            len in prop_oneof![1usize..30, 500usize..530, 4000usize..9000],
            beta1 in 0.5..0.97, beta2 in 0.9..0.999, lr in 0.001..0.5, weight_decay in 0.0..0.1, scale in 0.1..2.0, seed: u64,
        ) {
            check(len, Betas { beta1, beta2, eps: 1e-10 }, lr, weight_decay, scale, seed);
        }
    }

    /// With a gradient of zero only the decay changes the parameter, whatever eps is.
    #[test]
    fn adamw_without_a_gradient_only_decays() {
        let bench = Bench::new();
        let betas = Betas { beta1: 0.8, beta2: 0.95, eps: 1e-10 };
        let step = Step { lr: 0.1, weight_decay: 0.5, t: 1, gradient_scale: 1.0 };
        let [param, grad, exp_avg, exp_avg_sq] = [2.0, 0.0, 0.0, 0.0].map(|value| bench.tensor(&[5], &[value; 5]));
        let numbers = bench.tensor(&[1, 4], &step.numbers(betas));
        let now = Now { numbers: &numbers, slot: 0, halt: &bench.halt(false) };
        bench.run(|rec| forward(rec, &param, &grad, Moments { exp_avg: &exp_avg, exp_avg_sq: &exp_avg_sq }, betas, now));
        bench.close(&param, &[1.9; 5], 1e-6);
    }

    #[test]
    fn adamw_changes_nothing_when_it_is_halted() {
        let bench = Bench::new();
        let betas = Betas { beta1: 0.8, beta2: 0.95, eps: 1e-10 };
        let step = Step { lr: 0.1, weight_decay: 0.5, t: 1, gradient_scale: 1.0 };
        for len in [5, 8] {
            let [param, grad, exp_avg, exp_avg_sq] = [2.0, f32::NAN, 3.0, 4.0].map(|value| bench.tensor(&[len], &vec![value; len]));
            let numbers = bench.tensor(&[1, 4], &step.numbers(betas));
            let now = Now { numbers: &numbers, slot: 0, halt: &bench.halt(true) };
            bench.run(|rec| forward(rec, &param, &grad, Moments { exp_avg: &exp_avg, exp_avg_sq: &exp_avg_sq }, betas, now));
            for (tensor, value) in [(param, 2.0), (exp_avg, 3.0), (exp_avg_sq, 4.0)] {
                bench.close(&tensor, &vec![value; len], 0.0);
            }
        }
    }
}
