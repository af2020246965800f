//! What can be wrong with a recipe, or with writing the result.

use std::io;
use std::path::{Path, PathBuf};

/// Conversations could not be made or written.
#[derive(Debug, thiserror::Error)]
pub enum SynthError {
    /// The recipe is invalid.
    #[error("{}, line {line}: {reason}", .path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A template uses an unknown name.
    #[error("{}, line {line}: nothing is called {name:?}{}", .path.display(), suggestion(.meant))]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The line of the template, counted from 1.
        line: usize,
        /// The name.
        name: String,
        /// A similar known name.
        meant: Option<String>,
    },
    /// A fact to be set is not in the recipe.
    #[error("{} has no fact {name:?}{}", .path.display(), suggestion(.meant))]
    NoSuchFact {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
        /// A similar fact.
        meant: Option<String>,
    },
    /// A file could not be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A partial file contains something other than conversations.
    #[error("{}, line {line} is no conversation, so the file cannot be gone on with; move it away", .path.display())]
    NotOurs {
        /// The partial file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// The output file already exists.
    #[error("{} already exists; move it away", .path.display())]
    Present {
        /// The file.
        path: PathBuf,
    },
    /// Another process writes to the same partial file.
    #[error("another command is writing to {}; wait for it", .path.display())]
    Busy {
        /// The partial file.
        path: PathBuf,
    },
}

fn suggestion(meant: &Option<String>) -> String {
    meant.as_ref().map(|meant| format!("; did you mean {meant:?}?")).unwrap_or_default()
}

impl SynthError {
    /// Wraps an error of writing `path`.
    pub(super) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Write { path, source }
    }
}

/// The most similar known name, if there is one.
pub(super) fn closest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let scored = known.map(|known| (strsim::jaro_winkler(name, known), known));
    scored.filter(|(score, _)| *score > 0.75).max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, known)| known.to_owned())
}
