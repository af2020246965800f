//! The random numbers of Python and numpy, exactly: the reference shuffles task data and draws examples with them, so its scores
//! depend on them. Everything is integer arithmetic.
//!
//! - [`PythonRandom`]: MT19937 (Matsumoto and Nishimura 1998) as CPython's `random.Random` seeds and uses it.
//! - [`NumpyRandom`]: PCG64, the variant XSL-RR of 128 bits (O'Neill 2014), behind numpy's `default_rng`, seeded by `SeedSequence`.
//!
//! Both have been the same since Python 3.2 and numpy 1.17.

/// Words of MT19937's state, and the distance of the words that are mixed.
const WORDS: usize = 624;
const SHIFT: usize = 397;

/// CPython's `random.Random(seed)` for a seed that is a whole number.
#[derive(Clone, Debug)]
pub struct PythonRandom {
    state: [u32; WORDS],
    /// The next word to give; past the last one, all are renewed.
    next: usize,
}

impl PythonRandom {
    /// The generator for `seed`, which Python splits into words of 32 bits.
    pub fn new(seed: u64) -> Self {
        let words = [seed as u32, (seed >> 32) as u32];
        Self::from_key(if words[1] == 0 { &words[..1] } else { &words })
    }

    /// MT19937's `init_by_array`.
    fn from_key(key: &[u32]) -> Self {
        let mut state = [0u32; WORDS];
        state[0] = 19_650_218;
        for i in 1..WORDS {
            state[i] = 1_812_433_253u32.wrapping_mul(state[i - 1] ^ (state[i - 1] >> 30)).wrapping_add(i as u32);
        }
        let mut i = 1;
        let mut advance = |state: &mut [u32; WORDS], factor: u32, add: u32| {
            state[i] = (state[i] ^ (state[i - 1] ^ (state[i - 1] >> 30)).wrapping_mul(factor)).wrapping_add(add);
            i += 1;
            if i == WORDS {
                state[0] = state[WORDS - 1];
                i = 1;
            }
            i
        };
        let mut at = 1;
        for round in 0..WORDS.max(key.len()) {
            let j = round % key.len();
            at = advance(&mut state, 1_664_525, key[j].wrapping_add(j as u32));
        }
        for _ in 1..WORDS {
            at = advance(&mut state, 1_566_083_941, (at as u32).wrapping_neg());
        }
        state[0] = 0x8000_0000;
        Self { state, next: WORDS }
    }

    fn renew(&mut self) {
        for i in 0..WORDS {
            let joined = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % WORDS] & 0x7fff_ffff);
            let twisted = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + SHIFT) % WORDS] ^ (joined >> 1) ^ twisted;
        }
        self.next = 0;
    }

    fn word(&mut self) -> u32 {
        if self.next == WORDS {
            self.renew();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// `getrandbits(bits)` for 1 to 64 bits: whole words come first, from the lowest on.
    fn bits(&mut self, bits: u32) -> u64 {
        if bits <= 32 {
            return u64::from(self.word() >> (32 - bits));
        }
        let low = u64::from(self.word());
        low | u64::from(self.word() >> (64 - bits)) << 32
    }

    /// `randrange(choices)`: a number below `choices`, which is not 0. Draws again until one is.
    pub fn below(&mut self, choices: usize) -> usize {
        let bits = usize::BITS - choices.leading_zeros();
        loop {
            let drawn = self.bits(bits);
            if drawn < choices as u64 {
                return drawn as usize;
            }
        }
    }

    /// `shuffle`: in place, from the end.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// `sample(range(population), count)`: different numbers below `population`, in the order in which they are drawn. `None` if there
    /// are fewer than `count`.
    ///
    /// Python copies small populations and takes from the copy. For large ones it draws until a number is new.
    pub fn sample(&mut self, population: usize, count: usize) -> Option<Vec<usize>> {
        if count > population {
            return None;
        }
        if population <= copied_up_to(count) {
            let mut pool: Vec<usize> = (0..population).collect();
            let take = |left: usize| {
                let place = self.below(left);
                let taken = pool[place];
                pool[place] = pool[left - 1];
                taken
            };
            return Some((0..count).map(|taken| population - taken).map(take).collect());
        }
        let mut seen = std::collections::HashSet::with_capacity(count);
        let draw = |_| {
            loop {
                let drawn = self.below(population);
                if seen.insert(drawn) {
                    return drawn;
                }
            }
        };
        Some((0..count).map(draw).collect())
    }
}

/// The largest population that `sample` copies: 21, and for more than five numbers also the first power of four that is not below
/// three times as many.
fn copied_up_to(count: usize) -> usize {
    let mut size: usize = 21;
    if count > 5 {
        let mut power: usize = 1;
        while power < count.saturating_mul(3) {
            power = power.saturating_mul(4);
        }
        size = size.saturating_add(power);
    }
    size
}

/// The multiplier of PCG64.
const MULTIPLIER: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;

/// numpy's `default_rng(seed)`.
#[derive(Clone, Debug)]
pub struct NumpyRandom {
    state: u128,
    increment: u128,
    /// The upper half of the last 64 bits, if only the lower one was used.
    half: Option<u32>,
}

impl NumpyRandom {
    /// The generator for `seed`.
    pub fn new(seed: u64) -> Self {
        let [state_high, state_low, stream_high, stream_low] = SeedSequence::new(seed).words();
        let join = |high: u64, low: u64| u128::from(high) << 64 | u128::from(low);
        let mut rng = Self { state: 0, increment: join(stream_high, stream_low) << 1 | 1, half: None };
        rng.step();
        rng.state = rng.state.wrapping_add(join(state_high, state_low));
        rng.step();
        rng
    }

    fn step(&mut self) {
        self.state = self.state.wrapping_mul(MULTIPLIER).wrapping_add(self.increment);
    }

    fn u64(&mut self) -> u64 {
        self.step();
        let folded = (self.state >> 64) as u64 ^ self.state as u64;
        folded.rotate_right((self.state >> 122) as u32)
    }

    fn u32(&mut self) -> u32 {
        if let Some(half) = self.half.take() {
            return half;
        }
        let both = self.u64();
        self.half = Some((both >> 32) as u32);
        both as u32
    }

    /// A number from 0 to `most`, drawn again while it is larger under the smallest mask that covers `most`.
    fn up_to(&mut self, most: usize) -> usize {
        let most = most as u64;
        let mask = u64::MAX.checked_shr(most.leading_zeros()).unwrap_or(0);
        loop {
            let drawn = if most <= u64::from(u32::MAX) { u64::from(self.u32()) } else { self.u64() } & mask;
            if drawn <= most {
                return drawn as usize;
            }
        }
    }

    /// `permutation(len)`: the numbers below `len` in another order.
    pub fn permutation(&mut self, len: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..len).collect();
        for last in (1..len).rev() {
            order.swap(last, self.up_to(last));
        }
        order
    }
}

