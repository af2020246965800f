//! Rotary position embedding (Su et al. 2021, <https://arxiv.org/abs/2104.09864>), norm over the head and gain, fused, on
//! queries and keys.

use crate::gpu::{Capabilities, Dispatch, Recorder, Shader, Tensor, Variant, grid};

use super::rows;

static SHADER: Shader = crate::shader!("rotary");

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Shape {
    rows: u32,
    half_quads: u32,
    heads: u32,
    seq: u32,
    offset: u32,
    eps: f32,
    gain: f32,
}

/// Parameters of the kernel other than its tensors. Row n of a batch has position `n % seq + offset`.
#[derive(Clone, Copy, Debug)]
pub struct Rotary {
    /// Rows per sequence, T.
    pub seq: usize,
    /// Heads per row, H.
    pub heads: usize,
    /// Channels per head, D: a multiple of 8.
    pub head_dim: usize,
    /// Position of each sequence's first row: the number of tokens that the cache already holds.
    pub offset: usize,
    /// ε, added to the mean square.
    pub eps: f32,
    /// Factor applied to the normed head.
    pub gain: f32,
}

impl Rotary {
    fn shape(&self, x: &Tensor, scale: &Tensor, tables: [&Tensor; 2]) -> Shape {
        let rows = scale.len();
        let half = self.head_dim / 2;
        let positions = self.offset + self.seq.min(rows / self.heads);
        assert!(
            rows.is_multiple_of(self.heads) && x.len() == rows * self.head_dim && self.head_dim.is_multiple_of(8),
            "{self:?} of {:?} in {rows} heads",
            x.shape()
        );
        assert!(tables.iter().all(|table| table.len() >= positions * half), "{self:?} past {:?}", tables[0].shape());
        Shape {
            rows: rows as u32,
            half_quads: (half / 4) as u32,
            heads: self.heads as u32,
            seq: self.seq as u32,
            offset: self.offset as u32,
            eps: self.eps,
            gain: self.gain,
        }
    }
}

/// Cosines and sines, both `[positions, D/2]`: the angle of channel pair i at position t is `t / base^(2i/D)`.
///
/// The angle is rounded to f32 at every step, as in the reference, so that long contexts agree too.
pub fn tables(positions: usize, head_dim: usize, base: f64) -> (Vec<f32>, Vec<f32>) {
    let frequencies: Vec<f32> = (0..head_dim / 2)
        .map(|i| {
            let exponent = (2 * i) as f32 / head_dim as f32;
            1.0 / base.powf(f64::from(exponent)) as f32
        })
        .collect();
    let angles = (0..positions).flat_map(|t| frequencies.iter().map(move |frequency| f64::from(t as f32 * frequency)));
    angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)).unzip()
}

/// `x = gain · norm(rotated x)` in place, by head.
///
/// `x` is `[N, H, D]`, `cos` and `sin` are [`tables`]; `scale`, `[N, H]`, saves the norm's factor for [`backward`].
pub fn forward(rec: &mut Recorder, dims: Rotary, cos: &Tensor, sin: &Tensor, x: &Tensor, scale: &Tensor) {
    rec.dispatch(Dispatch {
        shader: &SHADER,
        entry: "forward",
        values: &[rows::lanes(rec, dims.head_dim / 8)],
        params: dims.shape(x, scale, [cos, sin]),
        bind: &[(1, cos), (2, sin), (3, x), (4, scale)],
        groups: grid(scale.len()),
    });
}

/// Replaces `dy`, the gradient of the output `y`, by that of the input, with `y` and `scale` as [`forward`] left
/// them.
pub fn backward(rec: &mut Recorder, dims: Rotary, cos: &Tensor, sin: &Tensor, y: &Tensor, scale: &Tensor, dy: &Tensor) {
    assert_eq!(y.len(), dy.len());
    rec.dispatch(Dispatch {
        shader: &SHADER,
        entry: "backward",
        values: &[rows::lanes(rec, dims.head_dim / 8)],
        params: dims.shape(y, scale, [cos, sin]),
        bind: &[(1, cos), (2, sin), (5, y), (6, scale), (7, dy)],
        groups: grid(scale.len()),
    });
}

/// Every specialisation of this shader that such an adapter may use.
pub fn variants(capabilities: Capabilities) -> Vec<Variant> {
    ["forward", "backward"].into_iter().flat_map(|entry| rows::variants(capabilities, &SHADER, entry, &[])).collect()
}

/// The same on the CPU in f64.
pub mod twin {
    use super::Rotary;
    use crate::kernels::norm;

    /// Rotates every head by its position's angle, or back with `sign` −1.
    fn rotate(dims: Rotary, cos: &[f64], sin: &[f64], x: &[f64], sign: f64) -> Vec<f64> {
        let half = dims.head_dim / 2;
        let mut y = Vec::with_capacity(x.len());
        for (row, head) in x.chunks_exact(dims.head_dim).enumerate() {
            let at = (row / dims.heads % dims.seq + dims.offset) * half;
            let (first, second) = head.split_at(half);
            let angle = |i: usize| (cos[at + i], sign * sin[at + i]);
            y.extend((0..half).map(|i| first[i] * angle(i).0 + second[i] * angle(i).1));
            y.extend((0..half).map(|i| second[i] * angle(i).0 - first[i] * angle(i).1));
        }
        y
    }

