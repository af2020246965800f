//! Sums over one axis of a stack of matrices.

use crate::gpu::{Capabilities, Dispatch, Recorder, Shader, Tensor, Value, Variant, grid};

use super::rows;

static SHADER: Shader = crate::shader!("reduce");

/// A stack of matrices `[rows, columns]`, `stride` elements from one to the next. Columns and stride are multiples of 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrices {
    /// Number of matrices, N.
    pub count: usize,
    /// Rows, R.
    pub rows: usize,
    /// Columns, C.
    pub columns: usize,
    /// Elements from one matrix to the next.
    pub stride: usize,
}

impl Matrices {
    /// Elements from the first matrix to the end of the last.
    pub fn len(&self) -> usize {
        self.stride * (self.count - 1) + self.rows * self.columns
    }

    /// Whether the matrices have no elements.
    pub fn is_empty(&self) -> bool {
        self.rows * self.columns == 0
    }

    /// Elements of scratch that [`squares_by_column`] needs.
    pub fn column_scratch(&self) -> usize {
        self.count * self.rows.div_ceil(SEGMENT) * self.columns
    }
}

/// Rows that one invocation sums.
const SEGMENT: usize = 256;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Shape {
    count: u32,
    rows: u32,
    quads: u32,
    stride: u32,
    segment: u32,
}

fn shape(x: &Tensor, of: Matrices) -> Shape {
    assert!(of.columns.is_multiple_of(4) && of.stride.is_multiple_of(4) && x.len() >= of.len(), "{of:?} in {:?}", x.shape());
    Shape {
        count: of.count as u32,
        rows: of.rows as u32,
        quads: (of.columns / 4) as u32,
        stride: (of.stride / 4) as u32,
        segment: SEGMENT as u32,
    }
}

/// `y[n, r] = Σ_c x[n, r, c]²`; `y` holds `[N, R]`.
pub fn squares_by_row(rec: &mut Recorder, x: &Tensor, y: &Tensor, of: Matrices) {
    assert!(y.len() >= of.count * of.rows, "{of:?} into {:?}", y.shape());
    rec.dispatch(Dispatch {
        shader: &SHADER,
        entry: "rows",
        values: &[("square", Value::Flag(true)), rows::lanes(rec, of.columns / 4)],
        params: shape(x, of),
        bind: &[(1, x), (2, y)],
        groups: grid(of.count * of.rows),
    });
}

/// `y[n, c] = Σ_r x[n, r, c]²`; `y` holds `[N, C]`. Long columns are summed in two stages through `scratch`, which
/// has [`Matrices::column_scratch`] elements.
pub fn squares_by_column(rec: &mut Recorder, x: &Tensor, y: &Tensor, scratch: &Tensor, of: Matrices) {
    assert!(y.len() >= of.count * of.columns && scratch.len() >= of.column_scratch(), "{of:?} into {:?}", y.shape());
    let segments = of.rows.div_ceil(SEGMENT);
    if segments == 1 {
        columns(rec, x, y, of, true);
    } else {
        columns(rec, x, scratch, of, true);
        let partial = Matrices { rows: segments, stride: segments * of.columns, ..of };
        columns(rec, scratch, y, partial, false);
    }
}

fn columns(rec: &mut Recorder, x: &Tensor, y: &Tensor, of: Matrices, square: bool) {
    assert!(of.rows <= SEGMENT * SEGMENT, "a column of {} rows needs a third stage", of.rows);
    rec.dispatch(Dispatch {
        shader: &SHADER,
        entry: "columns",
        values: &[("square", Value::Flag(square)), rows::lanes(rec, 1)],
        params: shape(x, of),
        bind: &[(1, x), (3, y)],
        groups: grid((of.count * of.rows.div_ceil(SEGMENT) * of.columns / 4).div_ceil(64)),
    });
}

/// Every specialisation of this shader that such an adapter may use.
pub fn variants(capabilities: Capabilities) -> Vec<Variant> {
    [("rows", true), ("columns", true), ("columns", false)]
        .into_iter()
        .flat_map(|(entry, square)| rows::variants(capabilities, &SHADER, entry, &[("square", square.into())]))
        .collect()
}

/// The same on the CPU in f64.
pub mod twin {
    /// Sums of squares by row of one matrix with `columns` columns.
    pub fn squares_by_row(x: &[f64], columns: usize) -> Vec<f64> {
        x.chunks_exact(columns).map(|row| row.iter().map(|v| v * v).sum()).collect()
    }

    /// Sums of squares by column of one matrix with `columns` columns.
    pub fn squares_by_column(x: &[f64], columns: usize) -> Vec<f64> {
        let mut sums = vec![0.0; columns];
        for row in x.chunks_exact(columns) {
            sums.iter_mut().zip(row).for_each(|(sum, v)| *sum += v * v);
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Bench, random, wide};
    use proptest::prelude::*;

    fn check(of: Matrices, seed: u64) {
        let bench = Bench::new();
        let data = random(seed, of.count * of.stride, 2.0);
        let each = |sum: fn(&[f64], usize) -> Vec<f64>| -> Vec<f64> {
            data.chunks_exact(of.stride).flat_map(|matrix| sum(&wide(&matrix[..of.rows * of.columns]), of.columns)).collect()
        };
        let x = bench.tensor(&[of.count, of.stride], &data);
        let (rows, columns) = (bench.empty(&[of.count, of.rows]), bench.empty(&[of.count, of.columns]));
        let scratch = bench.empty(&[of.column_scratch()]);
        bench.run(|rec| {
            squares_by_row(rec, &x, &rows, of);
            squares_by_column(rec, &x, &columns, &scratch, of);
        });
        bench.close(&rows, &each(twin::squares_by_row), 1e-6);
        bench.close(&columns, &each(twin::squares_by_column), 1e-6);
    }

    proptest! {
        #![proptest_config(Bench::cases(16))]

        #[test]
        fn reduce_equals_its_twin(count in 1usize..4, rows in 1usize..600, quads in 1usize..40, padding in 0usize..3, seed: u64) {
            let stride = rows * quads * 4 + 64 * padding;
            check(Matrices { count, rows, columns: 4 * quads, stride }, seed);
        }
    }

    #[test]
    fn reduce_holds_at_the_edges_of_a_segment() {
        for rows in [1, 255, 256, 257, 512, 513] {
            check(Matrices { count: 2, rows, columns: 8, stride: rows * 8 }, rows as u64);
        }
    }
}
