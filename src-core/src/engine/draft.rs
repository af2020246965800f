//! Where drafts come from: the text itself, or a smaller model.

use crate::gpu::Gpu;
use crate::kernels::sample::Draw;
use crate::model::{CacheFormat, Model};
use crate::tokenizer::Tokenizer;

use super::EngineError;
use super::decoder::{Decoder, Feed};

/// What drafts the next tokens of a text.
#[derive(Clone, Copy)]
pub enum Drafter<'a> {
    /// The text itself: what came after the last tokens where they occurred before (prompt lookup).
    Lookup,
    /// A smaller model with the same tokenizer.
    Model {
        /// Where it is, which may be another adapter.
        gpu: &'a Gpu,
        /// The model.
        model: &'a Model,
        /// Its tokenizer, if it has one.
        tokenizer: Option<&'a Tokenizer>,
    },
}

/// The fewest tokens of a text's end that must have occurred before, and the most that are compared.
const SHORTEST_MATCH: usize = 2;
const LONGEST_MATCH: usize = 16;

/// A place earlier in the text that is like its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Match {
    /// Where the text goes on after it.
    from: usize,
    /// Tokens that are alike.
    pub length: usize,
}

impl Match {
    /// The place before which most tokens are like those at the end of `ids`, and of equal ones the last.
    pub fn of(ids: &[u32]) -> Option<Self> {
        let mut best = Match { from: 0, length: SHORTEST_MATCH - 1 };
        for from in (SHORTEST_MATCH..ids.len()).rev() {
            let pairs = ids[..from].iter().rev().zip(ids.iter().rev());
            let length = pairs.take(LONGEST_MATCH).take_while(|(a, b)| a == b).count();
            if length > best.length {
                best = Match { from, length };
                if length == LONGEST_MATCH {
                    break;
                }
            }
        }
        (best.length >= SHORTEST_MATCH).then_some(best)
    }

    /// The first `tokens` tokens after it. Past the end of `ids` they go round: what repeats itself goes on repeating itself.
    pub fn draft(&self, ids: &[u32], tokens: usize) -> Vec<u32> {
        ids[self.from..].iter().copied().cycle().take(tokens).collect()
    }
}

/// A model that drafts.
pub(super) struct DraftModel<'a>(Decoder<'a>);

/// Tokens that the draft model lacks and takes by steps: a pass for more costs more than a few steps.
const FEW: usize = 2;

impl<'a> DraftModel<'a> {
    /// The draft model for texts of up to `capacity` tokens, with its cache in `format`.
    pub fn new(gpu: &Gpu, model: &'a Model, capacity: usize, format: CacheFormat) -> Result<Self, EngineError> {
        Ok(Self(Decoder::with_cache(gpu, model, 1, capacity, format)?))
    }

    /// Tokens that it can draft after `held` tokens and another one.
    pub fn room(&self, held: usize) -> usize {
        self.0.capacity().saturating_sub(held)
    }

    /// What it would write after `held` and `next`, with these draws: fewer tokens if its logits are not numbers, none if `go_on` ended
    /// it.
    pub fn draft(&mut self, held: &[u32], next: u32, draws: &[Draw], go_on: &mut dyn FnMut() -> bool) -> Result<Vec<u32>, EngineError> {
        let decoder = &mut self.0;
        let common = decoder.held(0).iter().zip(held).take_while(|(a, b)| a == b).count();
        let by_passes = if held.len() - common <= FEW { &held[..common] } else { held };
        if decoder.prefill_while(0, by_passes, go_on)?.is_none() {
            return Ok(Vec::new());
        }
        if draws.iter().any(|draw| draw.penalty != 1.0) {
            decoder.mark_seen();
        }
        for &id in &held[by_passes.len()..] {
            match decoder.step(&[Feed::Token(id, Draw::GREEDY)]) {
                Err(EngineError::NotNumbers) => return Ok(Vec::new()),
                done => done?,
            };
        }
        let (mut fed, mut draft) = (next, Vec::with_capacity(draws.len()));
        for &draw in draws {
            match decoder.step(&[Feed::Token(fed, draw)]) {
                Err(EngineError::NotNumbers) => break,
                drawn => fed = drawn?[0].unwrap_or(fed),
            }
            draft.push(fed);
        }
        Ok(draft)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_match_is_taken_and_of_equal_ones_the_last() {
        let found = |ids: &[u32]| Match::of(ids).map(|found| (found.from, found.length));
        for (ids, want) in [
            (&[][..], None),
            (&[1], None),
            (&[1, 1], None),
            (&[1, 2, 3, 4], None),
            // One token alone is chance.
            (&[1, 2, 3, 2], None),
            (&[1, 1, 1], Some((2, 2))),
            (&[1, 2, 3, 1, 2], Some((2, 2))),
            (&[5, 1, 2, 7, 1, 2, 8, 5, 1, 2], Some((3, 3))),
            (&[1, 2, 7, 1, 2, 8, 1, 2], Some((5, 2))),
        ] {
            assert_eq!(found(ids), want, "{ids:?}");
        }
        let round: Vec<u32> = (0..100).map(|i| i % 20).collect();
        assert_eq!(found(&round), Some((80, 16)));
    }

    #[test]
    fn a_draft_past_the_end_goes_round() {
        let draft = |ids: &[u32], tokens| Match::of(ids).unwrap().draft(ids, tokens);
        assert_eq!(draft(&[1, 1, 1], 4), [1, 1, 1, 1]);
        assert_eq!(draft(&[1, 2, 3, 1, 2], 2), [3, 1]);
        assert_eq!(draft(&[1, 2, 3, 1, 2], 7), [3, 1, 2, 3, 1, 2, 3]);
    }
}
