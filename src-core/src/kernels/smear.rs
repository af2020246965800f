//! Smear: adds to every position a gated share of the one before it, so that bigrams are visible before the first layer.

use crate::gpu::{Capabilities, Dispatch, Recorder, Shader, Tensor, Variant, grid};

use super::rows;

use super::dot::{self, Sums};

static SHADER: Shader = crate::shader!("smear");

/// Channels that the gate reads.
pub const GATE_CHANNELS: usize = 24;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Shape {
    rows: u32,
    quads: u32,
    seq: u32,
    parts: u32,
    sums: u32,
}

fn shape(seq: usize, e: &Tensor, gate_w: &Tensor, lambda: &Tensor, sigmoid: &Tensor) -> Shape {
    let rows = sigmoid.len();
    let channels = e.len() / rows;
    let fits = channels * rows == e.len() && rows.is_multiple_of(seq) && channels.is_multiple_of(4) && channels >= GATE_CHANNELS;
    assert!(fits && gate_w.len() == GATE_CHANNELS && lambda.len() == 1, "smear of {:?} in sequences of {seq}", e.shape());
    Shape { rows: rows as u32, quads: (channels / 4) as u32, seq: seq as u32, parts: 0, sums: 0 }
}

/// What smear mixes, and by what.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The embedding, `[N, C]`.
    pub e: &'a Tensor,
    /// The gate's weights, `[24]`.
    pub gate_w: &'a Tensor,
    /// The factor of all gates, `[1]`.
    pub lambda: &'a Tensor,
}

/// The gradients of a smear.
#[derive(Clone, Copy, Debug)]
pub struct Gradients<'a> {
    /// Of the output, `[N, C]`; read.
    pub dx: &'a Tensor,
    /// Of e, `[N, C]`, written.
    pub de: &'a Tensor,
    /// Of `gate_w`, `[24]`, added to.
    pub d_gate_w: &'a Tensor,
    /// Of lambda, `[1]`, added to.
    pub d_lambda: &'a Tensor,
}

/// `x_t = e_t + lambda · s_t · e_{t−1}`, `s_t = sigmoid(gate_w · e_t[0..24])` for t ≥ 1 of each sequence of `seq` rows,
/// and `x_0 = e_0`, `s_0 = 0`.
///
/// `e` and `x` are `[N, C]` with C a multiple of 4 and at least 24, `gate_w` is `[24]`, `lambda` `[1]`; `sigmoid`, `[N]`,
/// saves s for [`backward`].
pub fn forward(rec: &mut Recorder, seq: usize, of: Inputs<'_>, x: &Tensor, sigmoid: &Tensor) {
    let Inputs { e, gate_w, lambda } = of;
    assert_eq!(e.len(), x.len());
    rec.dispatch(Dispatch {
        shader: &SHADER,
        entry: "forward",
        values: &[rows::lanes(rec, e.len() / sigmoid.len() / 4)],
        params: shape(seq, e, gate_w, lambda, sigmoid),
        bind: &[(1, e), (2, gate_w), (3, lambda), (4, x), (5, sigmoid)],
        groups: grid(sigmoid.len()),
    });
}

/// Writes `de`, the gradient of e, and adds to `d_gate_w` and `d_lambda`, with `sigmoid` as [`forward`] left it.
///
/// `scratch` has at least [`scratch_len`] elements.
pub fn backward(rec: &mut Recorder, seq: usize, of: Inputs<'_>, sigmoid: &Tensor, gradients: Gradients<'_>, scratch: &Tensor) {
    let Inputs { e, gate_w, lambda } = of;
    let Gradients { dx, de, d_gate_w, d_lambda } = gradients;
    let rows = sigmoid.len();
    assert!(e.len() == dx.len() && e.len() == de.len() && d_gate_w.len() == GATE_CHANNELS && d_lambda.len() == 1);
    assert!(scratch.len() >= scratch_len(rows), "{} elements of scratch for {rows} rows", scratch.len());
    let parts = dot::parts(rec.gpu().capabilities(), rows);
    let sums = dot::weighted_scratch_len(rows, 1, GATE_CHANNELS);
    rec.dispatch(Dispatch {
        shader: &SHADER,
        entry: "backward",
        values: &[rows::lanes(rec, e.len() / sigmoid.len() / 4)],
        params: Shape { parts: parts as u32, sums: sums as u32, ..shape(seq, e, gate_w, lambda, sigmoid) },
        bind: &[(1, e), (2, gate_w), (3, lambda), (6, sigmoid), (7, dx), (8, de), (9, scratch)],
        groups: grid(parts),
    });
    dot::finish(rec, Sums { start: sums, columns: 1, parts }, 1.0, d_lambda, 0, scratch);
    dot::weighted(rec, e, rows, 1, d_gate_w, scratch);
}

/// Elements of scratch that [`backward`] needs for `rows` rows.
pub fn scratch_len(rows: usize) -> usize {
    dot::weighted_scratch_len(rows, 1, GATE_CHANNELS) + dot::MOST_PARTS
}

/// Every specialisation of this shader that such an adapter may use.
pub fn variants(capabilities: Capabilities) -> Vec<Variant> {
    ["forward", "backward"].into_iter().flat_map(|entry| rows::variants(capabilities, &SHADER, entry, &[])).collect()
}

/// The same on the CPU in f64.
pub mod twin {
    use super::GATE_CHANNELS;
    use crate::kernels::dot::twin::dot;

