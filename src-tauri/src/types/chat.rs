//! Conversations, their messages, and answers on their way.

use serde::{Deserialize, Serialize};

use super::Millis;
use crate::error::AppError;

/// The key of a conversation or a message.
pub type Id = i64;

/// How the assistant of a conversation answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatSettings {
    /// What the assistant is told before the conversation begins.
    pub system_prompt: String,
    /// 0 always takes the likeliest token; higher is more varied.
    pub temperature: f64,
    /// Draw from this many of the likeliest tokens; 0 for all.
    pub top_k: u64,
    /// Draw from the fewest of the likeliest tokens that have this probability together.
    pub top_p: f64,
    /// Draw from tokens that have at least this share of the likeliest one's probability.
    pub min_p: f64,
    /// Makes tokens that occurred less likely; 1 leaves them alone.
    pub repetition_penalty: f64,
    /// Seed of the draws; each answer has its own if absent.
    pub seed: Option<u64>,
    /// Tokens of an answer at most.
    pub max_tokens: u64,
}

/// In which order conversations are listed. Pinned ones always come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SortKey {
    /// The one that was last written to first.
    #[default]
    Recent,
    /// The youngest first.
    Created,
    /// By title.
    Title,
}

/// A conversation as a list shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConversationSummary {
    /// Its key.
    pub id: Id,
    /// Its title.
    pub title: String,
    /// Whether a person chose the title.
    pub titled: bool,
    /// Whether it stays on top of the list.
    pub pinned: bool,
    /// When it was made.
    pub created_at: Millis,
    /// When it was last written to.
    pub updated_at: Millis,
    /// Messages of all branches.
    pub messages: u64,
    /// The model that answered last.
    pub model: Option<String>,
}

/// A whole conversation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Conversation {
    /// What a list shows of it.
    #[serde(flatten)]
    pub summary: ConversationSummary,
    /// How its assistant answers.
    pub settings: ChatSettings,
    /// All messages by id: a parent comes before its children.
    pub tree: Vec<Message>,
    /// The chosen branch, first message to last.
    pub path: Vec<Id>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// What a part of a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    /// Words.
    Text,
    /// An expression for the calculator.
    Python,
    /// What the calculator answered.
    PythonOutput,
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: PartKind,
    /// Its text.
    pub text: String,
}

impl Part {
    /// Words.
    pub fn text(text: impl Into<String>) -> Self {
        Self { kind: PartKind::Text, text: text.into() }
    }
}

/// Appends parts as the pages do: text goes on the text before it, anything else stands by itself.
pub fn append(parts: &mut Vec<Part>, more: impl IntoIterator<Item = Part>) {
    for part in more {
        match parts.last_mut() {
            Some(last) if last.kind == PartKind::Text && part.kind == PartKind::Text => last.text.push_str(&part.text),
            _ => parts.push(part),
        }
    }
}

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    /// Nothing more will be written.
    Whole,
    /// It is being written.
    Writing,
    /// The app ended while it was written.
    Interrupted,
    /// Writing it failed.
    Failed,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Its key.
    pub id: Id,
    /// The message that it answers; none for a first one.
    pub parent: Option<Id>,
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub parts: Vec<Part>,
    /// When it was begun.
    pub created_at: Millis,
    /// All alternatives, this one among them, in the order in which they were made.
    pub siblings: Vec<Id>,
    /// How far it has come.
    pub state: MessageState,
    /// How an assistant's message ended.
    pub answer: Option<Answer>,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The model ended it.
    Stop,
    /// It has as many tokens as it may have.
    MaxTokens,
    /// The context is full.
    ContextFull,
    /// The person stopped it.
    Cancelled,
    /// The app ended.
    Interrupted,
    /// Something failed.
    Failed,
}

/// How an answer ended and what it took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The model.
    pub model: String,
    /// Why it ended.
    pub reason: Reason,
    /// What failed.
    pub error: Option<AppError>,
    /// Seed of its draws.
    pub seed: u64,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// How many of those were known from before.
    pub reused_tokens: u64,
    /// Tokens written.
    pub new_tokens: u64,
    /// Milliseconds to the first token.
    pub first_token_ms: f64,
    /// Milliseconds in all.
    pub total_ms: f64,
    /// Tokens a second after the first.
    pub tokens_per_second: f64,
    /// Tokens in the context at the end.
    pub context_used: u64,
    /// Tokens that the context has room for.
    pub context: u64,
    /// Oldest messages that did not fit.
    pub dropped: u64,
}

impl Answer {
    /// An answer that has nothing to show yet.
    pub fn begun(model: &str, seed: u64) -> Self {
        Self {
            model: model.to_owned(),
            reason: Reason::Interrupted,
            error: None,
            seed,
            prompt_tokens: 0,
            reused_tokens: 0,
            new_tokens: 0,
            first_token_ms: 0.0,
            total_ms: 0.0,
            tokens_per_second: 0.0,
            context_used: 0,
            context: 0,
            dropped: 0,
        }
    }
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SearchHit {
    /// Where.
    pub conversation: ConversationSummary,
    /// The message; none where the title matched.
    pub message: Option<Id>,
    /// Who said it.
    pub role: Option<Role>,
    /// Some words around what was found.
    pub snippet: Vec<Piece>,
}

/// A piece of a snippet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Piece {
    /// Its text.
    pub text: String,
    /// Whether it is what was looked for.
    #[serde(rename = "match")]
    pub matched: bool,
}

/// The form of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportFormat {
    /// For reading.
    Markdown,
    /// For reading back here.
    Json,
    /// For training.
    Jsonl,
}

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Its name, without folders.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// How many conversations it holds.
    pub conversations: u64,
}

/// What an import brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// The new conversations.
    pub conversations: Vec<Id>,
    /// What was left out.
    pub skipped: Vec<Skipped>,
}

/// A conversation that could not be imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Its line in the file, or its number.
    pub line: u64,
    /// What is wrong with it.
    pub problem: String,
}

/// An answer was begun.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Started {
    /// The person's new message, if there is one.
    pub user: Option<Message>,
    /// The answer, still empty.
    pub assistant: Message,
    /// The chosen branch now.
    pub path: Vec<Id>,
    /// The conversation as a list shows it.
    pub conversation: ConversationSummary,
}

/// What happens to an answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "the large one comes once an answer, and none is kept")]
pub enum AnswerEvent {
    /// The model is being loaded.
    Loading {
        /// Its name.
        model: String,
    },
    /// The prompt is being read.
    Reading,
    /// The oldest messages did not fit the context.
    Cut {
        /// How many.
        messages: u64,
    },
    /// More was written. It is stored already.
    Delta {
        /// What to append.
        parts: Vec<Part>,
        /// Tokens so far.
        tokens: u64,
        /// Tokens a second so far.
        tokens_per_second: f64,
        /// Tokens in the context, where known.
        context_used: Option<u64>,
    },
    /// The end.
    Done {
        /// The message as it is stored.
        message: Message,
        /// The conversation as a list shows it.
        conversation: ConversationSummary,
    },
}
