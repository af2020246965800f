//! Scoring that shares work gives what a full forward pass over every sequence gives, token by token: for every golden case, for
//! windows whose ring buffers go round, and past the context.

use nc_core::engine::{EngineError, Scored, Scorer, Sequence, score};
use nc_core::gpu::{Gpu, Recorder};
use nc_core::kernels::precision::Precision;
use nc_core::model::{Activations, Architecture, Keep, Model};
use nc_core::weights::Format;
use nc_tests::drawn::windowed;
use nc_tests::golden::Case;
use nc_tests::golden_models;
use nc_tests::passes::Passes;

/// The largest error of a loss, as a share of the loss or of one nat, whichever is more.
const LOSS: f64 = 1e-5;

/// Logits this close to the highest may be the likeliest by another sum's rounding.
const TIE: f32 = 1e-4;

/// Token ids from a seed.
fn draw(seed: u64, len: usize, vocab: usize) -> Vec<u32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % vocab as u64) as u32
    };
    (0..len).map(next).collect()
}

/// The loss of every next token, and the logits in its place, by one pass over the whole.
fn whole(gpu: &Gpu, model: &Model, ids: &[u32]) -> (Vec<f32>, Vec<Vec<f32>>) {
    let len = ids.len() - 1;
    let acts = Activations::allocate(gpu, &model.config, 1, len, Keep::Nothing).unwrap();
    let as_i32 = |ids: &[u32]| ids.iter().map(|&id| id as i32).collect::<Vec<_>>();
    gpu.write(&acts.ids, &as_i32(&ids[..len]));
    gpu.write(&acts.targets, &as_i32(&ids[1..]));
    let mut rec = Recorder::new(gpu);
    model.record_evaluation(&mut rec, &acts);
    rec.finish().unwrap().run();
    let losses = gpu.read(&acts.losses).unwrap();
    let (rows, padded, mut logits) = (model.logits_rows(&acts), model.config.padded_vocab(), Vec::new());
    for first in (0..len).step_by(rows) {
        let mut rec = Recorder::new(gpu);
        let chunk = model.record_logits(&mut rec, &acts, first, rows.min(len - first));
        rec.finish().unwrap().run();
        let values: Vec<f32> = gpu.read(&chunk).unwrap();
        logits.extend(values.chunks_exact(padded).map(|row| row[..model.config.vocab_size].to_vec()));
    }
    (losses, logits)
}

/// Compares the scores of a sequence with those of a whole pass; returns the largest error of a loss.
fn compare(what: &str, gpu: &Gpu, model: &Model, ids: &[u32], start: usize, scored: &Scored) -> f64 {
    let (losses, logits) = whole(gpu, model, ids);
    assert_eq!((scored.losses.len(), scored.likeliest.len()), (ids.len() - start, ids.len() - start), "{what}");
    let mut worst: f64 = 0.0;
    for (at, (&got, &best)) in (start - 1..).zip(scored.losses.iter().zip(&scored.likeliest)) {
        let error = f64::from((got - losses[at]).abs()) / f64::from(losses[at].abs().max(1.0));
        worst = worst.max(error);
        assert!(error <= LOSS, "{what}: loss {got} in place {at}, and {} in a whole pass", losses[at]);
        let highest = logits[at].iter().copied().fold(f32::MIN, f32::max);
        assert!(logits[at][best as usize] >= highest - TIE, "{what}: {best} is not the likeliest token in place {at}");
    }
    worst
}

/// Groups of sequences of which each has a beginning in common: (tokens in common, lengths of the rest, where scoring begins after the
/// common ones).
fn groups(seed: u64, vocab: usize, shapes: &[(usize, &[usize], isize)]) -> Vec<Vec<(Vec<u32>, usize)>> {
    let mut groups = Vec::new();
    for (g, &(common, rests, from)) in shapes.iter().enumerate() {
        let shared = draw(seed + g as u64, common, vocab);
        let member = |(m, &rest): (usize, &usize)| {
            let mut ids = shared.clone();
            ids.extend(draw(seed ^ ((g * 31 + m + 1) as u64) << 20, rest, vocab));
            // Different from the first token on.
            if rest > 0 {
                ids[common] = (m % vocab) as u32;
            }
            let start = (common as isize + from).clamp(1, ids.len() as isize) as usize;
            (ids, start)
        };
        groups.push(rests.iter().enumerate().map(member).collect());
    }
    groups
}

fn check(what: &str, gpu: &Gpu, model: &Model, groups: &[Vec<(Vec<u32>, usize)>]) {
    let given: Vec<Vec<Sequence<'_>>> =
        groups.iter().map(|group| group.iter().map(|(ids, start)| Sequence::new(ids, *start)).collect()).collect();
    let mut worst: f64 = 0.0;
    let (mut sharing, mut apart) = (Scorer::new(gpu, model), Scorer::without_sharing(gpu, model));
    // The second time, everything is recorded and the cache holds other tokens.
    for round in 0..2 {
        for (scorer, how) in [(&mut sharing, "shared"), (&mut apart, "apart")] {
            let scored = scorer.score(&given).unwrap();
            assert_eq!(scored.len(), groups.len());
            for (g, (group, scored)) in groups.iter().zip(&scored).enumerate() {
                assert_eq!(group.len(), scored.len());
                for (m, ((ids, start), scored)) in group.iter().zip(scored).enumerate() {
                    let what = format!("{what}, {how}, round {round}, group {g}, sequence {m}");
                    worst = worst.max(compare(&what, gpu, model, ids, *start, scored));
                }
            }
        }
    }
    println!("{what}: the largest error of a loss is {worst:.1e}");
}

