//! Sums over a whole batch, in two stages of fixed order: the gradients of scalars and of the small gates.
//!
//! Kernels that read the data anyway compute the first stage's partial sums themselves and only call `finish`.

use crate::gpu::{Capabilities, Dispatch, Recorder, Shader, Tensor, Variant, grid};

use super::rows;

static SHADER: Shader = crate::shader!("dot");

#[repr(C)]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
struct Shape {
    count: u32,
    parts: u32,
    sums: u32,
    index: u32,
    factor: f32,
    heads: u32,
    wide: u32,
    quads: u32,
}

/// The most partial sums of a sum.
pub(super) const MOST_PARTS: usize = 2048;

/// The number of partial sums for a sum that takes `turns` iterations of a workgroup: a few iterations each, and enough parts
/// to keep the adapter busy.
pub(super) fn parts(capabilities: Capabilities, turns: usize) -> usize {
    let most = if capabilities.cpu { 128 } else { MOST_PARTS };
    turns.div_ceil(4).clamp(1, most)
}

/// [`parts`] for a flat sum over groups of four elements.
pub(super) fn parts_of_quads(capabilities: Capabilities, quads: usize) -> usize {
    parts(capabilities, quads.div_ceil(rows::part_lanes(capabilities) as usize))
}

/// Elements of scratch that [`accumulate`] needs, whatever the size of its operands.
pub fn scratch_len() -> usize {
    MOST_PARTS
}

/// `out[index] += factor · Σ a·b` over all elements; `a` and `b` have the same size, a multiple of 4.
pub fn accumulate(rec: &mut Recorder, a: &Tensor, b: &Tensor, factor: f32, out: &Tensor, index: usize, scratch: &Tensor) {
    assert!(a.len() == b.len() && a.len().is_multiple_of(4), "a dot product of {:?} and {:?}", a.shape(), b.shape());
    let quads = a.len() / 4;
    let parts = parts_of_quads(rec.gpu().capabilities(), quads);
    assert!(scratch.len() >= parts, "{} elements of scratch for {parts}", scratch.len());
    rec.dispatch(Dispatch {
        shader: &SHADER,
        entry: "product",
        values: &[rows::part(rec)],
        params: Shape { count: quads as u32, parts: parts as u32, ..Default::default() },
        bind: &[(1, a), (2, b), (4, scratch)],
        groups: grid(parts),
    });
    finish(rec, Sums { start: 0, columns: 1, parts }, factor, out, index, scratch);
}

/// `out[k, m] += Σ_n coef[n, k] · x[n, m]`: the gradient of a gate's weight.
///
/// `out` is `[K, M]`, `x` `[N, C]` with M ≤ C, both multiples of 4; `coef`, `[N, K]`, is the start of `scratch`, which
/// has at least [`weighted_scratch_len`] elements.
pub(super) fn weighted(rec: &mut Recorder, x: &Tensor, rows: usize, heads: usize, out: &Tensor, scratch: &Tensor) {
    let (channels, wanted) = (x.len() / rows, out.len() / heads);
    let fits = channels * rows == x.len() && wanted * heads == out.len() && wanted <= channels;
    assert!(fits && channels.is_multiple_of(4) && wanted.is_multiple_of(4), "{:?} of {rows} rows of {:?}", out.shape(), x.shape());
    assert!(scratch.len() >= weighted_scratch_len(rows, heads, wanted), "{} elements of scratch for {rows} rows", scratch.len());
    let capabilities = rec.gpu().capabilities();
    let parts = parts(capabilities, rows.div_ceil(rows::part_lanes(capabilities) as usize));
    let start = rows * heads;
    rec.dispatch(Dispatch {
        shader: &SHADER,
        entry: "weighted",
        values: &[rows::part(rec)],
        params: Shape {
            count: rows as u32,
            parts: parts as u32,
            sums: start as u32,
            heads: heads as u32,
            wide: (wanted / 4) as u32,
            quads: (channels / 4) as u32,
            ..Default::default()
        },
        bind: &[(3, x), (4, scratch)],
        groups: grid(heads * wanted / 4 * parts),
    });
    finish(rec, Sums { start, columns: heads * wanted, parts }, 1.0, out, 0, scratch);
}

/// Elements of scratch that [`weighted`] needs, `coef` included.
pub(super) fn weighted_scratch_len(rows: usize, heads: usize, wanted: usize) -> usize {
    rows * heads + heads * wanted * MOST_PARTS
}

