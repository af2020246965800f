//! The optimizers' steps, and the sums that they and the gradients need.

use super::super::work::Work;
use super::{Case, Sizes, filled, filled_all};
use crate::gpu::{DType, Gpu, GpuError, Memory};
use crate::kernels::reduce::Matrices;
use crate::kernels::step::Now;
use crate::kernels::{adamw, axpy, dot, finite, mirror, muon, reduce};

/// A step of AdamW on the embedding, and one of Muon on the layers' square matrices.
pub fn of_optimizers(gpu: &Gpu, sizes: &Sizes) -> Result<Vec<Case>, GpuError> {
    let (vocab, channels, layers) = (sizes.config.padded_vocab(), sizes.channels(), sizes.config.n_layer);
    let [param, grad, exp_avg, exp_avg_sq] = filled_all(gpu, &[vocab, channels])?;
    let betas = adamw::Betas { beta1: 0.8, beta2: 0.95, eps: 1e-10 };
    let step = adamw::Step { lr: 1e-4, weight_decay: 0.0, t: 10, gradient_scale: 1.0 };
    let numbers = filled(gpu, &[1, 4])?;
    gpu.write(&numbers, &step.numbers(betas));
    let unset = || gpu.zeros("halt", &[1], DType::U32, Memory::Workspace);
    let halt = unset()?;
    let adam = Case::new("adamw", format!("[{vocab}, {channels}]"), Work::moves(7 * vocab * channels), move |rec| {
        let moments = adamw::Moments { exp_avg: &exp_avg, exp_avg_sq: &exp_avg_sq };
        adamw::forward(rec, &param, &grad, moments, betas, Now { numbers: &numbers, slot: 0, halt: &halt });
    });

    let of = Matrices { count: layers, rows: channels, columns: channels, stride: channels * channels };
    let [param, grad, momentum] = filled_all(gpu, &[layers, of.stride])?;
    let second = filled(gpu, &[layers, muon::second_stride(of)])?;
    let scratch = muon::Scratch::allocate(gpu, &[of])?;
    let numbers = filled(gpu, &[1, 4])?;
    gpu.write(&numbers, &muon::Step { lr: 1e-4, weight_decay: 0.0, momentum: 0.95, gradient_scale: 1.0 }.numbers());
    // Five iterations of three products; half of the two symmetric ones is copied, but counted as if it were not.
    let flops = 5.0 * 3.0 * 2.0 * layers as f64 * (channels as f64).powi(3);
    let work = Work { flops, ..Work::moves(5 * of.len()) };
    let halt = unset()?;
    let muon = Case::new("muon step", format!("{layers} of [{channels}, {channels}]"), work, move |rec| {
        let stack = muon::Stack { param: &param, grad: &grad, momentum_buffer: &momentum, second_momentum_buffer: &second };
        muon::forward(rec, stack, of, 0.95, &scratch, Now { numbers: &numbers, slot: 0, halt: &halt });
    });
    Ok(vec![adam, muon])
}

/// Sums over tensors and matrices, and other small kernels.
pub fn of_sums(gpu: &Gpu, sizes: &Sizes) -> Result<Vec<Case>, GpuError> {
    let (rows, channels, layers, words) = (sizes.tokens(), sizes.channels(), sizes.config.n_layer, sizes.stream());
    let [x, y] = filled_all(gpu, &[rows, channels])?;
    let (out, scratch) = (filled(gpu, &[1])?, filled(gpu, &[dot::scratch_len()])?);
    let of = Matrices { count: layers, rows: channels, columns: channels, stride: channels * channels };
    let matrices = filled(gpu, &[layers, of.stride])?;
    let sums = filled(gpu, &[layers, channels])?;
    let partial = filled(gpu, &[of.column_scratch()])?;
    let stream = format!("[{rows}, {channels}]");
    let stack = format!("{layers} of [{channels}, {channels}]");
    Ok(vec![
        Case::new("axpy", stream.clone(), Work::moves(3 * words), {
            let (x, y) = (x.clone(), y.clone());
            move |rec| axpy::forward(rec, 0.5, &x, &y)
        }),
        Case::new("finite", stream.clone(), Work::moves(words), {
            let (x, found) = (x.clone(), gpu.zeros("found", &[1], DType::U32, Memory::Workspace)?);
            move |rec| finite::forward(rec, &x, &found, 0)
        }),
        Case::new("dot", stream, Work::moves(2 * words), move |rec| dot::accumulate(rec, &x, &y, 1.0, &out, 0, &scratch)),
        Case::new("reduce by row", stack.clone(), Work::moves(of.len()), {
            let (matrices, sums) = (matrices.clone(), sums.clone());
            move |rec| reduce::squares_by_row(rec, &matrices, &sums, of)
        }),
        Case::new("reduce by column", stack.clone(), Work::moves(of.len()), {
            let matrices = matrices.clone();
            move |rec| reduce::squares_by_column(rec, &matrices, &sums, &partial, of)
        }),
        Case::new("mirror", stack, Work::moves(of.len()), move |rec| mirror::forward(rec, &matrices, layers, channels, of.stride)),
    ])
}
