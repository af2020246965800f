//! Rows of a table, by token: token embeddings and value embeddings.

use crate::gpu::{Capabilities, Dispatch, Recorder, SHORT_LOOPS, Shader, Tensor, Variant, grid};

use crate::weights::{Format, Order};

use super::rows;
use super::weight::{Weight, in_format};

static SHADER: Shader = crate::shader!("embedding");

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Shape {
    rows: u32,
    quads: u32,
    chunks: u32,
    heads: u32,
}

/// `out[n] = table[ids[n]]`; `ids` is `[N]` i32, all of them rows of `table`, `[V, C]` with C a multiple of 4, in any format.
pub fn forward(rec: &mut Recorder, ids: &Tensor, table: &Weight, out: &Tensor) {
    let rows = ids.len();
    let channels = out.len() / rows;
    let fits = channels * rows == out.len() && table.columns() == channels && channels.is_multiple_of(4);
    assert!(fits && table.storage().order == Order::Rows, "rows of {table:?} into {:?}", out.shape());
    rec.dispatch(Dispatch {
        shader: &SHADER,
        entry: "forward",
        values: &[in_format(table.format()), ("scaled", false.into()), rows::lanes(rec, channels / 4)],
        params: Shape { rows: rows as u32, quads: (channels / 4) as u32, chunks: 1, heads: 1 },
        bind: &[(1, ids), (2, table.words()), (3, out)],
        groups: grid(rows),
    });
}

/// Which rows of a batch hold which token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segments {
    /// `[N]` The batch's rows, sorted by token, rows of the same token in order.
    pub order: Vec<u32>,
    /// `[V + 1]` Where each token's rows start in `order`; the last is N.
    pub starts: Vec<u32>,
}

/// Sorts the rows of a batch by token. Panics if an id is not below `vocab`.
pub fn segments(ids: &[i32], vocab: usize) -> Segments {
    let mut starts = vec![0u32; vocab + 1];
    for &id in ids {
        starts[id as usize + 1] += 1;
    }
    for v in 0..vocab {
        starts[v + 1] += starts[v];
    }
    let mut next = starts.clone();
    let mut order = vec![0u32; ids.len()];
    for (row, &id) in ids.iter().enumerate() {
        let place = &mut next[id as usize];
        order[*place as usize] = row as u32;
        *place += 1;
    }
    Segments { order, starts }
}

/// `d_table[v] += Σ d_out[n]` over the rows n that hold token v, in order of n.
///
/// `order` and `starts` are [`Segments`] as u32 tensors, `d_out` is `[N, C]`, `d_table` `[V, C]` (or has more rows,
/// which are not changed). With `scale`, `[N, K]`, each of the K equal parts of a row is first multiplied by its factor.
pub fn backward(rec: &mut Recorder, order: &Tensor, starts: &Tensor, d_out: &Tensor, scale: Option<&Tensor>, d_table: &Tensor) {
    let rows = order.len();
    let vocab = starts.len() - 1;
    let channels = d_out.len() / rows;
    let heads = scale.map_or(1, |scale| scale.len() / rows);
    let fits = channels * rows == d_out.len() && d_table.len().is_multiple_of(channels) && d_table.len() >= vocab * channels;
    let whole = channels.is_multiple_of(4 * heads) && scale.is_none_or(|scale| scale.len() == rows * heads);
    assert!(fits && whole, "gradients {:?} of rows of {:?}, {heads} heads", d_out.shape(), d_table.shape());
    let capabilities = rec.gpu().capabilities();
    let quads = channels / 4;
    // A piece is one iteration of a workgroup, and a few lanes suffice: there are many tokens.
    let lanes = rows::lanes(rec, 1);
    let pieces = quads.div_ceil(capabilities.row_lanes(1) as usize);
    let turns = turns(rows);
    if !rec.allows_turns(turns, || format!("the gradient of an embedding over {rows} tokens")) {
        return;
    }
    // On a CPU as few chunks as the driver's loop limit allows: each rereads the order of tokens.
    let chunks = if capabilities.cpu { pieces.div_ceil((capabilities.loop_turns as usize - SHORT_LOOPS) / turns) } else { pieces };
    let mut bind = vec![(4, order), (5, starts), (6, d_out), (7, d_table)];
    bind.extend(scale.map(|scale| (8, scale)));
    rec.dispatch(Dispatch {
        shader: &SHADER,
        entry: "backward",
        values: &[in_format(Format::F32), ("scaled", scale.is_some().into()), lanes],
        params: Shape { rows: vocab as u32, quads: quads as u32, chunks: chunks as u32, heads: heads as u32 },
        bind: &bind,
        groups: grid(vocab * chunks),
    });
}

