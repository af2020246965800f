//! Softcap and cross-entropy over row chunks of the logits; their gradient overwrites them.

use crate::gpu::{Capabilities, Dispatch, Recorder, Shader, Tensor, Value, Variant, grid};

static SHADER: Shader = crate::shader!("cross_entropy");

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Shape {
    rows: u32,
    first: u32,
    vocab: u32,
    quads: u32,
    cap: f32,
    shifted: u32,
    _pad: [u32; 2],
}

/// A chunk of rows of the logits.
#[derive(Clone, Copy, Debug)]
pub struct Chunk {
    /// The chunk's first row within targets and losses.
    pub first: usize,
    /// Rows of the chunk.
    pub rows: usize,
    /// Size of the vocabulary, V; the logits' rows are padded to a multiple of 4 or more.
    pub vocab: usize,
    /// The softcap: logits lie in (−cap, cap).
    pub cap: f32,
}

/// The highest exponent of a sum of exponentials in f32, with a small margin: e⁸⁸ is the largest power of e.
const MOST_EXPONENT: f32 = 87.0;

impl Chunk {
    fn shape(self, logits: &Tensor) -> Shape {
        let Chunk { first, rows, vocab, cap } = self;
        let padded = logits.len() / logits.shape()[0];
        assert!(
            rows <= logits.shape()[0] && padded.is_multiple_of(4) && vocab <= padded && cap > 0.0,
            "{self:?} of logits {:?}",
            logits.shape()
        );
        let shifted = cap + (vocab as f32).ln() > MOST_EXPONENT;
        Shape {
            rows: rows as u32,
            first: first as u32,
            vocab: vocab as u32,
            quads: (padded / 4) as u32,
            cap,
            shifted: shifted.into(),
            _pad: [0; 2],
        }
    }
}

/// `logits = cap · tanh(logits / cap)` in place. `logits` is `[≥ rows, padded V]`.
pub fn softcap(rec: &mut Recorder, chunk: Chunk, logits: &Tensor) {
    let params = chunk.shape(logits);
    rec.dispatch(Dispatch {
        shader: &SHADER,
        entry: "softcap_only",
        values: &values(rec.gpu().capabilities(), params.quads as usize),
        params,
        bind: &[(1, logits)],
        groups: grid(chunk.rows),
    });
}

/// The loss of each row in nats, 0 where the target is −1. Raw `logits` are read; `targets` and `losses` are `[N]`.
pub fn forward(rec: &mut Recorder, chunk: Chunk, logits: &Tensor, targets: &Tensor, losses: &Tensor) {
    assert!(targets.len() == losses.len() && chunk.first + chunk.rows <= losses.len());
    let params = chunk.shape(logits);
    rec.dispatch(Dispatch {
        shader: &SHADER,
        entry: "forward",
        values: &values(rec.gpu().capabilities(), params.quads as usize),
        params,
        bind: &[(1, logits), (2, targets), (3, losses)],
        groups: grid(chunk.rows),
    });
}

/// Writes the losses, and overwrites the raw `logits` with the gradient of `weight · Σ losses`. `weight` is `[1]`.
pub fn backward(rec: &mut Recorder, chunk: Chunk, logits: &Tensor, targets: &Tensor, losses: &Tensor, weight: &Tensor) {
    assert!(targets.len() == losses.len() && chunk.first + chunk.rows <= losses.len());
    let params = chunk.shape(logits);
    rec.dispatch(Dispatch {
        shader: &SHADER,
        entry: "backward",
        values: &values(rec.gpu().capabilities(), params.quads as usize),
        params,
        bind: &[(1, logits), (2, targets), (3, losses), (4, weight)],
        groups: grid(chunk.rows),
    });
}

/// Quads of a row that a lane may hold in registers.
const HELD: [u32; 4] = [1, 2, 4, 8];

