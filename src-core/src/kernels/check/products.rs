//! Checks of matrix products and of sums over matrices.

use super::Check;
use super::checker::Checker;
use super::data::wide;
use crate::gpu::{GpuError, Numerics};
use crate::kernels::matmul::{Add, Kernel, Layout, Product, matmul_with};
use crate::kernels::matvec::{Finish, Norm};
use crate::kernels::precision::{Inputs, Precision};
use crate::kernels::reduce::Matrices;
use crate::kernels::weight::product_order;
use crate::kernels::{matmul, matvec, mirror, norm, pack, reduce};
use crate::weights::{Format, Order};

type Outcome = Result<(), GpuError>;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "matmul",
        shaders: &["matmul_lane", "matmul_tile", "matmul_plain", "matmul_matrix", "matmul_sum", "pack"],
        run: check_matmul,
    },
    Check { name: "matvec", shaders: &["matvec_lane", "matvec_row"], run: check_matvec },
    Check { name: "mirror", shaders: &["mirror"], run: check_mirror },
    Check { name: "reduce", shaders: &["reduce"], run: check_reduce },
];

/// Every kernel that may be chosen on this adapter in either class of numerics, in every layout, with every [`Add`]. One
/// shape has sums so long, and so few tiles, that they are split.
fn check_matmul(c: &mut Checker<'_>) -> Outcome {
    let small = [[4, 4, 4, 1], [60, 68, 20, 2], [130, 36, 100, 1], [7, 5, 3, 2], [60, 68, 1028, 1]];
    for [m, n, k, batch] in c.shapes(&small, [512, 1024, 256, 1]) {
        for (layout, mode) in [(Layout::NN, 0), (Layout::NT, 1), (Layout::TN, 2)] {
            check_product(c, layout, mode, [m, n, k, batch])?;
        }
    }
    for [m, n, k] in c.shapes(&[[3, 4, 32], [20, 68, 96], [65, 132, 1056]], [512, 1024, 768]) {
        for format in Format::ALL {
            check_linear(c, format, [m, n, k])?;
        }
    }
    for [m, n, k] in c.shapes(&[[4, 4, 4], [132, 68, 100], [128, 256, 640]], [512, 1024, 768]) {
        for (layout, precision) in [(Layout::NT, Precision::F16), (Layout::TN, Precision::F16), (Layout::NN, Precision::Bf16)] {
            check_rounded(c, layout, [m, n, k], Inputs { precision, exponents: [-3, 1] })?;
        }
    }
    Ok(())
}

/// Products from inputs rounded to 16 bits, with every kernel for them: matrix units are among these.
fn check_rounded(c: &mut Checker<'_>, layout: Layout, [m, n, k]: [usize; 3], inputs: Inputs) -> Outcome {
    let ([a], [b], [before]) = (c.random(m * k, 1.0), c.random(n * k, 1.0), c.random(m * n, 1.0));
    let [wide_a, wide_b] = [(&a, 0), (&b, 1)].map(|(values, operand): (&Vec<f32>, usize)| {
        let exponent = inputs.exponents[operand];
        let rounded = |value: &f32| pack::twin::rounded((*value).into(), inputs.precision, exponent) * 2f64.powi(-exponent);
        values.iter().map(rounded).collect::<Vec<_>>()
    });
    let sums = matmul::twin::matmul(layout, m, n, k, &wide_a, &wide_b);
    let want: Vec<f64> = sums.iter().zip(&before).map(|(sum, before)| 0.75 * sum + f64::from(*before)).collect();
    let (a, b) = (c.tensor(&[m * k], &a)?, c.tensor(&[n * k], &b)?);
    let product = Product { alpha: 0.75, add: Add::Into, inputs, ..Product::new(layout, m, n, k) };
    for kernel in Kernel::candidates(c.gpu().capabilities(), &product, Numerics::Fast) {
        c.of(format!("{layout:?} {m}×{n}×{k} from {}", inputs.precision));
        let result = c.tensor(&[m, n], &before)?;
        c.run(|rec| matmul_with(rec, &a, &b, &result, product, kernel))?;
        // Matrix units may truncate where others round.
        c.close(&format!("{kernel:?}"), &result, &want, 4e-6)?;
    }
    Ok(())
}

