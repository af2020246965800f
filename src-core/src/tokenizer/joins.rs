//! Merges the bytes of a long word: the same ids as the `tokenizers` library, in a fifth of its memory.
//!
//! Of all adjacent tokens that can merge, those of the earliest merge come first, the leftmost of equals first. A token stores
//! its id at its first and its last byte, so that its neighbours can be found from there.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use ahash::AHashMap;

use super::vocabulary::{Token, Vocabulary};

/// Words of at least this many bytes are merged here.
pub(super) const LONG: usize = 1 << 12;

/// A byte inside a token.
const TAKEN: u32 = u32::MAX;

/// The merges of a vocabulary.
pub(super) struct Joins {
    /// By pair: the rank of its merge, and the resulting token.
    pairs: AHashMap<(u32, u32), (u32, u32)>,
    /// By byte: its token.
    bytes: [u32; 256],
    /// By id: the bytes of a token.
    lengths: Vec<u32>,
}

impl Joins {
    pub(super) fn of(vocabulary: &Vocabulary) -> Self {
        let mut ids: AHashMap<&[u8], u32> = AHashMap::new();
        let mut lengths = Vec::with_capacity(vocabulary.tokens().len());
        for (token, id) in vocabulary.tokens().iter().zip(0..) {
            let bytes: &[u8] = match token {
                Token::Bytes(bytes) => bytes,
                Token::Special(_) => &[],
            };
            lengths.push(bytes.len() as u32);
            ids.insert(bytes, id);
        }
        let pairs = vocabulary.merged().enumerate().filter_map(|(rank, (left, right, made))| {
            let id = ids.get(made.as_slice())?;
            Some(((left, right), (rank as u32, *id)))
        });
        let bytes = std::array::from_fn(|byte| ids.get([byte as u8].as_slice()).copied().unwrap_or_default());
        Self { pairs: pairs.collect(), bytes, lengths }
    }

    /// Adds the ids of `word`, which has less than 4 GiB.
    pub(super) fn encode(&self, word: &[u8], ids: &mut Vec<u32>) {
        let mut row: Vec<u32> = word.iter().map(|&byte| self.bytes[usize::from(byte)]).collect();
        let rank = |left: u32, right: u32| self.pairs.get(&(left, right)).map(|(rank, _)| *rank);
        let found = row.windows(2).zip(0..).filter_map(|(pair, place)| Some(Reverse((rank(pair[0], pair[1])?, place))));
        let mut queue: BinaryHeap<Reverse<(u32, u32)>> = found.collect::<Vec<_>>().into();
        while let Some(Reverse((wanted, place))) = queue.pop() {
            let first = place as usize;
            let left = row[first];
            if left == TAKEN {
                continue;
            }
            let second = first + self.length(left);
            let Some(&right) = row.get(second) else { continue };
            let Some(&(rank_now, made)) = self.pairs.get(&(left, right)) else { continue };
            // The entry is stale: this position has changed since.
            if rank_now != wanted {
                continue;
            }
            let last = second + self.length(right) - 1;
            // In this order: for tokens of one byte, the first byte is also the last.
            row[second - 1] = TAKEN;
            row[second] = TAKEN;
            row[first] = made;
            row[last] = made;
            if first > 0 {
                let before = row[first - 1];
                queue.extend(rank(before, made).map(|rank| Reverse((rank, (first - self.length(before)) as u32))));
            }
            if let Some(&after) = row.get(last + 1) {
                queue.extend(rank(made, after).map(|rank| Reverse((rank, place))));
            }
        }
        let mut at = 0;
        while let Some(&id) = row.get(at) {
            ids.push(id);
            at += self.length(id);
        }
    }

    fn length(&self, id: u32) -> usize {
        self.lengths[id as usize] as usize
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;
    use tokenizers::Model;

    use super::*;
    use crate::tokenizer::{Tokenizer, TokenizerError, TrainOptions, bytes};

    fn trained(texts: &[String], vocab_size: usize) -> Tokenizer {
        let train = |vocab_size| {
            let options = TrainOptions { vocab_size, ..TrainOptions::default() };
            Tokenizer::train(texts.iter().map(|text| Ok::<_, Infallible>(text.clone())), &options)
        };
        match train(vocab_size) {
            Err(TokenizerError::VocabularyTooLarge { possible, .. }) => train(possible),
            other => other,
        }
        .unwrap()
        .tokenizer
    }

    proptest! {
        #[test]
        fn the_ids_are_those_of_the_library(
            texts in prop::collection::vec("[ab]{1,60}|[a-d]{1,60}|é{1,20}", 1..8),
            more in prop::collection::vec("[ab]{0,80}|[a-d]{0,80}|[aé]{0,40}", 8),
            size in 265usize..300,
        ) {
            let tokenizer = trained(&texts, size);
            let joins = Joins::of(&tokenizer.vocabulary);
            for word in texts.iter().chain(&more) {
                let mut ids = Vec::new();
                joins.encode(word.as_bytes(), &mut ids);
                let library = tokenizer.model.tokenize(&bytes::spell(word.as_bytes())).unwrap();
                prop_assert_eq!(ids, library.into_iter().map(|token| token.id).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_long_word_goes_through_here_and_comes_back() {
        let tokenizer = trained(&["abba abab ab".to_owned()], 300);
        for unit in ["a", "ab", "abb", "é", "."] {
            let word = unit.repeat(2_000_000 / unit.len());
            assert_eq!(tokenizer.decode(&tokenizer.encode(&word)), word);
        }
    }
}