/// Where a first stage left its partial sums in the scratch: `[columns, parts]` from element `start` on.
#[derive(Clone, Copy)]
pub(super) struct Sums {
    pub start: usize,
    pub columns: usize,
    pub parts: usize,
}

/// `out[index + column] += factor · Σ` of that column's parts.
pub(super) fn finish(rec: &mut Recorder, sums: Sums, factor: f32, out: &Tensor, index: usize, scratch: &Tensor) {
    let Sums { start, columns, parts } = sums;
    assert!(index + columns <= out.len() && start + columns * parts <= scratch.len(), "{columns} sums at {index}");
    rec.dispatch(Dispatch {
        shader: &SHADER,
        entry: "finish",
        values: &[rows::part(rec)],
        params: Shape { count: columns as u32, parts: parts as u32, sums: start as u32, index: index as u32, factor, ..Default::default() },
        bind: &[(4, scratch), (5, out)],
        groups: grid(columns),
    });
}

/// Every specialisation of this shader that such an adapter may use.
pub fn variants(capabilities: Capabilities) -> Vec<Variant> {
    ["product", "weighted", "finish"].map(|entry| rows::part_variant(capabilities, &SHADER, entry)).to_vec()
}

/// The same on the CPU in f64.
pub mod twin {
    /// `Σ a·b`.
    pub fn dot(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    /// `Σ_n coef[n, k] · x[n, m]` as `[K, M]`, with `coef` `[rows, K]`, `x` `[rows, C]` and M = `wanted`.
    pub fn weighted(coef: &[f64], x: &[f64], rows: usize, wanted: usize) -> Vec<f64> {
        let (heads, channels) = (coef.len() / rows, x.len() / rows);
        let mut out = vec![0.0; heads * wanted];
        for n in 0..rows {
            for k in 0..heads {
                for m in 0..wanted {
                    out[k * wanted + m] += coef[n * heads + k] * x[n * channels + m];
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Bench, random, sizes, wide};
    use proptest::prelude::*;

    fn check_dot(quads: usize, index: usize, seed: u64) {
        let bench = Bench::new();
        let [a, b] = [0, 1].map(|i| random(seed.wrapping_add(i), 4 * quads, 1.0));
        let before = random(seed ^ 5, 6, 1.0);
        let size = sizes(&a, &b);
        let mut want = wide(&before);
        want[index] += -0.5 * twin::dot(&wide(&a), &wide(&b));

        let [a, b] = [&a, &b].map(|data| bench.tensor(&[4 * quads], data));
        let (out, scratch) = (bench.tensor(&[6], &before), bench.empty(&[scratch_len()]));
        bench.run(|rec| accumulate(rec, &a, &b, -0.5, &out, index, &scratch));
        bench.close_sum(&out, &want, size, 1e-6);
    }

    proptest! {
        #![proptest_config(Bench::cases(32))]

        #[test]
        fn dot_equals_its_twin(quads in 1usize..3000, index in 0usize..6, seed: u64) {
            check_dot(quads, index, seed);
        }

        #[test]
        fn weighted_sums_equal_their_twin(rows in 1usize..700, heads in 1usize..5, wide_by in 1usize..7, more in 0usize..5, seed: u64) {
            let bench = Bench::new();
            let (wanted, channels) = (4 * wide_by, 4 * (wide_by + more));
            let x = random(seed, rows * channels, 1.0);
            let coef = random(seed ^ 1, rows * heads, 1.0);
            let before = random(seed ^ 2, heads * wanted, 1.0);
            let mut want = twin::weighted(&wide(&coef), &wide(&x), rows, wanted);
            want.iter_mut().zip(&before).for_each(|(want, before)| *want += f64::from(*before));

            let (x, out) = (bench.tensor(&[rows, channels], &x), bench.tensor(&[heads, wanted], &before));
            let mut content = coef;
            content.resize(weighted_scratch_len(rows, heads, wanted), f32::NAN);
            let scratch = bench.tensor(&[content.len()], &content);
            bench.run(|rec| weighted(rec, &x, rows, heads, &out, &scratch));
            bench.close(&out, &want, 2e-6);
        }
    }

    /// With more elements than all parts handle in one iteration, and one quad more or less than a part's four iterations.
    #[test]
    fn dot_holds_at_the_edges_of_parts() {
        for quads in [1, 7, 8, 9, 31, 32, 33, 128 * 8 * 4, 128 * 8 * 4 + 1, 300_000] {
            check_dot(quads, 3, quads as u64);
        }
    }
}
