//! Whether verifying a draft pays: what was accepted so far, and how long passes took.
//!
//! A pass over k + 1 tokens writes 1 + a + … + aᵏ of them on average, if each token of a draft is accepted with the chance a where
//! those before it were. It pays where that is more than its time, in plain steps. Times are measured with a clock, so two runs may
//! decide differently; that changes how fast a text is written, never the text.

use std::collections::VecDeque;
use std::time::Duration;

/// The gain from which a draft is worth verifying: below it, the noise of the measurements decides.
const WORTH: f64 = 1.05;

/// The same for a pass that was never tried: its shaders have to be compiled, and its time is a guess.
const WORTH_TRYING: f64 = 1.5;

/// The guess: what the longest pass takes, in plain steps. On a GPU it is hardly more than one.
const LONGEST_PASS: f64 = 2.0;

/// Drafts in a row that are passed over before one is verified to measure again: at first, and at most.
const PATIENCE: [usize; 2] = [32, 1024];

/// Plain steps before the first draft is verified, and the most verifications without a plain step: what is compared must be measured.
const PLAIN_FIRST: usize = 3;
const PLAIN_EVERY: usize = 32;

/// Lengths of drafts to choose from. With the token before them they fill passes of 2, 4 and 8 rows.
const LENGTHS: [usize; 3] = [1, 3, 7];

/// What is known about the drafts of an engine.
pub struct Payoff {
    /// Whether every draft is verified, as long as possible.
    always: bool,
    plain: Time,
    /// Drafts that were verified since the last plain step.
    since_plain: usize,
    passes: [Time; LENGTHS.len()],
    /// Of one token of a draft.
    drafting: Time,
    /// Of each kind of drafts.
    chances: Vec<Chance>,
    passed_over: usize,
    patience: usize,
}

impl Payoff {
    /// Nothing is measured yet. `chances` are what to expect of each kind of drafts: how many tokens of how many are accepted.
    pub fn new(always: bool, chances: &[[usize; 2]]) -> Self {
        Self {
            always,
            plain: Time::default(),
            since_plain: 0,
            passes: Default::default(),
            drafting: Time::default(),
            chances: chances.iter().map(|&[accepted, of]| Chance { accepted: accepted as f64, of: of as f64 }).collect(),
            passed_over: 0,
            patience: PATIENCE[0],
        }
    }

    /// How many tokens of a draft of this kind to verify, of the `most` that there can be; 0 for a plain step.
    pub fn tokens(&mut self, kind: usize, most: usize) -> usize {
        let most = most.min(LENGTHS[LENGTHS.len() - 1]);
        if self.always || most == 0 {
            return most;
        }
        let Some(plain) = self.plain.seconds.filter(|_| self.plain.latest.len() >= PLAIN_FIRST && self.since_plain < PLAIN_EVERY) else {
            return 0;
        };
        let longest = self.passes[LENGTHS.len() - 1].seconds.unwrap_or(LONGEST_PASS * plain);
        let chance = self.chances[kind];
        let gain = |tokens: usize| {
            // Of a pass that was not measured, rows are taken to add the same each.
            let rows = (tokens + 1).next_power_of_two();
            let even = plain + (longest - plain) * (rows - 1) as f64 / LENGTHS[LENGTHS.len() - 1] as f64;
            let pass = self.passes[place(tokens)].seconds.unwrap_or(even);
            chance.tokens(tokens) * plain / (pass + tokens as f64 * self.drafting.seconds.unwrap_or(0.0))
        };
        let best = |bar: &dyn Fn(&Time) -> f64| {
            let worth =
                LENGTHS.map(|length| length.min(most)).into_iter().filter(|&tokens| gain(tokens) > bar(&self.passes[place(tokens)]));
            worth.max_by(|&a, &b| gain(a).total_cmp(&gain(b))).unwrap_or(0)
        };
        let paying = best(&|pass| if pass.seconds.is_some() { WORTH } else { WORTH_TRYING });
        let known = best(&|pass| if pass.warm { 0.0 } else { f64::INFINITY });
        if paying > 0 {
            self.passed_over = 0;
            self.patience = PATIENCE[0];
            return paying;
        }
        self.passed_over += 1;
        if self.passed_over < self.patience {
            return 0;
        }
        self.passed_over = 0;
        self.patience = (2 * self.patience).min(PATIENCE[1]);
        known
    }

    /// A token of a draft was verified, or came out in a plain step: whether it was accepted.
    pub fn accepted(&mut self, kind: usize, accepted: bool) {
        self.chances[kind].add(accepted);
    }

    /// A plain step took this long.
    pub fn plain(&mut self, time: Duration) {
        self.plain.add(time.as_secs_f64());
        self.since_plain = 0;
    }

    /// Verifying a draft of `tokens` tokens took this long.
    pub fn verified(&mut self, tokens: usize, time: Duration) {
        self.passes[place(tokens)].add(time.as_secs_f64());
        self.since_plain += 1;
    }

    /// Drafting `tokens` tokens took this long.
    pub fn drafted(&mut self, tokens: usize, time: Duration) {
        self.drafting.add(time.as_secs_f64() / tokens as f64);
    }
}

/// The index of the pass for a draft of `tokens` tokens.
fn place(tokens: usize) -> usize {
    LENGTHS.iter().position(|&length| tokens <= length).unwrap_or(LENGTHS.len() - 1)
}

/// A time that is measured again and again.
#[derive(Default)]
struct Time {
    latest: VecDeque<f64>,
    /// The median of these: one long wait for another program must not decide.
    seconds: Option<f64>,
    /// The first run compiles shaders and does not count.
    warm: bool,
}

