//! Why a text could not be continued.

use crate::gpu::GpuError;

/// A generation cannot start, or failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The GPU failed, or does not have enough memory.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// There is nothing to continue.
    #[error("the prompt has no tokens; give it at least one")]
    Empty,
    /// More tokens than the context.
    #[error("the text has {tokens} tokens and the model's context {room}; shorten the text")]
    TooLong {
        /// Tokens of the text.
        tokens: usize,
        /// Tokens that fit.
        room: usize,
    },
    /// Text is requested from a model without a tokenizer.
    #[error("the model has no tokenizer, so it reads and writes token ids only")]
    NoTokenizer,
    /// A draft model with which token ids mean something else.
    #[error("the draft model has another tokenizer than the model; take one that was trained with the same tokenizer")]
    OtherTokenizer,
    /// A token that the model does not have.
    #[error("token {id} is not in the model's vocabulary of {vocab_size}")]
    NoSuchToken {
        /// The token.
        id: u32,
        /// The size of the vocabulary.
        vocab_size: usize,
    },
    /// Logits are NaN.
    #[error("the model's logits are not numbers; its weights are damaged or training diverged: use another checkpoint")]
    NotNumbers,
    /// More of the likeliest tokens than there are.
    #[error("top_k is {top_k}; it must be at most the {vocab_size} tokens of the vocabulary; 0 draws from all")]
    TopK {
        /// The value given.
        top_k: usize,
        /// The size of the vocabulary.
        vocab_size: usize,
    },
    /// An option outside its range.
    #[error("{option} is {value}; it must be {must}")]
    BadOption {
        /// Its name, as in [`Sampling`](super::Sampling).
        option: &'static str,
        /// The value given.
        value: String,
        /// What it must be.
        must: &'static str,
    },
}
