//! Random choices that never change: ChaCha8 and the few lines below, nothing that a library update may change.
//!
//! The reference shuffles with numpy's and Python's generators. The order of a data set is not part of a model's
//! definition, so ours differs: Fisher-Yates from the end, each index the upper half of a
//! 64-bit word times the number of choices.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The generator for `seed`; different `stream`s of a seed are independent.
pub fn generator(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

/// A number below `choices`, which is not 0. The bias is below `choices` / 2⁶⁴.
pub fn below(rng: &mut ChaCha8Rng, choices: usize) -> usize {
    let scaled = u128::from(rng.next_u64()) * choices as u128;
    // The upper half is below `choices`, so it fits.
    (scaled >> 64) as usize
}

/// One of `choices`, which are not empty.
pub fn choose<'a, T>(rng: &mut ChaCha8Rng, choices: &'a [T]) -> &'a T {
    &choices[below(rng, choices.len())]
}

/// The numbers below `len` in an order that depends only on `len` and `seed`.
pub fn permutation(len: usize, seed: u64) -> Vec<usize> {
    let mut rng = generator(seed, 0);
    let mut order: Vec<usize> = (0..len).collect();
    for last in (1..len).rev() {
        order.swap(last, below(&mut rng, last + 1));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_holds_every_number_once_in_an_order_that_the_seed_decides() {
        for len in [0, 1, 2, 7, 1000] {
            let mut order = permutation(len, 42);
            assert_eq!(order, permutation(len, 42));
            order.sort_unstable();
            assert!(order.into_iter().eq(0..len));
        }
        assert_ne!(permutation(1000, 42), permutation(1000, 43));
    }

    #[test]
    fn the_order_never_changes() {
        assert_eq!(permutation(8, 42), [4, 7, 0, 1, 3, 2, 6, 5]);
    }

    #[test]
    fn choices_are_even() {
        let (mut rng, mut seen) = (generator(1, 2), [0; 5]);
        (0..10_000).for_each(|_| seen[below(&mut rng, 5)] += 1);
        assert!(seen.iter().all(|count| (1850..2150).contains(count)), "{seen:?}");
    }
}