/// The most iterations of a piece, if all rows hold the same token: eight rows per iteration, and a few more for blocks and
/// tails.
fn turns(rows: usize) -> usize {
    rows.div_ceil(7) + 16
}

/// Every specialisation of this shader that such an adapter may use.
pub fn variants(capabilities: Capabilities) -> Vec<Variant> {
    let forward = Format::ALL.map(|format| ("forward", false, format));
    let backward = [false, true].map(|scaled| ("backward", scaled, Format::F32));
    forward
        .into_iter()
        .chain(backward)
        .flat_map(|(entry, scaled, format)| rows::variants(capabilities, &SHADER, entry, &[in_format(format), ("scaled", scaled.into())]))
        .collect()
}

/// The same on the CPU in f64.
pub mod twin {
    /// Returns `[N, C]`, the rows `ids` of `table`.
    pub fn forward(ids: &[i32], table: &[f64], channels: usize) -> Vec<f64> {
        ids.iter().flat_map(|&id| &table[id as usize * channels..][..channels]).copied().collect()
    }

    /// Returns dL/dtable, `[vocab, C]`; `scale` is `[N, K]`.
    pub fn backward(ids: &[i32], d_out: &[f64], scale: &[f64], vocab: usize) -> Vec<f64> {
        let (channels, heads) = (d_out.len() / ids.len(), scale.len() / ids.len());
        let mut d_table = vec![0.0; vocab * channels];
        for (n, &id) in ids.iter().enumerate() {
            for c in 0..channels {
                d_table[id as usize * channels + c] += scale[n * heads + c / (channels / heads)] * d_out[n * channels + c];
            }
        }
        d_table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{DType, Memory};
    use crate::kernels::testing::{Bench, add, assert_slopes, random, wide};
    use proptest::prelude::*;
    use rand::{Rng, SeedableRng};

    fn upload(bench: &Bench, data: &[u32]) -> Tensor {
        bench.gpu().upload("test", &[data.len()], DType::U32, Memory::Workspace, data).unwrap()
    }

    /// Few distinct tokens or many, depending on `vocab` and the number of rows; `padding` rows without a token.
    fn tokens(seed: u64, rows: usize, vocab: usize) -> Vec<i32> {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        (0..rows).map(|_| rng.random_range(0..vocab as i32)).collect()
    }

    fn check(ids: &[i32], vocab: usize, padding: usize, channels: usize, heads: Option<usize>, seed: u64) {
        let bench = Bench::new();
        let rows = ids.len();
        let table = random(seed, (vocab + padding) * channels, 1.0);
        let before = random(seed ^ 1, table.len(), 1.0);
        let g = random(seed ^ 2, rows * channels, 1.0);
        let scale = random(seed ^ 3, rows * heads.unwrap_or(1), 3.0);

        let ones = vec![1.0; rows];
        let y_want = twin::forward(ids, &wide(&table), channels);
        let scale_wide = wide(&scale);
        let d_want = twin::backward(ids, &wide(&g), if heads.is_some() { &scale_wide } else { &ones }, vocab + padding);
        let d_want = add(&before, &d_want);

        let Segments { order, starts } = segments(ids, vocab);
        let [order, starts] = [&order, &starts].map(|data| upload(&bench, data));
        let [table, d_table] = [&table, &before].map(|data| bench.tensor(&[vocab + padding, channels], data));
        let (ids, g, scale) = (bench.ids(&[rows], ids), bench.tensor(&[rows, channels], &g), bench.tensor(&[scale.len()], &scale));
        let y = bench.empty(&[rows, channels]);
        bench.run(|rec| {
            forward(rec, &ids, &Weight::plain(&table), &y);
            backward(rec, &order, &starts, &g, heads.map(|_| &scale), &d_table);
        });
        bench.close(&y, &y_want, 0.0);
        bench.close(&d_table, &d_want, 1e-6);
    }

    proptest! {
        #![proptest_config(Bench::cases(32))]

        #[test]
        fn embedding_equals_its_twin(
            rows in 1usize..200, vocab in 1usize..300, padding in 0usize..3, quads in 1usize..40, heads in 0usize..5, seed: u64,
        ) {
            let heads = (heads > 0).then_some(heads);
            let channels = 4 * quads * heads.unwrap_or(1);
            check(&tokens(seed, rows, vocab), vocab, padding, channels, heads, seed);
        }

        #[test]
        fn rows_come_from_tables_of_every_format(
            rows in 1usize..40, vocab in 1usize..30, blocks in 1usize..6, format in 0usize..5, seed: u64,
        ) {
            let (bench, ids) = (Bench::new(), tokens(seed, rows, vocab));
            let channels = 32 * blocks;
            let (stored, table) = bench.weight(&random(seed, vocab * channels, 1.0), vocab, Format::ALL[format]);
            let (tensor, y) = (bench.ids(&[rows], &ids), bench.empty(&[rows, channels]));
            bench.run(|rec| forward(rec, &tensor, &stored, &y));
            bench.close(&y, &twin::forward(&ids, &wide(&table), channels), 0.0);
        }

        #[test]
        fn segments_name_every_row_once_sorted_by_token_then_row(rows in 0usize..300, vocab in 1usize..50, seed: u64) {
            let ids = tokens(seed, rows, vocab);
            let Segments { order, starts } = segments(&ids, vocab);
            let mut want: Vec<u32> = (0..rows as u32).collect();
            want.sort_by_key(|&row| ids[row as usize]);
            prop_assert_eq!(&order, &want);
            prop_assert_eq!((starts.len(), starts[0], starts[vocab]), (vocab + 1, 0, rows as u32));
            for v in 0..vocab {
                let rows = &order[starts[v] as usize..starts[v + 1] as usize];
                prop_assert!(rows.iter().all(|&row| ids[row as usize] == v as i32));
            }
        }
    }

    #[test]
    fn embedding_holds_at_the_edges_of_blocks() {
        for rows in [1, 3, 4, 5, 1023, 1024, 1025, 2049] {
            check(&vec![1; rows], 3, 0, 8, None, rows as u64);
            check(&vec![1; rows], 3, 0, 8, Some(2), rows as u64);
        }
    }

    /// Mesa 22.3 ends an invocation's loops after 65,535 iterations in total; these rows and channels take 67,500 in one chunk.
    #[test]
    fn embedding_gradient_reaches_every_row_of_one_frequent_token() {
        check(&vec![0; 270_001], 1, 0, 40, None, 9);
    }

    #[test]
    fn embedding_gradient_has_the_same_bits_every_time() {
        let bench = Bench::new();
        let ids = tokens(5, 3000, 7);
        let Segments { order, starts } = segments(&ids, 7);
        let [order, starts] = [&order, &starts].map(|data| upload(&bench, data));
        let g = bench.tensor(&[3000, 32], &random(6, 3000 * 32, 1.0));
        let run = || {
            let d_table = bench.tensor(&[7, 32], &[0.0; 7 * 32]);
            bench.run(|rec| backward(rec, &order, &starts, &g, None, &d_table));
            bench.values(&d_table)
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn embedding_twin_is_its_own_derivative() {
        let ids = tokens(1, 9, 4);
        let [table, g] = [(2, 16), (3, 36)].map(|(seed, len)| wide(&random(seed, len, 1.0)));
        let d_table = twin::backward(&ids, &g, &[1.0; 9], 4);
        assert_slopes(&table, &g, &d_table, |table| twin::forward(&ids, table, 4));
    }
}
