//! Chat tasks: what a fine-tuned model answers, by the reference's own measures.
//!
//! A task whose examples have labels is *categorical*: the label with the highest probability right after the prompt is the answer.
//! The others are *generative*: the model writes, with the calculator at hand, and the task judges the text.

mod catalog;
mod error;
mod evaluate;
mod report;

pub use catalog::{ALL, ChatTask, find};
pub use error::ChatEvalError;
pub use evaluate::{ChatAnswer, ChatOptions, evaluate, fingerprint};
pub use report::{ChatReport, ChatScore};
