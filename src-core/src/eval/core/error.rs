//! What can be wrong with a bundle or an item, each as one sentence.

use std::path::{Path, PathBuf};

use crate::engine::EngineError;

/// CORE cannot be computed.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// The folder is not a bundle.
    #[error("{} is no evaluation bundle: it has no folder eval_data", folder.display())]
    NotABundle {
        /// The folder.
        folder: PathBuf,
    },
    /// A file that is not what it should be.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A line that is not an item of its task.
    #[error("{}, line {line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Files of tasks are missing.
    #[error("{} lacks {} of {} tasks: {}", folder.display(), missing.len(), of, missing.join(", "))]
    MissingTasks {
        /// The bundle's folder.
        folder: PathBuf,
        /// Labels of the tasks whose files are missing.
        missing: Vec<String>,
        /// Tasks of the bundle.
        of: usize,
    },
    /// A label that the bundle does not have.
    #[error("the bundle has no task {label:?}; it has {known}")]
    UnknownTask {
        /// The label as given.
        label: String,
        /// The labels that there are.
        known: String,
    },
    /// No random baseline for a task.
    #[error("{} has no random baseline for the task {label}", path.display())]
    NoBaseline {
        /// The file.
        path: PathBuf,
        /// The task.
        label: String,
    },
    /// The tokens of the text before a continuation do not begin those of the whole.
    #[error("{task}, item {index}: the tokens of the prompt are no prefix of those of the prompt with its continuation")]
    NoPrefix {
        /// The task.
        task: String,
        /// The item's index after shuffling.
        index: usize,
    },
    /// A prompt that cannot be cropped.
    #[error("{task}, item {index}: {tokens} tokens do not fit in {room}, and cropping would remove what is scored")]
    TooLong {
        /// The task.
        task: String,
        /// The item's index after shuffling.
        index: usize,
        /// Tokens of the longest prompt.
        tokens: usize,
        /// Tokens that fit.
        room: usize,
    },
    /// A prompt beyond what the model can read.
    #[error("{task}, item {index}: its prompt has {tokens} tokens and the model can read {room}; crop prompts to that")]
    Unreadable {
        /// The task.
        task: String,
        /// The item's index after shuffling.
        index: usize,
        /// Tokens of the longest prompt.
        tokens: usize,
        /// Tokens that the model can read.
        room: usize,
    },
    /// Scoring failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl CoreError {
    /// Wraps an I/O error with the path it concerns.
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }

    pub(super) fn file(path: &Path, reason: impl Into<String>) -> Self {
        Self::File { path: path.to_path_buf(), reason: reason.into() }
    }
}