    /// Returns `(x, s)`; `e` is `[rows, C]` in sequences of `seq` rows.
    pub fn forward(seq: usize, rows: usize, e: &[f64], gate_w: &[f64], lambda: f64) -> (Vec<f64>, Vec<f64>) {
        let channels = e.len() / rows;
        let (mut x, mut sigmoid) = (e.to_vec(), vec![0.0; rows]);
        for n in (0..rows).filter(|n| n % seq > 0) {
            let s = 1.0 / (1.0 + (-dot(gate_w, &e[n * channels..][..GATE_CHANNELS])).exp());
            for c in 0..channels {
                x[n * channels + c] += lambda * s * e[(n - 1) * channels + c];
            }
            sigmoid[n] = s;
        }
        (x, sigmoid)
    }

    /// Returns `(dL/de, dL/dgate_w, dL/dλ)`.
    pub fn backward(seq: usize, e: &[f64], gate_w: &[f64], lambda: f64, sigmoid: &[f64], dx: &[f64]) -> (Vec<f64>, Vec<f64>, f64) {
        let rows = sigmoid.len();
        let channels = e.len() / rows;
        let (mut de, mut d_gate_w, mut d_lambda) = (dx.to_vec(), vec![0.0; GATE_CHANNELS], 0.0);
        for n in (0..rows).filter(|n| n % seq > 0) {
            let (here, before) = (n * channels, (n - 1) * channels);
            let s = sigmoid[n];
            let p = dot(&dx[here..][..channels], &e[before..][..channels]);
            let a = lambda * p * s * (1.0 - s);
            d_lambda += p * s;
            for c in 0..channels {
                de[before + c] += lambda * s * dx[here + c];
            }
            for c in 0..GATE_CHANNELS {
                de[here + c] += a * gate_w[c];
                d_gate_w[c] += a * e[here + c];
            }
        }
        (de, d_gate_w, d_lambda)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Bench, add, assert_slopes, random, sizes, wide};
    use proptest::prelude::*;

    fn check(batch: usize, seq: usize, channels: usize, seed: u64) {
        let bench = Bench::new();
        let rows = batch * seq;
        let [e, g] = [0, 1].map(|i| random(seed.wrapping_add(i), rows * channels, 1.0));
        let [w, dw] = [2, 3].map(|i| random(seed.wrapping_add(i), GATE_CHANNELS, 1.0));
        let (lambda, before) = ([0.8f32], [0.5f32]);

        let at = f64::from(lambda[0]);
        let (x_want, s_want) = twin::forward(seq, rows, &wide(&e), &wide(&w), at);
        let (de_want, dw_more, d_lambda_more) = twin::backward(seq, &wide(&e), &wide(&w), at, &s_want, &wide(&g));
        let dw_want = add(&dw, &dw_more);
        // The terms are g·e of adjacent rows times at most 1.
        let size = sizes(&g[channels..], &e);
        let d_lambda_want = [f64::from(before[0]) + d_lambda_more];

        let [e, g] = [&e, &g].map(|data| bench.tensor(&[rows, channels], data));
        let [w, dw] = [&w, &dw].map(|data| bench.tensor(&[GATE_CHANNELS], data));
        let [lambda, d_lambda] = [&lambda, &before].map(|data| bench.tensor(&[1], data));
        let [x, de] = [0, 1].map(|_| bench.empty(&[rows, channels]));
        let (sigmoid, scratch) = (bench.empty(&[rows]), bench.empty(&[scratch_len(rows)]));
        bench.run(|rec| {
            let inputs = Inputs { e: &e, gate_w: &w, lambda: &lambda };
            forward(rec, seq, inputs, &x, &sigmoid);
            let gradients = Gradients { dx: &g, de: &de, d_gate_w: &dw, d_lambda: &d_lambda };
            backward(rec, seq, inputs, &sigmoid, gradients, &scratch);
        });
        bench.close(&x, &x_want, 2e-6);
        bench.close(&sigmoid, &s_want, 5e-6);
        bench.close(&de, &de_want, 5e-6);
        bench.close(&dw, &dw_want, 1e-5);
        bench.close_sum(&d_lambda, &d_lambda_want, size, 3e-6);
    }

    proptest! {
        #![proptest_config(Bench::cases(32))]

        #[test]
        fn smear_equals_its_twin(batch in 1usize..5, seq in 1usize..90, quads in 6usize..40, seed: u64) {
            check(batch, seq, 4 * quads, seed);
        }
    }

    #[test]
    fn smear_holds_at_the_edges_of_parts() {
        for seq in [1, 2, 127, 128, 129, 511, 513] {
            check(1, seq, 24, seq as u64);
            check(3, seq, 28, seq as u64);
        }
    }

    #[test]
    fn smear_twin_is_its_own_derivative() {
        let (seq, rows, channels, lambda) = (3, 6, 28, 0.6);
        let [e, g] = [1, 2].map(|seed| wide(&random(seed, rows * channels, 1.0)));
        let w = wide(&random(3, GATE_CHANNELS, 1.0));
        let (_, sigmoid) = twin::forward(seq, rows, &e, &w, lambda);
        let (de, dw, d_lambda) = twin::backward(seq, &e, &w, lambda, &sigmoid, &g);
        assert_slopes(&e, &g, &de, |e| twin::forward(seq, rows, e, &w, lambda).0);
        assert_slopes(&w, &g, &dw, |w| twin::forward(seq, rows, &e, w, lambda).0);
        assert_slopes(&[lambda], &g, &[d_lambda], |v| twin::forward(seq, rows, &e, &w, v[0]).0);
    }
}
