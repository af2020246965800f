//! Subtracts a learned share of the middle layer's residual stream before the last norm.

use crate::gpu::{Capabilities, Dispatch, Recorder, Shader, Tensor, Variant, grid};

use super::rows;

use super::dot::{self, Sums};
use super::elementwise;

static SHADER: Shader = crate::shader!("backout");

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Shape {
    quads: u32,
    parts: u32,
}

/// `out = x − lambda · x_mid`; `x`, `x_mid` and `out` are `[N, C]` with C a multiple of 4, `lambda` is `[1]`.
pub fn forward(rec: &mut Recorder, x: &Tensor, x_mid: &Tensor, lambda: &Tensor, out: &Tensor) {
    assert!(x.len() == x_mid.len() && x.len() == out.len() && lambda.len() == 1);
    let (quads, groups) = elementwise(x);
    rec.dispatch(Dispatch {
        shader: &SHADER,
        entry: "forward",
        values: &[rows::part(rec)],
        params: Shape { quads, parts: 0 },
        bind: &[(1, x), (2, x_mid), (3, lambda), (4, out)],
        groups,
    });
}

/// `dx_mid = −lambda · d_out` (written) and `d_lambda −= Σ d_out·x_mid`. The gradient of x is `d_out` itself.
///
/// `scratch` has at least [`scratch_len`] elements.
pub fn backward(rec: &mut Recorder, x_mid: &Tensor, lambda: &Tensor, d_out: &Tensor, dx_mid: &Tensor, d_lambda: &Tensor, scratch: &Tensor) {
    assert!(x_mid.len() == d_out.len() && x_mid.len() == dx_mid.len() && lambda.len() == 1 && d_lambda.len() == 1);
    assert!(x_mid.len().is_multiple_of(4) && scratch.len() >= scratch_len());
    let quads = x_mid.len() / 4;
    let parts = dot::parts_of_quads(rec.gpu().capabilities(), quads);
    rec.dispatch(Dispatch {
        shader: &SHADER,
        entry: "backward",
        values: &[rows::part(rec)],
        params: Shape { quads: quads as u32, parts: parts as u32 },
        bind: &[(2, x_mid), (3, lambda), (5, d_out), (6, dx_mid), (7, scratch)],
        groups: grid(parts),
    });
    dot::finish(rec, Sums { start: 0, columns: 1, parts }, -1.0, d_lambda, 0, scratch);
}

/// Elements of scratch that [`backward`] needs.
pub fn scratch_len() -> usize {
    dot::MOST_PARTS
}

/// Every specialisation of this shader that such an adapter may use.
pub fn variants(capabilities: Capabilities) -> Vec<Variant> {
    ["forward", "backward"].map(|entry| rows::part_variant(capabilities, &SHADER, entry)).to_vec()
}

/// The same on the CPU in f64.
pub mod twin {
    use crate::kernels::dot::twin::dot;

    /// Returns `x − λ·x_mid`.
    pub fn forward(x: &[f64], x_mid: &[f64], lambda: f64) -> Vec<f64> {
        x.iter().zip(x_mid).map(|(x, mid)| x - lambda * mid).collect()
    }

    /// Returns `(dL/dx_mid, dL/dλ)` for the gradient `g` of the output.
    pub fn backward(x_mid: &[f64], lambda: f64, g: &[f64]) -> (Vec<f64>, f64) {
        (g.iter().map(|g| -lambda * g).collect(), -dot(g, x_mid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Bench, assert_slopes, random, sizes, wide};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(Bench::cases(24))]

        #[test]
        fn backout_equals_its_twin(rows in 1usize..70, quads in 1usize..80, seed: u64) {
            let bench = Bench::new();
            let len = rows * 4 * quads;
            let [x, mid, g] = [0, 1, 2].map(|i| random(seed.wrapping_add(i), len, 1.0));
            let lambda = random(seed.wrapping_add(3), 1, 1.0);
            let before = [0.25f32];

            let at = f64::from(lambda[0]);
            let y_want = twin::forward(&wide(&x), &wide(&mid), at);
            let (dx_mid_want, more) = twin::backward(&wide(&mid), at, &wide(&g));
            let size = sizes(&g, &mid);
            let d_lambda_want = [f64::from(before[0]) + more];

            let [x, x_mid, g] = [&x, &mid, &g].map(|data| bench.tensor(&[rows, 4 * quads], data));
            let [lambda, d_lambda] = [&lambda[..], &before].map(|data| bench.tensor(&[1], data));
            let [y, dx_mid] = [0, 1].map(|_| bench.empty(&[rows, 4 * quads]));
            let scratch = bench.empty(&[scratch_len()]);
            bench.run(|rec| {
                forward(rec, &x, &x_mid, &lambda, &y);
                backward(rec, &x_mid, &lambda, &g, &dx_mid, &d_lambda, &scratch);
            });
            bench.close(&y, &y_want, 1e-6);
            bench.close(&dx_mid, &dx_mid_want, 1e-6);
            bench.close_sum(&d_lambda, &d_lambda_want, size, 1e-6);
        }
    }

    #[test]
    fn backout_twin_is_its_own_derivative() {
        let [x, mid, g] = [1, 2, 3].map(|seed| wide(&random(seed, 20, 1.0)));
        let lambda = 0.3;
        let (dx_mid, d_lambda) = twin::backward(&mid, lambda, &g);
        assert_slopes(&x, &g, &g, |x| twin::forward(x, &mid, lambda));
        assert_slopes(&mid, &g, &dx_mid, |mid| twin::forward(&x, mid, lambda));
        assert_slopes(&[lambda], &g, &[d_lambda], |v| twin::forward(&x, &mid, v[0]));
    }
}
