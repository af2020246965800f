//! What can be wrong with a task's data, each as one sentence that says what to do.

use std::path::{Path, PathBuf};

use crate::data::{ConversationFileError, DataError};

/// A task cannot provide its conversations.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// No task has this name.
    #[error("there is no task {name:?}; {advice}")]
    Unknown {
        /// The name as given.
        name: String,
        /// The known names, and the closest one.
        advice: String,
    },
    /// The specification of a task cannot be parsed.
    #[error("{spec:?} names no task: {reason}; write it like smoltalk, mmlu:3 or talks.jsonl:2")]
    Spec {
        /// The text as given.
        spec: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The folder that was given lacks a task's files.
    #[error("{} holds no {task} for {split}; put it there as {example}", folder.display())]
    NotInFolder {
        /// The folder.
        folder: PathBuf,
        /// The task.
        task: &'static str,
        /// The split.
        split: super::Split,
        /// An example of a path that would be found.
        example: String,
    },
    /// Files are missing from the cache, and must not be fetched.
    #[error(
        "{task} is not in the cache ({}) and may not be fetched",
        folder.display()
    )]
    Offline {
        /// The task.
        task: &'static str,
        /// The folder in the cache.
        folder: PathBuf,
    },
    /// A fetched file was damaged since, and must not be fetched again now.
    #[error("{} is damaged ({reason}) and may not be fetched again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The hub does not list the files of a data set.
    #[error("{url} cannot be asked for the files of {task} ({reason}); {advice}")]
    Listing {
        /// The task.
        task: &'static str,
        /// The address of the hub.
        url: String,
        /// What happened.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
    /// The hub's data set has no file for a split.
    #[error("{repo} on the hub has no file {wanted}*.parquet; its layout has changed, so fetch it by hand")]
    NotOnHub {
        /// The data set.
        repo: &'static str,
        /// The expected prefix of the files.
        wanted: &'static str,
    },
    /// There is no sandbox to run a program in.
    #[error("a program of humaneval cannot be run: {reason}")]
    Sandbox {
        /// Why.
        reason: String,
    },
    /// This program was built without a network client.
    #[error("this program was built without downloading, and was given no folder that holds {task}")]
    NoNetwork {
        /// The task.
        task: &'static str,
    },
    /// Files could not be fetched.
    #[cfg(feature = "net")]
    #[error("{task} could not be fetched")]
    Download {
        /// The task.
        task: &'static str,
        /// Why.
        source: crate::data::download::DownloadError,
    },
    /// A file lacks a column.
    #[error("{} has no column `{column}` (its columns: {columns}); is it the right data set?", path.display())]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The column.
        column: &'static str,
        /// The columns that it has.
        columns: String,
    },
    /// An Arrow file that cannot be read.
    #[error("{} is not a readable Arrow file ({reason}); fetch it again, or write it again with pyarrow or `datasets`", path.display())]
    Arrow {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A row is not what the task expects.
    #[error("{}, {unit} {number}: {reason}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// What is counted: `row` or `line`.
        unit: &'static str,
        /// Its number, from 1.
        number: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The files hold no conversation.
    #[error("{} holds no conversation for {task}; is it the right file?", path.display())]
    Empty {
        /// The task.
        task: String,
        /// The file, the first of several.
        path: PathBuf,
    },
    /// A parquet file that cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A file of conversations that cannot be read.
    #[error(transparent)]
    Conversations(#[from] ConversationFileError),
    /// An I/O error.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl TaskError {
    /// Wraps an I/O error with the path it concerns.
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }
}