/// Products with a weight in `format`, by every kernel that may be chosen, and in order of rows by the plain one.
fn check_linear(c: &mut Checker<'_>, format: Format, [m, n, k]: [usize; 3]) -> Outcome {
    let ([x], [w], [before]) = (c.random(m * k, 1.0), c.random(n * k, 1.0), c.random(m * n, 1.0));
    let x_tensor = c.tensor(&[m, k], &x)?;
    let capabilities = c.gpu().capabilities();
    for order in [product_order(capabilities, n, k), Order::Rows] {
        let (w, wide_w) = c.weight(&w, n, format, order)?;
        let product = matmul::twin::matmul(Layout::NT, m, n, k, &wide(&x), &wide_w);
        // What is added does not depend on the format: each is tried with one.
        let add = if matches!(format, Format::Bf16 | Format::Q4) { Add::Into } else { Add::Nothing };
        let added = |at: usize| if matches!(add, Add::Into) { f64::from(before[at]) } else { 0.0 };
        let want: Vec<f64> = product.iter().enumerate().map(|(at, value)| value + added(at)).collect();
        let product = Product { add, stored: w.storage(), ..Product::new(Layout::NT, m, n, k) };
        let mut kernels = Kernel::candidates(capabilities, &product, Numerics::Fast);
        if order == Order::Rows && !kernels.contains(&Kernel::Plain) {
            kernels.push(Kernel::Plain);
        }
        for kernel in kernels {
            c.of(format!("{m}×{n}×{k}, {format}"));
            let y = c.tensor(&[m, n], &before)?;
            c.run(|rec| matmul_with(rec, &x_tensor, w.words(), &y, product, kernel))?;
            c.close(&format!("{kernel:?}"), &y, &want, 2e-6)?;
        }
    }
    Ok(())
}

fn check_product(c: &mut Checker<'_>, layout: Layout, mode: usize, [m, n, k, batch]: [usize; 4]) -> Outcome {
    let strides = [m * k, k * n, m * n];
    let (alpha, beta) = (0.75, -0.5);
    let ([a], [b]) = (c.random(batch * strides[0], 1.0), c.random(batch * strides[1], 1.0));
    let [before, d] = c.random(batch * strides[2], 1.0);
    let mut want = Vec::with_capacity(before.len());
    for i in 0..batch {
        let [a, b] = [(&a, 0), (&b, 1)].map(|(data, operand)| wide(&data[i * strides[operand]..][..strides[operand]]));
        let added = |at: usize| [0.0, f64::from(before[at]), f64::from(beta) * f64::from(d[at])][mode];
        let product = matmul::twin::matmul(layout, m, n, k, &a, &b);
        want.extend(product.into_iter().enumerate().map(|(j, value)| f64::from(alpha) * value + added(i * strides[2] + j)));
    }
    let (a, b, d) = (c.tensor(&[a.len()], &a)?, c.tensor(&[b.len()], &b)?, c.tensor(&[d.len()], &d)?);
    let add = [Add::Nothing, Add::Into, Add::Scaled(&d, beta)][mode];
    let product = Product { batch, strides, alpha, add, ..Product::new(layout, m, n, k) };
    let mut kernels = Kernel::candidates(c.gpu().capabilities(), &product, Numerics::Fast);
    if !kernels.contains(&Kernel::Plain) {
        kernels.push(Kernel::Plain);
    }
    for kernel in kernels {
        c.of(format!("{layout:?} {m}×{n}×{k}, batch {batch}"));
        let result = c.tensor(&[before.len()], &before)?;
        c.run(|rec| matmul_with(rec, &a, &b, &result, product, kernel))?;
        c.close(&format!("{kernel:?}"), &result, &want, 2e-6)?;
    }
    Ok(())
}

