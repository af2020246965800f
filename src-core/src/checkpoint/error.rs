//! What can go wrong with runs and checkpoints, each as one sentence with the next step.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::tensor_source::SourceError;
use crate::files::shown::megabytes;

/// A run could not be made, opened or locked.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The name is not a valid folder name on every system.
    #[error("{name:?} cannot be the name of a run: {why}")]
    BadName {
        /// The name as given.
        name: String,
        /// The rule that it breaks.
        why: &'static str,
    },
    /// A run of that name exists.
    #[error("there is a run {name:?} already, in {folder}: choose another name", folder = folder.display())]
    Exists {
        /// The name as given.
        name: String,
        /// Its folder.
        folder: PathBuf,
    },
    /// No run has that name.
    #[error("there is no run {name:?} in {runs}; {advice}", runs = runs.display())]
    Missing {
        /// The name as given.
        name: String,
        /// The folder of all runs.
        runs: PathBuf,
        /// Whether there are runs at all.
        any: bool,
        /// The closest name, and the runs that exist.
        advice: String,
    },
    /// Another process has locked the run.
    #[error(
        "run {name:?} is in use by {holder}: wait until it has finished, or stop it",
        holder = pid.map_or("another process".to_owned(), |pid| format!("the process with pid {pid}"))
    )]
    Busy {
        /// The run.
        name: String,
        /// The pid of that process, if known.
        pid: Option<u32>,
    },
    /// A file of the run is missing or is not what it should be.
    #[error("run {name:?} is damaged: {file} {problem}")]
    Damaged {
        /// The run.
        name: String,
        /// The file in its folder.
        file: &'static str,
        /// What is wrong with the file.
        problem: String,
    },
    /// A file or folder could not be read or written.
    #[error("cannot {doing} {path}: {source}", path = path.display())]
    Io {
        /// The operation.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl RunError {
    /// Makes the error of a failed system call: `.map_err(RunError::io("read", &path))`.
    pub(super) fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { doing, path: path.to_path_buf(), source }
    }
}

/// A checkpoint that is rejected because it is incomplete, altered, or of another format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The step in the folder's name.
    pub step: u64,
    /// The faulty file.
    pub file: PathBuf,
    /// What is wrong with the file, as a predicate: "is missing".
    pub problem: String,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the checkpoint of step {} is refused: {} {}", self.step, self.file.display(), self.problem)
    }
}

/// A checkpoint could not be saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The run has no checkpoint at all.
    #[error("run {run:?} has no checkpoint yet: train it until it has saved one")]
    Empty {
        /// The run.
        run: String,
    },
    /// The run has no checkpoint of the requested step.
    #[error("run {run:?} has no checkpoint of step {step}; it has {have}")]
    NoSuchStep {
        /// The run.
        run: String,
        /// The requested step.
        step: u64,
        /// The steps that it has, as text.
        have: String,
    },
    /// The checkpoint is incomplete, altered, or of another format.
    #[error("{0}; choose another step, or resume, which goes back to the newest intact one")]
    Rejected(Rejected),
    /// Every checkpoint of the run was rejected.
    #[error("run {run:?} has no intact checkpoint: {list}", list = rejected.iter().map(Rejected::to_string).collect::<Vec<_>>().join("; "))]
    NoneGood {
        /// The run.
        run: String,
        /// Each one and why, newest first.
        rejected: Vec<Rejected>,
    },
    /// The disk is full. Earlier checkpoints are untouched.
    #[error(
        "the checkpoint of step {step} needs {needed} in {folder}, {free}: make room and resume; the checkpoints before it are untouched",
        needed = megabytes(*needed), folder = folder.display(),
        free = free.map_or("which does not have that much space".to_owned(), |free| format!("where {} are free", megabytes(free)))
    )]
    NoRoom {
        /// The step that was to be saved.
        step: u64,
        /// The target folder.
        folder: PathBuf,
        /// Bytes that the checkpoint needs.
        needed: u64,
        /// Free bytes, if the system reports them.
        free: Option<u64>,
    },
    /// The content does not fit the format.
    #[error("the checkpoint of step {step} cannot be written: {problem}")]
    Unwritable {
        /// The step that was to be saved.
        step: u64,
        /// Why not.
        problem: String,
    },
    /// A tensor could not be read from its source.
    #[error("tensor {name} could not be read for the checkpoint of step {step}: {source}")]
    Source {
        /// The step that was to be saved.
        step: u64,
        /// The tensor.
        name: String,
        /// The source's error.
        source: SourceError,
    },
    /// A file or folder could not be read or written.
    #[error("cannot {doing} {path}: {source}", path = path.display())]
    Io {
        /// The operation.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl CheckpointError {
    /// Makes the error of a failed system call: `.map_err(CheckpointError::io("read", &path))`.
    pub(super) fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { doing, path: path.to_path_buf(), source }
    }
}
