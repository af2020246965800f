//! Muon on a stack of matrices of one shape: momentum, orthogonalisation by Polar Express, and an update that is
//! normalised per neuron.
//!
//! - Muon: <https://kellerjordan.github.io/posts/muon/>, with Nesterov momentum
//! - row equilibration before it: <https://arxiv.org/abs/2603.28254>
//! - Polar Express: <https://arxiv.org/abs/2505.16932>
//! - Frobenius renormalisation after it: <https://arxiv.org/abs/2602.21545>
//! - NorMuon, one second moment per neuron: <https://arxiv.org/abs/2510.05491>
//! - cautious weight decay, only where it has the update's sign: <https://arxiv.org/abs/2510.12402>
//!
//! The whole step is about thirty dispatches, whatever the number of matrices.

use crate::gpu::{Capabilities, DType, Dispatch, Gpu, GpuError, Memory, Recorder, Shader, Tensor, Variant, grid};
use crate::kernels::matmul::{Add, Layout, Product, matmul};
use crate::kernels::reduce::{self, Matrices};
use crate::kernels::rows;
use crate::kernels::step::Now;

static SHADER: Shader = crate::shader!("muon");

/// Coefficients (a, b, c) of `X ← aX + bAX + cA²X`, A = XXᵀ, for five iterations (safety factor 0.02, cushion 2).
const POLAR_EXPRESS: [(f64, f64, f64); 5] = [
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
];

/// What changes from step to step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Learning rate, including the factor for the matrix's shape.
    pub lr: f64,
    /// Cautious weight decay.
    pub weight_decay: f64,
    /// Momentum, μ.
    pub momentum: f64,
    /// Factor applied to the gradient.
    pub gradient_scale: f64,
}

impl Step {
    /// What the kernels read from their slot of `numbers`.
    pub fn numbers(&self) -> [f32; 4] {
        [1.0 - self.momentum, self.gradient_scale, self.lr, self.lr * self.weight_decay].map(|number| number as f32)
    }
}

/// The length of the axis along which NorMuon keeps second moments, and of the one that it sums over.
fn axes(of: Matrices) -> (usize, usize) {
    if of.rows >= of.columns { (of.rows, of.columns) } else { (of.columns, of.rows) }
}

/// Elements of one matrix's second moment.
pub fn second_len(of: Matrices) -> usize {
    axes(of).0
}

/// Elements from one matrix's second moment to the next: views need an alignment of 256 bytes.
pub fn second_stride(of: Matrices) -> usize {
    second_len(of).next_multiple_of(64)
}

/// A stack and its state.
#[derive(Clone, Copy, Debug)]
pub struct Stack<'a> {
    /// `[N, stride]`.
    pub param: &'a Tensor,
    /// `[N, stride]`; the step overwrites it.
    pub grad: &'a Tensor,
    /// `[N, stride]`.
    pub momentum_buffer: &'a Tensor,
    /// `[N, second_stride]`.
    pub second_momentum_buffer: &'a Tensor,
}

/// Memory that a step needs besides its stack. Stacks that are stepped one after another share it.
#[derive(Debug)]
pub struct Scratch {
    direction: Tensor,
    gram: Tensor,
    polynomial: Tensor,
    squares: Tensor,
    sums: Tensor,
    spread: Tensor,
    partial: Tensor,
}

impl Scratch {
    /// Allocates enough for the largest of `stacks`.
    pub fn allocate(gpu: &Gpu, stacks: &[Matrices]) -> Result<Self, GpuError> {
        let zeros = |label: &str, len: fn(&Matrices) -> usize| {
            gpu.zeros(label, &[stacks.iter().map(len).max().unwrap_or(1)], DType::F32, Memory::Workspace)
        };
        Ok(Self {
            direction: zeros("Muon direction", |of| of.count * of.stride)?,
            gram: zeros("Muon Gram matrices", |of| of.count * gram_stride(of))?,
            polynomial: zeros("Muon polynomials", |of| of.count * gram_stride(of))?,
            squares: zeros("Muon squares", |of| of.count * of.rows.max(of.columns))?,
            sums: zeros("Muon sums", sums_len)?,
            spread: zeros("Muon spread", sums_len)?,
            partial: zeros("Muon partial sums", Matrices::column_scratch)?,
        })
    }
}

/// Elements of the partial sums over the longer axis of each matrix, two per part.
fn sums_len(of: &Matrices) -> usize {
    2 * of.count * segments(of.rows.max(of.columns))
}

