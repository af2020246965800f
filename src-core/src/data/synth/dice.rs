//! Random draws. The same seed gives the same draws on every machine and with every version of the library that makes the
//! random bits: only ChaCha's own output is used, and scaled here.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A seeded source of draws.
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// Stream number `stream` of a seed; streams are independent.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self(rng)
    }

    /// A number below `n`, which is not 0. Its bias, below `n` in 2³², is negligible here.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.0.next_u64()) * n as u128) >> 64) as usize
    }

    /// A number from `from` to `to`, inclusive.
    pub fn between(&mut self, from: i64, to: i64) -> i64 {
        from + self.below(to.abs_diff(from) as usize + 1) as i64
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        f64::from(self.0.next_u32()) < p * 4_294_967_296.0
    }

    /// One of `items`, which is not empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// The index of one of `weights`, with probability proportional to its weight. None if all are zero.
    pub fn weighted(&mut self, weights: impl Iterator<Item = u32> + Clone) -> Option<usize> {
        let total: u64 = weights.clone().map(u64::from).sum();
        if total == 0 {
            return None;
        }
        let mut left = self.below(usize::try_from(total).unwrap_or(usize::MAX)) as u64;
        for (index, weight) in weights.enumerate() {
            match left.checked_sub(u64::from(weight)) {
                Some(rest) => left = rest,
                None => return Some(index),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_in_bounds_and_reach_them() {
        let mut dice = Dice::new(1, 0);
        let drawn: Vec<i64> = (0..1000).map(|_| dice.between(-2, 3)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&-2), Some(&3)));
        let picks: Vec<_> = (0..1000).map(|_| dice.weighted([0, 1, 3].into_iter()).unwrap()).collect();
        let ones = picks.iter().filter(|&&pick| pick == 1).count();
        assert!(!picks.contains(&0) && (180..320).contains(&ones), "{ones}");
        assert_eq!(dice.weighted([0, 0].into_iter()), None);
        let often = (0..1000).filter(|_| dice.chance(0.25)).count();
        assert!((180..320).contains(&often), "{often}");
        assert!(!(0..100).any(|_| dice.chance(0.0)) && (0..100).all(|_| dice.chance(1.0)));
    }

    #[test]
    fn a_seed_is_the_same_everywhere_and_its_streams_differ() {
        let draw = |seed, stream| {
            let mut dice = Dice::new(seed, stream);
            [(); 6].map(|()| dice.below(1000))
        };
        assert_eq!(draw(7, 0), draw(7, 0));
        assert_ne!(draw(7, 0), draw(7, 1));
        assert_ne!(draw(7, 0), draw(8, 0));
    }
}
