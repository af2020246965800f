//! Mixes the residual stream with the embedding it started from, with two learned numbers per layer.

use crate::gpu::{Capabilities, Dispatch, Recorder, Shader, Tensor, Variant, grid};

use super::rows;

use super::dot::{self, Sums};
use super::elementwise;

static SHADER: Shader = crate::shader!("residual");

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Shape {
    quads: u32,
    layer: u32,
    parts: u32,
}

/// What goes into a layer's head.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The stream, `[N, C]`.
    pub x: &'a Tensor,
    /// The stream before the first layer, `[N, C]`.
    pub x0: &'a Tensor,
    /// Each layer's factor of x, `[L]`.
    pub resid_lambdas: &'a Tensor,
    /// Each layer's factor of x0, `[L]`.
    pub x0_lambdas: &'a Tensor,
}

/// The gradients of [`Inputs`].
#[derive(Clone, Copy, Debug)]
pub struct Gradients<'a> {
    /// Of x, `[N, C]`; on entry that of the output.
    pub dx: &'a Tensor,
    /// Of x0, `[N, C]`, added to.
    pub dx0: &'a Tensor,
    /// Of `resid_lambdas`, `[L]`, added to.
    pub d_resid_lambdas: &'a Tensor,
    /// Of `x0_lambdas`, `[L]`, added to.
    pub d_x0_lambdas: &'a Tensor,
}

/// `out = resid_lambdas[layer] · x + x0_lambdas[layer] · x0`.
///
/// `x`, `x0` and `out` are `[N, C]` with C a multiple of 4; the lambdas are `[n_layer]`.
pub fn forward(rec: &mut Recorder, layer: usize, of: Inputs<'_>, out: &Tensor) {
    let Inputs { x, x0, resid_lambdas, x0_lambdas } = of;
    assert!(x.len() == x0.len() && x.len() == out.len() && layer < resid_lambdas.len() && layer < x0_lambdas.len());
    let (quads, groups) = elementwise(x);
    rec.dispatch(Dispatch {
        shader: &SHADER,
        entry: "forward",
        values: &[rows::part(rec)],
        params: Shape { quads, layer: layer as u32, parts: 0 },
        bind: &[(1, x), (2, x0), (3, resid_lambdas), (4, x0_lambdas), (5, out)],
        groups,
    });
}

/// Replaces `dx`, on entry the gradient of the output, by that of x, and adds the other gradients:
/// `dx0 += x0_lambdas[layer] · g`, `d_resid_lambdas[layer] += Σ g·x`, `d_x0_lambdas[layer] += Σ g·x0`.
///
/// `scratch` has at least [`scratch_len`] elements.
pub fn backward(rec: &mut Recorder, layer: usize, of: Inputs<'_>, gradients: Gradients<'_>, scratch: &Tensor) {
    let Inputs { x, x0, resid_lambdas, x0_lambdas } = of;
    let Gradients { dx, dx0, d_resid_lambdas, d_x0_lambdas } = gradients;
    assert!([x0, dx, dx0].iter().all(|tensor| tensor.len() == x.len()) && layer < resid_lambdas.len() && layer < x0_lambdas.len());
    assert!(x.len().is_multiple_of(4) && scratch.len() >= scratch_len());
    let quads = x.len() / 4;
    let parts = dot::parts_of_quads(rec.gpu().capabilities(), quads);
    rec.dispatch(Dispatch {
        shader: &SHADER,
        entry: "backward",
        values: &[rows::part(rec)],
        params: Shape { quads: quads as u32, layer: layer as u32, parts: parts as u32 },
        bind: &[(1, x), (2, x0), (3, resid_lambdas), (4, x0_lambdas), (6, dx), (7, dx0), (8, scratch)],
        groups: grid(parts),
    });
    dot::finish(rec, Sums { start: 0, columns: 1, parts }, 1.0, d_resid_lambdas, layer, scratch);
    dot::finish(rec, Sums { start: parts, columns: 1, parts }, 1.0, d_x0_lambdas, layer, scratch);
}

/// Elements of scratch that [`backward`] needs.
pub fn scratch_len() -> usize {
    2 * dot::MOST_PARTS
}

/// Every specialisation of this shader that such an adapter may use.
pub fn variants(capabilities: Capabilities) -> Vec<Variant> {
    ["forward", "backward"].map(|entry| rows::part_variant(capabilities, &SHADER, entry)).to_vec()
}

