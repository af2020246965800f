//! RMS norm over the last axis, without learned weights (Zhang and Sennrich 2019, <https://arxiv.org/abs/1910.07467>).

use crate::gpu::{Capabilities, Dispatch, Recorder, Shader, Tensor, Variant, grid};

use super::rows;

static SHADER: Shader = crate::shader!("norm");

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Shape {
    rows: u32,
    quads: u32,
    eps: f32,
    _pad: u32,
}

fn shape(x: &Tensor, scale: &Tensor, eps: f32) -> Shape {
    let rows = scale.len();
    let channels = x.len() / rows;
    assert!(channels * rows == x.len() && channels.is_multiple_of(4), "norm of {:?} in {rows} rows", x.shape());
    Shape { rows: rows as u32, quads: (channels / 4) as u32, eps, _pad: 0 }
}

/// `y = x · r`, `r = 1 / sqrt(mean(x²) + eps)` over the last axis.
///
/// `x` and `y` are `[N, C]` with C a multiple of 4; `scale` is `[N]` and saves r for [`backward`].
pub fn forward(rec: &mut Recorder, x: &Tensor, y: &Tensor, scale: &Tensor, eps: f32) {
    assert_eq!(x.len(), y.len());
    let params = shape(x, scale, eps);
    rec.dispatch(Dispatch {
        shader: &SHADER,
        entry: "forward",
        values: &[rows::lanes(rec, params.quads as usize)],
        params,
        bind: &[(1, x), (2, y), (3, scale)],
        groups: grid(scale.len()),
    });
}

/// `dx += r · (dy − y · mean(dy · y))`, with `y` and `scale` as [`forward`] left them.
pub fn backward(rec: &mut Recorder, y: &Tensor, scale: &Tensor, dy: &Tensor, dx: &Tensor) {
    assert!(y.len() == dy.len() && y.len() == dx.len());
    let params = shape(y, scale, 0.0);
    rec.dispatch(Dispatch {
        shader: &SHADER,
        entry: "backward",
        values: &[rows::lanes(rec, params.quads as usize)],
        params,
        bind: &[(4, y), (5, scale), (6, dy), (7, dx)],
        groups: grid(scale.len()),
    });
}

/// Every specialisation of this shader that such an adapter may use.
pub fn variants(capabilities: Capabilities) -> Vec<Variant> {
    ["forward", "backward"].into_iter().flat_map(|entry| rows::variants(capabilities, &SHADER, entry, &[])).collect()
}

/// The same on the CPU in f64.
pub mod twin {
    /// Returns `(y, scale)` for `x` of `[rows, C]`.
    pub fn forward(x: &[f64], rows: usize, eps: f64) -> (Vec<f64>, Vec<f64>) {
        let channels = x.len() / rows;
        let mut y = x.to_vec();
        let mut scale = Vec::with_capacity(rows);
        for row in y.chunks_exact_mut(channels) {
            let mean = row.iter().map(|v| v * v).sum::<f64>() / channels as f64;
            let r = 1.0 / (mean + eps).sqrt();
            row.iter_mut().for_each(|v| *v *= r);
            scale.push(r);
        }
        (y, scale)
    }

    /// Returns dL/dx.
    pub fn backward(y: &[f64], scale: &[f64], dy: &[f64]) -> Vec<f64> {
        let channels = y.len() / scale.len();
        let mut dx = Vec::with_capacity(y.len());
        for (row, &r) in scale.iter().enumerate() {
            let (y, dy) = (&y[row * channels..][..channels], &dy[row * channels..][..channels]);
            let mean = y.iter().zip(dy).map(|(y, g)| y * g).sum::<f64>() / channels as f64;
            dx.extend(y.iter().zip(dy).map(|(y, g)| r * (g - y * mean)));
        }
        dx
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
        fn norm_equals_its_twin(rows in 1usize..70, quads in 1usize..40, seed: u64) {
            let bench = Bench::new();
            let channels = 4 * quads;
            let x = random(seed, rows * channels, 2.0);
            let g = random(seed + 1, rows * channels, 1.0);
            let residual = random(seed + 2, rows * channels, 1.0);

            let (y_want, scale_want) = twin::forward(&wide(&x), rows, 1e-6);
            let mut dx_want = twin::backward(&y_want, &scale_want, &wide(&g));
            dx_want.iter_mut().zip(&residual).for_each(|(dx, r)| *dx += f64::from(*r));

            let [x, g, dx] = [&x, &g, &residual].map(|data| bench.tensor(&[rows, channels], data));
            let (y, scale) = (bench.empty(&[rows, channels]), bench.empty(&[rows]));
            bench.run(|rec| {
                forward(rec, &x, &y, &scale, 1e-6);
                backward(rec, &y, &scale, &g, &dx);
            });
            bench.close(&y, &y_want, 1e-6);
            bench.close(&scale, &scale_want, 1e-6);
            bench.close(&dx, &dx_want, 2e-6);
        }
    }
}
