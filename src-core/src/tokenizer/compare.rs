//! How well a tokenizer compresses: bytes per token on several kinds of text, compared with GPT-2's and GPT-4's tokenizers.

use serde::Serialize;
use tiktoken_rs::CoreBPE;

use super::{Tokenizer, TokenizerError};

/// Short texts of several kinds, by name.
pub const SAMPLES: [(&str, &str); 5] = [
    ("news", include_str!("samples/news.txt")),
    ("code", include_str!("samples/code.txt")),
    ("korean", include_str!("samples/korean.txt")),
    ("maths", include_str!("samples/maths.txt")),
    ("science", include_str!("samples/science.txt")),
];

/// The others' regex engine gives up (and panics) after a million backtracking steps, which a run of white space of that
/// length would need; so they get their text in pieces of at most this many bytes.
const PIECE: usize = 1 << 16;

/// A vocabulary in a comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Contender {
    /// What the tokenizer is called.
    pub name: &'static str,
    /// The number of ids, including special tokens.
    pub vocab_size: usize,
}

/// The number of tokens of one text.
#[derive(Clone, Debug, Serialize)]
pub struct Measure {
    /// What the text is called.
    pub text: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its length in tokens of each contender, in their order.
    pub tokens: Vec<u64>,
    /// Bytes per token of each contender; more is better.
    pub bytes_per_token: Vec<f64>,
}

/// Tokenizers compared on the same texts.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Ours first, then GPT-2's and GPT-4's.
    pub contenders: Vec<Contender>,
    /// A row for each text.
    pub texts: Vec<Measure>,
}

impl Comparison {
    /// Measures each of `texts`, named groups of documents. Documents are encoded one by one, as in training.
    ///
    /// # Errors
    /// If a vocabulary that is included in the program cannot be read.
    pub fn of<'t, D>(ours: &Tokenizer, texts: impl IntoIterator<Item = (String, D)>) -> Result<Self, TokenizerError>
    where
        D: IntoIterator<Item = &'t str>,
    {
        let gpt2 = tiktoken_rs::r50k_base().map_err(|error| TokenizerError::Library(error.into()))?;
        let gpt4 = tiktoken_rs::cl100k_base().map_err(|error| TokenizerError::Library(error.into()))?;
        let contenders = vec![
            Contender { name: "ours", vocab_size: ours.vocab_size() },
            Contender { name: "gpt2", vocab_size: 50_257 },
            Contender { name: "cl100k", vocab_size: 100_277 },
        ];
        let texts = texts.into_iter().map(|(text, documents)| {
            let (mut bytes, mut tokens) = (0, vec![0; contenders.len()]);
            for document in documents {
                bytes += document.len() as u64;
                tokens[0] += ours.encode(document).len() as u64;
                tokens[1] += count(&gpt2, document);
                tokens[2] += count(&gpt4, document);
            }
            let bytes_per_token = tokens.iter().map(|&tokens| bytes as f64 / tokens as f64).collect();
            Measure { text, bytes, tokens, bytes_per_token }
        });
        let texts = texts.collect();
        Ok(Self { contenders, texts })
    }
}

/// Splits `text` into pieces of at least `piece` bytes (except the last) and at most about `longest`.
///
/// Splitting before a space that follows a letter or digit changes no word: in these patterns no word contains a letter or digit
/// followed by white space, and there is no lookbehind.
fn pieces(text: &str, piece: usize, longest: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let bytes = rest.as_bytes();
        let harmless = |at: &usize| bytes[*at] == b' ' && bytes[*at - 1].is_ascii_alphanumeric();
        let end = if rest.len() <= piece {
            rest.len()
        } else {
            (piece.max(1)..rest.len().min(longest)).find(harmless).unwrap_or_else(|| rest.ceil_char_boundary(longest))
        };
        let (head, tail) = rest.split_at(end);
        rest = tail;
        Some(head)
    })
}

fn count(tokenizer: &CoreBPE, text: &str) -> u64 {
    pieces(text, PIECE / 2, PIECE).map(|piece| tokenizer.encode_ordinary(piece).len() as u64).sum()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::super::TrainOptions;
    use super::super::split::Splitter;
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        let mut words = Vec::new();
        Splitter::new().words(text, |word| words.push(word));
        words
    }

    proptest! {
        #[test]
        fn cutting_a_text_into_pieces_changes_no_word(text in "[a-c1é ,.'\r\n\t日]{0,200}", piece in 1usize..20) {
            let cut: Vec<&str> = pieces(&text, piece, usize::MAX).flat_map(words).collect();
            prop_assert_eq!(cut, words(&text));
        }
    }

    #[test]
    fn bytes_per_token_of_each_contender() {
        let options = TrainOptions { vocab_size: 265, ..TrainOptions::default() };
        let ours = Tokenizer::train([Ok::<_, Infallible>("text".to_owned())], &options).unwrap().tokenizer;
        let blank = " ".repeat(3 << 20);
        let texts = [("greeting".to_owned(), vec!["Hello world", "!"]), ("blank".to_owned(), vec![blank.as_str()])];
        let comparison = Comparison::of(&ours, texts).unwrap();
        // Hello| world|! in both of the others' vocabularies; a token for each byte in ours.
        assert_eq!(comparison.texts[0].tokens, [12, 3, 3]);
        assert_eq!(comparison.texts[0].bytes_per_token, [1.0, 4.0, 4.0]);
        assert_eq!(comparison.texts[1].tokens[0], 3 << 20);
    }
}
