//! The check of sampling: ids must equal the twin's, so random numbers are in the middle of a token's probability interval.

use super::Check;
use super::checker::Checker;
use crate::gpu::{DType, GpuError, Memory};
use crate::kernels::sample::{self, Draw, twin};

pub(super) const CHECKS: &[Check] = &[Check { name: "sample", shaders: &["sample", "sample_blocks"], run: check_sample }];

const PLAIN: Draw = Draw { temperature: 1.0, ..Draw::GREEDY };

/// Draws that cover every option.
const DRAWS: [Draw; 6] = [
    Draw::GREEDY,
    PLAIN,
    Draw { temperature: 0.7, top_k: 20, ..PLAIN },
    Draw { top_p: 0.8, ..PLAIN },
    Draw { min_p: 0.05, penalty: 1.3, ..PLAIN },
    Draw { temperature: 1.4, top_k: 50, top_p: 0.9, min_p: 0.02, penalty: 0.8, ..PLAIN },
];

fn check_sample(c: &mut Checker<'_>) -> Result<(), GpuError> {
    for vocab in c.shapes(&[1usize, 33, 4096, 8193], 65_536) {
        c.of(format!("{} rows of {vocab}", DRAWS.len()));
        let (rows, padded, words) = (DRAWS.len(), vocab.next_multiple_of(64), vocab.div_ceil(32));
        let (mut logits, mut draws, mut want, mut marks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        // The row's last token is 0, so it counts as seen.
        let seen: Vec<bool> = (0..vocab).map(|id| id == 0).collect();
        for draw in DRAWS {
            let [row] = c.random(vocab, 12.0);
            let draw = settled(&row, draw, &seen);
            want.push(twin::sample(&row, &draw, &seen).map_or(-1, |id| id as i32));
            draws.push(draw);
            logits.extend(row);
            logits.extend(std::iter::repeat_n(f32::NAN, padded - vocab));
            marks.extend((0..words).map(|word| u32::from(word == 0)));
        }
        let logits = c.tensor(&[rows, padded], &logits)?;
        let draws = c.gpu().upload("check", &[rows * Draw::WORDS], DType::U32, Memory::Workspace, &draws)?;
        let (seen, tokens) = (c.words(&vec![0; rows * words])?, c.ids(&vec![0; rows])?);
        let weights = c.empty(&[rows, sample::scratch_len(c.gpu().capabilities(), vocab, padded)])?;
        c.run(|rec| sample::forward(rec, vocab, &logits, &draws, &seen, &tokens, &weights))?;
        let (drawn, marked) = (c.gpu().read::<i32>(&tokens)?, c.gpu().read::<u32>(&seen)?);
        c.same("tokens", &drawn, &want);
        c.same("seen", &marked, &marks);
    }
    Ok(())
}

/// `draw` with a random number in the middle of the probability interval of a likely token from the middle of the vocabulary.
fn settled(logits: &[f32], draw: Draw, seen: &[bool]) -> Draw {
    let kept = twin::kept(logits, &draw, seen).unwrap_or_default();
    let total: f64 = kept.iter().map(|(_, weight)| weight).sum();
    let likely: Vec<u32> = kept.iter().filter(|(_, weight)| *weight >= 0.5).map(|&(id, _)| id).collect();
    let chosen = likely[likely.len() / 2];
    let before: f64 = kept.iter().filter(|&&(id, _)| id < chosen).map(|(_, weight)| weight).sum();
    let own: f64 = kept.iter().filter(|&&(id, _)| id == chosen).map(|(_, weight)| weight).sum();
    Draw { uniform: ((before + own / 2.0) / total) as f32, ..draw }
}
