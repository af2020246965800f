//! Value embeddings: a token's own row of a table, added to the values through a gate per key-value head.

use crate::gpu::{Capabilities, Dispatch, Recorder, Shader, Tensor, Variant, grid};

use crate::weights::{Format, Order};

use super::dot;
use super::rows;
use super::weight::{Weight, in_format};

static SHADER: Shader = crate::shader!("value_gate");

/// Channels that the gate reads.
pub const GATE_CHANNELS: usize = 12;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Shape {
    rows: u32,
    heads: u32,
    head_quads: u32,
    quads: u32,
}

/// A layer's value embedding, and what its gate reads.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// Token ids, `[N]` i32.
    pub ids: &'a Tensor,
    /// The value embedding, `[V, K · D]`, in any format.
    pub table: &'a Weight,
    /// The gate's weights, `[K, 12]`.
    pub w: &'a Tensor,
    /// The layer's normed input, `[N, C]`.
    pub h: &'a Tensor,
}

/// The gradients of a gated value embedding.
#[derive(Clone, Copy, Debug)]
pub struct Gradients<'a> {
    /// Of v, `[N, K, D]`; read.
    pub dv: &'a Tensor,
    /// Of h, `[N, C]`, added to.
    pub dh: &'a Tensor,
    /// Of w, `[K, 12]`, added to.
    pub d_w: &'a Tensor,
}

/// The shape of a pass with one workgroup per row of the batch, and the number of heads.
fn shape(of: Inputs<'_>, v: &Tensor, gate: &Tensor) -> (Shape, usize) {
    let Inputs { ids, table, w, h } = of;
    let (rows, heads) = (ids.len(), w.len() / GATE_CHANNELS);
    let (channels, head_dim) = (h.len() / rows, v.len() / (rows * heads));
    let fits = w.len() == heads * GATE_CHANNELS && h.len() == rows * channels && v.len() == rows * heads * head_dim;
    let whole = channels.is_multiple_of(4) && channels >= GATE_CHANNELS && head_dim.is_multiple_of(4);
    assert!(
        fits && whole && table.columns() == heads * head_dim && table.storage().order == Order::Rows && gate.len() == rows * heads,
        "rows of {table:?} into {:?}, gated by {:?} of {:?}",
        v.shape(),
        w.shape(),
        h.shape()
    );
    (Shape { rows: rows as u32, heads: heads as u32, head_quads: (head_dim / 4) as u32, quads: (channels / 4) as u32 }, heads)
}

/// `v[n, k] += gate[n, k] · table[ids[n], k]`, `gate[n, k] = 3 · sigmoid(w[k] · h[n, 0..12])`.
///
/// `ids` is `[N]` i32, `table` `[V, K, D]`, `w` `[K, 12]`, `h` `[N, C]`, `v` `[N, K, D]` with C and D multiples of 4;
/// `gate`, `[N, K]`, is saved for [`backward`].
pub fn forward(rec: &mut Recorder, of: Inputs<'_>, v: &Tensor, gate: &Tensor) {
    let (shape, _) = shape(of, v, gate);
    let Inputs { ids, table, w, h } = of;
    rec.dispatch(Dispatch {
        shader: &SHADER,
        entry: "forward",
        values: &[in_format(table.format()), rows::lanes(rec, shape.head_quads as usize)],
        params: Shape { rows: gate.len() as u32, ..shape },
        bind: &[(1, ids), (2, table.words()), (3, w), (4, h), (5, v), (6, gate)],
        groups: grid(gate.len()),
    });
}

/// Adds to `dh` (its first 12 channels) and `d_w`, with `gate` as [`forward`] left it and `dv` the gradient of v, which
/// is not changed. The table's gradient is [`embedding::backward`](super::embedding::backward) of `dv`, scaled by
/// `gate`.
///
/// `scratch` has at least [`scratch_len`] elements.
pub fn backward(rec: &mut Recorder, of: Inputs<'_>, gate: &Tensor, gradients: Gradients<'_>, scratch: &Tensor) {
    let Gradients { dv, dh, d_w } = gradients;
    let (shape, heads) = shape(of, dv, gate);
    let Inputs { ids, table, w, h } = of;
    let rows = ids.len();
    assert!(table.format() == Format::F32, "only floats are trained, not {table:?}");
    assert!(dh.len() == h.len() && d_w.len() == w.len());
    assert!(scratch.len() >= scratch_len(rows, heads), "{} elements of scratch for {rows} rows", scratch.len());
    rec.dispatch(Dispatch {
        shader: &SHADER,
        entry: "backward",
        values: &[in_format(table.format()), rows::lanes(rec, shape.head_quads as usize)],
        params: shape,
        bind: &[(1, ids), (2, table.words()), (3, w), (7, gate), (8, dv), (9, dh), (10, scratch)],
        groups: grid(rows),
    });
    dot::weighted(rec, h, rows, heads, d_w, scratch);
}

