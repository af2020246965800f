//! Embedding, norm and, if the model has it, smear of new tokens, fused, for passes over cached sequences.

use crate::gpu::{Capabilities, Dispatch, Recorder, Shader, Tensor, Variant, grid};

use crate::weights::{Format, Order};

use super::kv_cache::check_cursors;
use super::rows;
use super::smear::GATE_CHANNELS;
use super::weight::{Weight, in_format};

static SHADER: Shader = crate::shader!("embed_smear");

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Shape {
    rows: u32,
    quads: u32,
    new: u32,
    eps: f32,
}

/// What smear needs.
#[derive(Clone, Copy, Debug)]
pub struct Smear<'a> {
    /// [`Cursor`](super::kv_cache::Cursor)s of S sequences. Their `before` is below V.
    pub cursors: &'a Tensor,
    /// The gate's weights, `[24]`.
    pub gate_w: &'a Tensor,
    /// Its strength, `[1]`.
    pub lambda: &'a Tensor,
}

/// `x = smear(norm(wte[ids]))`, or without smear `x = norm(wte[ids])`, for the new tokens of each sequence, as
/// [`embedding`](super::embedding), [`norm`](super::norm) and [`smear`](super::smear) compute it over whole sequences.
///
/// `ids` are `[N]`, below V, with N a multiple of the S sequences, `wte` is `[V, C]` in any format with C a multiple of 4 and,
/// for smear, at least 24, and `x` is `[N, C]`.
pub fn forward(rec: &mut Recorder, ids: &Tensor, wte: &Weight, eps: f32, smear: Option<Smear<'_>>, x: &Tensor) {
    let rows = ids.len();
    let channels = x.len() / rows;
    let fits = channels * rows == x.len() && channels.is_multiple_of(4) && wte.columns() == channels;
    assert!(fits && wte.storage().order == Order::Rows, "{:?} of {wte:?}", x.shape());
    let mut new = rows;
    let mut bind = vec![(2, ids), (3, wte.words()), (6, x)];
    if let Some(Smear { cursors, gate_w, lambda }) = smear {
        assert!(channels >= GATE_CHANNELS && gate_w.len() == GATE_CHANNELS && lambda.len() == 1, "{smear:?} of {:?}", x.shape());
        new = rows / check_cursors(cursors, rows);
        bind.extend([(1, cursors), (4, gate_w), (5, lambda)]);
    }
    rec.dispatch(Dispatch {
        shader: &SHADER,
        entry: "forward",
        values: &[in_format(wte.format()), ("smear", smear.is_some().into()), rows::lanes(rec, channels / 4)],
        params: Shape { rows: rows as u32, quads: (channels / 4) as u32, new: new as u32, eps },
        bind: &bind,
        groups: grid(rows),
    });
}

/// Every specialisation of this shader that such an adapter may use.
pub fn variants(capabilities: Capabilities) -> Vec<Variant> {
    let of = |format, smear: bool| rows::variants(capabilities, &SHADER, "forward", &[in_format(format), ("smear", smear.into())]);
    Format::ALL.into_iter().flat_map(|format| [of(format, false), of(format, true)].concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::kv_cache::Cursor;
    use crate::kernels::testing::{Bench, random, wide};
    use crate::kernels::{norm, smear};
    use proptest::prelude::*;
    use rand::{Rng, SeedableRng};

    proptest! {
        #![proptest_config(Bench::cases(24))]

        /// The twin is that of the three operations over the whole sequence.
        #[test]
        fn new_tokens_equal_the_end_of_the_whole_sequence(
            held in proptest::collection::vec(0usize..5, 1..4), new in 1usize..5, quads in 6usize..20, smeared: bool, format in 0usize..5,
            seed: u64,
        ) {
            let format = Format::ALL[format];
            let quads = if format.has_blocks() { quads.next_multiple_of(8) } else { quads };
            let bench = Bench::new();
            let (channels, vocab) = (4 * quads, 11);
            let (table, wte) = bench.weight(&random(seed, vocab * channels, 1.0), vocab, format);
            let gate_w = random(seed ^ 1, GATE_CHANNELS, 1.0);
            let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
            let (mut cursors, mut ids, mut want) = (Vec::new(), Vec::new(), Vec::new());
            for &held in &held {
                let all: Vec<usize> = (0..held + new).map(|_| rng.random_range(0..vocab)).collect();
                let embedded: Vec<f32> = all.iter().flat_map(|id| wte[id * channels..][..channels].to_vec()).collect();
                let (e, _) = norm::twin::forward(&wide(&embedded), all.len(), 1e-6);
                let lambda = if smeared { 0.7 } else { 0.0 };
                let (x, _) = smear::twin::forward(all.len(), all.len(), &e, &wide(&gate_w), lambda);
                want.extend_from_slice(&x[held * channels..]);
                let before = held.checked_sub(1).map_or(0, |last| all[last]);
                cursors.push(Cursor { position: held as u32, count: new as u32, row: 0, before: before as u32 });
                ids.extend(all[held..].iter().map(|&id| id as i32));
            }
            let x = bench.empty(&[ids.len(), channels]);
            let cursors = Cursor::upload(bench.gpu(), &cursors).unwrap();
            let [gate_w, lambda] = [(&gate_w[..], GATE_CHANNELS), (&[0.7], 1)].map(|(data, len)| bench.tensor(&[len], data));
            let ids = bench.ids(&[ids.len()], &ids);
            let smear = smeared.then_some(Smear { cursors: &cursors, gate_w: &gate_w, lambda: &lambda });
            bench.run(|rec| forward(rec, &ids, &table, 1e-6, smear, &x));
            bench.close(&x, &want, 2e-6);
        }
    }
}
