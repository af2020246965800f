//! Transposes, into scratch, for products whose operands are best read along k.

use crate::gpu::{Dispatch, Recorder, Shader, Tensor, Variant};

static SHADER: Shader = crate::shader!("transpose");

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Shape {
    row_quads: u32,
    column_quads: u32,
    x_stride: u32,
    y_stride: u32,
}

/// Matrices to transpose.
#[derive(Clone, Copy, Debug)]
pub struct Matrices {
    /// Number of matrices.
    pub count: usize,
    /// Rows of each, a multiple of 4.
    pub rows: usize,
    /// Columns of each, a multiple of 4.
    pub columns: usize,
    /// Elements from one to the next.
    pub stride: usize,
}

impl Matrices {
    /// Elements of all the transposed matrices, which lie close together.
    pub fn turned_len(self) -> usize {
        self.count * self.rows * self.columns
    }
}

/// Writes the transposes of the matrices of `x` to scratch `slot` of the recorder, one after the other.
pub fn forward(rec: &mut Recorder, x: &Tensor, of: Matrices, slot: usize) {
    let Matrices { count, rows, columns, stride } = of;
    assert!(
        rows.is_multiple_of(4) && columns.is_multiple_of(4) && stride.is_multiple_of(4) && x.len() >= stride * (count - 1) + rows * columns,
        "{of:?} of {:?}",
        x.shape()
    );
    let shape = Shape {
        row_quads: (rows / 4) as u32,
        column_quads: (columns / 4) as u32,
        x_stride: (stride / 4) as u32,
        y_stride: (rows * columns / 4) as u32,
    };
    let [x_groups, y_groups, _] = crate::gpu::grid(rows.div_ceil(32) * columns.div_ceil(32));
    let call = Dispatch {
        shader: &SHADER,
        entry: "forward",
        values: &[],
        params: shape,
        bind: &[(1, x)],
        groups: [x_groups, y_groups, count as u32],
    };
    rec.dispatch_with_scratch(call, &[(2, slot, of.turned_len())]);
}

/// Every specialisation of this shader.
pub fn variants() -> Vec<Variant> {
    vec![Variant { shader: &SHADER, entry: "forward", values: vec![] }]
}

/// The same on the CPU in f64.
pub mod twin {
    /// The transpose `[columns, rows]` of one matrix.
    pub fn forward(x: &[f64], rows: usize, columns: usize) -> Vec<f64> {
        (0..columns).flat_map(|column| (0..rows).map(move |row| x[row * columns + column])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::matmul::{Kernel, Layout, Product, matmul_with};
    use crate::kernels::testing::{Bench, random, wide};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(Bench::cases(16))]

        /// Scratch cannot be read back, so the transpose is seen through a product with the identity: I·x = x, computed
        /// as (xᵀ)ᵀ, and against the twin of the twin.
        #[test]
        fn transpose_equals_its_twin(rows in 1usize..30, columns in 1usize..30, seed: u64) {
            let bench = Bench::new();
            if bench.gpu().target().subgroup == 0 {
                return Ok(());
            }
            let (rows, columns) = (4 * rows, 4 * columns);
            let x = random(seed, rows * columns, 1.0);
            let identity: Vec<f32> = (0..rows * rows).map(|i| if i % (rows + 1) == 0 { 1.0 } else { 0.0 }).collect();
            let (a, b, c) = (bench.tensor(&[rows, rows], &identity), bench.tensor(&[rows, columns], &x), bench.empty(&[rows, columns]));
            let kernel = Kernel::Turned { rows: 32, quads: 1 };
            bench.run(|rec| matmul_with(rec, &a, &b, &c, Product::new(Layout::NN, rows, columns, rows), kernel));
            let want = twin::forward(&twin::forward(&wide(&x), rows, columns), columns, rows);
            bench.close(&c, &want, 0.0);
        }
    }
}