/// numpy's `SeedSequence`: spreads a seed over a pool of four words, and hashes that into as many as are needed.
struct SeedSequence([u32; 4]);

/// A multiplicative hash whose multiplier changes with each word.
struct WordHash {
    constant: u32,
    multiplier: u32,
}

impl WordHash {
    fn of(&mut self, word: u32) -> u32 {
        let mixed = word ^ self.constant;
        self.constant = self.constant.wrapping_mul(self.multiplier);
        let mixed = mixed.wrapping_mul(self.constant);
        mixed ^ (mixed >> 16)
    }
}

impl SeedSequence {
    fn new(seed: u64) -> Self {
        let mut hash = WordHash { constant: 0x43b0_d7e5, multiplier: 0x931e_8875 };
        let mut pool = [seed as u32, (seed >> 32) as u32, 0, 0].map(|word| hash.of(word));
        for from in 0..4 {
            for to in (0..4).filter(|&to| to != from) {
                let (x, y) = (pool[to], hash.of(pool[from]));
                let mixed = x.wrapping_mul(0xca01_f9dd).wrapping_sub(y.wrapping_mul(0x4973_f715));
                pool[to] = mixed ^ (mixed >> 16);
            }
        }
        Self(pool)
    }

    /// `generate_state(4, uint64)`.
    fn words(&self) -> [u64; 4] {
        let mut hash = WordHash { constant: 0x8b51_f9dd, multiplier: 0x58f3_8ded };
        let mut halves = (0..8).map(|i| u64::from(hash.of(self.0[i % 4])));
        std::array::from_fn(|_| {
            let low = halves.next().unwrap_or(0);
            halves.next().unwrap_or(0) << 32 | low
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_python_and_numpy() {
        // Printed by CPython 3.11.7 and numpy 2.4.6; tests/tests/core_random.rs compares many more.
        let mut numbers: Vec<usize> = (0..12).collect();
        PythonRandom::new(1337).shuffle(&mut numbers);
        assert_eq!(numbers, [6, 0, 1, 4, 10, 7, 3, 11, 2, 5, 8, 9]);
        let sample = |seed, population, count| PythonRandom::new(seed).sample(population, count).unwrap();
        // The largest population that is copied for ten numbers, and the next.
        assert_eq!(sample(1234, 85, 10), [56, 14, 0, 11, 74, 4, 10, 12, 45, 30]);
        assert_eq!(sample(1235, 86, 10), [54, 68, 75, 60, 50, 19, 44, 82, 55, 27]);
        assert_eq!(sample(1236, 21, 3), [17, 15, 19]);
        assert_eq!(sample((1 << 40) | 7, 1 << 40, 3), [551_799_892_330, 797_660_323_531, 972_351_302_369]);
        assert_eq!(NumpyRandom::new(42).permutation(10), [5, 6, 0, 7, 3, 2, 4, 9, 1, 8]);
        assert_eq!(NumpyRandom::new(0).permutation(7), [2, 4, 3, 6, 5, 0, 1]);
    }

    #[test]
    fn populations_are_copied_up_to_a_size() {
        assert_eq!([0, 3, 5, 6, 10, 21, 22, 64].map(copied_up_to), [21, 21, 21, 21 + 64, 21 + 64, 21 + 64, 21 + 256, 21 + 256]);
    }

    #[test]
    fn edges_have_an_answer() {
        let mut rng = PythonRandom::new(1);
        assert_eq!(rng.sample(2, 3), None);
        assert_eq!(rng.sample(0, 0), Some(Vec::new()));
        rng.shuffle::<u8>(&mut []);
        assert_eq!(rng.below(1), 0);
        assert_eq!(NumpyRandom::new(1).permutation(0), [0; 0]);
    }
}
