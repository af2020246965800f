//! What can be wrong with a file of conversations, each as one sentence that quotes no content.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::data::DataError;
use crate::tokenizer::{ConversationError, Role};

/// Conversations could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ConversationFileError {
    /// The path does not exist.
    #[error("{} does not exist; name a .jsonl file of conversations, or a folder of them", .path.display())]
    NotFound {
        /// The path as given.
        path: PathBuf,
    },
    /// A folder contains no JSON Lines file.
    #[error("{} holds no .jsonl file; name a .jsonl file of conversations, or a folder of them", .path.display())]
    NoFiles {
        /// The folder.
        path: PathBuf,
    },
    /// There are only blank lines.
    #[error("{} holds no conversation; write one per line, as {{\"messages\": […]}}", .path.display())]
    Empty {
        /// The file or folder.
        path: PathBuf,
    },
    /// No conversation can be represented, so all were skipped.
    #[error("{} holds no conversation that can be represented; {skipped} were skipped, the first because of {first}", .path.display())]
    NothingLeft {
        /// The file or folder.
        path: PathBuf,
        /// How many were skipped.
        skipped: u64,
        /// Why the first one was skipped.
        first: Box<ConversationFileError>,
    },
    /// A line is not a usable conversation.
    #[error("{}, line {line}: {source}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        source: LineError,
    },
    /// The file cannot be read or decompressed, or is a stand-in for another file.
    #[error(transparent)]
    File(DataError),
    /// An I/O error.
    #[error("cannot read {}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl From<DataError> for ConversationFileError {
    fn from(error: DataError) -> Self {
        match error {
            DataError::Io { path, source } if source.kind() == io::ErrorKind::NotFound => Self::NotFound { path },
            DataError::Io { path, source } => Self::Io { path, source },
            error => Self::File(error),
        }
    }
}

impl ConversationFileError {
    /// Whether the line is a conversation that cannot be represented, so that it may be skipped.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Line { source, .. } if source.is_unsupported())
    }
}

/// A place in a conversation, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Next to its messages.
    Conversation,
    /// In a message.
    Message {
        /// The message.
        message: usize,
    },
    /// In a part of a message.
    Part {
        /// The message.
        message: usize,
        /// The part.
        part: usize,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conversation => f.write_str("the conversation"),
            Self::Message { message } => write!(f, "message {message}"),
            Self::Part { message, part } => write!(f, "part {part} of message {message}"),
        }
    }
}

/// What is wrong with one line. Messages and parts are counted from 1.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// It is not text.
    #[error("it is not UTF-8 text")]
    NotUtf8,
    /// It is longer than any conversation.
    #[error("it is longer than 64 MiB")]
    TooLong,
    /// Invalid JSON.
    #[error("it is not JSON ({reason} at column {column})")]
    Json {
        /// The parser's message.
        reason: String,
        /// The column, in bytes from 1.
        column: usize,
    },
    /// JSON, but not a list of messages.
    #[error("it is neither an object with a list `messages` nor a list of messages")]
    NoMessageList,
    /// A message is not an object, or lacks a key.
    #[error("message {message} is not an object with a string `role` and a `content`")]
    NotAMessage {
        /// The message.
        message: usize,
    },
    /// An unknown role.
    #[error("message {message} has an unknown role{}; the roles are system, user and assistant", quoted(.role))]
    UnknownRole {
        /// The message.
        message: usize,
        /// The role, if it is one short word.
        role: Option<String>,
    },
    /// A content of another kind.
    #[error("the content of message {message} is neither a string nor a list of parts")]
    Content {
        /// The message.
        message: usize,
    },
    /// A part is not an object, or lacks a key.
    #[error("part {part} of message {message} is not an object with a string `type` and a string `text`")]
    NotAPart {
        /// The message.
        message: usize,
        /// The part.
        part: usize,
    },
    /// An unknown type of part.
    #[error("part {part} of message {message} has an unknown type{}; the types are text, python and python_output", quoted(.kind))]
    UnknownPart {
        /// The message.
        message: usize,
        /// The part.
        part: usize,
        /// The type, if it is one short word.
        kind: Option<String>,
    },
    /// A duplicate key, so that one of its values would be lost.
    #[error("{place} has the key{} twice", quoted(.key))]
    Twice {
        /// Where it is.
        place: Place,
        /// The key, if it is one short word.
        key: Option<String>,
    },
    /// A key with content that a conversation here cannot represent.
    #[error("{place} has {}, which cannot be represented and would be lost", .key.as_ref().map_or_else(|| "a key that is not known".to_owned(), |key| format!("`{key}`")))]
    Unsupported {
        /// Where it is.
        place: Place,
        /// The key, if it is one short word.
        key: Option<String>,
    },
    /// An invalid weight.
    #[error("{}", weight(*.message, *.role))]
    Weight {
        /// The message.
        message: usize,
        /// Its role.
        role: Role,
    },
    /// `NaN` or an infinity, where it is not allowed.
    #[error("the `{key}` of {place} is {value}, which cannot be used there")]
    NotFinite {
        /// Where it is.
        place: Place,
        /// The key.
        key: &'static str,
        /// The value.
        value: &'static str,
    },
    /// The messages are not a valid conversation.
    #[error(transparent)]
    Conversation(#[from] ConversationError),
}

impl LineError {
    /// Whether the line is a conversation that cannot be represented: with tools, images, other roles, or
    /// messages in another order.
    pub fn is_unsupported(&self) -> bool {
        match self {
            Self::Unsupported { .. } | Self::Weight { .. } | Self::UnknownRole { .. } | Self::UnknownPart { .. } => true,
            Self::Content { .. } | Self::Conversation(_) => true,
            Self::NotUtf8 | Self::TooLong | Self::Json { .. } | Self::NoMessageList | Self::NotAMessage { .. } => false,
            Self::NotAPart { .. } | Self::Twice { .. } | Self::NotFinite { .. } => false,
        }
    }
}

fn weight(message: usize, role: Role) -> String {
    match role {
        Role::Assistant => format!("message {message} has a weight that is neither 0 nor 1; a message is learnt or not"),
        other => format!("message {message} is from the {other} and has a weight other than 0; only what the assistant says is learnt"),
    }
}

fn quoted(word: &Option<String>) -> String {
    word.as_ref().map(|word| format!(" `{word}`")).unwrap_or_default()
}