/// The template's values for rows of `quads` groups of four logits: lanes, and how many quads each holds in registers, 0 for longer
/// rows and on CPU adapters.
fn values(capabilities: Capabilities, quads: usize) -> [(&'static str, Value); 2] {
    let lanes = capabilities.row_lanes(quads);
    let fits = |held: &u32| capabilities.cpu_subgroup().is_none() && quads <= (held * lanes) as usize;
    [("held", HELD.into_iter().find(fits).unwrap_or(0).into()), ("lanes", lanes.into())]
}

/// Every specialisation of this shader that such an adapter may use.
pub fn variants(capabilities: Capabilities) -> Vec<Variant> {
    // Every vocabulary up to the longest row that fits in registers, and one that is longer.
    let most = (1..=8 * 256).chain([1 << 20]);
    let mut values: Vec<_> = most.map(|quads| values(capabilities, quads).to_vec()).collect();
    values.sort();
    values.dedup();
    let entries = ["softcap_only", "forward", "backward"].into_iter();
    entries.flat_map(|entry| values.iter().map(move |values| Variant { shader: &SHADER, entry, values: values.clone() })).collect()
}

/// The same on the CPU in f64.
pub mod twin {
    /// `cap · tanh(l / cap)`.
    pub fn softcap(l: f64, cap: f64) -> f64 {
        cap * (l / cap).tanh()
    }

    /// Returns the losses and dL/dlogits (padding included) for raw logits `[rows, padded]`.
    pub fn backward(logits: &[f64], padded: usize, vocab: usize, targets: &[i32], cap: f64, weight: f64) -> (Vec<f64>, Vec<f64>) {
        let mut losses = Vec::new();
        let mut gradient = vec![0.0; logits.len()];
        for (row, &target) in targets.iter().enumerate() {
            let Ok(target) = usize::try_from(target) else {
                losses.push(0.0);
                continue;
            };
            let z: Vec<f64> = logits[row * padded..][..vocab].iter().map(|&l| softcap(l, cap)).collect();
            let base = z.iter().copied().fold(f64::MIN, f64::max);
            let lse = base + z.iter().map(|z| (z - base).exp()).sum::<f64>().ln();
            losses.push(lse - z[target]);
            for (v, z) in z.iter().enumerate() {
                let hit = if v == target { 1.0 } else { 0.0 };
                gradient[row * padded + v] = weight * ((z - lse).exp() - hit) * (1.0 - (z / cap).powi(2));
            }
        }
        (losses, gradient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Bench, random, wide};
    use proptest::prelude::*;

    /// Asserts that both agree relative to `want`. If a model is so certain that `want` nearly vanishes, the error is relative to
    /// the probabilities of about 1, times `weight`, whose difference it is.
    fn close(bench: &Bench, got: &Tensor, want: &[f64], bar: f64, weight: f64) {
        if want.iter().map(|w| w * w).sum::<f64>().sqrt() > 0.01 * weight {
            bench.close(got, want, bar);
        }
        bench.close_sum(got, want, want.iter().fold(0.0, |most, w| w.abs().max(most)), bar * weight);
    }

    proptest! {
        #![proptest_config(Bench::cases(24))]

        #[test]
        fn cross_entropy_equals_its_twin(rows in 1usize..20, vocab in 1usize..300, first in 0usize..4, span in 0.001f32..60.0, seed: u64) {
            let bench = Bench::new();
            let padded = vocab.next_multiple_of(64);
            let raw = random(seed, rows * padded, span);
            let targets: Vec<i32> = (0..rows).map(|row| ((seed as usize).wrapping_mul(row + 7) % (vocab + 1)) as i32 - 1).collect();
            let (losses_want, gradient_want) = twin::backward(&wide(&raw), padded, vocab, &targets, 15.0, 0.25);
            let capped: Vec<f64> = raw.iter().map(|&l| twin::softcap(f64::from(l), 15.0)).collect();

            let chunk = Chunk { first, rows, vocab, cap: 15.0 };
            let logits = || bench.tensor(&[rows, padded], &raw);
            let all_targets: Vec<i32> = std::iter::repeat_n(-1, first).chain(targets).collect();
            let ids = bench.ids(&[first + rows], &all_targets);
            let weight = bench.tensor(&[1], &[0.25]);
            let before = vec![7.0; first + rows];
            let losses = [bench.tensor(&[first + rows], &before), bench.tensor(&[first + rows], &before)];
            let (a, b, c) = (logits(), logits(), logits());
            bench.run(|rec| {
                softcap(rec, chunk, &a);
                forward(rec, chunk, &b, &ids, &losses[0]);
                backward(rec, chunk, &c, &ids, &losses[1], &weight);
            });
            bench.close(&a, &capped, 1e-6);
            let want: Vec<f64> = std::iter::repeat_n(7.0, first).chain(losses_want).collect();
            for losses in &losses {
                close(&bench, losses, &want, 2e-6, 1.0);
            }
            close(&bench, &c, &gradient_want, 2e-5, 0.25);
        }
    }

    /// Rows that fit in registers, of every number of quads, and longer ones.
    #[test]
    fn rows_of_every_length_have_losses_and_gradients() {
        let bench = Bench::new();
        for vocab in [5, 127, 129, 1024, 2050, 4096, 8191, 8193, 20_000] {
            let (rows, padded) = (2, vocab + 64 - vocab % 64);
            let raw = random(vocab as u64, rows * padded, 20.0);
            let targets = [vocab as i32 - 1, 0];
            let (losses_want, gradient_want) = twin::backward(&wide(&raw), padded, vocab, &targets, 15.0, 1.0);
            let chunk = Chunk { first: 0, rows, vocab, cap: 15.0 };
            let (ids, weight) = (bench.ids(&[rows], &targets), bench.tensor(&[1], &[1.0]));
            let (logits, losses) = (bench.tensor(&[rows, padded], &raw), bench.empty(&[rows]));
            bench.run(|rec| backward(rec, chunk, &logits, &ids, &losses, &weight));
            bench.close(&losses, &losses_want, 2e-6);
            bench.close(&logits, &gradient_want, 2e-5);
        }
    }

    /// Caps for which exponentials of whole rows would overflow or underflow, with rows at either end of the range.
    #[test]
    fn caps_of_any_size_have_losses_and_gradients() {
        let bench = Bench::new();
        let (rows, vocab, padded) = (6, 1000, 1024);
        for cap in [60.0f32, 79.0, 81.0, 100.0, 1000.0, 1e6] {
            let mut raw = random(9, rows * padded, 40.0);
            // A row of only high logits, one of only low ones, one with a single high logit, and padding above everything.
            raw[..padded].iter_mut().for_each(|l| *l += 10.0 * cap.min(200.0));
            raw[padded..2 * padded].iter_mut().for_each(|l| *l -= 10.0 * cap.min(200.0));
            raw[2 * padded + 7] = 300.0;
            raw.chunks_exact_mut(padded).for_each(|row| row[vocab..].fill(3e5));
            let targets = [3, 4, 7, 8, -1, 999];
            let (losses_want, gradient_want) = twin::backward(&wide(&raw), padded, vocab, &targets, f64::from(cap), 0.5);
            let chunk = Chunk { first: 0, rows, vocab, cap };
            let (ids, weight) = (bench.ids(&[rows], &targets), bench.tensor(&[1], &[0.5]));
            let logits = [&raw, &raw].map(|raw| bench.tensor(&[rows, padded], raw));
            let losses = [bench.empty(&[rows]), bench.empty(&[rows])];
            bench.run(|rec| {
                forward(rec, chunk, &logits[0], &ids, &losses[0]);
                backward(rec, chunk, &logits[1], &ids, &losses[1], &weight);
            });
            losses.iter().for_each(|losses| bench.close(losses, &losses_want, 1e-5));
            // A logit of some 1000 has an error of 1e-4 in f32, and so has its exponential.
            bench.close(&logits[1], &gradient_want, 3e-4);
        }
    }

    #[test]
    fn what_is_no_number_stays_none() {
        let bench = Bench::new();
        let mut raw = vec![1.0; 3 * 64];
        raw[64 + 7] = f32::NAN;
        let (capped, lost) = (bench.tensor(&[3, 64], &raw), bench.tensor(&[3, 64], &raw));
        let (ids, losses) = (bench.ids(&[3], &[0, 1, 2]), bench.empty(&[3]));
        let chunk = Chunk { first: 0, rows: 3, vocab: 64, cap: 15.0 };
        bench.run(|rec| {
            softcap(rec, chunk, &capped);
            forward(rec, chunk, &lost, &ids, &losses);
        });
        let capped = bench.values(&capped);
        assert!(capped.iter().enumerate().all(|(at, value)| value.is_nan() == (at == 64 + 7)));
        assert_eq!(bench.values(&losses).iter().map(|loss| loss.is_nan()).collect::<Vec<_>>(), [false, true, false]);
    }
}