/// Elements from one Gram matrix of a stack to the next.
fn gram_stride(of: &Matrices) -> usize {
    of.rows.min(of.columns).pow(2).next_multiple_of(4)
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Shape {
    count: u32,
    rows: u32,
    quads: u32,
    stride: u32,
    slot: u32,
    kept: u32,
    summed: u32,
    state: u32,
    axis: u32,
    norm: f32,
    rest2: f32,
}

/// Elements of a matrix's axis that a workgroup sums.
const SEGMENT: usize = 512;

/// Parts of a sum over an axis of `length` elements.
fn segments(length: usize) -> usize {
    length.div_ceil(SEGMENT)
}

/// Steps a stack. The slot of `now` holds [`Step::numbers`]. `beta2` is the decay of the second moment.
pub fn forward(rec: &mut Recorder, stack: Stack<'_>, of: Matrices, beta2: f64, scratch: &Scratch, now: Now<'_>) {
    let Stack { param, grad, momentum_buffer, second_momentum_buffer } = stack;
    assert!(of.columns.is_multiple_of(4) && of.stride.is_multiple_of(4), "Muon of {of:?}");
    assert!([param, grad, momentum_buffer].iter().all(|tensor| tensor.len() >= of.len()), "Muon of {of:?} in {:?}", param.shape());
    assert!(second_momentum_buffer.len() >= second_stride(of) * of.count, "Muon of {of:?}");
    now.check();
    let Now { numbers, slot, halt } = now;
    let (kept, summed) = axes(of);
    let by_row = kept == of.rows;
    let params = Shape {
        count: of.count as u32,
        rows: of.rows as u32,
        quads: (of.columns / 4) as u32,
        stride: (of.stride / 4) as u32,
        slot: slot as u32,
        kept: kept as u32,
        summed: summed as u32,
        state: second_stride(of) as u32,
        axis: 0,
        norm: (of.rows.min(of.columns) as f64).sqrt() as f32,
        rest2: (1.0 - beta2) as f32,
    };
    let each_row = (of.columns / 4, of.count * of.rows);
    let each_segment = |length: usize| (SEGMENT, of.count * segments(length));
    // `work` loads per workgroup and pass, and `groups` workgroups.
    let run = |rec: &mut Recorder, entry: &'static str, axis: usize, bind: &[(u32, &Tensor)], (work, groups): (usize, usize)| {
        let values = [("by_row", by_row.into()), ("segment", (SEGMENT as u32).into()), rows::lanes(rec, work)];
        let params = Shape { axis: axis as u32, ..params };
        rec.dispatch(Dispatch { shader: &SHADER, entry, values: &values, params, bind, groups: grid(groups) });
    };
    let Scratch { direction, squares, sums, spread, partial, .. } = scratch;

    run(rec, "momentum", 0, &[(1, numbers), (2, grad), (3, momentum_buffer), (4, squares), (14, halt)], each_row);
    run(rec, "totals", of.rows, &[(5, squares), (6, sums)], each_segment(of.rows));
    run(rec, "scale", 0, &[(2, grad), (5, squares), (7, sums)], each_row);
    polar_express(rec, grad, direction, scratch, of);
    if by_row {
        reduce::squares_by_row(rec, direction, squares, of);
    } else {
        reduce::squares_by_column(rec, direction, squares, partial, of);
    }
    run(rec, "totals", kept, &[(5, squares), (6, sums)], each_segment(kept));
    run(rec, "variance", 0, &[(5, squares), (6, spread), (7, sums), (8, second_momentum_buffer), (14, halt)], each_segment(kept));
    let moment = if by_row { 10 } else { 11 };
    let given = [(1, numbers), (7, sums), (9, direction), (moment, second_momentum_buffer), (12, param), (13, spread), (14, halt)];
    run(rec, "update", 0, &given, each_row);
}

/// The three products of an iteration: the Gram matrix A over the longer axis, its square, and (bA + cA²)·X, or X·(bA + cA²)
/// where X is tall.
fn products(of: Matrices) -> [Product<'static>; 3] {
    let Matrices { count: batch, rows, columns, stride } = of;
    let (side, square) = (rows.min(columns), gram_stride(&of));
    let tall = rows > columns;
    // Both A and bA + cA² are symmetric; below two tiles this would save nothing.
    let symmetric = side >= 128;
    let layout = if tall { Layout::TN } else { Layout::NT };
    let strides = if tall { [stride, square, stride] } else { [square, stride, stride] };
    [
        Product { batch, strides: [stride, stride, square], symmetric, ..Product::new(layout, side, side, rows.max(columns)) },
        Product { batch, strides: [square; 3], symmetric, ..Product::new(Layout::NN, side, side, side) },
        Product { batch, strides, ..Product::new(Layout::NN, rows, columns, side) },
    ]
}

