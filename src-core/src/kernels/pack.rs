//! Packs operands of matrix products, in scratch: in the order in which the kernel reads them, and in 16 bits in mixed precision.
//!
//! Rows of 4 KiB and more map to the same few sets of a cache, so that a tile which reads many of them along k evicts
//! its own lines. In a panel everything that a step along k needs is contiguous.

use crate::gpu::{Dispatch, Recorder, Shader, Tensor, Value, Variant, grid};
use crate::weights::Order;

use super::precision::Precision;
use super::weight::in_format;

static SHADER: Shader = crate::shader!("pack");

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Shape {
    rows: u32,
    k_quads: u32,
    panel: u32,
    panels: u32,
    x_stride: u32,
    y_quads: u32,
    scale: f32,
}

/// An operand to pack: matrices of `rows` rows, each of length `k`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Packing {
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
    /// How they are packed. Rows of a panel are a multiple of 4.
    pub order: Order,
    /// Rows and k are padded with zeros to multiples of these: of a panel's rows in panels, and of 4.
    pub multiples: [usize; 2],
    /// What they are rounded to, after a multiplication with 2 to the power of `exponent`.
    pub precision: Precision,
    /// That exponent.
    pub exponent: i32,
}

impl Packing {
    /// Rows and length of a packed matrix.
    fn padded(self) -> [usize; 2] {
        [self.rows.next_multiple_of(self.multiples[0]), self.k.next_multiple_of(self.multiples[1])]
    }

    /// Elements of one packed matrix.
    pub fn matrix_len(self) -> usize {
        self.padded().iter().product()
    }

    /// Words of all packed matrices, which are contiguous.
    pub fn words(self) -> usize {
        self.count * self.matrix_len() / if self.precision == Precision::F32 { 1 } else { 2 }
    }
}

/// Writes the matrices of `x` to scratch `slot` of the recorder: `[count, panels, k / 4, panel, 4]`, or `[count, rows, k]`.
pub fn forward(rec: &mut Recorder, x: &Tensor, of: Packing, slot: usize) {
    record(rec, x, of, &[(1, x)], &[(2, slot, of.words())]);
}

fn record(rec: &mut Recorder, x: &Tensor, of: Packing, bind: &[(u32, &Tensor)], scratch: &[(u32, usize, usize)]) {
    let Packing { count, rows, k, stride, k_first, order, multiples, precision, exponent } = of;
    let panel = match order {
        Order::Rows => 1,
        Order::Panels(panel) => panel,
    };
    let whole = k.is_multiple_of(4) && stride.is_multiple_of(4) && (!k_first || rows.is_multiple_of(4));
    let padding = multiples[0].is_multiple_of(panel) && multiples[1].is_multiple_of(4) && (panel == 1 || panel.is_multiple_of(4));
    assert!(whole && padding && x.len() >= stride * (count - 1) + rows * k, "{of:?} of {:?}", x.shape());
    assert!(precision != Precision::F32 || exponent == 0, "a factor without rounding");
    let [padded_rows, padded_k] = of.padded();
    let [x_groups, y_groups, _] = grid(padded_rows.div_ceil(32) * padded_k.div_ceil(32));
    let call = Dispatch {
        shader: &SHADER,
        entry: if k_first { "k_first" } else { "rows_first" },
        values: &values(precision, order),
        params: Shape {
            rows: rows as u32,
            k_quads: (k / 4) as u32,
            panel: panel as u32,
            panels: (padded_rows / panel) as u32,
            x_stride: (stride / 4) as u32,
            y_quads: (padded_k / 4) as u32,
            scale: 2f32.powi(exponent),
        },
        bind,
        groups: [x_groups, y_groups, count as u32],
    };
    rec.dispatch_with_scratch(call, scratch);
}

