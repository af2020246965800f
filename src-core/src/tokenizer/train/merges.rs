//! Chooses the merges of a vocabulary: repeatedly, the most frequent adjacent pair becomes a token.
//!
//! Of pairs that occur equally often, the one with the smaller left id is taken, then the one with the smaller right
//! id. Inside a word a pair is merged from left to right.
//!
//! All words are in one array, one element per byte, with separators before, between and after them. A token stores its id at
//! its first and its last byte, so its neighbours can be found from there, and each pair keeps the positions where it arose. A
//! merge then visits only the occurrences of its pair: all merges together take about as many steps as
//! there are bytes, however long a word is.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::hash_map::Entry;

use ahash::AHashMap;

use crate::tokenizer::TokenizerError;

/// Two adjacent tokens, by their ids. The ids 0 to 255 are bytes; merge `n` creates the id 256 + `n`.
pub(super) type Pair = (u32, u32);

/// The separator between words.
const BORDER: u32 = u32::MAX;

/// A byte inside a token, where another one began.
const TAKEN: u32 = u32::MAX - 1;

/// Chooses up to `most` merges for `words` with their counts; fewer if every word becomes one token before. `tell` is called
/// after each with their number so far.
///
/// # Errors
/// If the words together are longer than can be counted.
pub(super) fn choose<'w>(
    words: impl Iterator<Item = (&'w [u8], u64)>,
    most: usize,
    tell: &mut dyn FnMut(usize),
) -> Result<Vec<Pair>, TokenizerError> {
    let mut row = Row::of(words)?;
    let mut pairs = row.pairs();
    // A pair in the queue may have become rarer since: it never becomes more frequent after the merge that made it.
    let mut queue: BinaryHeap<(u64, Reverse<Pair>)> = pairs.iter().map(|(pair, found)| (found.count, Reverse(*pair))).collect();
    let mut merges = Vec::new();
    let mut born = Vec::new();
    while merges.len() < most {
        let Some((count, Reverse(pair))) = queue.pop() else { break };
        let Entry::Occupied(found) = pairs.entry(pair) else { continue };
        let now = found.get().count;
        if now == 0 {
            found.remove();
        } else if now < count {
            queue.push((now, Reverse(pair)));
        } else {
            let places = found.remove().places;
            row.merge_all(pair, 256 + merges.len() as u32, &places, &mut pairs, &mut born);
            // Some of the pairs that this merge created are already gone again.
            queue.extend(
                born.drain(..).map(|pair| (pairs.get(&pair).map_or(0, |found| found.count), Reverse(pair))).filter(|(count, _)| *count > 0),
            );
            merges.push(pair);
            tell(merges.len());
        }
    }
    Ok(merges)
}

/// How often a pair occurs, and where: some of the positions may be stale.
#[derive(Default)]
struct Found {
    count: u64,
    /// The first byte of each occurrence, ascending.
    places: Vec<u32>,
}

/// All words in their current state.
struct Row {
    /// By byte: an id on the first and the last byte of a token.
    ids: Vec<u32>,
    /// By byte: the number of its word.
    word: Vec<u32>,
    /// By word: how often it occurs.
    counts: Vec<u64>,
    /// By id: the bytes of a token.
    lengths: Vec<u32>,
}

