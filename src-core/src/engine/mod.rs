//! Generation and scoring with a trained model.

mod answered;
mod batch;
mod chat;
pub mod decoder;
mod draft;
mod error;
mod event;
mod generate;
pub mod memory;
mod payoff;
mod sampling;
mod score;
pub mod scorer;
mod speculate;
mod text;
mod tool_use;

pub use batch::{Prompts, WrittenRow, generate_rows};
pub use chat::{Chat, ChatError, ChatOptions, Reply};
pub use draft::Drafter;
pub use error::EngineError;
pub use event::{Event, Reason, Stats};
pub use generate::{Engine, GenerateOptions, Generated, Overflow};
pub use sampling::Sampling;
pub use score::score;
pub use scorer::{Scored, Scorer, Sequence};
pub use speculate::Effort;
pub use tool_use::{ToolCall, ToolTokens, ToolUse};
