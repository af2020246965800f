//! Training a vocabulary: counts the words of the text, then merges the most frequent adjacent pair until the vocabulary is
//! full.
//!
//! The bytes take the ids 0 to 255 and each merge the next one, as in the reference; ties go to the pair with the
//! smaller ids. The same text gives the same bytes of `tokenizer.json`, in any order of documents and on any number of
//! cores.

use std::collections::HashMap;

use ahash::AHashMap;
use rayon::prelude::*;

use super::split::Splitter;
use super::vocabulary::Vocabulary;
use super::{SPECIAL_TOKENS, Tokenizer, TokenizerError, bytes};

mod merges;

/// The smallest vocabulary: every byte and every special token.
pub const SMALLEST_VOCABULARY: usize = 256 + SPECIAL_TOKENS.len();

/// The largest vocabulary that is trained: a larger `tokenizer.json` could not be read again.
pub const LARGEST_VOCABULARY: usize = 300_000;

/// Documents are counted on all cores whenever this many bytes have been read.
const BATCH: usize = 8 << 20;

/// How to train; the defaults are the reference's.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// Size of the vocabulary, including bytes and special tokens.
    pub vocab_size: usize,
    /// Reading stops once more than this many characters are read.
    pub max_chars: u64,
    /// Only this many characters of a document are read.
    pub doc_cap: usize,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self { vocab_size: 32_768, max_chars: 2_000_000_000, doc_cap: 10_000 }
    }
}

/// How far training is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrainProgress {
    /// Text has been read.
    Read {
        /// Documents read.
        documents: u64,
        /// Characters read.
        chars: u64,
    },
    /// Pairs of the vocabulary have been merged.
    Merged {
        /// Pairs merged.
        done: usize,
        /// Total pairs to merge.
        of: usize,
    },
}

/// A tokenizer and the text that it was trained on.
#[derive(Debug)]
pub struct Trained {
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// Documents read.
    pub documents: u64,
    /// Characters read, without the truncated ends of documents.
    pub chars: u64,
    /// The same in bytes.
    pub bytes: u64,
}

impl Tokenizer {
    /// Trains on `documents`.
    ///
    /// # Errors
    /// If the vocabulary is smaller than [`SMALLEST_VOCABULARY`], larger than [`LARGEST_VOCABULARY`] or than the text can
    /// give, the text is empty, or a document is an error.
    pub fn train<E>(documents: impl IntoIterator<Item = Result<String, E>>, options: &TrainOptions) -> Result<Trained, TokenizerError>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        Self::train_and_tell(documents, options, &mut |_| {})
    }

    /// As [`train`](Self::train); `tell` receives the progress.
    ///
    /// # Errors
    /// The same.
    pub fn train_and_tell<E>(
        documents: impl IntoIterator<Item = Result<String, E>>,
        options: &TrainOptions,
        tell: &mut dyn FnMut(TrainProgress),
    ) -> Result<Trained, TokenizerError>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        if options.vocab_size < SMALLEST_VOCABULARY {
            return Err(TokenizerError::VocabularyTooSmall { asked: options.vocab_size, least: SMALLEST_VOCABULARY });
        }
        if options.vocab_size > LARGEST_VOCABULARY {
            return Err(TokenizerError::VocabularyBeyondReach { asked: options.vocab_size });
        }
        let mut words = Words::new();
        for document in documents {
            let mut text = document.map_err(|error| TokenizerError::Documents(Box::new(error)))?;
            if let Some((end, _)) = text.char_indices().nth(options.doc_cap) {
                text.truncate(end);
            }
            if words.add(text) {
                tell(words.progress());
            }
            if words.chars > options.max_chars {
                break;
            }
        }
        words.count_pending();
        tell(words.progress());
        if words.counts.is_empty() {
            return Err(TokenizerError::EmptyText);
        }
        let tokenizer = Self::new(vocabulary(words.counts, options.vocab_size, tell)?)?;
        Ok(Trained { tokenizer, documents: words.documents, chars: words.chars, bytes: words.bytes })
    }
}

