//! Choosing the next token from its logits.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Draws tokens by temperature and top-k from one stream of random numbers.
pub struct Sampler {
    temperature: f64,
    top_k: Option<usize>,
    rng: ChaCha8Rng,
}

impl Sampler {
    /// A sampler. Temperature 0 always takes the likeliest token; `top_k` keeps only that many.
    pub fn new(temperature: f64, top_k: Option<usize>, seed: u64) -> Self {
        Self { temperature, top_k, rng: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// The next token for softcapped `logits` `[V]`, or `None` if they hold a NaN. Of equal logits the lowest id is
    /// the likeliest, as torch's argmax has it.
    pub fn next(&mut self, logits: &[f32]) -> Option<u32> {
        if logits.is_empty() || logits.iter().any(|logit| logit.is_nan()) {
            return None;
        }
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        let better = |&a: &u32, &b: &u32| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b));
        if self.temperature <= 0.0 {
            return order.into_iter().min_by(better);
        }
        if let Some(k) = self.top_k.filter(|&k| k > 0 && k < order.len()) {
            order.select_nth_unstable_by(k - 1, better);
            order.truncate(k);
            order.sort_unstable();
        }
        let highest = order.iter().map(|&id| logits[id as usize]).fold(f32::NEG_INFINITY, f32::max);
        let weight = |&id: &u32| (f64::from(logits[id as usize] - highest) / self.temperature).exp();
        let total: f64 = order.iter().map(weight).sum();
        let mut left = self.rng.random::<f64>() * total;
        for id in &order {
            left -= weight(id);
            if left < 0.0 {
                return Some(*id);
            }
        }
        order.last().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperature_zero_takes_the_first_of_the_likeliest() {
        assert_eq!(Sampler::new(0.0, None, 1).next(&[0.5, 2.0, 2.0]), Some(1));
    }

    #[test]
    fn top_k_leaves_nothing_else() {
        let mut sampler = Sampler::new(5.0, Some(2), 1);
        let drawn: Vec<u32> = (0..200).map(|_| sampler.next(&[1.0, 3.0, 0.0, 2.9]).unwrap()).collect();
        assert!(drawn.iter().all(|id| [1, 3].contains(id)) && drawn.contains(&1) && drawn.contains(&3));
    }

    #[test]
    fn draws_follow_the_softmax_and_the_seed() {
        let logits = [0.0f32, 1.0, 2.0];
        let draw = |seed| {
            let mut sampler = Sampler::new(1.0, None, seed);
            (0..20_000).map(|_| sampler.next(&logits).unwrap()).collect::<Vec<_>>()
        };
        let drawn = draw(3);
        assert_eq!(drawn, draw(3));
        assert_ne!(drawn, draw(4));
        let total: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
        for id in 0..3u32 {
            let share = drawn.iter().filter(|&&d| d == id).count() as f64 / drawn.len() as f64;
            assert!((share - f64::from(logits[id as usize]).exp() / total).abs() < 0.015, "{id}: {share}");
        }
    }

    #[test]
    fn a_nan_is_refused_and_infinities_are_not() {
        assert_eq!(Sampler::new(1.0, None, 1).next(&[0.0, f32::NAN]), None);
        assert_eq!(Sampler::new(1.0, None, 1).next(&[f32::NEG_INFINITY, 0.0]), Some(1));
        assert_eq!(Sampler::new(1.0, None, 1).next(&[]), None);
    }
}
