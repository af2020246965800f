//! Why a chat task cannot be evaluated, each as one sentence that says what to do.

use crate::engine::EngineError;
use crate::tasks::TaskError;
use crate::tokenizer::{ConversationError, TokenizerError};

/// A chat task cannot be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum ChatEvalError {
    /// Its data cannot be read, or its answers not judged.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// The model or the GPU failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The tokenizer knows no chats.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// An example is no conversation.
    #[error("example {index} of {task} cannot be asked")]
    Conversation {
        /// The task.
        task: String,
        /// Its index, from 0.
        index: usize,
        /// Why.
        source: ConversationError,
    },
    /// A question is longer than the model reads.
    #[error(
        "example {index} of {task} has {tokens} tokens, and the model reads {room}: evaluate it by a model with a longer context, or leave {task} out"
    )]
    TooLong {
        /// The task.
        task: String,
        /// Its index, from 0.
        index: usize,
        /// Its tokens.
        tokens: usize,
        /// Tokens that the model reads.
        room: usize,
    },
    /// A label is not one token, so its logit cannot be compared.
    #[error("the label {label:?} of {task} is {tokens} tokens of the model's tokenizer, and must be one")]
    Label {
        /// The task.
        task: String,
        /// The label.
        label: String,
        /// Its tokens.
        tokens: usize,
    },
    /// The task has no right answers.
    #[error("the answers to {task} cannot be judged")]
    Ungraded {
        /// The task.
        task: String,
    },
}
