//! How the next token is drawn: the user's options, and the random numbers.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::kernels::sample::Draw;

use super::EngineError;

/// How to draw tokens. The filters apply in the order of the fields, after the penalty.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0 always takes the likeliest token; higher is more varied.
    pub temperature: f64,
    /// Draw from this many of the likeliest tokens; 0 for all.
    pub top_k: usize,
    /// Draw from the fewest of the likeliest tokens that together have this probability; 1 for all.
    pub top_p: f64,
    /// Draw from tokens with at least this fraction of the likeliest one's probability; 0 for all.
    pub min_p: f64,
    /// Logits of tokens that occurred are divided by this if positive, else multiplied; 1 leaves them unchanged.
    pub repetition_penalty: f64,
    /// Seed of the draws: the same seed gives the same text.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.8, top_k: 50, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0, seed: 42 }
    }
}

impl Sampling {
    /// Always the likeliest token.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// Checks every field against its range, for a model of `vocab_size` tokens.
    pub fn validate(&self, vocab_size: usize) -> Result<(), EngineError> {
        let check = |option, value: f64, good: bool, must| {
            if good { Ok(()) } else { Err(EngineError::BadOption { option, value: value.to_string(), must }) }
        };
        check("temperature", self.temperature, (0.0..=1e6).contains(&self.temperature), "a number from 0 to 1000000")?;
        check("top_p", self.top_p, self.top_p > 0.0 && self.top_p <= 1.0, "more than 0 and at most 1")?;
        check("min_p", self.min_p, (0.0..=1.0).contains(&self.min_p), "a number from 0 to 1")?;
        let penalty = self.repetition_penalty;
        check("repetition_penalty", penalty, (0.01..=100.0).contains(&penalty), "a number from 0.01 to 100")?;
        if self.top_k > vocab_size {
            return Err(EngineError::TopK { top_k: self.top_k, vocab_size });
        }
        Ok(())
    }

    /// Whether draws depend on which tokens occurred.
    pub(super) fn has_penalty(&self) -> bool {
        self.repetition_penalty != 1.0
    }
}

/// The draws of one row: its options and its own stream of random numbers.
#[derive(Clone)]
pub(super) struct Draws {
    draw: Draw,
    rng: ChaCha8Rng,
}

impl Draws {
    /// The draws of row `row` of a batch. Each row has its own stream, independent of the others.
    pub fn new(sampling: &Sampling, row: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(sampling.seed);
        rng.set_stream(row as u64);
        let draw = Draw {
            temperature: sampling.temperature as f32,
            top_k: u32::try_from(sampling.top_k).unwrap_or(0),
            top_p: sampling.top_p as f32,
            min_p: sampling.min_p as f32,
            penalty: sampling.repetition_penalty as f32,
            uniform: 0.0,
            _pad: [0; 2],
        };
        Self { draw, rng }
    }

    /// The next draw.
    pub fn next(&mut self) -> Draw {
        Draw { uniform: self.rng.random::<f32>(), ..self.draw }
    }

    /// The next draws, which are still to come.
    pub fn ahead(&self, count: usize) -> Vec<Draw> {
        let mut copy = self.clone();
        (0..count).map(|_| copy.next()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_outside_their_range_are_refused_by_name() {
        type Spoil = fn(&mut Sampling);
        let cases: [(Spoil, &str); 9] = [
            (|s| s.temperature = -1.0, "temperature is -1; it must be a number from 0"),
            (|s| s.temperature = f64::NAN, "temperature is NaN"),
            (|s| s.temperature = f64::INFINITY, "temperature is inf"),
            (|s| s.top_k = 101, "top_k is 101; it must be at most the 100 tokens"),
            (|s| s.top_p = 0.0, "top_p is 0; it must be more than 0"),
            (|s| s.top_p = 1.5, "top_p is 1.5"),
            (|s| s.min_p = -0.1, "min_p is -0.1"),
            (|s| s.repetition_penalty = 0.0, "repetition_penalty is 0"),
            (|s| s.repetition_penalty = f64::NAN, "repetition_penalty is NaN"),
        ];
        Sampling::default().validate(100).unwrap();
        Sampling::greedy().validate(50).unwrap();
        for (spoil, words) in cases {
            let mut sampling = Sampling::default();
            spoil(&mut sampling);
            let sentence = sampling.validate(100).expect_err(words).to_string();
            assert!(sentence.contains(words), "{sentence:?} does not say {words:?}");
        }
    }

    #[test]
    fn rows_draw_their_own_numbers_and_repeat_them_with_the_seed() {
        let numbers = |seed, row| {
            let mut draws = Draws::new(&Sampling { seed, ..Sampling::default() }, row);
            (0..5).map(|_| draws.next().uniform).collect::<Vec<_>>()
        };
        assert_eq!(numbers(1, 0), numbers(1, 0));
        assert!(numbers(1, 0) != numbers(1, 1) && numbers(1, 0) != numbers(2, 0));
    }

    #[test]
    fn draws_that_were_looked_at_are_still_to_come() {
        let mut draws = Draws::new(&Sampling::default(), 0);
        let ahead = draws.ahead(5);
        assert_eq!(ahead, draws.ahead(5));
        assert_eq!((0..5).map(|_| draws.next()).collect::<Vec<_>>(), ahead);
    }

    #[test]
    fn options_at_the_ends_of_their_ranges_are_taken_and_beyond_them_not() {
        let with = |edit: &dyn Fn(&mut Sampling)| {
            let mut sampling = Sampling::default();
            edit(&mut sampling);
            sampling.validate(100).is_ok()
        };
        for (at, beyond) in [(0.0, -0.1), (1e6, 1e6 + 1.0)] {
            assert!(with(&|s| s.temperature = at) && !with(&|s| s.temperature = beyond), "{at}");
        }
        for (at, beyond) in [(f64::MIN_POSITIVE, 0.0), (1.0, 1.1)] {
            assert!(with(&|s| s.top_p = at) && !with(&|s| s.top_p = beyond), "{at}");
        }
        for (at, beyond) in [(0.0, -0.1), (1.0, 1.1)] {
            assert!(with(&|s| s.min_p = at) && !with(&|s| s.min_p = beyond), "{at}");
        }
        for (at, beyond) in [(0.01, 0.009), (100.0, 100.1)] {
            assert!(with(&|s| s.repetition_penalty = at) && !with(&|s| s.repetition_penalty = beyond), "{at}");
        }
        assert!(with(&|s| s.top_k = 0) && with(&|s| s.top_k = 100) && !with(&|s| s.top_k = 101));
    }

    #[test]
    fn every_draw_has_the_options_of_its_text() {
        let sampling = Sampling { temperature: 0.5, top_k: 7, top_p: 0.25, min_p: 0.125, repetition_penalty: 1.5, seed: 1 };
        let mut draws = Draws::new(&sampling, 0);
        for draw in [draws.next(), draws.next()] {
            assert_eq!((draw.temperature, draw.top_k, draw.top_p, draw.min_p, draw.penalty), (0.5, 7, 0.25, 0.125, 1.5));
            assert!((0.0..1.0).contains(&draw.uniform));
        }
        // A penalty below 1 is a reward, and needs to know what occurred as well.
        let penalty = |repetition_penalty| Sampling { repetition_penalty, ..Sampling::default() }.has_penalty();
        assert_eq!([0.5, 1.0, 2.0].map(penalty), [true, false, true]);
    }
}
