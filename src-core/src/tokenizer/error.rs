//! What can go wrong with a tokenizer, each as one sentence.

use std::path::PathBuf;

use super::train::LARGEST_VOCABULARY;
use crate::files::StandIn;

/// A tokenizer could not be read, trained or written.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The file does not exist.
    #[error("there is no tokenizer at {}", path.display())]
    Missing {
        /// Its expected path.
        path: PathBuf,
    },
    /// Reading or writing failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is a stand-in for another file.
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
    /// The JSON is readable, but describes something that nc-core does not support.
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
    /// The vocabulary is too small for the bytes and the special tokens.
    #[error("a vocabulary of {asked} is too small: 256 bytes and the special tokens need at least {least}")]
    VocabularyTooSmall {
        /// The requested size.
        asked: usize,
        /// The smallest possible size.
        least: usize,
    },
    /// A file with such a vocabulary could not be read again.
    #[error("a vocabulary of {asked} is more than the {LARGEST_VOCABULARY} that nc-core reads")]
    VocabularyBeyondReach {
        /// The requested size.
        asked: usize,
    },
    /// Every word of the text is one token already, and the vocabulary is still not full.
    #[error("a vocabulary of {asked} is larger than the {possible} that this text can give")]
    VocabularyTooLarge {
        /// The requested size.
        asked: usize,
        /// The largest size that this text allows.
        possible: usize,
    },
    /// There is no text.
    #[error("the text is empty: there is nothing to train a tokenizer on")]
    EmptyText,
    /// The distinct words of the text are longer than the trainer can index.
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
