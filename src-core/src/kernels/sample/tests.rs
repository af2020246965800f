//! Both forms of the shader against the twin.

use proptest::prelude::*;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::gpu::{DType, Memory};
use crate::kernels::testing::{Bench, random};

const PLAIN: Draw = Draw { temperature: 1.0, ..Draw::GREEDY };

/// The largest float below 1.
const ALMOST_ONE: f32 = 1.0 - f32::EPSILON / 2.0;

/// A row of a batch.
#[derive(Clone, Debug)]
struct Row {
    logits: Vec<f32>,
    draw: Draw,
    seen: Vec<bool>,
    fed: i32,
}

impl Row {
    fn new(logits: &[f32], draw: Draw) -> Self {
        Self { logits: logits.to_vec(), draw, seen: vec![false; logits.len()], fed: -1 }
    }

    /// What the row has seen once the input token is marked.
    fn marked(&self) -> Vec<bool> {
        let mut seen = self.seen.clone();
        if let Ok(fed) = usize::try_from(self.fed) {
            seen[fed] = true;
        }
        seen
    }

    /// Whether the kernel may return `got`: the twin's token, or one whose probability interval is within 1e-4 of
    /// the random number if the thresholds of top-p and min-p are changed by no more than 1e-4 of themselves.
    fn allows(&self, got: Option<u32>) -> bool {
        const MARGIN: f64 = 1e-4;
        let seen = self.marked();
        if got == twin::sample(&self.logits, &self.draw, &seen) {
            return true;
        }
        let moved = |value: f32, limit: f32| {
            let moves: &[f64] = if value == limit { &[0.0] } else { &[-MARGIN, 0.0, MARGIN] };
            moves.iter().map(move |by| (f64::from(value) * (1.0 + by)) as f32)
        };
        let u = f64::from(self.draw.uniform);
        moved(self.draw.top_p, 1.0).any(|top_p| {
            moved(self.draw.min_p, 0.0).any(|min_p| {
                let kept = twin::kept(&self.logits, &Draw { top_p, min_p, ..self.draw }, &seen).unwrap_or_default();
                let total: f64 = kept.iter().map(|(_, w)| w).sum();
                let mut before = 0.0;
                kept.iter().any(|&(id, w)| {
                    let (from, to) = (before / total - MARGIN, (before + w) / total + MARGIN);
                    before += w;
                    Some(id) == got && from <= u && u <= to
                })
            })
        })
    }
}

/// Bits of `seen`, 32 to a word.
fn words(seen: &[bool]) -> Vec<u32> {
    seen.chunks(32).map(|chunk| chunk.iter().rev().fold(0, |word, &bit| word << 1 | u32::from(bit))).collect()
}

fn forms(bench: &Bench) -> Vec<Form> {
    let subgroups = bench.gpu().capabilities().fixed_subgroup().is_some();
    [Form::Workgroup, Form::Blocks].into_iter().chain(subgroups.then_some(Form::Subgroup)).collect()
}

/// The tokens that `form` draws, after checking what it marks as seen. Padding is garbage.
fn drawn_by(bench: &Bench, form: Form, rows: &[Row]) -> Vec<Option<u32>> {
    let vocab = rows[0].logits.len();
    let padded = vocab.next_multiple_of(64) + if vocab.is_multiple_of(3) { 64 } else { 0 };
    let garbage = [f32::NAN, f32::INFINITY, 1e30].into_iter().cycle();
    let logits: Vec<f32> = rows.iter().flat_map(|row| row.logits.iter().copied().chain(garbage.clone().take(padded - vocab))).collect();
    let draws: Vec<Draw> = rows.iter().map(|row| row.draw).collect();
    let upload = |data: &[u32]| bench.gpu().upload("test", &[data.len()], DType::U32, Memory::Workspace, data).unwrap();
    let draws = upload(bytemuck::cast_slice(&draws));
    let seen = upload(&rows.iter().flat_map(|row| words(&row.seen)).collect::<Vec<_>>());
    let logits = bench.tensor(&[rows.len(), padded], &logits);
    let tokens = bench.ids(&[rows.len()], &rows.iter().map(|row| row.fed).collect::<Vec<_>>());
    let weights = bench.empty(&[rows.len(), form.scratch_len(vocab, padded)]);
    bench.run(|rec| forward_as(rec, form, vocab, [&logits, &draws, &seen, &tokens, &weights]));

    let marked: Vec<u32> = bench.gpu().read(&seen).unwrap();
    assert_eq!(marked, rows.iter().flat_map(|row| words(&row.marked())).collect::<Vec<_>>(), "what {form:?} marks as seen");
    let tokens: Vec<i32> = bench.gpu().read(&tokens).unwrap();
    assert!(tokens.iter().all(|&token| token >= -1 && token < vocab as i32), "{form:?} draws {tokens:?} of {vocab}");
    tokens.into_iter().map(|token| u32::try_from(token).ok()).collect()
}

