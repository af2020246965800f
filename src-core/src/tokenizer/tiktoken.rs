//! Builds a tokenizer from the ranks of its tokens, the form that tiktoken stores.
//!
//! Ranks define which tokens there are and which of two merges comes first, but not from which two parts a token is
//! merged. Only one answer matters: the two parts that remain when a token's own bytes are merged using only
//! the tokens of lower rank. Whatever surrounds these bytes in a text, merges inside them happen in that same order
//! as long as none crosses their edges, and the merge to this token only happens if none has. So the parts found here
//! are the ones that are merged in every text, and merging by them is merging by ranks.

use std::collections::HashMap;

use super::split::SPLIT_PATTERN;
use super::vocabulary::Vocabulary;
use super::{Tokenizer, TokenizerError, bytes};

/// The limit of the work to find all parts, in squared bytes of tokens. A vocabulary of 200,000 needs a fifth of it.
const MOST_WORK: u64 = 1 << 27;

impl Tokenizer {
    /// Builds a tokenizer from the parts of a `tiktoken.Encoding`: the split pattern, the rank of each token, which
    /// is its id, and the ids of the special tokens.
    ///
    /// # Errors
    /// If the pattern is not [`SPLIT_PATTERN`], one of the 256 bytes is not a token, an id is missing or used twice, a
    /// token is duplicated or could be merged in several ways, `<|bos|>` is not among the special tokens, or tokens are too
    /// long for a vocabulary.
    pub fn from_ranks(pattern: &str, ranks: Vec<(&[u8], u32)>, special: Vec<(&str, u32)>) -> Result<Self, TokenizerError> {
        let unusable = |what: &str| Err(TokenizerError::Unusable(what.to_owned()));
        if pattern != SPLIT_PATTERN {
            return unusable("its split pattern is not nanochat's");
        }
        let work = ranks.iter().map(|(token, _)| (token.len() as u64).saturating_mul(token.len() as u64)).fold(0, u64::saturating_add);
        if work > MOST_WORK {
            return unusable("its tokens are longer than a vocabulary's are");
        }
        let by_bytes: HashMap<&[u8], u32> = ranks.iter().copied().collect();
        if by_bytes.len() != ranks.len() {
            return unusable("a token occurs twice");
        }
        if let Some(byte) = (0..=255u8).find(|&byte| !by_bytes.contains_key([byte].as_slice())) {
            return unusable(&format!("byte {byte} has no token"));
        }

        let mut joined = ranks;
        joined.retain(|(token, _)| token.len() > 1);
        joined.sort_unstable_by_key(|&(_, rank)| rank);
        let mut merges = Vec::with_capacity(joined.len());
        let mut whole_words = false;
        for (token, rank) in joined {
            match parts(token, rank, &by_bytes).as_slice() {
                &[left, right] => merges.push((bytes::spell(left), bytes::spell(right))),
                // Another order of merges might still lead to it, in some texts but not in others.
                _ if (1..token.len()).any(|cut| by_bytes.contains_key(&token[..cut]) && by_bytes.contains_key(&token[cut..])) => {
                    return unusable(&format!("token {rank} is not made of two tokens that come before it"));
                }
                // No merges lead to it, and it only occurs as a whole word: tiktoken looks these up first.
                _ => whole_words = true,
            }
        }
        let ordinary = by_bytes.into_iter().map(|(token, id)| (bytes::spell(token), id)).collect();
        let special = special.into_iter().map(|(name, id)| (name.to_owned(), id)).collect();
        Self::new(Vocabulary::new(ordinary, special, merges)?.with_whole_words(whole_words))
    }
}

