//! Matrix products.

use super::super::work::Work;
use super::{Case, Sizes, filled, filled_values};
use crate::gpu::{Gpu, GpuError};
use crate::kernels::matmul::{Add, Layout, Product, matmul};
use crate::kernels::matvec::{self, Finish};
use crate::kernels::weight::{Weight, product_order};
use crate::weights::{Format, Matrix, Storage};

fn product(gpu: &Gpu, layout: Layout, [m, n, k]: [usize; 3], add: bool) -> Result<Case, GpuError> {
    let (a, b, c) = (filled(gpu, &[m, k])?, filled(gpu, &[k, n])?, filled(gpu, &[m, n])?);
    let kernel = match layout {
        Layout::NN => "matmul NN",
        Layout::NT => "matmul NT",
        Layout::TN => "matmul TN",
    };
    let also = if add { m * n } else { 0 };
    Ok(Case::new(kernel, format!("{m}×{n}×{k}"), Work::product([m, n, k], also), move |rec| {
        let add = if add { Add::Into } else { Add::Nothing };
        matmul(rec, &a, &b, &c, Product { add, ..Product::new(layout, m, n, k) });
    }))
}

/// The MLP's first product and its two gradients, and the attention's projection.
pub fn of_training(gpu: &Gpu, sizes: &Sizes) -> Result<Vec<Case>, GpuError> {
    let (n, c) = (sizes.tokens(), sizes.channels());
    Ok(vec![
        product(gpu, Layout::NT, [n, 4 * c, c], false)?,
        product(gpu, Layout::NT, [n, c, c], false)?,
        product(gpu, Layout::NN, [n, c, 4 * c], false)?,
        product(gpu, Layout::TN, [4 * c, c, n], true)?,
    ])
}

/// The logits of a chunk of rows.
pub fn of_the_head(gpu: &Gpu, sizes: &Sizes) -> Result<Vec<Case>, GpuError> {
    let (rows, vocab) = (sizes.chunk().rows, sizes.config.padded_vocab());
    Ok(vec![product(gpu, Layout::NT, [rows, vocab, sizes.channels()], false)?])
}

/// The MLP's first product for one and eight rows, and the logits of one, with weights in each format.
pub fn of_decoding(gpu: &Gpu, sizes: &Sizes) -> Result<Vec<Case>, GpuError> {
    let c = sizes.channels();
    let mut cases = Vec::new();
    for format in Format::ALL {
        for (rows, n) in [(1, 4 * c), (8, 4 * c), (1, sizes.config.padded_vocab())] {
            let storage = Storage { format: format.for_rows_of(c), order: product_order(gpu.capabilities(), n, c) };
            let matrix = Matrix::new(filled_values(n * c), n, c, storage.format).expect("small numbers");
            let w = Weight::holding(gpu, "case", &matrix, storage.order)?;
            let (x, y) = (filled(gpu, &[rows, c])?, filled(gpu, &[rows, n])?);
            let work = Work::linear([rows, n, c], storage.bytes(n, c));
            cases.push(Case::new("matvec", format!("{rows} × [{n}, {c}] {format}"), work, move |rec| {
                matvec::forward(rec, &x, None, &w, &y, Finish::Store);
            }));
        }
    }
    Ok(cases)
}