/// The tokens that both forms draw, where they must be the same.
fn drawn(rows: &[Row]) -> Vec<Option<u32>> {
    let bench = Bench::new();
    let mut answers = forms(&bench).into_iter().map(|form| drawn_by(&bench, form, rows));
    let first = answers.next().unwrap();
    answers.for_each(|other| assert_eq!(first, other));
    first
}

fn draw_one(logits: &[f32], draw: Draw) -> Option<u32> {
    drawn(&[Row::new(logits, draw)])[0]
}

/// A row with random options; if `coarse`, many logits are equal.
fn random_row(rng: &mut ChaCha8Rng, vocab: usize) -> Row {
    let mut logits = random(rng.random(), vocab, *[0.01, 3.0, 15.0].choose(rng).unwrap());
    if rng.random_bool(0.4) {
        logits.iter_mut().for_each(|l| *l = (*l * 2.0).round() / 2.0);
    }
    if rng.random_bool(0.2) {
        logits.iter_mut().for_each(|l| *l = if rng.random_bool(0.5) { f32::NEG_INFINITY } else { *l });
    }
    if rng.random_bool(0.05) {
        logits[rng.random_range(0..vocab)] = f32::NAN;
    }
    let size = vocab as u32;
    let draw = Draw {
        temperature: *[0.0, 1e-6, 0.3, 1.0, 1.0, 5.0, 1e6].choose(rng).unwrap(),
        top_k: *[0, 0, 1, 2, 5, size / 2, size, size + 5, u32::MAX].choose(rng).unwrap(),
        top_p: *[1.0, 1.0, 0.0, 0.1, 0.5, 0.9, 0.999].choose(rng).unwrap(),
        min_p: *[0.0, 0.0, 0.05, 0.5, 1.0].choose(rng).unwrap(),
        penalty: *[1.0, 1.0, 0.7, 1.3, 2.0].choose(rng).unwrap(),
        uniform: *[0.0, ALMOST_ONE, rng.random(), rng.random(), rng.random()].choose(rng).unwrap(),
        _pad: [0; 2],
    };
    let seen = (0..vocab).map(|_| rng.random_bool(0.3)).collect();
    let fed = if rng.random_bool(0.3) { -1 } else { rng.random_range(0..vocab as i32) };
    Row { logits, draw, seen, fed }
}

proptest! {
    #![proptest_config(Bench::cases(96))]

    #[test]
    fn sample_draws_what_its_twin_draws(
        rows in 1usize..6,
        vocab in prop_oneof![Just(1usize), Just(2), 31usize..34, 63usize..66, 127usize..130, 1usize..3000],
        seed: u64,
    ) {
        let bench = Bench::new();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let rows: Vec<Row> = (0..rows).map(|_| random_row(&mut rng, vocab)).collect();
        for form in forms(&bench) {
            for (index, (row, got)) in rows.iter().zip(drawn_by(&bench, form, &rows)).enumerate() {
                let want = twin::sample(&row.logits, &row.draw, &row.marked());
                prop_assert!(row.allows(got), "{form:?}, row {index} of {vocab}: {got:?}, not {want:?}, by {:?}", row.draw);
            }
        }
    }
}

/// A row whose logits are distributed as a language model's: some tokens are far likelier than most.
fn steep(seed: u64, vocab: usize) -> Vec<f32> {
    random(seed, vocab, 1.0).into_iter().map(|x| -2.0 * (1.0 - x.abs().min(0.99999)).ln() + 3.0 * x.signum()).collect()
}

