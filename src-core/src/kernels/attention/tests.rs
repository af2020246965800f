//! Both shaders against the twin.

use proptest::prelude::*;

use super::*;
use crate::kernels::attention_decode::tests::Case;
use crate::kernels::testing::{Bench, random, wide};

/// Every form that the adapter can run, not only the one that it would get.
fn kernels() -> impl Iterator<Item = Kernel> {
    let capabilities = Bench::new().gpu().capabilities();
    [Kernel::Lane, Kernel::SMALL, Kernel::LARGE].into_iter().filter(move |kernel| kernel.runs_on(capabilities))
}

/// Runs all kernels forward and backward, twice each, and compares them with the twin and with themselves.
///
/// `span` bounds the elements of q and k; `ease` widens the bars.
fn check(dims: Attention, span: f32, ease: f64, seed: u64) {
    let bench = Bench::new();
    let queries = [dims.batch, dims.seq, dims.heads, dims.head_dim];
    let keys = [dims.batch, dims.seq, dims.kv_heads, dims.head_dim];
    let rows = &queries[..3];
    let fill = |shape: &[usize], part: u64, span: f32| random(seed.wrapping_mul(4).wrapping_add(part), shape.iter().product(), span);
    let [q, k] = [(&queries, 0), (&keys, 1)].map(|(shape, part)| fill(shape, part, span));
    let [v, d_o] = [(&keys, 2), (&queries, 3)].map(|(shape, part)| fill(shape, part, 1.0));

    let [wide_q, wide_k, wide_v, wide_d_o] = [&q, &k, &v, &d_o].map(|data| wide(data));
    let want = twin::forward(&wide_q, &wide_k, &wide_v, &dims);
    let slopes = twin::backward(&wide_q, &wide_k, &wide_v, &wide_d_o, &dims);

    let [q, d_o] = [&q, &d_o].map(|data| bench.tensor(&queries, data));
    let [k, v] = [&k, &v].map(|data| bench.tensor(&keys, data));
    for kernel in kernels() {
        let run = || {
            let (o, lse, delta) = (bench.empty(&queries), bench.empty(rows), bench.empty(rows));
            let (dq, dk, dv) = (bench.empty(&queries), bench.empty(&keys), bench.empty(&keys));
            bench.run(|rec| {
                let operands = Operands { q: &q, k: &k, v: &v, o: &o, lse: &lse };
                forward_with(rec, kernel, &dims, operands);
                backward_with(rec, kernel, &dims, operands, Gradients { d_o: &d_o, delta: &delta, dq: &dq, dk: &dk, dv: &dv });
            });
            [o, lse, dq, dk, dv]
        };
        let results = run();
        let wants = [&want.o, &want.lse, &slopes.dq, &slopes.dk, &slopes.dv];
        for ((name, bar), (got, want)) in
            [("o", 1e-6), ("lse", 1e-6), ("dq", 5e-6), ("dk", 5e-6), ("dv", 2e-6)].into_iter().zip(results.iter().zip(wants))
        {
            // A softmax over very few scores has gradients near zero: their error is relative to the size of their terms.
            let few = dims.seq <= 4 || dims.window == 0;
            let floor = if few { 0.1 * f64::from(span) * (want.len() as f64).sqrt() } else { 0.0 };
            let error = distance(&bench.values(got), want) / norm(want).max(floor);
            assert!(error <= bar * ease, "{kernel:?} {dims:?}: {name} is off by {error:.2e}");
        }
        let bits = |tensors: &[Tensor; 5]| tensors.each_ref().map(|tensor| bench.values(tensor));
        assert!(bits(&run()) == bits(&results), "{kernel:?} {dims:?} is not reproducible");
    }
}

