//! Squared ReLU, the MLP's activation (So et al. 2021, Primer, <https://arxiv.org/abs/2109.08668>).

use crate::gpu::{Dispatch, Recorder, Shader, Tensor, Variant};

use super::elementwise;

static SHADER: Shader = crate::shader!("relu2");

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Shape {
    quads: u32,
}

/// `x = max(x, 0)²` in place; the number of elements is a multiple of 4.
pub fn forward(rec: &mut Recorder, x: &Tensor) {
    let (quads, groups) = elementwise(x);
    rec.dispatch(Dispatch { shader: &SHADER, entry: "forward", values: &[], params: Shape { quads }, bind: &[(1, x)], groups });
}

/// `dy = dy · 2·sqrt(y)` in place, which is dL/dx, with `y` as [`forward`] left it.
pub fn backward(rec: &mut Recorder, y: &Tensor, dy: &Tensor) {
    assert_eq!(y.len(), dy.len());
    let (quads, groups) = elementwise(y);
    rec.dispatch(Dispatch { shader: &SHADER, entry: "backward", values: &[], params: Shape { quads }, bind: &[(2, y), (3, dy)], groups });
}

/// Every specialisation of this shader.
pub fn variants() -> Vec<Variant> {
    ["forward", "backward"].map(|entry| Variant { shader: &SHADER, entry, values: vec![] }).to_vec()
}

/// The same on the CPU in f64.
pub mod twin {
    /// Returns y.
    pub fn forward(x: &[f64]) -> Vec<f64> {
        x.iter().map(|x| x.max(0.0).powi(2)).collect()
    }

    /// Returns dL/dx.
    pub fn backward(y: &[f64], dy: &[f64]) -> Vec<f64> {
        y.iter().zip(dy).map(|(y, dy)| dy * 2.0 * y.sqrt()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Bench, assert_slopes, random, wide};
    use proptest::prelude::*;

    fn check(quads: usize, seed: u64) {
        let bench = Bench::new();
        let x = random(seed, 4 * quads, 2.0);
        let g = random(seed ^ 1, 4 * quads, 1.0);
        let y_want = twin::forward(&wide(&x));
        let dx_want = twin::backward(&y_want, &wide(&g));

        let [y, dx] = [&x, &g].map(|data| bench.tensor(&[4 * quads], data));
        bench.run(|rec| {
            forward(rec, &y);
            backward(rec, &y, &dx);
        });
        bench.close(&y, &y_want, 1e-6);
        bench.close(&dx, &dx_want, 1e-6);
    }

    proptest! {
        #![proptest_config(Bench::cases(24))]

        #[test]
        fn relu2_equals_its_twin(quads in 1usize..5000, seed: u64) {
            check(quads, seed);
        }
    }

    #[test]
    fn relu2_holds_at_the_edges_of_workgroups() {
        for quads in [1, 63, 64, 65, 127, 128, 129] {
            check(quads, quads as u64);
        }
    }

    /// More workgroups than one dimension of a grid may have.
    #[test]
    fn relu2_reaches_every_element_of_a_folded_grid() {
        check(65_535 * 64 + 65, 3);
    }

    #[test]
    fn relu2_twin_is_its_own_derivative() {
        let (x, g) = (wide(&random(1, 40, 1.0)), wide(&random(2, 40, 1.0)));
        let dx = twin::backward(&twin::forward(&x), &g);
        assert_slopes(&x, &g, &dx, twin::forward);
    }
}
