//! What can be wrong with a conversation, each as one sentence. Messages are identified by number and never quoted.

use super::{LONGEST_MESSAGE, Role};
use crate::tokenizer::TokenizerError;

/// A conversation that cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum ConversationError {
    /// There are no messages.
    #[error("the conversation has no messages; it needs at least one from the user")]
    NoMessages,
    /// A system message without others.
    #[error("the conversation is only a system message; a message from the user must follow it")]
    OnlySystem,
    /// A system message that does not come first.
    #[error("message {message} is a system message; only the first message can be one")]
    SystemNotFirst {
        /// Its number, from 1.
        message: usize,
    },
    /// User and assistant do not alternate, or the assistant begins.
    #[error("message {message} is from the {found}, but must be from the {expected}: the two take turns, and the user begins")]
    OutOfTurn {
        /// Its number, from 1.
        message: usize,
        /// Whose turn it is.
        expected: Role,
        /// Who speaks.
        found: Role,
    },
    /// A user message is empty.
    #[error("{} is empty; the user must say something", named(*.message))]
    Empty {
        /// Its number, from 1; none for a message on its own.
        message: Option<usize>,
    },
    /// Parts where only plain text is allowed.
    #[error("message {message} is from the {role} and a list of parts; only the assistant's can be, give one string")]
    Parts {
        /// Its number, from 1.
        message: usize,
        /// Who speaks.
        role: Role,
    },
    /// A message beyond [`LONGEST_MESSAGE`].
    #[error("{} has {bytes} bytes; the longest that can be used has {LONGEST_MESSAGE}", named(*.message))]
    TooLong {
        /// Its number, from 1; none for a message on its own.
        message: Option<usize>,
        /// Its bytes, all parts together.
        bytes: usize,
    },
    /// An answer is requested when it is not the assistant's turn.
    #[error("the last message is from the assistant; it can only answer a message from the user")]
    NothingToAnswer,
    /// The assistant's last message is to be replaced, and there is none.
    #[error("the last message is from the user; it must be the assistant's answer, which is to be completed anew")]
    NothingToComplete,
    /// The last message does not fit, even without all earlier turns.
    #[error("the last message makes a prompt of {tokens} tokens, and there is room for {room}; shorten it")]
    PromptTooLong {
        /// The prompt's tokens, with the system text and without earlier turns.
        tokens: usize,
        /// The most tokens that it may have.
        room: usize,
    },
    /// The tokenizer has no chat tokens.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

/// A message by its number, where it has one.
fn named(message: Option<usize>) -> String {
    message.map_or_else(|| "the message".to_owned(), |number| format!("message {number}"))
}
