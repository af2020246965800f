//! Why there is no sandbox, each as one sentence that says what to do.

use std::io;
use std::path::PathBuf;

/// Programs cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum PythonError {
    /// The interpreter is not there.
    #[error("there is no Python interpreter at {}", .path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot read {}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is something else.
    #[error("{} is no CPython for WASI that brings its standard library: {reason}", .path.display())]
    Unsuitable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// This machine cannot run WebAssembly.
    #[error("WebAssembly cannot be run here: {reason}")]
    Engine {
        /// Why.
        reason: String,
    },
    /// There is no thread to run a program on.
    #[error("cannot start a thread for a program")]
    Thread(#[source] io::Error),
}
