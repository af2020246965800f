//! The reference's random numbers: shuffles, samples and permutations as CPython and numpy printed them
//! (`tests/golden/random_numbers.json`, written by `tests/python/random_numbers.py`).

use nc_core::tasks::python_random::{NumpyRandom, PythonRandom};
use nc_tests::golden_dirs;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    /// Seed, size, digest.
    shuffle: Vec<(u64, usize, u64)>,
    /// Seed, population, count, the numbers.
    sample: Vec<(u64, usize, usize, Vec<usize>)>,
    /// Seed, size, digest.
    permutation: Vec<(u64, usize, u64)>,
}

fn golden() -> Golden {
    let path = golden_dirs()[0].join("random_numbers.json");
    serde_json::from_slice(&std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))).unwrap()
}

/// h = (1000003 h + x) mod (2⁶¹ − 1) over a list, as the script has it.
fn digest(numbers: &[usize]) -> u64 {
    const PRIME: u128 = (1 << 61) - 1;
    numbers.iter().fold(0u128, |h, &x| (1_000_003 * h + x as u128) % PRIME) as u64
}

#[test]
fn shuffles_are_pythons() {
    let cases = golden().shuffle;
    assert!(cases.len() > 100);
    for (seed, size, want) in cases {
        let mut numbers: Vec<usize> = (0..size).collect();
        PythonRandom::new(seed).shuffle(&mut numbers);
        assert_eq!(digest(&numbers), want, "{size} numbers, seed {seed}");
    }
}

#[test]
fn samples_are_pythons() {
    let cases = golden().sample;
    assert!(cases.len() > 500);
    for (seed, population, count, want) in cases {
        assert_eq!(PythonRandom::new(seed).sample(population, count).unwrap(), want, "{count} of {population}, seed {seed}");
    }
}

#[test]
fn permutations_are_numpys() {
    let cases = golden().permutation;
    assert!(cases.len() > 100);
    for (seed, size, want) in cases {
        assert_eq!(digest(&NumpyRandom::new(seed).permutation(size)), want, "{size} numbers, seed {seed}");
    }
}