fn distance(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square: f64 = got.iter().zip(want).map(|(&got, want)| (f64::from(got) - want).powi(2)).sum();
    if square.is_nan() { f64::INFINITY } else { square.sqrt() }
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

proptest! {
    #![proptest_config(Bench::cases(16))]

    #[test]
    fn attention_equals_its_twin(
        batch in 1usize..3, seq in 1usize..150, kv_heads in 1usize..3, group in prop::sample::select(vec![1usize, 2, 4]),
        head_dim in prop::sample::select(vec![4usize, 16, 24, 64]), window in 0usize..160, seed: u64,
    ) {
        check(Attention { batch, seq, heads: kv_heads * group, kv_heads, head_dim, window }, 2.0, 1.0, seed);
    }
}

fn check_cached(case: &Case) {
    for kernel in kernels() {
        case.check(|rec, operands| cached_with(rec, kernel, case.dims, operands));
    }
}

proptest! {
    #![proptest_config(Bench::cases(16))]

    #[test]
    fn attention_over_a_cache_equals_its_twin(
        held in proptest::collection::vec(0usize..200, 1..3), fresh in 1usize..80, window in 0usize..160, spare in 0usize..3,
        kv_heads in 1usize..3, group in 1usize..3, quads in prop::sample::select(vec![1usize, 4, 6, 16]),
        format in 0usize..3, seed: u64,
    ) {
        check_cached(&Case::new(&held, fresh, [window, spare], [group, kv_heads, quads], CacheFormat::ALL[format], seed));
    }
}

#[test]
fn attention_over_a_cache_holds_where_it_comes_round() {
    for (held, fresh, window, spare) in [(0, 16, 0, 0), (15, 17, 16, 0), (64, 64, 64, 0), (500, 33, 31, 1), (100, 20, 300, 0)] {
        for format in CacheFormat::ALL {
            check_cached(&Case::new(&[held, held + 1], fresh, [window, spare], [2, 1, 32], format, 5));
        }
    }
}

#[test]
fn attention_holds_at_the_edges_of_tiles_and_windows() {
    for seq in [1, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65] {
        for window in [0, 1, 7, seq - 1, seq, usize::MAX] {
            check(Attention { batch: 1, seq, heads: 2, kv_heads: 1, head_dim: 16, window }, 2.0, 1.0, seq as u64);
        }
    }
}

#[test]
fn attention_holds_for_large_heads() {
    for (head_dim, window) in [(128, 300), (128, 50), (256, 40)] {
        check(Attention { batch: 1, seq: 130, heads: 2, kv_heads: 1, head_dim, window }, 1.0, 1.0, head_dim as u64);
    }
}

/// Head sizes that fill neither the last slice of a product nor the lanes of a gather.
#[test]
fn attention_holds_for_uneven_heads() {
    for head_dim in [40, 72, 200] {
        check(Attention { batch: 1, seq: 70, heads: 2, kv_heads: 2, head_dim, window: 45 }, 1.0, 1.0, head_dim as u64);
    }
}

/// Each query sees only itself here; the exponentials of other scores, up to 2,000 above its own, would be infinite.
#[test]
fn what_is_out_of_sight_has_no_weight() {
    check(Attention { batch: 1, seq: 90, heads: 2, kv_heads: 1, head_dim: 32, window: 0 }, 30.0, 200.0, 9);
}

#[test]
fn attention_holds_over_many_tiles() {
    check(Attention { batch: 1, seq: 700, heads: 4, kv_heads: 2, head_dim: 32, window: 700 }, 2.0, 1.0, 1);
    check(Attention { batch: 1, seq: 700, heads: 2, kv_heads: 2, head_dim: 64, window: 200 }, 2.0, 1.0, 2);
}

/// Scores that are far apart make probabilities vanish, and the running maximum grows from tile to tile. These scores reach
/// 150, so rounding alone causes errors of 1e-5 in them, and so in the probabilities.
#[test]
fn attention_survives_large_scores() {
    check(Attention { batch: 1, seq: 100, heads: 1, kv_heads: 1, head_dim: 64, window: 100 }, 12.0, 10.0, 3);
}