/// Long rows are processed in blocks of 256. If the likeliest tokens are spread out, those kept of each block suffice; if
/// they are close together, with equal ones among them, they do not.
#[test]
fn long_rows_are_drawn_from_whether_their_blocks_suffice_or_not() {
    let options = [
        PLAIN,
        Draw { top_k: 50, ..PLAIN },
        Draw { top_k: 500, top_p: 0.8, ..PLAIN },
        Draw { top_p: 0.7, ..PLAIN },
        Draw { top_p: 0.95, min_p: 0.01, temperature: 0.7, ..PLAIN },
        Draw { min_p: 0.05, ..PLAIN },
        Draw { top_k: 40, temperature: 3.0, penalty: 1.3, ..PLAIN },
        Draw { penalty: 1.3, ..Draw::GREEDY },
    ];
    for vocab in [9000, 20_001] {
        let spread = steep(5, vocab);
        let together = {
            let mut logits = spread.clone();
            (700..900).for_each(|id| logits[id] = 30.0 + (id % 7) as f32 / 4.0);
            logits
        };
        let rows: Vec<Row> = [&spread, &together]
            .into_iter()
            .flat_map(|logits| {
                options.iter().flat_map(move |draw| [0.1, 0.5, 0.9].map(|uniform| Row::new(logits, Draw { uniform, ..*draw })))
            })
            .map(|row| Row { seen: (0..vocab).map(|id| id % 5 == 0).collect(), fed: 703, ..row })
            .collect();
        let bench = Bench::new();
        for form in forms(&bench) {
            for (row, got) in rows.iter().zip(drawn_by(&bench, form, &rows)) {
                assert!(row.allows(got), "{form:?} of {vocab}: {got:?} by {:?}", row.draw);
            }
        }
    }
}

#[test]
fn greedy_takes_the_first_of_the_highest() {
    for vocab in [1, 2, 5, 33, 500, 4096] {
        let mut rows = Vec::new();
        for first in [0, vocab / 3, vocab - 1] {
            let mut logits = random(first as u64, vocab, 4.0);
            logits[first] = 4.5;
            logits[vocab - 1] = 4.5;
            rows.push(Row::new(&logits, Draw::GREEDY));
        }
        assert_eq!(drawn(&rows), [0, vocab / 3, vocab - 1].map(|first| Some(first as u32)), "of {vocab}");
    }
    assert_eq!(draw_one(&[-1.0, -0.0, 0.0], Draw::GREEDY), Some(1));
    assert_eq!(draw_one(&[0.0, f32::INFINITY, f32::INFINITY], Draw::GREEDY), Some(1));
}

#[test]
fn a_nan_spoils_its_own_row_only() {
    let minus = f32::from_bits(f32::NAN.to_bits() | 1 << 31);
    for (draw, nan) in [(Draw::GREEDY, f32::NAN), (PLAIN, f32::NAN), (Draw { top_k: 3, top_p: 0.5, ..PLAIN }, minus), (Draw::GREEDY, minus)]
    {
        let good = Row::new(&random(1, 300, 3.0), draw);
        let mut bad = good.clone();
        bad.logits[200] = nan;
        let tokens = drawn(&[good.clone(), bad, good.clone()]);
        assert_eq!(tokens[1], None);
        assert!(tokens[0].is_some() && tokens[0] == tokens[2]);
        assert!(good.allows(tokens[0]));
    }
}

#[test]
fn infinities_are_drawn_from_or_never() {
    const LOW: f32 = f32::NEG_INFINITY;
    for draw in [Draw::GREEDY, PLAIN, Draw { top_k: 2, top_p: 0.9, ..PLAIN }] {
        assert_eq!(draw_one(&[LOW; 5], draw), None);
        for uniform in [0.0, 0.5, ALMOST_ONE] {
            let draw = Draw { uniform, ..draw };
            assert_eq!(draw_one(&[LOW, LOW, -3.0, LOW, LOW], draw), Some(2));
            assert_eq!(draw_one(&[1.0, 2.0, f32::INFINITY, LOW], draw), Some(2));
        }
    }
    assert_eq!(draw_one(&[1.0, 2.0], Draw { min_p: 1.5, ..PLAIN }), None);
}