/// What remains of `token` when its bytes are merged by all tokens of a rank below `limit`, the lowest first and of
/// equals the leftmost.
fn parts<'t>(token: &'t [u8], limit: u32, ranks: &HashMap<&[u8], u32>) -> Vec<&'t [u8]> {
    // Where each part starts, and the rank of the merge with the next part.
    let joins = |start: usize, end: usize| ranks.get(&token[start..end]).copied().filter(|&rank| rank < limit).unwrap_or(u32::MAX);
    let end = |parts: &[(usize, u32)], index: usize| parts.get(index).map_or(token.len(), |part| part.0);
    let mut parts: Vec<(usize, u32)> =
        (0..token.len()).map(|start| (start, if start + 2 <= token.len() { joins(start, start + 2) } else { u32::MAX })).collect();
    while let Some((index, _)) = parts.iter().enumerate().min_by_key(|(_, part)| part.1).filter(|(_, part)| part.1 != u32::MAX) {
        parts.remove(index + 1);
        for changed in [Some(index), index.checked_sub(1)].into_iter().flatten() {
            let reach = if changed + 1 < parts.len() { joins(parts[changed].0, end(&parts, changed + 2)) } else { u32::MAX };
            parts[changed].1 = reach;
        }
    }
    (0..parts.len()).map(|index| &token[parts[index].0..end(&parts, index + 1)]).collect()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;
    use proptest::sample::Index;
    use tiktoken_rs::CoreBPE;

    use super::*;
    use crate::tokenizer::TrainOptions;

    const ALPHABET: [u8; 4] = *b"abc ";

    /// The bytes by rank, then as many tokens as `joins` names pairs of others that make new ones.
    fn vocabulary(joins: &[(Index, Index)]) -> Vec<Vec<u8>> {
        let mut tokens: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
        let mut joined: Vec<Vec<u8>> = ALPHABET.map(|byte| vec![byte]).to_vec();
        for (left, right) in joins {
            let token = [left.get(&joined).as_slice(), right.get(&joined).as_slice()].concat();
            if !joined.contains(&token) {
                joined.push(token.clone());
                tokens.push(token);
            }
        }
        tokens
    }

    fn from_tokens(tokens: &[Vec<u8>]) -> Result<Tokenizer, TokenizerError> {
        let ranks = tokens.iter().map(Vec::as_slice).zip(0..).collect();
        Tokenizer::from_ranks(SPLIT_PATTERN, ranks, vec![("<|bos|>", tokens.len() as u32)])
    }

    fn tiktoken(tokens: &[Vec<u8>]) -> CoreBPE {
        CoreBPE::new(tokens.iter().cloned().zip(0..).collect(), Default::default(), SPLIT_PATTERN).unwrap()
    }

    #[test]
    fn a_token_is_made_of_what_lower_ranks_leave_of_it() {
        let tokens = vocabulary(&[]);
        let with = |more: &[&str]| {
            let tokens: Vec<Vec<u8>> = tokens.iter().cloned().chain(more.iter().map(|token| token.as_bytes().to_vec())).collect();
            let merges = from_tokens(&tokens).map(|tokenizer| tokenizer.vocabulary.merges().collect::<Vec<_>>());
            merges.map(|merges| merges.iter().map(|(left, right)| format!("{left} {right}")).collect::<Vec<_>>())
        };
        assert_eq!(with(&["bc", "ab", "abc"]).unwrap(), ["b c", "a b", "a bc"]);
        assert_eq!(with(&["ab", "bc", "abc"]).unwrap(), ["a b", "b c", "ab c"]);
        assert_eq!(with(&["aa", "aaa", "aaaaa"]).unwrap(), ["a a", "aa a", "aa aaa"]);
        let error = with(&["abc", "ab"]).unwrap_err().to_string();
        assert_eq!(error, "the tokenizer cannot be used: token 256 is not made of two tokens that come before it");
    }

    #[test]
    fn a_token_that_no_joins_make_is_still_found_as_a_word() {
        let mut tokens = vocabulary(&[]);
        tokens.push(b"abc".to_vec());
        let tokenizer = from_tokens(&tokens).unwrap();
        assert_eq!(tokenizer.encode("abc"), [256]);
        assert_eq!(tokenizer.encode("abca"), [97, 98, 99, 97]);
    }

    proptest! {
        #[test]
        fn a_trained_tokenizer_is_found_again_in_its_ranks(texts in prop::collection::vec("[ab c]{1,60}", 1..8), size in 265usize..290) {
            let options = |vocab_size| TrainOptions { vocab_size, ..TrainOptions::default() };
            let train = |size| Tokenizer::train(texts.iter().map(|text| Ok::<_, Infallible>(text.clone())), &options(size));
            let trained = match train(size) {
                Err(TokenizerError::VocabularyTooLarge { possible, .. }) => train(possible),
                other => other,
            };
            let trained = trained.unwrap().tokenizer;
            let (ordinary, special): (Vec<_>, Vec<_>) = (0..trained.vocab_size() as u32).partition(|&id| trained.token_bytes()[id as usize] > 0);
            let tokens: Vec<Vec<u8>> = ordinary.iter().map(|&id| trained.decode_bytes(&[id])).collect();
            let names: Vec<String> = special.iter().map(|&id| trained.decode(&[id])).collect();
            // In any order.
            let ranks = tokens.iter().map(Vec::as_slice).zip(ordinary).rev().collect();
            let found = Tokenizer::from_ranks(SPLIT_PATTERN, ranks, names.iter().map(String::as_str).zip(special).collect()).unwrap();
            prop_assert_eq!(found.to_json(), trained.to_json());
        }

        #[test]
        fn what_is_accepted_encodes_as_tiktoken_does(
            joins in prop::collection::vec(any::<(Index, Index)>(), 0..12),
            shuffle in any::<bool>(),
            texts in prop::collection::vec("[abc ]{0,30}", 8),
        ) {
            let mut tokens = vocabulary(&joins);
            if shuffle {
                // A rank below that of its parts: usually rejected, and never misread.
                tokens[256..].reverse();
            }
            if let Ok(tokenizer) = from_tokens(&tokens) {
                let tiktoken = tiktoken(&tokens);
                for text in texts {
                    prop_assert_eq!(tokenizer.encode(&text), tiktoken.encode_ordinary(&text), "{:?}", text);
                }
            }
        }
    }
}
