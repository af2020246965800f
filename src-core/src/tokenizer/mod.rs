//! Text to token ids and back: a byte-level BPE with the reference's split pattern, and nine special tokens that no
//! text can produce.
//!
//! Merging is the `tokenizers` library's, except for long words. The special tokens are kept outside of it: it never learns
//! their names, so it cannot recognise them in any text.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::OnceLock;

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use tokenizers::Model;
use tokenizers::models::bpe::{BPE, Vocab};

use crate::files::digest::hex;

mod bytes;
#[cfg(feature = "cli")]
mod compare;
pub mod conversation;
mod error;
mod format;
mod joins;
mod render;
mod special;
mod split;
mod template;
mod tiktoken;
mod train;
mod vocabulary;

#[cfg(feature = "cli")]
pub use compare::{Comparison, Contender, Measure, SAMPLES};
pub use conversation::{Content, Conversation, ConversationError, LONGEST_MESSAGE, Message, Part, PartKind, Role, Weight};
pub use error::TokenizerError;
pub use render::Rendered;
pub use special::ChatTokens;
pub use split::SPLIT_PATTERN;
pub use template::CHAT_TEMPLATE;
pub use train::{LARGEST_VOCABULARY, SMALLEST_VOCABULARY, TrainOptions, TrainProgress, Trained};

use crate::files::StandIn;
use joins::{Joins, LONG};
use split::Splitter;
use vocabulary::{Token, Vocabulary};

/// The token that begins every document.
pub const BOS: &str = "<|bos|>";

/// The special tokens, which take the last ids of a vocabulary in this order.
pub const SPECIAL_TOKENS: [&str; 9] = [
    BOS,
    "<|user_start|>",
    "<|user_end|>",
    "<|assistant_start|>",
    "<|assistant_end|>",
    "<|python_start|>",
    "<|python_end|>",
    "<|output_start|>",
    "<|output_end|>",
];

/// The largest `tokenizer.json` that is read, in bytes: five times the size for a vocabulary of 200,000.
pub const LARGEST_FILE: u64 = 32 << 20;

/// The number of words whose merges are cached.
const CACHED_WORDS: usize = 1 << 16;

/// A trained tokenizer. It is immutable, and shared between threads in an `Arc`.
pub struct Tokenizer {
    vocabulary: Vocabulary,
    splitter: Splitter,
    model: BPE,
    /// Created for the first long word.
    joins: OnceLock<Joins>,
    special: HashMap<String, u32>,
    bos: u32,
}

impl Tokenizer {
    fn new(vocabulary: Vocabulary) -> Result<Self, TokenizerError> {
        let vocab: Vocab = vocabulary.ordinary().collect();
        let model = BPE::builder()
            .vocab_and_merges(vocab, vocabulary.merges().collect())
            .ignore_merges(vocabulary.whole_words())
            .cache_capacity(CACHED_WORDS)
            .build()
            .map_err(TokenizerError::Library)?;
        let special: HashMap<String, u32> = vocabulary.special().map(|(name, id)| (name.to_owned(), id)).collect();
        let bos = *special.get(BOS).ok_or_else(|| TokenizerError::Unusable(format!("it has no special token {BOS}")))?;
        Ok(Self { vocabulary, splitter: Splitter::new(), model, joins: OnceLock::new(), special, bos })
    }