/// How often each word occurs in the text so far.
struct Words {
    splitter: Splitter,
    counts: AHashMap<String, u64>,
    pending: Vec<String>,
    pending_bytes: usize,
    documents: u64,
    chars: u64,
    bytes: u64,
}

impl Words {
    fn new() -> Self {
        let (counts, pending) = (AHashMap::new(), Vec::new());
        Self { splitter: Splitter::new(), counts, pending, pending_bytes: 0, documents: 0, chars: 0, bytes: 0 }
    }

    fn progress(&self) -> TrainProgress {
        TrainProgress::Read { documents: self.documents, chars: self.chars }
    }

    /// Adds a document; returns whether this also counted the waiting ones.
    fn add(&mut self, text: String) -> bool {
        self.documents += 1;
        self.chars += text.chars().count() as u64;
        self.bytes += text.len() as u64;
        self.pending_bytes += text.len();
        self.pending.push(text);
        let enough = self.pending_bytes >= BATCH;
        if enough {
            self.count_pending();
        }
        enough
    }

    fn count_pending(&mut self) {
        let counted = |mut counts: AHashMap<_, u64>, text| {
            self.splitter.words(text, |word| *counts.entry(word).or_default() += 1);
            counts
        };
        let parts: Vec<AHashMap<&str, u64>> = self.pending.par_iter().map(String::as_str).fold(AHashMap::new, counted).collect();
        for (word, count) in parts.into_iter().flatten() {
            match self.counts.get_mut(word) {
                Some(sum) => *sum += count,
                None => drop(self.counts.insert(word.to_owned(), count)),
            }
        }
        self.pending.clear();
        self.pending_bytes = 0;
    }
}

/// Progress is reported after this many merges.
const MERGES_A_TELL: usize = 256;