/// Five iterations, which alternate between `x` and `y`.
fn polar_express(rec: &mut Recorder, x: &Tensor, y: &Tensor, scratch: &Scratch, of: Matrices) {
    let Scratch { gram, polynomial, .. } = scratch;
    let [gram_product, square, step] = products(of);
    let (mut from, mut to) = (x, y);
    for (a, b, c) in POLAR_EXPRESS {
        matmul(rec, from, from, gram, gram_product);
        matmul(rec, gram, gram, polynomial, Product { alpha: c as f32, add: Add::Scaled(gram, b as f32), ..square });
        let (left, right) = if of.rows > of.columns { (from, polynomial) } else { (polynomial, from) };
        matmul(rec, left, right, to, Product { add: Add::Scaled(from, a as f32), ..step });
        (from, to) = (to, from);
    }
}

/// Every specialisation of this shader that such an adapter may use.
pub fn variants(capabilities: Capabilities) -> Vec<Variant> {
    let entries = ["momentum", "totals", "scale", "variance", "update"];
    let of = |entry, by_row: bool| {
        rows::variants(capabilities, &SHADER, entry, &[("by_row", by_row.into()), ("segment", (SEGMENT as u32).into())])
    };
    entries.into_iter().flat_map(|entry| [of(entry, true), of(entry, false)].concat()).collect()
}

/// The same on the CPU in f64.
pub mod twin {
    use super::{POLAR_EXPRESS, Step};
    use crate::kernels::matmul::{Layout, twin::matmul};
    use crate::kernels::reduce::twin::{squares_by_column, squares_by_row};

    /// Steps one matrix with `columns` columns. `second` has the length of the longer axis.
    pub fn forward(param: &mut [f64], grad: &[f64], momentum: &mut [f64], second: &mut [f64], columns: usize, beta2: f64, step: Step) {
        let rows = param.len() / columns;
        let mut x: Vec<f64> = grad
            .iter()
            .zip(momentum)
            .map(|(g, m)| {
                let g = g * step.gradient_scale;
                *m += (g - *m) * (1.0 - step.momentum);
                g + (*m - g) * step.momentum
            })
            .collect();

        equilibrate(&mut x, columns);
        let whole = 1.01 * norm(&x) + 1e-6;
        x.iter_mut().for_each(|v| *v /= whole);
        let mut x = polar_express(x, rows, columns);
        let level = (rows.min(columns) as f64).sqrt() / norm(&x).max(1e-6);
        x.iter_mut().for_each(|v| *v *= level);
        even_out(&mut x, second, columns, beta2);

        for (p, g) in param.iter_mut().zip(&x) {
            let decay = if g * *p >= 0.0 { step.weight_decay * *p } else { 0.0 };
            *p -= step.lr * (g + decay);
        }
    }

    fn norm(x: &[f64]) -> f64 {
        x.iter().map(|v| v * v).sum::<f64>().sqrt()
    }

    /// Every row to the mean row norm.
    fn equilibrate(x: &mut [f64], columns: usize) {
        let target = norm(x) / ((x.len() / columns) as f64).sqrt();
        for row in x.chunks_exact_mut(columns) {
            let factor = target / norm(row).max(1e-6);
            row.iter_mut().for_each(|v| *v *= factor);
        }
    }

    fn polar_express(mut x: Vec<f64>, rows: usize, columns: usize) -> Vec<f64> {
        let side = rows.min(columns);
        let tall = rows > columns;
        for (a, b, c) in POLAR_EXPRESS {
            let layout = if tall { Layout::TN } else { Layout::NT };
            let gram = matmul(layout, side, side, rows.max(columns), &x, &x);
            let squared = matmul(Layout::NN, side, side, side, &gram, &gram);
            let polynomial: Vec<f64> = gram.iter().zip(&squared).map(|(g, s)| b * g + c * s).collect();
            let (left, right) = if tall { (&x, &polynomial) } else { (&polynomial, &x) };
            let product = matmul(Layout::NN, rows, columns, side, left, right);
            x.iter_mut().zip(&product).for_each(|(v, p)| *v = a * *v + p);
        }
        x
    }