fn check_matvec(c: &mut Checker<'_>) -> Outcome {
    let small = [[1, 4, 4], [2, 36, 28], [3, 32, 256], [9, 28, 132], [5, 68, 96]];
    for [m, n, k] in c.shapes(&small, [8, 1024, 768]) {
        let ([x], [w], [before]) = (c.random(m * k, 1.0), c.random(n * k, 1.0), c.random(m * n, 1.0));
        let [wx, wb] = [&x, &before].map(|data| wide(data));
        let (_, scale_want) = norm::twin::forward(&wx, m, 1e-6);
        let (x, scale) = (c.tensor(&[m, k], &x)?, c.empty(&[m])?);
        let capabilities = c.gpu().capabilities();
        let orders = Format::ALL.map(|format| (format, product_order(capabilities, n, k)));
        for (format, order) in orders.into_iter().chain([(Format::F32, Order::Rows)]).filter(|(format, _)| format.for_rows_of(k) == *format)
        {
            c.of(format!("{m} vectors, [{n}, {k}] {format}"));
            let (w, ww) = c.weight(&w, n, format, order)?;
            let with_norm = [Finish::Store, Finish::Relu2, Finish::Softcap(2.5)].map(|finish| (finish, Some(1e-6f32)));
            for (finish, eps) in with_norm.into_iter().chain([(Finish::Store, None), (Finish::Into, None)]) {
                let want = matvec::twin::forward([m, n, k], &wx, eps.map(f64::from), &ww, &wb, finish);
                let y = c.tensor(&[m, n], &before)?;
                let norm = eps.map(|eps| Norm { eps, scale: &scale });
                c.run(|rec| matvec::forward(rec, &x, norm, &w, &y, finish))?;
                let what = format!("{finish:?}{}", if eps.is_some() { " of norm" } else { "" });
                c.close(&what, &y, &want, 2e-6 * (k as f64).sqrt())?;
            }
            c.close("scale", &scale, &scale_want, 1e-6)?;
        }
    }
    Ok(())
}

fn check_mirror(c: &mut Checker<'_>) -> Outcome {
    for [count, side] in c.shapes(&[[1, 4], [3, 36], [2, 132]], [2, 768]) {
        c.of(format!("{count} of [{side}, {side}]"));
        let [mut data] = c.random(count * side * side, 1.0);
        // The caller fills the blocks on the diagonal: they are symmetric from the start.
        for matrix in data.chunks_exact_mut(side * side) {
            for (i, j) in (0..side).flat_map(|i| (i / 4 * 4..i).map(move |j| (i, j))) {
                matrix[i * side + j] = matrix[j * side + i];
            }
        }
        let mut want = wide(&data);
        want.chunks_exact_mut(side * side).for_each(|matrix| mirror::twin::forward(matrix, side));
        let matrices = c.tensor(&[count, side * side], &data)?;
        c.run(|rec| mirror::forward(rec, &matrices, count, side, side * side))?;
        c.close("c", &matrices, &want, 0.0)?;
    }
    Ok(())
}

fn check_reduce(c: &mut Checker<'_>) -> Outcome {
    for [count, rows, columns] in c.shapes(&[[1, 1, 4], [2, 255, 8], [2, 257, 132]], [4, 3072, 768]) {
        c.of(format!("{count} of [{rows}, {columns}]"));
        let of = Matrices { count, rows, columns, stride: rows * columns };
        let [data] = c.random(count * of.stride, 2.0);
        let each = |sum: fn(&[f64], usize) -> Vec<f64>| -> Vec<f64> {
            data.chunks_exact(of.stride).flat_map(|matrix| sum(&wide(matrix), columns)).collect()
        };
        let (by_row, by_column) = (each(reduce::twin::squares_by_row), each(reduce::twin::squares_by_column));
        let x = c.tensor(&[count, of.stride], &data)?;
        let (of_rows, of_columns) = (c.empty(&[count, rows])?, c.empty(&[count, columns])?);
        let scratch = c.empty(&[of.column_scratch()])?;
        c.run(|rec| {
            reduce::squares_by_row(rec, &x, &of_rows, of);
            reduce::squares_by_column(rec, &x, &of_columns, &scratch, of);
        })?;
        c.close("squares by row", &of_rows, &by_row, 1e-6)?;
        c.close("squares by column", &of_columns, &by_column, 1e-6)?;
    }
    Ok(())
}
