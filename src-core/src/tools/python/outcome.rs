//! How a program ended.

use std::fmt;
use std::time::Duration;

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ran to its last line.
    Finished,
    /// It raised an exception.
    Failed {
        /// The exception's name and message: `ValueError: invalid literal`.
        exception: String,
        /// The line of the program that raised it, from 1, if it is known.
        line: Option<u32>,
    },
    /// It left before its last line, as by `sys.exit`. A status of 0 does not say that it did its work.
    EndedEarly {
        /// The exit status.
        status: i32,
    },
    /// It took longer than [`Limits::time`](super::Limits::time).
    TimedOut,
    /// It wanted more than [`Limits::memory`](super::Limits::memory).
    OutOfMemory,
    /// It wrote more than [`Limits::output`](super::Limits::output).
    TooMuchOutput,
    /// Calls nested so deeply that the interpreter's own stack was full before Python's limit was reached.
    TooDeep,
    /// The interpreter itself failed.
    Crashed {
        /// How.
        reason: String,
    },
}

impl Outcome {
    /// Whether the program ran to its last line.
    pub fn is_finished(&self) -> bool {
        *self == Self::Finished
    }

    /// A short name for tables and files.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Failed { .. } => "failed",
            Self::EndedEarly { .. } => "ended early",
            Self::TimedOut => "timed out",
            Self::OutOfMemory => "out of memory",
            Self::TooMuchOutput => "too much output",
            Self::TooDeep => "too deep",
            Self::Crashed { .. } => "crashed",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { exception, line: Some(line) } => write!(f, "failed in line {line}: {exception}"),
            Self::Failed { exception, line: None } => write!(f, "failed: {exception}"),
            Self::EndedEarly { status } => write!(f, "ended early with status {status}"),
            Self::Crashed { reason } => write!(f, "crashed: {reason}"),
            other => f.write_str(other.name()),
        }
    }
}

/// A program's run.
#[derive(Clone, Debug)]
pub struct Run {
    /// How it ended.
    pub outcome: Outcome,
    /// What it wrote to both outputs, as far as it was flushed; at most [`Limits::output`](super::Limits::output) bytes.
    pub output: Vec<u8>,
    /// How long it took, waiting for a core included.
    pub time: Duration,
    /// The most memory that it had, in bytes.
    pub memory: usize,
}
