//! Packs operands of matrix products into panels, in scratch, in the order in which the kernel reads them.
//!
//! Rows of 4 KiB and more map to the same few sets of a cache, so that a tile which reads many of them along k evicts
//! its own lines. In a panel everything that a step along k needs is contiguous.

use crate::gpu::{Dispatch, Recorder, Shader, Tensor, Variant, grid};

static SHADER: Shader = crate::shader!("pack");

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Shape {
    rows: u32,
    k_quads: u32,
    panel: u32,
    panels: u32,
    x_stride: u32,
}

/// An operand to pack: matrices of `rows` rows, each of length `k`.
#[derive(Clone, Copy, Debug)]
pub struct Panels {
    /// Number of matrices.
    pub count: usize,
    /// Rows of each: of A, or of Bᵀ.
    pub rows: usize,
    /// Length of each row, a multiple of 4.
    pub k: usize,
    /// Elements from one matrix to the next, a multiple of 4.
    pub stride: usize,
    /// Whether the matrices are stored transposed, `[k, rows]`; then `rows` is a multiple of 4, too.
    pub k_first: bool,
    /// Rows of a panel, a multiple of 4.
    pub panel: usize,
}

impl Panels {
    /// Elements of one packed matrix, padded to whole panels.
    pub fn matrix_len(self) -> usize {
        self.rows.next_multiple_of(self.panel) * self.k
    }

    /// Elements of all packed matrices, which are contiguous.
    pub fn packed_len(self) -> usize {
        self.count * self.matrix_len()
    }
}

/// Writes the matrices of `x` to scratch `slot` of the recorder, as `[count, panels, k / 4, panel, 4]`.
pub fn forward(rec: &mut Recorder, x: &Tensor, of: Panels, slot: usize) {
    record(rec, x, of, &[(1, x)], &[(2, slot, of.packed_len())]);
}

fn record(rec: &mut Recorder, x: &Tensor, of: Panels, bind: &[(u32, &Tensor)], scratch: &[(u32, usize, usize)]) {
    let Panels { count, rows, k, stride, k_first, panel } = of;
    let quads = k.is_multiple_of(4) && stride.is_multiple_of(4) && panel.is_multiple_of(4) && (!k_first || rows.is_multiple_of(4));
    assert!(quads && x.len() >= stride * (count - 1) + rows * k, "{of:?} of {:?}", x.shape());
    let panels = rows.div_ceil(panel);
    let [x_groups, y_groups, _] = grid((panels * panel).div_ceil(32) * k.div_ceil(32));
    let call = Dispatch {
        shader: &SHADER,
        entry: if k_first { "k_first" } else { "rows_first" },
        values: &[],
        params: Shape {
            rows: rows as u32,
            k_quads: (k / 4) as u32,
            panel: panel as u32,
            panels: panels as u32,
            x_stride: (stride / 4) as u32,
        },
        bind,
        groups: [x_groups, y_groups, count as u32],
    };
    rec.dispatch_with_scratch(call, scratch);
}

/// Every specialisation of this shader.
pub fn variants() -> Vec<Variant> {
    ["rows_first", "k_first"].map(|entry| Variant { shader: &SHADER, entry, values: vec![] }).to_vec()
}

/// The same on the CPU in f64.
pub mod twin {
    /// One matrix `[rows, k]` in panels of `panel` rows, `[panels, k / 4, panel, 4]`; the last is padded with zeros.
    pub fn forward(x: &[f64], rows: usize, k: usize, panel: usize) -> Vec<f64> {
        let mut y = Vec::with_capacity(rows.next_multiple_of(panel) * k);
        for first in (0..rows).step_by(panel) {
            for quad in (0..k).step_by(4) {
                for row in first..first + panel {
                    y.extend((quad..quad + 4).map(|i| if row < rows { x[row * k + i] } else { 0.0 }));
                }
            }
        }
        y
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Bench, random, wide};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(Bench::cases(24))]

        #[test]
        fn pack_equals_its_twin(
            count in 1usize..3, rows in 1usize..150, k in 1usize..40, padding in 0usize..3, panel in 1usize..20, k_first: bool, seed: u64,
        ) {
            let bench = Bench::new();
            let (k, panel) = (4 * k, 4 * panel);
            let rows = if k_first { rows.next_multiple_of(4) } else { rows };
            let of = Panels { count, rows, k, stride: rows * k + 4 * padding, k_first, panel };
            let x = random(seed, count * of.stride, 1.0);
            let mut want = Vec::new();
            for matrix in wide(&x).chunks_exact(of.stride) {
                let turned = |i: usize| if k_first { matrix[i % k * rows + i / k] } else { matrix[i] };
                want.extend(twin::forward(&(0..rows * k).map(turned).collect::<Vec<_>>(), rows, k, panel));
            }
            let (x, y) = (bench.tensor(&[x.len()], &x), bench.empty(&[of.packed_len()]));
            bench.run(|rec| record(rec, &x, of, &[(1, &x), (2, &y)], &[]));
            bench.close(&y, &want, 0.0);
        }
    }
}