/// The same on the CPU in f64.
pub mod twin {
    use crate::kernels::dot::twin::dot;

    /// Returns `r·x + w·x0`.
    pub fn forward(x: &[f64], x0: &[f64], r: f64, w: f64) -> Vec<f64> {
        x.iter().zip(x0).map(|(x, x0)| r * x + w * x0).collect()
    }

    /// Returns `(dL/dx, dL/dx0, dL/dr, dL/dw)` for the gradient `g` of the output.
    pub fn backward(x: &[f64], x0: &[f64], r: f64, w: f64, g: &[f64]) -> (Vec<f64>, Vec<f64>, f64, f64) {
        let scaled = |by: f64| g.iter().map(|g| by * g).collect();
        (scaled(r), scaled(w), dot(g, x), dot(g, x0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Bench, add, assert_slopes, random, sizes, wide};
    use proptest::prelude::*;

    fn check(len: usize, layers: usize, layer: usize, seed: u64) {
        let bench = Bench::new();
        let [x, x0, g, dx0] = [0, 1, 2, 3].map(|i| random(seed.wrapping_add(i), len, 1.0));
        let [r, w, dr, dw] = [4, 5, 6, 7].map(|i| random(seed.wrapping_add(i), layers, 1.0));

        let at = |lambdas: &[f32]| f64::from(lambdas[layer]);
        let y_want = twin::forward(&wide(&x), &wide(&x0), at(&r), at(&w));
        let (dx_want, dx0_want, dr_more, dw_more) = twin::backward(&wide(&x), &wide(&x0), at(&r), at(&w), &wide(&g));
        let dx0_want = add(&dx0, &dx0_want);
        let [mut dr_want, mut dw_want] = [&dr, &dw].map(|before| wide(before));
        dr_want[layer] += dr_more;
        dw_want[layer] += dw_more;

        let [dr_size, dw_size] = [&x, &x0].map(|other| sizes(&g, other));
        let [x, x0, dx, dx0] = [&x, &x0, &g, &dx0].map(|data| bench.tensor(&[len], data));
        let [r, w, dr, dw] = [&r, &w, &dr, &dw].map(|data| bench.tensor(&[layers], data));
        let (y, scratch) = (bench.empty(&[len]), bench.empty(&[scratch_len()]));
        bench.run(|rec| {
            let inputs = Inputs { x: &x, x0: &x0, resid_lambdas: &r, x0_lambdas: &w };
            forward(rec, layer, inputs, &y);
            let gradients = Gradients { dx: &dx, dx0: &dx0, d_resid_lambdas: &dr, d_x0_lambdas: &dw };
            backward(rec, layer, inputs, gradients, &scratch);
        });
        bench.close(&y, &y_want, 1e-6);
        bench.close(&dx, &dx_want, 1e-6);
        bench.close(&dx0, &dx0_want, 1e-6);
        bench.close_sum(&dr, &dr_want, dr_size, 1e-6);
        bench.close_sum(&dw, &dw_want, dw_size, 1e-6);
    }

    proptest! {
        #![proptest_config(Bench::cases(24))]

        #[test]
        fn residual_equals_its_twin(rows in 1usize..70, quads in 1usize..80, layers in 1usize..6, pick: usize, seed: u64) {
            check(rows * 4 * quads, layers, pick % layers, seed);
        }
    }

    #[test]
    fn residual_holds_at_the_edges_of_workgroups_and_parts() {
        for quads in [1, 7, 8, 9, 63, 64, 65, 128 * 8 * 4 + 1, 100_000] {
            check(4 * quads, 3, 1, quads as u64);
        }
    }

    #[test]
    fn residual_twin_is_its_own_derivative() {
        let [x, x0, g] = [1, 2, 3].map(|seed| wide(&random(seed, 20, 1.0)));
        let (r, w) = (0.7, -0.4);
        let (dx, dx0, dr, dw) = twin::backward(&x, &x0, r, w, &g);
        assert_slopes(&x, &g, &dx, |x| twin::forward(x, &x0, r, w));
        assert_slopes(&x0, &g, &dx0, |x0| twin::forward(&x, x0, r, w));
        assert_slopes(&[r, w], &g, &[dr, dw], |v| twin::forward(&x, &x0, v[0], v[1]));
    }
}
