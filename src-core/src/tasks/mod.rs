//! Data sets of conversations: for fine-tuning, evaluation and reinforcement learning. Knows no model.
//!
//! [`open`] finds a task by its [`TaskSpec`]: SmolTalk, MMLU, ARC and GSM8K in a folder or on the hub, spelling tasks that
//! are generated, or a file of conversations. A [`Mixture`] shuffles several into one. [`humaneval`] is for evaluation alone.

pub mod arc;
pub mod arrow;
mod digest;
mod error;
mod grading;
pub mod gsm8k;
#[cfg(feature = "net")]
pub mod hub;
pub mod humaneval;
pub mod jsonl;
pub mod mixture;
pub mod mmlu;
pub mod multiple_choice;
pub mod python_random;
pub mod random;
mod rows;
pub mod slice;
pub mod smoltalk;
pub mod source;
mod spec;
pub mod spelling;
mod store;
pub mod table;
#[cfg(test)]
mod testing;
mod words;

pub use error::TaskError;
pub use jsonl::{FileRules, FileSummary, HeldOut};
pub use mixture::Mixture;
pub use slice::Slice;
pub use spec::{NAMES, Sources, Split, TaskSpec, open, open_mixture, standard};

use crate::tokenizer::Conversation;

/// Conversations by index. The same index always gives the same conversation.
pub trait Task: Send + Sync {
    /// The name that reports and errors use, such as `gsm8k`.
    fn name(&self) -> &str;

    /// How many conversations there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Conversation `index`, which is below [`len`](Self::len).
    ///
    /// # Errors
    /// If its row cannot be read or is not what the task expects.
    fn example(&self, index: usize) -> Result<Conversation, TaskError>;

    /// The labels of the choices of example `index`, of which one is the answer; `None` if answers are written freely, or cannot be
    /// judged.
    ///
    /// # Errors
    /// As [`example`](Self::example).
    fn labels(&self, index: usize) -> Result<Option<Vec<String>>, TaskError> {
        let _ = index;
        Ok(None)
    }

    /// Whether `answer` is a right reply to the user of example `index`: one of its [`labels`](Self::labels), or all that a model wrote,
    /// tool calls and their results included. `None` if the task has no right answers.
    ///
    /// # Errors
    /// As [`example`](Self::example).
    fn evaluate(&self, index: usize, answer: &str) -> Result<Option<bool>, TaskError> {
        let _ = (index, answer);
        Ok(None)
    }

    /// What reinforcement learning gives for `answer`: 1 if it is right, else 0. `None` if the task has no right answers.
    ///
    /// # Errors
    /// As [`example`](Self::example).
    fn reward(&self, index: usize, answer: &str) -> Result<Option<f32>, TaskError> {
        Ok(self.evaluate(index, answer)?.map(|right| if right { 1.0 } else { 0.0 }))
    }

    /// What was found in its files of conversations, each file once.
    fn files(&self) -> Vec<FileSummary> {
        Vec::new()
    }

    /// Changes if any conversation, their order or their number does: a resumed run must continue with the same data.
    fn fingerprint(&self) -> String;
}
