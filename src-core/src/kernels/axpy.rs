//! `y += α·x`, named as in BLAS.

use crate::gpu::{Dispatch, Recorder, Shader, Tensor, Variant, grid};

static SHADER: Shader = crate::shader!("axpy");

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Shape {
    quads: u32,
    alpha: f32,
}

/// `y += alpha · x`. Both have the same number of elements, a multiple of 4.
pub fn forward(rec: &mut Recorder, alpha: f32, x: &Tensor, y: &Tensor) {
    assert!(x.len() == y.len() && x.len().is_multiple_of(4), "axpy of {:?} onto {:?}", x.shape(), y.shape());
    let quads = x.len() / 4;
    rec.dispatch(Dispatch {
        shader: &SHADER,
        entry: "forward",
        values: &[],
        params: Shape { quads: quads as u32, alpha },
        bind: &[(1, x), (2, y)],
        groups: grid(quads.div_ceil(64)),
    });
}

/// Every specialisation of this shader.
pub fn variants() -> Vec<Variant> {
    vec![Variant { shader: &SHADER, entry: "forward", values: vec![] }]
}

/// The same on the CPU in f64.
pub mod twin {
    /// Returns `y + alpha · x`.
    pub fn forward(alpha: f64, x: &[f64], y: &[f64]) -> Vec<f64> {
        x.iter().zip(y).map(|(x, y)| y + alpha * x).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Bench, random, wide};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(Bench::cases(12))]

        #[test]
        fn axpy_equals_its_twin(quads in 1usize..600, alpha in -2.0f32..2.0, seed: u64) {
            let bench = Bench::new();
            let (x, y) = (random(seed, 4 * quads, 1.0), random(!seed, 4 * quads, 1.0));
            let want = twin::forward(f64::from(alpha), &wide(&x), &wide(&y));
            let (x, y) = (bench.tensor(&[4 * quads], &x), bench.tensor(&[4 * quads], &y));
            bench.run(|rec| forward(rec, alpha, &x, &y));
            bench.close(&y, &want, 1e-6);
        }
    }
}
