//! Finished tasks, kept on disk so that an evaluation that was interrupted goes on where it stopped.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::files::durable;
use crate::files::plain::read_at_most;

/// The format of the file.
const FORMAT: u32 = 1;

/// The longest file that is read, in bytes.
const LONGEST: u64 = 16 << 20;

/// The model that scores belong to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Its step.
    pub step: u64,
    /// The SHA-256 of its weights.
    pub sha256: String,
    /// The format of the weights in memory, if it is not that of the checkpoint.
    pub weights: Option<String>,
}

/// Scores cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum FinishedError {
    /// The file could not be read.
    #[error("cannot read {}", path.display())]
    Unread {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file could not be written.
    #[error("cannot write {}", path.display())]
    Unwritten {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The finished tasks of one checkpoint, and their file. `S` is the score of a task.
#[derive(Debug)]
pub struct Finished<S> {
    path: PathBuf,
    content: Content<S>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Content<S> {
    format: u32,
    checkpoint: Checkpoint,
    /// By a fingerprint of the task, its data and how it is evaluated.
    tasks: BTreeMap<String, S>,
}

impl<S: Serialize + DeserializeOwned> Finished<S> {
    /// The finished tasks of a checkpoint in a folder, of the evaluation `kind`, such as `core`. A file of other weights, and one that cannot be read, count as none: all of it can be
    /// computed again.
    ///
    /// # Errors
    /// If the file exists and may not be read.
    pub fn open(folder: &Path, kind: &str, checkpoint: Checkpoint) -> Result<Self, FinishedError> {
        let weights = checkpoint.weights.as_deref().map(|weights| format!("-{weights}")).unwrap_or_default();
        let path = folder.join(format!("{kind}-{:06}{weights}.json", checkpoint.step));
        let bytes = match read_at_most(&path, LONGEST) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => Vec::new(),
            read => read.map_err(|source| FinishedError::Unread { path: path.clone(), source })?,
        };
        let found = serde_json::from_slice::<Content<S>>(&bytes).ok();
        let found = found.filter(|content| content.format == FORMAT && content.checkpoint == checkpoint);
        Ok(Self { path, content: found.unwrap_or(Content { format: FORMAT, checkpoint, tasks: BTreeMap::new() }) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The score of a task, if it is finished.
    pub fn get(&self, fingerprint: &str) -> Option<&S> {
        self.content.tasks.get(fingerprint)
    }

    /// Keeps the score of a task: when this returns, it is on disk.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn keep(&mut self, fingerprint: String, score: S) -> Result<(), FinishedError> {
        self.content.tasks.insert(fingerprint, score);
        let written = serde_json::to_vec_pretty(&self.content).map_err(io::Error::from);
        written
            .and_then(|bytes| durable::replace(&self.path, &bytes))
            .map_err(|source| FinishedError::Unwritten { path: self.path.clone(), source })
    }

    /// Forgets all finished tasks; the file stays until the next is kept.
    pub fn clear(&mut self) {
        self.content.tasks.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finished_tasks_are_found_by_the_same_weights_alone() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint =
            |sha256: &str, weights: Option<&str>| Checkpoint { step: 7, sha256: sha256.into(), weights: weights.map(str::to_owned) };
        let score = 0.1 + 0.2;
        let open = |checkpoint| Finished::<f64>::open(&folder.path().join("eval"), "core", checkpoint).unwrap();
        let mut first = open(checkpoint("a", None));
        assert!(first.get("task").is_none());
        first.keep("task".into(), score).unwrap();
        assert_eq!(open(checkpoint("a", None)).get("task"), Some(&score));
        assert_eq!(open(checkpoint("a", None)).get("other"), None);
        assert!(open(checkpoint("b", None)).get("task").is_none());
        assert!(open(checkpoint("a", Some("q8"))).get("task").is_none());
        assert!(Finished::<f64>::open(&folder.path().join("eval"), "chat", checkpoint("a", None)).unwrap().get("task").is_none());
        assert_eq!(first.path().file_name().unwrap(), "core-000007.json");
        // A damaged file counts as none, and is replaced.
        std::fs::write(first.path(), b"{").unwrap();
        let mut again = open(checkpoint("a", None));
        assert!(again.get("task").is_none());
        again.keep("task".into(), score).unwrap();
        assert_eq!(open(checkpoint("a", None)).get("task"), Some(&score));
    }
}