fn values(precision: Precision, order: Order) -> [(&'static str, Value); 2] {
    let order = match order {
        Order::Rows => "rows",
        Order::Panels(_) => "panels",
    };
    [in_format(precision.format()), ("order", order.into())]
}

/// Every specialisation of this shader.
pub fn variants() -> Vec<Variant> {
    let mut variants = Vec::new();
    for precision in Precision::ALL {
        let orders = [Order::Panels(4), Order::Rows];
        // Nothing reads rows of floats that are packed: they are as they were.
        for order in orders.into_iter().filter(|order| *order != Order::Rows || precision != Precision::F32) {
            for entry in ["rows_first", "k_first"] {
                variants.push(Variant { shader: &SHADER, entry, values: values(precision, order).to_vec() });
            }
        }
    }
    variants
}

/// The same on the CPU in f64.
pub mod twin {
    use half::{bf16, f16};

    use super::super::precision::Precision;

    /// One matrix `[rows, k]` in panels of `panel` rows, `[panels, k / 4, panel, 4]`; the last is padded with zeros.
    pub fn panels(x: &[f64], rows: usize, k: usize, panel: usize) -> Vec<f64> {
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

    /// `x`, which is an f32, as an input of a product.
    pub fn rounded(x: f64, precision: Precision, exponent: i32) -> f64 {
        let scaled = x as f32 * 2f32.powi(exponent);
        match precision {
            Precision::F32 => scaled.into(),
            Precision::F16 => f16::from_f32(scaled).into(),
            Precision::Bf16 => bf16::from_f32(scaled).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{DType, Memory};
    use crate::kernels::testing::{Bench, random, wide};
    use half::{bf16, f16};
    use proptest::prelude::*;

    /// Packs `x` into a tensor of its own, and returns its values.
    fn packed(bench: &Bench, x: &[f32], of: Packing) -> Vec<f32> {
        let dtype = if of.precision == Precision::F32 { DType::F32 } else { DType::U32 };
        let filled = vec![u32::MAX; of.words()];
        let (x, y) = (bench.tensor(&[x.len()], x), bench.gpu().upload("packed", &[of.words()], dtype, Memory::Workspace, &filled).unwrap());
        bench.run(|rec| record(rec, &x, of, &[(1, &x), (2, &y)], &[]));
        let words: Vec<u32> = bench.gpu().read(&y).unwrap();
        let halves = words.iter().flat_map(|word| [*word as u16, (word >> 16) as u16]);
        match of.precision {
            Precision::F32 => words.iter().map(|word| f32::from_bits(*word)).collect(),
            Precision::F16 => halves.map(|bits| f16::from_bits(bits).to_f32()).collect(),
            Precision::Bf16 => halves.map(|bits| bf16::from_bits(bits).to_f32()).collect(),
        }
    }

    proptest! {
        #![proptest_config(Bench::cases(32))]

        #[test]
        fn pack_equals_its_twin(
            count in 1usize..3, rows in 1usize..150, k in 1usize..40, padding in 0usize..3, panel in 0usize..20, k_first: bool,
            to in (1usize..40, 1usize..9), precision in 0usize..3, exponent in -9i32..9, magnitude in 1e-6f32..1e6, seed: u64,
        ) {
            let bench = Bench::new();
            let precision = Precision::ALL[precision];
            let k = 4 * k;
            let rows = if k_first { rows.next_multiple_of(4) } else { rows };
            let in_rows = panel == 0 && precision != Precision::F32;
            let panel = 4 * panel.max(1);
            let of = Packing {
                count,
                rows,
                k,
                stride: rows * k + 4 * padding,
                k_first,
                order: if in_rows { Order::Rows } else { Order::Panels(panel) },
                multiples: if in_rows { [to.0, 4 * to.1] } else { [panel, 4] },
                precision,
                exponent: if precision == Precision::F32 { 0 } else { exponent },
            };
            let x = random(seed, count * of.stride, magnitude);
            let mut want = Vec::new();
            for matrix in wide(&x).chunks_exact(of.stride) {
                let turned = |i: usize| if k_first { matrix[i % k * rows + i / k] } else { matrix[i] };
                let values: Vec<f64> = (0..rows * k).map(|i| twin::rounded(turned(i), precision, of.exponent)).collect();
                if in_rows {
                    let [to_rows, to_k] = of.padded();
                    want.extend((0..to_rows * to_k).map(|i| {
                        let (row, column) = (i / to_k, i % to_k);
                        if row < rows && column < k { values[row * k + column] } else { 0.0 }
                    }));
                } else {
                    want.extend(twin::panels(&values, rows, k, panel));
                }
            }
            let got = packed(&bench, &x, of);
            prop_assert_eq!(wide(&got), want);
        }
    }

    /// Ties, the ends of both ranges, subnormals, infinities and NaN, with either sign.
    #[test]
    fn rounding_is_to_nearest_even_on_every_device() {
        let bench = Bench::new();
        let ulp = |power: i32| 2f32.powi(power);
        let mut x =
            vec![0.0, 1.0, 1.0 + ulp(-11), 1.0 + 3.0 * ulp(-11), 1.0 + ulp(-8), 1.0 + 3.0 * ulp(-8), 2049.0, 2051.0, 65504.0, 65519.996];
        x.extend([65520.0, 1e5, f32::MAX, f32::INFINITY, f32::NAN, ulp(-14), ulp(-14) - ulp(-25), ulp(-24), ulp(-25), 1.5 * ulp(-24)]);
        x.extend([2.5 * ulp(-24), 0.1, 1e-5, 3.4e38]);
        x.extend(x.clone().iter().map(|value| -value));
        let of = Packing {
            count: 1,
            rows: x.len() / 4,
            k: 4,
            stride: x.len(),
            k_first: false,
            order: Order::Rows,
            multiples: [1, 4],
            precision: Precision::F16,
            exponent: 0,
        };
        for precision in [Precision::F16, Precision::Bf16] {
            let got = packed(&bench, &x, Packing { precision, ..of });
            for (x, got) in x.iter().zip(got) {
                let want = twin::rounded(f64::from(*x), precision, 0);
                assert!(
                    f64::from(got).to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()),
                    "{x:e} in {precision}: {got}, not {want}"
                );
            }
        }
    }
}