    /// Returns `(y, scale)` for `x` of `[N, H, D]`.
    pub fn forward(dims: Rotary, cos: &[f64], sin: &[f64], x: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let rotated = rotate(dims, cos, sin, x, 1.0);
        let (normed, scale) = norm::twin::forward(&rotated, x.len() / dims.head_dim, f64::from(dims.eps));
        (normed.iter().map(|v| f64::from(dims.gain) * v).collect(), scale)
    }

    /// Returns dL/dx.
    pub fn backward(dims: Rotary, cos: &[f64], sin: &[f64], y: &[f64], scale: &[f64], dy: &[f64]) -> Vec<f64> {
        let gain = f64::from(dims.gain);
        let normed: Vec<f64> = y.iter().map(|v| v / gain).collect();
        let g: Vec<f64> = dy.iter().map(|v| v * gain).collect();
        rotate(dims, cos, sin, &norm::twin::backward(&normed, scale, &g), -1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Bench, assert_slopes, random, wide};
    use proptest::prelude::*;

    fn check(batch: usize, dims: Rotary, seed: u64) {
        let bench = Bench::new();
        let Rotary { seq, heads, head_dim, offset, .. } = dims;
        let (rows, positions) = (batch * seq, seq + offset);
        let [x, g] = [0, 1].map(|i| random(seed.wrapping_add(i), rows * heads * head_dim, 2.0));
        let (cos, sin) = tables(positions, head_dim, 100_000.0);
        let (cos_wide, sin_wide) = (wide(&cos), wide(&sin));
        let (y_want, scale_want) = twin::forward(dims, &cos_wide, &sin_wide, &wide(&x));
        let dx_want = twin::backward(dims, &cos_wide, &sin_wide, &y_want, &scale_want, &wide(&g));

        let [cos, sin] = [&cos, &sin].map(|data| bench.tensor(&[positions, head_dim / 2], data));
        let [y, dx] = [&x, &g].map(|data| bench.tensor(&[rows, heads, head_dim], data));
        let scale = bench.empty(&[rows, heads]);
        bench.run(|rec| {
            forward(rec, dims, &cos, &sin, &y, &scale);
            backward(rec, dims, &cos, &sin, &y, &scale, &dx);
        });
        bench.close(&y, &y_want, 1e-6);
        bench.close(&scale, &scale_want, 1e-6);
        bench.close(&dx, &dx_want, 2e-6);
    }

    proptest! {
        #![proptest_config(Bench::cases(32))]

        #[test]
        fn rotary_equals_its_twin(
            batch in 1usize..4, seq in 1usize..40, heads in 1usize..5, eighths in 1usize..20, offset in 0usize..50,
            gain in 0.5f32..2.0, seed: u64,
        ) {
            check(batch, Rotary { seq, heads, head_dim: 8 * eighths, offset, eps: 1e-6, gain }, seed);
        }
    }

    #[test]
    fn rotary_twin_is_its_own_derivative() {
        let dims = Rotary { seq: 3, heads: 2, head_dim: 8, offset: 4, eps: 1e-6, gain: 1.2 };
        let (cos, sin) = tables(7, 8, 10_000.0);
        let (cos, sin) = (wide(&cos), wide(&sin));
        let [x, g] = [1, 2].map(|seed| wide(&random(seed, 6 * 2 * 8, 1.0)));
        let (y, scale) = twin::forward(dims, &cos, &sin, &x);
        let dx = twin::backward(dims, &cos, &sin, &y, &scale, &g);
        assert_slopes(&x, &g, &dx, |x| twin::forward(dims, &cos, &sin, x).0);
    }

    #[test]
    fn a_rotation_of_a_query_and_a_key_depends_on_their_distance_only() {
        let dims = |offset| Rotary { seq: 1, heads: 1, head_dim: 16, offset, eps: 0.0, gain: 1.0 };
        let (cos, sin) = tables(64, 16, 100_000.0);
        let [q, k] = [1, 2].map(|seed| wide(&random(seed, 16, 1.0)));
        let at = |x: &[f64], position| twin::forward(dims(position), &wide(&cos), &wide(&sin), x).0;
        let score = |i, j| -> f64 { at(&q, i).iter().zip(at(&k, j)).map(|(q, k)| q * k).sum() };
        assert!((score(5, 2) - score(63, 60)).abs() < 1e-5);
        assert!((score(5, 2) - score(5, 3)).abs() > 1e-3);
    }

    #[test]
    fn tables_hold_the_angles_of_positions() {
        let (cos, sin) = tables(2049, 128, 100_000.0);
        assert_eq!((cos.len(), sin.len()), (2049 * 64, 2049 * 64));
        for t in [0usize, 1, 100, 2048] {
            for i in 0..64 {
                let angle = t as f64 / 100_000f64.powf(2.0 * i as f64 / 128.0);
                // Three roundings of the angle to f32.
                let bar = 3.0 * f64::from(f32::EPSILON) * angle + 1e-7;
                assert!((f64::from(cos[t * 64 + i]) - angle.cos()).abs() <= bar, "cos of {t}, {i}");
                assert!((f64::from(sin[t * 64 + i]) - angle.sin()).abs() <= bar, "sin of {t}, {i}");
            }
        }
    }
}
