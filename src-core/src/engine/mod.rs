//! Generation and scoring with a trained model.

mod answered;
mod batch;
mod chat;
pub mod decoder;
mod error;
mod event;
mod generate;
pub mod memory;
mod sampling;
mod score;
mod text;
mod tool_use;

pub use batch::{Prompts, WrittenRow, generate_rows};
pub use chat::{Chat, ChatError, ChatOptions, Reply};
pub use error::EngineError;
pub use event::{Event, Reason, Stats};
pub use generate::{Engine, GenerateOptions, Generated, Overflow};
pub use sampling::Sampling;
pub use score::score;
pub use tool_use::{ToolCall, ToolTokens, ToolUse};