impl Row {
    fn of<'w>(words: impl Iterator<Item = (&'w [u8], u64)>) -> Result<Self, TokenizerError> {
        let mut row = Self { ids: vec![BORDER], word: vec![0], counts: Vec::new(), lengths: vec![1; 256] };
        for (bytes, count) in words {
            let number = row.counts.len() as u32;
            row.counts.push(count);
            row.ids.extend(bytes.iter().map(|&byte| u32::from(byte)));
            row.ids.push(BORDER);
            row.word.resize(row.ids.len(), number);
            if row.ids.len() >= TAKEN as usize {
                return Err(TokenizerError::TooMuchText);
            }
        }
        Ok(row)
    }

    /// The pairs of bytes.
    fn pairs(&self) -> AHashMap<Pair, Found> {
        let mut pairs: AHashMap<Pair, Found> = AHashMap::new();
        for (place, neighbours) in self.ids.windows(2).enumerate() {
            if neighbours[0] != BORDER && neighbours[1] != BORDER {
                let found = pairs.entry((neighbours[0], neighbours[1])).or_default();
                found.count += self.counts[self.word[place] as usize];
                found.places.push(place as u32);
            }
        }
        pairs
    }

    /// Replaces `pair`, which is no longer among `pairs`, by the token `new` at all its occurrences. Updates the counts of the
    /// pairs that this removes and creates, and adds new ones to `born`.
    fn merge_all(&mut self, pair: Pair, new: u32, places: &[u32], pairs: &mut AHashMap<Pair, Found>, born: &mut Vec<Pair>) {
        let (left, right) = (self.length(pair.0), self.length(pair.1));
        self.lengths.push((left + right) as u32);
        for &place in places {
            let first = place as usize;
            let second = first + left;
            let last = second + right - 1;
            if self.ids[first] != pair.0 || self.ids[second] != pair.1 {
                continue;
            }
            let count = self.counts[self.word[first] as usize];
            let (before, after) = (self.ids[first - 1], self.ids[last + 1]);
            let mut make = |pair: Pair, place: usize| {
                let found = match pairs.entry(pair) {
                    Entry::Occupied(found) => found.into_mut(),
                    Entry::Vacant(free) => {
                        born.push(pair);
                        free.insert(Found::default())
                    }
                };
                found.count += count;
                found.places.push(place as u32);
            };
            if before != BORDER {
                make((before, new), first - self.length(before));
            }
            if after != BORDER {
                make((new, after), first);
            }
            // A pair that overlaps itself is the one being merged, and is no longer counted.
            for ended in [(before, pair.0), (pair.1, after)] {
                if let Some(found) = pairs.get_mut(&ended) {
                    found.count -= count;
                }
            }
            self.ids[second] = TAKEN;
            self.ids[first] = new;
            self.ids[last] = new;
        }
    }

    fn length(&self, id: u32) -> usize {
        self.lengths[id as usize] as usize
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use tokenizers::AddedToken;
    use tokenizers::models::bpe::{BPE, BpeTrainer};

    use super::*;
    use crate::tokenizer::bytes;

    type Words = Vec<(Vec<u8>, u64)>;

    fn chosen(words: &Words, most: usize) -> Vec<Pair> {
        let mut told = 0;
        let merges = choose(words.iter().map(|(word, count)| (word.as_slice(), *count)), most, &mut |count| told = count).unwrap();
        assert_eq!(told, merges.len());
        merges
    }

    /// The rule in plain words: count all pairs, merge the most frequent one everywhere, and count again.
    fn plain(words: &Words, most: usize) -> Vec<Pair> {
        let mut words: Vec<(Vec<u32>, u64)> =
            words.iter().map(|(word, count)| (word.iter().map(|&byte| u32::from(byte)).collect(), *count)).collect();
        let mut merges = Vec::new();
        while merges.len() < most {
            let mut counts: HashMap<Pair, u64> = HashMap::new();
            for (word, count) in &words {
                for pair in word.windows(2) {
                    *counts.entry((pair[0], pair[1])).or_default() += count;
                }
            }
            let Some((pair, _)) = counts.into_iter().max_by_key(|(pair, count)| (*count, Reverse(*pair))) else { break };
            let new = 256 + merges.len() as u32;
            merges.push(pair);
            for (word, _) in &mut words {
                let mut merged = Vec::with_capacity(word.len());
                let mut rest = word.as_slice();
                while let [first, after @ ..] = rest {
                    (merged, rest) = match after {
                        [second, after @ ..] if (*first, *second) == pair => ([merged, vec![new]].concat(), after),
                        _ => ([merged, vec![*first]].concat(), after),
                    };
                }
                *word = merged;
            }
        }
        merges
    }

    /// The same by the trainer of the `tokenizers` library, which is quadratic in the length of a word.
    fn by_library(words: &Words, most: usize) -> Vec<Pair> {
        let alphabet = (0..=255u8).map(|byte| AddedToken::from(bytes::spell(&[byte]), false)).collect();
        let trainer = BpeTrainer::builder().vocab_size(256 + most).special_tokens(alphabet).show_progress(false).build();
        let mut counts: HashMap<&[u8], u64> = HashMap::new();
        for (word, count) in words {
            *counts.entry(word).or_default() += count;
        }
        let words = counts.into_iter().map(|(word, count)| (bytes::spell(word).into(), count)).collect();
        let mut model = BPE::default();
        trainer.do_train(&words, &mut model).unwrap();
        let model = serde_json::to_value(&model).unwrap();
        let id = |token: &str| model["vocab"][token].as_u64().unwrap() as u32;
        let mut merges: Vec<(u32, Pair)> = model["merges"]
            .as_array()
            .unwrap()
            .iter()
            .map(|merge| {
                let (left, right) = (merge[0].as_str().unwrap(), merge[1].as_str().unwrap());
                (id(&format!("{left}{right}")), (id(left), id(right)))
            })
            .collect();
        merges.sort_unstable();
        merges.into_iter().map(|(_, pair)| pair).collect()
    }

    #[test]
    fn runs_are_merged_from_the_left() {
        let word = |word: &str, count| (word.as_bytes().to_vec(), count);
        let a = u32::from(b'a');
        assert_eq!(chosen(&vec![word("aaaaa", 1)], 9), [(a, a), (256, a), (256, 257)]);
        assert_eq!(chosen(&vec![word("aaaaa", 1)], 2), [(a, a), (256, a)]);
        assert_eq!(chosen(&vec![word("a", 7), word("", 3)], 9), []);
        assert_eq!(chosen(&vec![], 9), []);
    }

    #[test]
    fn equal_counts_go_to_the_smaller_ids() {
        let words = vec![(b"db".to_vec(), 2), (b"ca".to_vec(), 2), (b"cb".to_vec(), 2), (b"xy".to_vec(), 3)];
        let pair = |text: &[u8; 2]| (u32::from(text[0]), u32::from(text[1]));
        assert_eq!(chosen(&words, 9), [pair(b"xy"), pair(b"ca"), pair(b"cb"), pair(b"db")]);
    }

    #[test]
    fn counts_beyond_32_bits_are_counted() {
        let words = vec![(b"ab".to_vec(), u64::from(u32::MAX) + 2), (b"cd".to_vec(), 5)];
        assert_eq!(chosen(&words, 1), [(u32::from(b'a'), u32::from(b'b'))]);
    }

    fn words(letters: &'static str) -> impl Strategy<Value = Words> {
        let word = prop::collection::vec(prop::sample::select(letters.as_bytes()), 0..40);
        prop::collection::vec((word, 1u64..6), 0..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn the_merges_are_those_of_the_plain_rule(
            words in prop_oneof![words("a"), words("ab"), words("abc"), words("abcdefgh")],
            most in prop_oneof![0usize..12, Just(usize::MAX)],
        ) {
            prop_assert_eq!(chosen(&words, most), plain(&words, most));
        }

        #[test]
        fn the_merges_are_those_of_the_library(
            words in prop_oneof![words("a"), words("ab"), words("abc"), words("abcdefgh")],
            most in prop_oneof![0usize..12, Just(1000usize)],
        ) {
            prop_assert_eq!(chosen(&words, most), by_library(&words, most));
        }
    }
}
