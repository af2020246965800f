//! What can go wrong with a tokenizer, each as one sentence.

use std::path::PathBuf;

use super::train::LARGEST_VOCABULARY;
use crate::files::StandIn;

/// A tokenizer could not be read, trained or written.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The file is not there.
    #[error("there is no tokenizer at {}; run `nc-core tokenizer train` first", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Reading or writing failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is something else, left in the file's place.
    #[error("{} {found}", path.display())]
    StandIn {
        /// The file.
        path: PathBuf,
        /// What it is, and what to do.
        found: StandIn,
    },
    /// The text is not JSON, or not a tokenizer's JSON.
    #[error("the tokenizer is not a readable tokenizer.json: {0}")]
    Json(#[from] serde_json::Error),
    /// The JSON is readable, and says something that nc-core cannot use.
    #[error("the tokenizer cannot be used: {0}")]
    Unusable(String),
    /// A file's own error, with the file's name.
    #[error("{}: {source}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<TokenizerError>,
    },
    /// The vocabulary has no room for the bytes and the special tokens.
    #[error("a vocabulary of {asked} is too small: 256 bytes and the special tokens need at least {least}")]
    VocabularyTooSmall {
        /// What was asked for.
        asked: usize,
        /// The smallest possible size.
        least: usize,
    },
    /// A file of such a vocabulary would not be read again.
    #[error("a vocabulary of {asked} is more than nc-core reads: use --vocab-size {LARGEST_VOCABULARY} or less")]
    VocabularyBeyondReach {
        /// What was asked for.
        asked: usize,
    },
    /// Every word of the text is one token already, and the vocabulary is still not full.
    #[error("a vocabulary of {asked} is larger than this text can give: use --vocab-size {possible} or less, or more text")]
    VocabularyTooLarge {
        /// What was asked for.
        asked: usize,
        /// The largest size that this text gives.
        possible: usize,
    },
    /// There is nothing to learn from.
    #[error("the text is empty: there is nothing to train a tokenizer on")]
    EmptyText,
    /// The different words of the text are longer than the trainer can number.
    #[error(
        "the different words of this text have more than 4 billion bytes, more than the trainer can count; read fewer characters of it"
    )]
    TooMuchText,
    /// The documents could not be read.
    #[error(transparent)]
    Documents(Box<dyn std::error::Error + Send + Sync>),
    /// The `tokenizers` library failed.
    #[error("the tokenizer library failed: {0}")]
    Library(Box<dyn std::error::Error + Send + Sync>),
}
