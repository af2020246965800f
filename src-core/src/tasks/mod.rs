//! Data sets of conversations: for fine-tuning, and later for evaluation and reinforcement learning. Knows no model.
//!
//! [`open`] finds a task by its [`TaskSpec`]: SmolTalk, MMLU and GSM8K in a folder or on the hub, spelling tasks that
//! are generated, or a file of conversations. A [`Mixture`] shuffles several into one. [`humaneval`] and [`arc`] are for evaluation alone.

pub mod arc;
mod digest;
mod error;
pub mod gsm8k;
#[cfg(feature = "net")]
pub mod hub;
pub mod humaneval;
pub mod jsonl;
pub mod mixture;
pub mod mmlu;
pub mod multiple_choice;
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

    /// What was found in its files of conversations, each file once.
    fn files(&self) -> Vec<FileSummary> {
        Vec::new()
    }

    /// Changes if any conversation, their order or their number does: a resumed run must continue with the same data.
    fn fingerprint(&self) -> String;
}
