//! Checks of the optimizers' steps.

use super::Check;
use super::checker::Checker;
use super::data::wide;
use crate::gpu::{DType, GpuError, Memory};
use crate::kernels::reduce::Matrices;
use crate::kernels::step::Now;
use crate::kernels::{adamw, finite, muon};

type Outcome = Result<(), GpuError>;

pub(super) const CHECKS: &[Check] = &[
    Check { name: "adamw", shaders: &["adamw"], run: check_adamw },
    Check { name: "finite", shaders: &["finite"], run: check_finite },
    Check { name: "muon", shaders: &["muon"], run: check_muon },
];

/// The last element is finite, infinite, or not a number.
fn check_finite(c: &mut Checker<'_>) -> Outcome {
    for len in c.shapes(&[1, 7, 4095, 4096, 4100], 4096 * 768) {
        for (last, want) in [(f32::MAX, 0.0), (f32::NEG_INFINITY, 1.0), (f32::NAN, 1.0)] {
            c.of(format!("[{len}] that ends with {last}"));
            let [mut x] = c.random(len, 1.0);
            x[len - 1] = last;
            let x = c.tensor(&[len], &x)?;
            let found = c.gpu().zeros("found", &[2], DType::U32, Memory::Workspace)?;
            c.run(|rec| finite::forward(rec, &x, &found, 1))?;
            let found: Vec<f32> = c.gpu().read::<u32>(&found)?.into_iter().map(|found| found as f32).collect();
            let found = c.tensor(&[2], &found)?;
            c.close("found", &found, &[0.0, want], 0.0)?;
        }
    }
    Ok(())
}

/// Two steps from zero moments.
fn check_adamw(c: &mut Checker<'_>) -> Outcome {
    for len in c.shapes(&[1, 7, 508, 512, 516], 4096 * 768) {
        c.of(format!("[{len}]"));
        let betas = adamw::Betas { beta1: 0.8, beta2: 0.95, eps: 1e-10 };
        let halt = c.gpu().zeros("halt", &[1], DType::U32, Memory::Workspace)?;
        let [before] = c.random(len, 1.0);
        let zero = vec![0.0; len];
        let [mut p, mut m, mut v] = [wide(&before), vec![0.0; len], vec![0.0; len]];
        let [param, exp_avg, exp_avg_sq] = c.tensors(&[len], [&before, &zero, &zero])?;
        for t in [1, 2] {
            let step = adamw::Step { lr: 0.02, weight_decay: 0.1, t, gradient_scale: 0.5 };
            let [grad] = c.random(len, 0.1);
            adamw::twin::forward(&mut p, &wide(&grad), &mut m, &mut v, betas, step);
            let grad = c.tensor(&[len], &grad)?;
            let numbers = c.tensor(&[2, 4], &[[f32::NAN; 4], step.numbers(betas)].concat())?;
            let moments = adamw::Moments { exp_avg: &exp_avg, exp_avg_sq: &exp_avg_sq };
            let now = Now { numbers: &numbers, slot: 1, halt: &halt };
            c.run(|rec| adamw::forward(rec, &param, &grad, moments, betas, now))?;
        }
        c.close("parameters", &param, &p, 1e-6)?;
        c.close("first moments", &exp_avg, &m, 1e-6)?;
        c.close("second moments", &exp_avg_sq, &v, 1e-6)?;
    }
    Ok(())
}

/// A step with a gradient and no decay, since rounding decides on the decay if the update is nearly zero, and one with
/// decay and no gradient.
fn check_muon(c: &mut Checker<'_>) -> Outcome {
    for [rows, columns] in c.shapes(&[[1, 12], [12, 12], [32, 128], [132, 60]], [512, 128]) {
        for (span, weight_decay, bar) in [(1e-2, 0.0, 1e-4), (0.0, 0.28, 1e-5)] {
            c.of(format!("2 of [{rows}, {columns}], {}", if span > 0.0 { "with a gradient" } else { "decay alone" }));
            check_muon_step(
                c,
                Matrices { count: 2, rows, columns, stride: (rows * columns).next_multiple_of(64) },
                span,
                weight_decay,
                bar,
            )?;
        }
    }
    Ok(())
}

fn check_muon_step(c: &mut Checker<'_>, of: Matrices, span: f32, weight_decay: f64, bar: f64) -> Outcome {
    let Matrices { count, columns, rows, stride } = of;
    let size = rows * columns;
    let step = muon::Step { lr: 0.02, weight_decay, momentum: 0.9, gradient_scale: 0.5 };
    let [before] = c.random(count * stride, 0.1);
    let grad = if span > 0.0 { c.random::<1>(count * stride, span)[0].clone() } else { vec![0.0; count * stride] };
    let zero = vec![0.0; count * stride];
    let [param, grad_tensor, momentum_buffer] = c.tensors(&[count, stride], [&before, &grad, &zero])?;
    let second_stride = muon::second_stride(of);
    let second_momentum_buffer = c.tensor(&[count, second_stride], &vec![0.0; count * second_stride])?;
    let scratch = muon::Scratch::allocate(c.gpu(), &[of])?;
    let numbers = c.tensor(&[1, 4], &step.numbers())?;
    let stack = muon::Stack {
        param: &param,
        grad: &grad_tensor,
        momentum_buffer: &momentum_buffer,
        second_momentum_buffer: &second_momentum_buffer,
    };
    let halt = c.gpu().zeros("halt", &[1], DType::U32, Memory::Workspace)?;
    let now = Now { numbers: &numbers, slot: 0, halt: &halt };
    c.run(|rec| muon::forward(rec, stack, of, 0.9, &scratch, now))?;

    let (after, momenta) = (c.gpu().read::<f32>(&param)?, c.gpu().read::<f32>(&momentum_buffer)?);
    let (mut got, mut moved, mut momentum, mut momentum_want) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for at in (0..count).map(|i| i * stride..i * stride + size) {
        let (mut p, mut m, mut v) = (wide(&before[at.clone()]), vec![0.0; size], vec![0.0; muon::second_len(of)]);
        muon::twin::forward(&mut p, &wide(&grad[at.clone()]), &mut m, &mut v, columns, 0.9, step);
        moved.extend(p.iter().zip(&before[at.clone()]).map(|(p, &was)| p - f64::from(was)));
        got.extend(after[at.clone()].iter().zip(&before[at.clone()]).map(|(p, was)| p - was));
        momentum_want.extend(m);
        momentum.extend_from_slice(&momenta[at]);
    }
    let [got, momentum] = c.tensors(&[count * size], [&got, &momentum])?;
    c.close("update", &got, &moved, bar)?;
    c.close("momentum", &momentum, &momentum_want, 1e-6)
}