#[test]
fn a_token_counts_as_seen_from_the_step_that_feeds_it() {
    let draw = Draw { penalty: 2.0, ..Draw::GREEDY };
    let fresh = Row::new(&[3.0, 2.0, -1.0], draw);
    let fed = Row { fed: 0, ..fresh.clone() };
    let earlier = Row { seen: vec![true, false, false], ..fresh.clone() };
    // Below zero a penalty multiplies: −0.5 · 2 is less than −0.9.
    let negative = Row { fed: 1, ..Row::new(&[-0.9, -0.5, -1.0], draw) };
    assert_eq!(drawn(&[fresh, fed, earlier, negative]), [Some(0), Some(1), Some(1), Some(0)]);
}

#[test]
fn equal_logits_are_ranked_by_id() {
    for (top_k, top_p, last) in [(3, 1.0, 2), (0, 0.25, 24), (50, 0.5, 24), (0, 0.0, 0)] {
        let draw = Draw { top_k, top_p, uniform: ALMOST_ONE, ..PLAIN };
        assert_eq!(draw_one(&[0.25; 100], draw), Some(last), "{draw:?}");
        assert_eq!(draw_one(&[0.25; 100], Draw { uniform: 0.0, ..draw }), Some(0));
    }
}

/// Mesa 22.3 ends an invocation's loops after 65,535 iterations in total. Equal logits below the highest take every pass there is.
#[test]
fn the_largest_vocabularies_are_drawn_from_to_the_end() {
    for vocab in [65_536, 131_072, 229_248] {
        let mut logits = vec![1.0; vocab];
        logits[7] = 1.5;
        let half = vocab as u32 / 2;
        let draw = Draw { top_k: half, top_p: 0.5, uniform: ALMOST_ONE, temperature: 1.0, ..PLAIN };
        let rows = [draw, Draw { uniform: 0.5, ..draw }].map(|draw| Row::new(&logits, draw));
        let tokens = drawn(&rows);
        // A few ids of 10⁵ are within the rounding of f32.
        for (token, want) in tokens.into_iter().zip([vocab / 4, vocab / 8]) {
            let token = token.expect("a token") as usize;
            assert!(token.abs_diff(want) <= vocab / 20_000, "{token}, not {want}, of {vocab}");
        }
    }
}

#[test]
fn draws_follow_the_softmax() {
    const DRAWS: usize = 20_000;
    let bench = Bench::new();
    let logits = random(11, 50, 2.0);
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    let rows: Vec<Row> = (0..DRAWS).map(|_| Row::new(&logits, Draw { temperature: 0.8, uniform: rng.random(), ..PLAIN })).collect();
    let weights: Vec<f64> = logits.iter().map(|&l| (f64::from(l) / 0.8).exp()).collect();
    let total: f64 = weights.iter().sum();
    for form in forms(&bench) {
        let tokens = drawn_by(&bench, form, &rows);
        let chi_square: f64 = (0u32..)
            .zip(&weights)
            .map(|(id, w)| {
                let expected = DRAWS as f64 * w / total;
                let counted = tokens.iter().filter(|&&token| token == Some(id)).count() as f64;
                (counted - expected).powi(2) / expected
            })
            .sum();
        // 49 degrees of freedom: mean 49, deviation 10.
        assert!((15.0..100.0).contains(&chi_square), "chi-square {chi_square:.0} by {form:?}");
        assert_eq!(tokens[..500], drawn_by(&bench, form, &rows[..500]), "{form:?} draws other tokens a second time");
    }
}

#[test]
fn twin_keeps_what_the_papers_say() {
    let logits = [1.0f32, 4.0, 2.0, 3.0];
    let ids = |draw: Draw| twin::kept(&logits, &draw, &[false; 4]).unwrap().into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    assert_eq!(ids(PLAIN), [0, 1, 2, 3]);
    assert_eq!(ids(Draw { top_k: 2, ..PLAIN }), [1, 3]);
    // The softmax of the ranking is 0.64, 0.24, 0.09, 0.03, and 0.73, 0.27 of its first two.
    assert_eq!(ids(Draw { top_p: 0.6, ..PLAIN }), [1]);
    assert_eq!(ids(Draw { top_p: 0.7, ..PLAIN }), [1, 3]);
    assert_eq!(ids(Draw { top_k: 2, top_p: 0.7, ..PLAIN }), [1]);
    assert_eq!(ids(Draw { min_p: 0.1, ..PLAIN }), [1, 2, 3]);
    assert_eq!(ids(Draw { min_p: 0.1, top_p: 0.7, ..PLAIN }), [1, 3]);
}
