//! Conversations as data: what chat, fine-tuning, evaluation and reinforcement learning exchange. Only
//! `tokenizer::render` turns them into tokens.

use std::fmt;

use serde::{Deserialize, Serialize};

mod error;
mod turns;

pub use error::ConversationError;
pub(super) use turns::{Turn, Turns, check_user};

/// The longest message, in bytes of UTF-8, all parts together. Anything longer was probably pasted by mistake.
pub const LONGEST_MESSAGE: usize = 1_000_000;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The system prompt; only as the first message, before the user's first.
    System,
    /// The user.
    User,
    /// The model.
    Assistant,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        })
    }
}

/// The kind of a part of an assistant's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    /// Text.
    Text,
    /// An expression for the calculator.
    Python,
    /// What the calculator answered.
    PythonOutput,
}

/// A part of an assistant's message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: PartKind,
    /// Its text.
    pub text: String,
}

/// The content of a message: plain text, or for the assistant also a list of parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// Text.
    Text(String),
    /// Text, tool calls and their outputs, in order.
    Parts(Vec<Part>),
}

impl Content {
    /// The length of the text in bytes of UTF-8, all parts together.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Parts(parts) => parts.iter().map(|part| part.text.len()).sum(),
        }
    }
}

/// Whether a message of the assistant counts in the loss: in files 1, the default, or 0. Other roles' messages never do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "u8")]
pub enum Weight {
    /// It is only context, without loss.
    Zero,
    /// It is learnt.
    #[default]
    One,
}

impl Weight {
    /// Whether the message is learnt.
    pub fn is_one(&self) -> bool {
        *self == Self::One
    }
}

impl TryFrom<f64> for Weight {
    type Error = &'static str;

    fn try_from(number: f64) -> Result<Self, Self::Error> {
        match number {
            0.0 => Ok(Self::Zero),
            1.0 => Ok(Self::One),
            _ => Err("a weight is 0 or 1"),
        }
    }
}

impl From<Weight> for u8 {
    fn from(weight: Weight) -> Self {
        u8::from(weight.is_one())
    }
}

/// One turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: Content,
    /// Whether it is learnt, if it is the assistant's.
    #[serde(default, skip_serializing_if = "Weight::is_one")]
    pub weight: Weight,
}

impl Message {
    /// A message that is learnt if it is the assistant's.
    pub fn new(role: Role, content: Content) -> Self {
        Self { role, content, weight: Weight::One }
    }

    /// A message of plain text.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self::new(role, Content::Text(text.into()))
    }
}

/// A conversation: an optional system message, then alternating user and assistant messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// The messages, in order.
    pub messages: Vec<Message>,
}

impl Conversation {
    /// Checks that the conversation can be rendered.
    ///
    /// # Errors
    /// If there is no message, user and assistant do not alternate (the user first, before it at most one system
    /// message), a user message is empty or a list of parts, or a message is longer than [`LONGEST_MESSAGE`]. The conversation
    /// may end with either role: complete ones are for training, unanswered ones are to be answered.
    pub fn check(&self) -> Result<(), ConversationError> {
        Turns::of(self).map(drop)
    }
}