    /// Reads a `tokenizer.json` in the form of Hugging Face's `tokenizers`.
    ///
    /// # Errors
    /// If the file is missing, unreadable, longer than [`LARGEST_FILE`], or not a byte-level BPE with [`SPLIT_PATTERN`].
    pub fn from_file(path: &Path) -> Result<Self, TokenizerError> {
        let io = |source| TokenizerError::Io { action: "read", path: path.to_owned(), source };
        let file = match std::fs::File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(TokenizerError::Missing { path: path.to_owned() }),
            opened => opened.map_err(io)?,
        };
        let mut bytes = Vec::new();
        let read = file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(io)?;
        if let Some(found) = StandIn::of(&bytes) {
            return Err(TokenizerError::StandIn { path: path.to_owned(), found });
        }
        let in_file = |source| TokenizerError::InFile { path: path.to_owned(), source: Box::new(source) };
        if read as u64 > LARGEST_FILE {
            return Err(in_file(TokenizerError::Unusable(format!("it is longer than {LARGEST_FILE} bytes"))));
        }
        let text = String::from_utf8(bytes).map_err(|_| in_file(TokenizerError::Unusable("it is not UTF-8 text".to_owned())))?;
        Self::from_json(&text).map_err(in_file)
    }

    /// Reads the text of a `tokenizer.json`. The split pattern must be [`SPLIT_PATTERN`], every one of the 256 bytes a
    /// token, the ids contiguous, and `<|bos|>` among the special tokens. Truncation and padding are ignored: they
    /// apply to the ids afterwards, and [`encode`](Self::encode) returns all of them.
    pub fn from_json(text: &str) -> Result<Self, TokenizerError> {
        Self::new(format::read(text)?)
    }

    /// The tokenizer as a `tokenizer.json`: equal tokenizers give equal text.
    pub fn to_json(&self) -> String {
        format::write(&self.vocabulary)
    }

    /// Writes [`Self::to_json`] to `path`, whole or not at all, and creates its folder if needed.
    pub fn save(&self, path: &Path) -> Result<(), TokenizerError> {
        let io = |source| TokenizerError::Io { action: "write", path: path.to_owned(), source };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(io)?;
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.prefix(".tokenizer").tempfile_in(folder).map_err(io)?;
        file.write_all(self.to_json().as_bytes()).map_err(io)?;
        file.as_file().sync_all().map_err(io)?;
        file.persist(path).map_err(|error| io(error.error))?;
        // The new name is durable only once its folder is synced.
        #[cfg(unix)]
        std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
        Ok(())
    }

    /// The ids of `text`. Special tokens are never among them, whatever the text contains.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 4);
        self.splitter.words(text, |word| {
            let whole = || self.vocabulary.whole_words() && self.model.token_to_id(&bytes::spell(word.as_bytes())).is_some();
            if (LONG..u32::MAX as usize).contains(&word.len()) && !whole() {
                return self.joins.get_or_init(|| Joins::of(&self.vocabulary)).encode(word.as_bytes(), &mut ids);
            }
            // The model has a token for every byte and no dropout, so it cannot fail.
            let tokens = self.model.tokenize(&bytes::spell(word.as_bytes())).unwrap_or_default();
            ids.extend(tokens.into_iter().map(|token| token.id));
        });
        ids
    }

    /// The ids of each of `texts`, on all cores.
    pub fn encode_batch(&self, texts: &[String]) -> Vec<Vec<u32>> {
        texts.par_iter().map(|text| self.encode(text)).collect()
    }

    /// The text of `ids`; special tokens are written by name, and bytes that are not UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        String::from_utf8_lossy(&self.decode_bytes(ids)).into_owned()
    }

    /// The bytes of `ids`. An id outside the vocabulary becomes U+FFFD.
    pub fn decode_bytes(&self, ids: &[u32]) -> Vec<u8> {
        let mut text = Vec::with_capacity(ids.len() * 4);
        for &id in ids {
            match self.vocabulary.tokens().get(id as usize) {
                Some(Token::Bytes(bytes)) => text.extend_from_slice(bytes),
                Some(Token::Special(name)) => text.extend_from_slice(name.as_bytes()),
                None => text.extend_from_slice("\u{FFFD}".as_bytes()),
            }
        }
        text
    }

    /// The number of ids, including special tokens.
    pub fn vocab_size(&self) -> usize {
        self.vocabulary.tokens().len()
    }

    /// The id of `<|bos|>`, which begins every document.
    pub fn bos(&self) -> u32 {
        self.bos
    }

    /// The id of the special token `name`, such as `<|assistant_end|>`.
    pub fn special(&self, name: &str) -> Option<u32> {
        self.special.get(name).copied()
    }

    /// The number of bytes of each id's text, `[vocab_size]`; 0 for special tokens. Bits per byte divides by these.
    pub fn token_bytes(&self) -> Vec<u32> {
        self.vocabulary
            .tokens()
            .iter()
            .map(|token| match token {
                Token::Bytes(bytes) => bytes.len() as u32,
                Token::Special(_) => 0,
            })
            .collect()
    }

    /// SHA-256 of [`Self::to_json`] in hexadecimal: equal for equal tokenizers, however their files are formatted.
    pub fn hash(&self) -> String {
        hex(&Sha256::digest(self.to_json()))
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("vocab_size", &self.vocab_size()).field("hash", &self.hash()).finish()
    }
}
