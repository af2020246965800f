//! What the child is told, and what it tells.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::AppError;
use crate::types::{Budget, TrainEvent, TrainPhase};

/// What shall be there in the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Where runs live.
    pub home: PathBuf,
    /// The GPU, as nc-core names it; the best if absent.
    pub gpu: Option<String>,
    /// Name of the base model's run.
    pub name: String,
    /// Layers.
    pub depth: u64,
    /// Tokens of context.
    pub context: u64,
    /// Files and folders of text.
    pub data: Vec<PathBuf>,
    /// The file of conversations to fine-tune on afterwards.
    pub conversations: Option<PathBuf>,
    /// For how long to train the base model.
    pub budget: Budget,
    /// Seed of the initial weights.
    pub seed: u64,
}

impl Order {
    /// Name of the fine-tuned model's run.
    pub fn chat_name(&self) -> Option<String> {
        self.conversations.as_ref().map(|_| format!("{}-chat", self.name))
    }

    /// Names of all runs that come of it.
    pub fn names(&self) -> Vec<String> {
        std::iter::once(self.name.clone()).chain(self.chat_name()).collect()
    }
}

/// A line of the child's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    /// It begins something else.
    Phase {
        /// What.
        phase: TrainPhase,
    },
    /// Something happened.
    Event {
        /// What.
        event: TrainEvent,
    },
    /// It ends as it should: everything is there, or it was asked to stop and has saved.
    End {
        /// Whether everything is there.
        complete: bool,
    },
    /// It cannot go on.
    Failed {
        /// Why.
        error: AppError,
    },
}