impl Time {
    /// Measurements that count.
    const LATEST: usize = 5;

    fn add(&mut self, seconds: f64) {
        if !std::mem::replace(&mut self.warm, true) {
            return;
        }
        self.latest.truncate(Self::LATEST - 1);
        self.latest.push_front(seconds);
        let mut sorted: Vec<f64> = self.latest.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        self.seconds = Some(sorted[sorted.len() / 2]);
    }
}

/// How often a token of a draft is accepted.
#[derive(Clone, Copy)]
struct Chance {
    accepted: f64,
    of: f64,
}

impl Chance {
    /// What a token counts after the next one: the last fifty decide.
    const KEPT: f64 = 0.98;

    fn add(&mut self, accepted: bool) {
        self.accepted = Self::KEPT * self.accepted + f64::from(u8::from(accepted));
        self.of = Self::KEPT * self.of + 1.0;
    }

    /// Tokens that a pass over a draft of `tokens` tokens writes on average.
    fn tokens(&self, tokens: usize) -> f64 {
        (0..=tokens).map(|accepted| (self.accepted / self.of).powi(accepted as i32)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A payoff for which a plain step takes a second, and passes of 2, 4 and 8 rows these times; drafts of kind 0 are accepted
    /// in this share.
    fn payoff(passes: [f64; 3], chance: f64) -> Payoff {
        let mut payoff = Payoff::new(false, &[[1, 2]; 2]);
        for (tokens, seconds) in LENGTHS.into_iter().zip(passes) {
            (0..5).for_each(|_| payoff.verified(tokens, Duration::from_secs_f64(seconds)));
        }
        (0..5).for_each(|_| payoff.plain(Duration::from_secs(1)));
        for i in 0..400 {
            payoff.accepted(0, (f64::from(i) * chance).fract() + chance >= 1.0);
        }
        payoff
    }

    #[test]
    fn the_draft_is_as_long_as_pays_best() {
        for (passes, chance, most, want) in [
            ([1.0, 1.0, 1.0], 0.9, 9, 7),
            ([1.0, 1.0, 1.0], 0.9, 2, 2),
            ([1.2, 1.6, 4.0], 0.8, 9, 3),
            ([1.2, 2.4, 5.0], 0.6, 9, 1),
            ([1.2, 1.6, 4.0], 0.1, 9, 0),
            ([2.5, 4.0, 8.1], 1.0, 9, 0),
            ([1.0, 1.0, 1.0], 0.9, 0, 0),
        ] {
            assert_eq!(payoff(passes, chance).tokens(0, most), want, "{passes:?}, {chance}");
        }
        // Drafting takes time too.
        let mut slow = payoff([1.2, 1.6, 4.0], 0.8);
        (0..2).for_each(|_| slow.drafted(3, Duration::from_secs(3)));
        assert_eq!(slow.tokens(0, 9), 0);
    }

    #[test]
    fn nothing_is_verified_before_a_plain_step_was_measured_or_everything_if_asked() {
        let mut payoff = Payoff::new(false, &[[9, 10]]);
        // The first run does not count.
        for seconds in [100, 1, 1, 1] {
            assert_eq!(payoff.tokens(0, 9), 0);
            payoff.plain(Duration::from_secs(seconds));
        }
        // Then another one from time to time.
        for _ in 0..PLAIN_EVERY {
            assert_eq!(payoff.tokens(0, 9), 7);
            payoff.verified(7, Duration::from_secs(1));
        }
        assert_eq!(payoff.tokens(0, 9), 0);
        payoff.plain(Duration::from_secs(1));
        assert_eq!(payoff.tokens(0, 9), 7);
        let mut always = Payoff::new(true, &[[0, 1]]);
        assert_eq!((always.tokens(0, 9), always.tokens(0, 2)), (7, 2));
    }

    #[test]
    fn a_pass_that_was_never_tried_needs_better_chances() {
        let mut payoff = Payoff::new(false, &[[1, 3]]);
        (0..4).for_each(|_| payoff.plain(Duration::from_secs(1)));
        // However long nothing comes of the guesses, nothing is compiled.
        for _ in 0..5000 {
            assert_eq!(payoff.tokens(0, 9), 0);
            payoff.accepted(0, false);
        }
        (0..20).for_each(|_| payoff.accepted(0, true));
        assert_eq!(payoff.tokens(0, 9), 0);
        (0..80).for_each(|_| payoff.accepted(0, true));
        assert!(payoff.tokens(0, 9) > 0);
    }

    #[test]
    fn what_does_not_pay_is_tried_again_more_and_more_rarely_until_it_pays() {
        let mut slow = payoff([4.0, 6.0, 9.0], 0.5);
        let tried: Vec<usize> = (1..10_000).filter(|_| slow.tokens(0, 9) > 0).collect();
        assert!(tried[0] == 32 && tried[1] == 32 + 64 && tried.windows(2).all(|two| two[1] - two[0] <= 1024), "{tried:?}");
        // One short run is chance; several are not.
        slow.verified(7, Duration::from_millis(500));
        assert_eq!(slow.tokens(0, 9), 0);
        (0..3).for_each(|_| slow.verified(7, Duration::from_millis(500)));
        assert_eq!([slow.tokens(0, 9), slow.tokens(0, 9)], [7, 7]);
    }

    #[test]
    fn kinds_have_their_own_chances() {
        let mut payoff = payoff([1.2, 1.6, 2.0], 0.05);
        (0..200).for_each(|_| payoff.accepted(1, true));
        assert_eq!((payoff.tokens(0, 9), payoff.tokens(1, 9)), (0, 7));
    }
}