/// Elements of scratch that [`backward`] needs for `rows` rows of `heads` key-value heads.
pub fn scratch_len(rows: usize, heads: usize) -> usize {
    dot::weighted_scratch_len(rows, heads, GATE_CHANNELS)
}

/// Every specialisation of this shader that such an adapter may use.
pub fn variants(capabilities: Capabilities) -> Vec<Variant> {
    let forward = Format::ALL.map(|format| ("forward", format));
    let entries = forward.into_iter().chain([("backward", Format::F32)]);
    entries.flat_map(|(entry, format)| rows::variants(capabilities, &SHADER, entry, &[in_format(format)])).collect()
}

/// The same on the CPU in f64.
pub mod twin {
    use super::GATE_CHANNELS;
    use crate::kernels::dot::twin::{dot, weighted};

    /// Returns `(v, gate)`, with `v` the previous content plus the gated rows.
    pub fn forward(ids: &[i32], table: &[f64], w: &[f64], h: &[f64], v: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (rows, heads) = (ids.len(), w.len() / GATE_CHANNELS);
        let (channels, head_dim) = (h.len() / rows, v.len() / (rows * heads));
        let (mut v, mut gate) = (v.to_vec(), Vec::with_capacity(rows * heads));
        for (n, &id) in ids.iter().enumerate() {
            for k in 0..heads {
                let z = dot(&w[k * GATE_CHANNELS..][..GATE_CHANNELS], &h[n * channels..][..GATE_CHANNELS]);
                let g = 3.0 / (1.0 + (-z).exp());
                let source = &table[(id as usize * heads + k) * head_dim..][..head_dim];
                v[(n * heads + k) * head_dim..][..head_dim].iter_mut().zip(source).for_each(|(v, row)| *v += g * row);
                gate.push(g);
            }
        }
        (v, gate)
    }

    /// Returns `(dL/dh, dL/dw)`.
    pub fn backward(ids: &[i32], table: &[f64], w: &[f64], h: &[f64], gate: &[f64], dv: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (rows, heads) = (ids.len(), w.len() / GATE_CHANNELS);
        let (channels, head_dim) = (h.len() / rows, dv.len() / (rows * heads));
        let (mut dh, mut coef) = (vec![0.0; h.len()], Vec::with_capacity(rows * heads));
        for (n, &id) in ids.iter().enumerate() {
            for k in 0..heads {
                let row = &table[(id as usize * heads + k) * head_dim..][..head_dim];
                let g = gate[n * heads + k];
                let a = dot(&dv[(n * heads + k) * head_dim..][..head_dim], row) * g * (1.0 - g / 3.0);
                for c in 0..GATE_CHANNELS {
                    dh[n * channels + c] += a * w[k * GATE_CHANNELS + c];
                }
                coef.push(a);
            }
        }
        let d_w = weighted(&coef, h, rows, GATE_CHANNELS);
        (dh, d_w)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Bench, add, assert_slopes, random, wide};
    use proptest::prelude::*;

    /// Tokens with repetitions, which skip some of the table's rows.
    fn tokens(rows: usize, vocab: usize) -> Vec<i32> {
        (0..rows).map(|n| (n * n % vocab) as i32).collect()
    }