    /// NorMuon: divides every neuron by the root of its second moment and preserves the matrix's norm.
    fn even_out(x: &mut [f64], second: &mut [f64], columns: usize, beta2: f64) {
        let by_row = x.len() / columns >= columns;
        let squares = if by_row { squares_by_row(x, columns) } else { squares_by_column(x, columns) };
        let size = (x.len() / second.len()) as f64;
        for (v, square) in second.iter_mut().zip(&squares) {
            *v += (square / size - *v) * (1.0 - beta2);
        }
        let scale = |v: f64| 1.0 / v.max(1e-10).sqrt();
        let after = squares.iter().zip(&*second).map(|(square, v)| square * scale(*v).powi(2)).sum::<f64>().sqrt();
        let ratio = norm(x) / after.max(1e-10);
        for (i, value) in x.iter_mut().enumerate() {
            *value *= ratio * scale(second[if by_row { i / columns } else { i % columns }]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Bench, random, relative_error, wide};
    use proptest::prelude::*;

    /// The bar of the update. Five iterations amplify what is near zero a thousandfold, including rounding errors: 5e-6 is usual.
    const BAR: f64 = 1e-4;

    /// A stack stepped twice on the GPU and by the twin. `gradient` gives the gradient of (matrix, step).
    fn check(of: Matrices, gradient: impl Fn(u64, u64) -> Vec<f32>, seed: u64, bar: f64) {
        let bench = Bench::new();
        let Matrices { count, rows, columns, stride } = of;
        let size = rows * columns;
        let stacked = |each: &dyn Fn(u64) -> Vec<f32>| -> Vec<f32> {
            let padded = |i: u64| [each(i), vec![0.0; stride - size]].concat();
            (0..count as u64).flat_map(padded).collect()
        };
        let initial = |i: u64| random(seed ^ i, size, 0.1);
        let param = bench.tensor(&[count, stride], &stacked(&initial));
        let momentum_buffer = bench.tensor(&[count, stride], &vec![0.0; count * stride]);
        let second_momentum_buffer = bench.tensor(&[count, second_stride(of)], &vec![0.0; count * second_stride(of)]);
        let scratch = Scratch::allocate(bench.gpu(), &[of]).unwrap();

        let steps = [0.85, 0.9].map(|momentum| Step { lr: 0.02, weight_decay: 0.28, momentum, gradient_scale: 0.5 });
        let mut twins: Vec<[Vec<f64>; 3]> = Vec::new();
        for i in 0..count as u64 {
            twins.push([wide(&initial(i)), vec![0.0; size], vec![0.0; second_len(of)]]);
        }
        for (t, step) in steps.into_iter().enumerate() {
            let grad = bench.tensor(&[count, stride], &stacked(&|i| gradient(i, t as u64)));
            let numbers = bench.tensor(&[1, 4], &step.numbers());
            let stack =
                Stack { param: &param, grad: &grad, momentum_buffer: &momentum_buffer, second_momentum_buffer: &second_momentum_buffer };
            let before = bench.values(&param);
            let now = Now { numbers: &numbers, slot: 0, halt: &bench.halt(false) };
            bench.run(|rec| forward(rec, stack, of, 0.9, &scratch, now));

            let [after, momenta, seconds] = [&param, &momentum_buffer, &second_momentum_buffer].map(|tensor| bench.values(tensor));
            for (i, [p, m, v]) in twins.iter_mut().enumerate() {
                let was = p.clone();
                twin::forward(p, &wide(&gradient(i as u64, t as u64)), m, v, columns, 0.9, step);
                let moved: Vec<f64> = p.iter().zip(&was).map(|(p, was)| p - was).collect();
                let at = i * stride..i * stride + size;
                let mut got: Vec<f32> = after[at.clone()].iter().zip(&before[at.clone()]).map(|(p, was)| p - was).collect();
                let decay: Vec<f64> = was.iter().map(|p| step.lr * step.weight_decay * p).collect();
                forgive_undecided(&mut got, &moved, &decay);
                let errors = [
                    relative_error(&got, &moved),
                    relative_error(&momenta[at], m),
                    relative_error(&seconds[i * second_stride(of)..][..second_len(of)], v),
                ];
                assert!(errors[0] <= bar && errors[1] <= 1e-6 && errors[2] <= bar, "{of:?} step {t} matrix {i}: {errors:?}");
            }
        }
    }

    /// If the direction is zero except for rounding, so is the product whose sign decides on the decay. One element in
    /// five hundred may be off by its decay, and is then counted as right.
    fn forgive_undecided(got: &mut [f32], want: &[f64], decay: &[f64]) {
        let usual = (want.iter().map(|v| v * v).sum::<f64>() / want.len() as f64).sqrt();
        let mut left = 1 + want.len() / 500;
        for ((got, want), decay) in got.iter_mut().zip(want).zip(decay) {
            let off = (f64::from(*got) - want).abs();
            if left > 0 && off > 1e-4 * usual && (off - decay.abs()).abs() <= 0.05 * decay.abs() {
                left -= 1;
                *got = *want as f32;
            }
        }
    }

    fn matrices(count: usize, rows: usize, columns: usize) -> Matrices {
        Matrices { count, rows, columns, stride: (rows * columns).next_multiple_of(64) }
    }

    proptest! {
        #![proptest_config(Bench::cases(16))]

        #[test]
        fn muon_equals_its_twin(count in 1usize..4, rows in 1usize..80, quads in 1usize..20, seed: u64) {
            check(matrices(count, rows, 4 * quads), |i, t| random(seed ^ (i + 7 * t + 3), rows * 4 * quads, 0.01), seed, BAR);
        }
    }

    /// The gates' matrices have one row per head and twelve columns; the rest are square or four times as long as wide.
    #[test]
    fn muon_holds_for_the_shapes_of_a_model() {
        for (rows, columns) in
            [(1, 12), (2, 12), (10, 12), (12, 12), (20, 12), (64, 64), (32, 64), (128, 32), (32, 128), (132, 160), (160, 132)]
        {
            check(matrices(3, rows, columns), |i, t| random(i + 7 * t + 3, rows * columns, 1e-4), 5, BAR);
        }
    }

    /// At the start of training c_q, c_k and c_v have gradients of exactly zero: then only the decay changes them.
    #[test]
    fn muon_without_a_gradient_only_decays() {
        for (rows, columns) in [(16, 64), (64, 16)] {
            check(matrices(2, rows, columns), |_, _| vec![0.0; rows * columns], 9, 1e-5);
        }
    }

    #[test]
    fn muon_changes_nothing_when_it_is_halted() {
        let bench = Bench::new();
        for (rows, columns) in [(64, 16), (16, 64), (32, 32)] {
            let of = matrices(2, rows, columns);
            let len = of.count * of.stride;
            let [param, grad, momentum_buffer] = [2.0, f32::NAN, 3.0].map(|value| bench.tensor(&[2, of.stride], &vec![value; len]));
            let second = 2 * second_stride(of);
            let second_momentum_buffer = bench.tensor(&[2, second_stride(of)], &vec![4.0; second]);
            let scratch = Scratch::allocate(bench.gpu(), &[of]).unwrap();
            let step = Step { lr: 0.02, weight_decay: 0.28, momentum: 0.9, gradient_scale: 0.5 };
            let numbers = bench.tensor(&[1, 4], &step.numbers());
            let stack =
                Stack { param: &param, grad: &grad, momentum_buffer: &momentum_buffer, second_momentum_buffer: &second_momentum_buffer };
            let now = Now { numbers: &numbers, slot: 0, halt: &bench.halt(true) };
            bench.run(|rec| forward(rec, stack, of, 0.9, &scratch, now));
            for (tensor, value) in [(&param, 2.0), (&momentum_buffer, 3.0), (&second_momentum_buffer, 4.0)] {
                bench.close(tensor, &vec![value; tensor.len()], 0.0);
            }
        }
    }

    /// A gradient of low rank, as from small batches: the null space then contains only amplified rounding errors.
    #[test]
    fn muon_holds_for_gradients_of_low_rank() {
        let (rows, columns, rank) = (48, 64, 3);
        let gradient = |i: u64, t: u64| {
            let [left, right] = [0, 1].map(|k| random(100 + i + 10 * t + 50 * k, rank * rows.max(columns), 0.1));
            let entry = |r: usize, c: usize| (0..rank).map(|k| left[k * rows + r] * right[k * columns + c]).sum();
            (0..rows * columns).map(|at| entry(at / columns, at % columns)).collect()
        };
        check(matrices(2, rows, columns), gradient, 11, 5e-4);
    }
}