#[test]
fn golden_models_score_as_in_a_whole_pass() {
    for path in golden_models() {
        let passes = Passes::new(&Case::open(&path), Precision::F32);
        let (vocab, context) = (passes.config.vocab_size, passes.config.sequence_len);
        let c = context.min(60);
        let shapes: [(usize, &[usize], isize); 8] = [
            (c / 2, &[5, 1, 9, 3], 0),
            (c / 2 + 7, &[2, 2], 0),
            (1, &[c / 3, c / 2], 3),
            (0, &[c / 2, 4], 1),
            (c / 2, &[c / 3], 0),
            // The last common token's successor is scored too, and nothing at all.
            (c / 3, &[4, 4, 4], -2),
            (9, &[0, 3], 0),
            (7, &[1; 11], 0),
        ];
        check(&path.display().to_string(), &passes.gpu, &passes.model, &groups(1, vocab, &shapes));
    }
}

#[test]
fn windows_and_ring_buffers_make_no_difference() {
    let gpu = Gpu::open(std::env::var("NC_ADAPTER").ok().as_deref()).unwrap();
    let model = windowed(&gpu, 32, Architecture::CURRENT, Format::F32);
    let shapes: [(usize, &[usize], isize); 4] =
        [(1100, &[20, 7, 40], 0), (300, &[700, 500], 400), (760, &[20, 15], -5), (30, &[3, 3, 3, 3], 0)];
    check("windows", &gpu, &model, &groups(5, 64, &shapes));
}

#[test]
fn a_model_reaches_past_its_context_if_asked() {
    let gpu = Gpu::open(std::env::var("NC_ADAPTER").ok().as_deref()).unwrap();
    let model = windowed(&gpu, 32, Architecture::CURRENT, Format::F32);
    let long = groups(9, 64, &[(1800, &[20, 7], 0)]);
    let given: Vec<Vec<Sequence<'_>>> = vec![long[0].iter().map(|(ids, start)| Sequence::new(ids, *start)).collect()];
    let refused = Scorer::new(&gpu, &model).score(&given).unwrap_err();
    assert!(matches!(refused, EngineError::TooLong { tokens: 1820, room: 1501 }), "{refused}");
    let model = model.reaching(&gpu, 3000).unwrap();
    assert_eq!(model.positions(), 3000);
    check("past the context", &gpu, &model, &long);
}

#[test]
fn what_cannot_be_scored_is_refused() {
    let gpu = Gpu::open(std::env::var("NC_ADAPTER").ok().as_deref()).unwrap();
    let model = windowed(&gpu, 32, Architecture::CURRENT, Format::F32);
    let mut scorer = Scorer::new(&gpu, &model);
    let refused = scorer.score(&[vec![Sequence::new(&[1, 64, 2], 1)]]).unwrap_err();
    assert!(matches!(refused, EngineError::NoSuchToken { id: 64, vocab_size: 64 }), "{refused}");
    assert_eq!(scorer.score(&[]).unwrap(), Vec::<Vec<Scored>>::new());
    assert_eq!(scorer.score(&[Vec::new(), vec![Sequence::new(&[1], 1)]]).unwrap(), [vec![], vec![Scored::default()]]);
    model.parameters.upload(&gpu, "lm_head.weight", &[64, 32], &vec![f32::NAN; 64 * 32]).unwrap();
    let refused = Scorer::new(&gpu, &model).score(&[vec![Sequence::new(&[1, 2, 3], 1)]]).unwrap_err();
    assert!(matches!(refused, EngineError::NotNumbers), "{refused}");
}

#[test]
fn a_text_is_scored_in_windows_of_the_context() {
    let gpu = Gpu::open(std::env::var("NC_ADAPTER").ok().as_deref()).unwrap();
    let model = windowed(&gpu, 32, Architecture::CURRENT, Format::F32);
    let ids = draw(3, 1700, 64);
    let scored = score(&gpu, &model, &ids).unwrap();
    let want = [whole(&gpu, &model, &ids[..1501]).0, whole(&gpu, &model, &ids[1500..]).0].concat();
    assert_eq!(scored.len(), want.len());
    for (at, (got, want)) in scored.iter().zip(&want).enumerate() {
        assert!((got + want).abs() <= 1e-5 * want.abs().max(1.0), "token {at}: {got}, not {}", -want);
    }
    assert_eq!(score(&gpu, &model, &ids[..1]).unwrap(), [0.0; 0]);
}