    fn check([rows, heads, head_dim, channels, vocab]: [usize; 5], seed: u64) {
        let bench = Bench::new();
        let ids = tokens(rows, vocab);
        let table = random(seed, vocab * heads * head_dim, 1.0);
        let [w, dw] = [1, 2].map(|i| random(seed.wrapping_add(i), heads * GATE_CHANNELS, 1.0));
        let [h, dh] = [3, 4].map(|i| random(seed.wrapping_add(i), rows * channels, 1.0));
        let [v, g] = [5, 6].map(|i| random(seed.wrapping_add(i), rows * heads * head_dim, 1.0));

        let (v_want, gate_want) = twin::forward(&ids, &wide(&table), &wide(&w), &wide(&h), &wide(&v));
        let (dh_more, dw_more) = twin::backward(&ids, &wide(&table), &wide(&w), &wide(&h), &gate_want, &wide(&g));
        let (dh_want, dw_want) = (add(&dh, &dh_more), add(&dw, &dw_more));

        let (ids, table) = (bench.ids(&[rows], &ids), Weight::plain(&bench.tensor(&[vocab, heads * head_dim], &table)));
        let [w, dw] = [&w, &dw].map(|data| bench.tensor(&[heads, GATE_CHANNELS], data));
        let [h, dh] = [&h, &dh].map(|data| bench.tensor(&[rows, channels], data));
        let [v, g] = [&v, &g].map(|data| bench.tensor(&[rows, heads, head_dim], data));
        let (gate, scratch) = (bench.empty(&[rows, heads]), bench.empty(&[scratch_len(rows, heads)]));
        bench.run(|rec| {
            let inputs = Inputs { ids: &ids, table: &table, w: &w, h: &h };
            forward(rec, inputs, &v, &gate);
            backward(rec, inputs, &gate, Gradients { dv: &g, dh: &dh, d_w: &dw }, &scratch);
        });
        bench.close(&v, &v_want, 5e-6);
        bench.close(&gate, &gate_want, 5e-6);
        bench.close(&dh, &dh_want, 5e-6);
        bench.close(&dw, &dw_want, 1e-5);
    }

    proptest! {
        #![proptest_config(Bench::cases(32))]

        #[test]
        fn value_gate_equals_its_twin(
            rows in 1usize..150, heads in 1usize..5, head_quads in 1usize..40, quads in 3usize..40, vocab in 1usize..60, seed: u64,
        ) {
            check([rows, heads, 4 * head_quads, 4 * quads, vocab], seed);
        }
    }

    #[test]
    fn value_gate_holds_at_the_edges_of_parts() {
        for rows in [1, 7, 8, 9, 31, 32, 33, 127, 128, 129, 4097] {
            check([rows, 2, 8, 12, 5], rows as u64);
        }
    }

    #[test]
    fn value_gate_reads_tables_of_every_format() {
        let bench = Bench::new();
        let (rows, heads, head_dim, channels, vocab) = (33, 3, 32, 28, 9);
        let ids = tokens(rows, vocab);
        let table = random(1, vocab * heads * head_dim, 1.0);
        let [w, h, v] =
            [(2, heads * GATE_CHANNELS), (3, rows * channels), (4, rows * heads * head_dim)].map(|(seed, len)| random(seed, len, 1.0));
        for format in Format::ALL {
            let (stored, table) = bench.weight(&table, vocab, format);
            let (want, _) = twin::forward(&ids, &wide(&table), &wide(&w), &wide(&h), &wide(&v));
            let [w, h, v] = [&w, &h, &v].map(|data| bench.tensor(&[data.len()], data));
            let (ids, gate) = (bench.ids(&[rows], &ids), bench.empty(&[rows, heads]));
            bench.run(|rec| forward(rec, Inputs { ids: &ids, table: &stored, w: &w, h: &h }, &v, &gate));
            bench.close(&v, &want, 5e-6);
        }
    }

    #[test]
    fn value_gate_twin_is_its_own_derivative() {
        let (rows, heads, head_dim, channels) = (5, 2, 4, 16);
        let ids = tokens(rows, 3);
        let table = wide(&random(1, 3 * heads * head_dim, 1.0));
        let w = wide(&random(2, heads * GATE_CHANNELS, 1.0));
        let h = wide(&random(3, rows * channels, 1.0));
        let [v, g] = [4, 5].map(|seed| wide(&random(seed, rows * heads * head_dim, 1.0)));
        let (_, gate) = twin::forward(&ids, &table, &w, &h, &v);
        let (dh, dw) = twin::backward(&ids, &table, &w, &h, &gate, &g);
        let d_table = crate::kernels::embedding::twin::backward(&ids, &g, &gate, 3);
        assert_slopes(&h, &g, &dh, |h| twin::forward(&ids, &table, &w, h, &v).0);
        assert_slopes(&w, &g, &dw, |w| twin::forward(&ids, &table, w, &h, &v).0);
        assert_slopes(&table, &g, &d_table, |table| twin::forward(&ids, table, &w, &h, &v).0);
    }
}