/// Learns a vocabulary of `size` ids from words and their frequencies.
fn vocabulary(counts: AHashMap<String, u64>, size: usize, tell: &mut dyn FnMut(TrainProgress)) -> Result<Vocabulary, TokenizerError> {
    let room = size - SPECIAL_TOKENS.len();
    let most = room - 256;
    let mut count = |merges: usize| {
        if merges.is_multiple_of(MERGES_A_TELL) {
            tell(TrainProgress::Merged { done: merges, of: most });
        }
    };
    let merges = merges::choose(counts.iter().map(|(word, count)| (word.as_bytes(), *count)), most, &mut count)?;
    drop(counts);
    if merges.len() < most {
        let possible = 256 + merges.len() + SPECIAL_TOKENS.len();
        return Err(TokenizerError::VocabularyTooLarge { asked: size, possible });
    }
    let mut spellings: Vec<String> = (0..=255u8).map(|byte| bytes::spell(&[byte])).collect();
    let mut spelled = Vec::with_capacity(merges.len());
    for (left, right) in merges {
        let (left, right) = (spellings[left as usize].clone(), spellings[right as usize].clone());
        spellings.push(format!("{left}{right}"));
        spelled.push((left, right));
    }
    let special = SPECIAL_TOKENS.iter().zip(room as u32..).map(|(name, id)| ((*name).to_owned(), id)).collect();
    let ordinary: HashMap<String, u32> = spellings.into_iter().zip(0..).collect();
    Vocabulary::new(ordinary, special, spelled)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn train(texts: &[&str], options: &TrainOptions) -> Result<Trained, TokenizerError> {
        Tokenizer::train(texts.iter().map(|text| Ok::<_, Infallible>((*text).to_owned())), options)
    }

    fn sized(vocab_size: usize) -> TrainOptions {
        TrainOptions { vocab_size, ..TrainOptions::default() }
    }

    /// The largest vocabulary that `texts` can give.
    fn possible(texts: &[&str]) -> usize {
        match train(texts, &sized(LARGEST_VOCABULARY)) {
            Err(TokenizerError::VocabularyTooLarge { possible, .. }) => possible,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_most_frequent_pair_is_merged_first() {
        let tokenizer = train(&["hug hug hug pug"], &sized(SMALLEST_VOCABULARY + 3)).unwrap().tokenizer;
        assert_eq!(tokenizer.vocab_size(), 268);
        assert_eq!(tokenizer.decode_bytes(&[256]), b"ug");
        // " hug" occurs twice and "hug" once, so "hug" comes before " h".
        assert_eq!(tokenizer.decode_bytes(&[257]), b"hug");
        assert_eq!(tokenizer.decode_bytes(&[258]), b" hug");
        assert_eq!(tokenizer.encode("hug pug"), [257, b' '.into(), b'p'.into(), 256]);
        assert_eq!(tokenizer.bos(), 259);
        assert_eq!(tokenizer.special("<|output_end|>"), Some(267));
    }

    #[test]
    fn sizes_that_cannot_be_are_refused_with_those_that_can() {
        assert!(matches!(train(&["text"], &sized(264)), Err(TokenizerError::VocabularyTooSmall { asked: 264, least: 265 })));
        assert!(matches!(train(&["text"], &sized(300_001)), Err(TokenizerError::VocabularyBeyondReach { asked: 300_001 })));
        let texts = ["a rose is a rose", "is a rose"];
        let most = possible(&texts);
        assert_eq!(train(&texts, &sized(most)).unwrap().tokenizer.vocab_size(), most);
        assert!(matches!(train(&texts, &sized(most + 1)), Err(TokenizerError::VocabularyTooLarge { possible, .. }) if possible == most));
        assert!(matches!(train(&[], &sized(300)), Err(TokenizerError::EmptyText)));
        assert!(matches!(train(&["", ""], &sized(300)), Err(TokenizerError::EmptyText)));
        assert_eq!(train(&["a"], &sized(265)).unwrap().tokenizer.vocab_size(), 265);
    }

    #[test]
    fn documents_are_cut_and_reading_stops() {
        let options = TrainOptions { max_chars: 6, doc_cap: 3, ..sized(265) };
        let trained = train(&["éèàxxx", "ab", "cdefg", "never read"], &options).unwrap();
        assert_eq!((trained.documents, trained.chars, trained.bytes), (3, 8, 11));
    }

    #[test]
    fn a_document_that_is_an_error_ends_training() {
        let documents = [Ok("text".to_owned()), Err(std::io::Error::other("the disk is gone"))];
        let error = Tokenizer::train(documents, &sized(265)).unwrap_err();
        assert_eq!(error.to_string(), "the disk is gone");
    }

    #[test]
    fn a_word_without_a_break_is_trained_on_in_steps_as_many_as_its_bytes() {
        // A trainer that is quadratic in the length of a word would take a minute.
        let mut state = 1u32;
        let mut letter = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b"acgt"[(state >> 30) as usize] as char
        };
        let text: String = (0..400_000).map(|_| letter()).collect();
        let options = TrainOptions { doc_cap: usize::MAX, ..sized(2000) };
        let tokenizer = train(&[&text], &options).unwrap().tokenizer;
        assert_eq!(tokenizer.decode(&tokenizer.encode(&text)), text);
    }

    proptest! {
        #[test]
        fn training_is_deterministic(mut texts in proptest::collection::vec("[ab c]{0,60}", 1..8), share in 0.0f64..1.0) {
            let borrowed: Vec<&str> = texts.iter().map(String::as_str).collect();
            prop_assume!(borrowed.iter().any(|text| !text.is_empty()));
            let most = possible(&borrowed);
            let options = sized(SMALLEST_VOCABULARY + ((most - SMALLEST_VOCABULARY) as f64 * share) as usize);
            let first = train(&borrowed, &options).unwrap().tokenizer;
            texts.reverse();
            let borrowed: Vec<&str> = texts.iter().map(String::as_str).collect();
            prop_assert_eq!(possible(&borrowed), most);
            let second = train(&borrowed, &options).unwrap().tokenizer;
            prop_assert_eq!(first.to_json(), second.to_json());
            let read = Tokenizer::from_json(&first.to_json()).unwrap();
            prop_assert_eq!(read.hash(), first.hash());
            for text in borrowed {
                prop_assert_eq!(read.encode(text), first.encode(text));
                prop_assert_eq!(read.decode(&read.encode(text)), text);
            }
        }
    }
}
