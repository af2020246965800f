//! Why a text could not be continued.

use crate::gpu::GpuError;

/// A generation that cannot be, or that broke off.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The GPU failed, or has not enough memory.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// There is nothing to continue.
    #[error("the prompt has no tokens; give it at least one")]
    Empty,
    /// More tokens than there is room for.
    #[error("the text has {tokens} tokens and the model's context {room}; shorten the text")]
    TooLong {
        /// Tokens of the text.
        tokens: usize,
        /// Tokens that fit.
        room: usize,
    },
    /// Text is wanted of a model that is known by its ids alone.
    #[error("the model has no tokenizer, so it reads and writes token ids only")]
    NoTokenizer,
    /// A token that the model does not have.
    #[error("token {id} is not in the model's vocabulary of {vocab_size}")]
    NoSuchToken {
        /// The token.
        id: u32,
        /// The number of tokens that there are.
        vocab_size: usize,
    },
    /// Logits that are not numbers.
    #[error("the model's logits are not numbers; its weights are damaged or training diverged: use another checkpoint")]
    NotNumbers,
    /// More of the likeliest tokens than there are.
    #[error("--top-k is {top_k}; it must be at most the {vocab_size} tokens of the vocabulary; 0 draws from all")]
    TopK {
        /// The value given.
        top_k: usize,
        /// The number of tokens that there are.
        vocab_size: usize,
    },
    /// An option outside its range.
    #[error("{option} is {value}; it must be {must}")]
    BadOption {
        /// Its name at the command line.
        option: &'static str,
        /// The value given.
        value: String,
        /// What it must be.
        must: &'static str,
    },
}
