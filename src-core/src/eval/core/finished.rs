//! Finished tasks, kept on disk so that an evaluation that was interrupted goes on where it stopped.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{CoreError, TaskScore};
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

/// The finished tasks of one checkpoint, and their file.
#[derive(Debug)]
pub struct Finished {
    path: PathBuf,
    content: Content,
}

#[derive(Debug, Serialize, Deserialize)]
struct Content {
    format: u32,
    checkpoint: Checkpoint,
    /// By the task's [fingerprint](super::TaskData::fingerprint).
    tasks: BTreeMap<String, TaskScore>,
}

impl Finished {
    /// The finished tasks of a checkpoint in a folder. A file of other weights, and one that cannot be read, count as none: all of it can be
    /// computed again.
    ///
    /// # Errors
    /// If the file exists and may not be read.
    pub fn open(folder: &Path, checkpoint: Checkpoint) -> Result<Self, CoreError> {
        let weights = checkpoint.weights.as_deref().map(|weights| format!("-{weights}")).unwrap_or_default();
        let path = folder.join(format!("core-{:06}{weights}.json", checkpoint.step));
        let bytes = match read_at_most(&path, LONGEST) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => Vec::new(),
            read => read.map_err(CoreError::io(&path))?,
        };
        let found = serde_json::from_slice::<Content>(&bytes).ok();
        let found = found.filter(|content| content.format == FORMAT && content.checkpoint == checkpoint);
        Ok(Self { path, content: found.unwrap_or(Content { format: FORMAT, checkpoint, tasks: BTreeMap::new() }) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The score of a task, if it is finished.
    pub fn get(&self, fingerprint: &str) -> Option<&TaskScore> {
        self.content.tasks.get(fingerprint)
    }

    /// Keeps the score of a task: when this returns, it is on disk.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn keep(&mut self, fingerprint: String, score: TaskScore) -> Result<(), CoreError> {
        self.content.tasks.insert(fingerprint, score);
        let written = serde_json::to_vec_pretty(&self.content).map_err(io::Error::from);
        written
            .and_then(|bytes| durable::replace(&self.path, &bytes))
            .map_err(|source| CoreError::Unwritten { path: self.path.clone(), source })
    }

    /// Forgets all finished tasks; the file stays until the next is kept.
    pub fn clear(&mut self) {
        self.content.tasks.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::core::TaskFacts;

    #[test]
    fn finished_tasks_are_found_by_the_same_weights_alone() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint =
            |sha256: &str, weights: Option<&str>| Checkpoint { step: 7, sha256: sha256.into(), weights: weights.map(str::to_owned) };
        let score = TaskScore::new(&TaskFacts::all()[0], &[], 1.5);
        let open = |checkpoint| Finished::open(&folder.path().join("eval"), checkpoint).unwrap();
        let mut first = open(checkpoint("a", None));
        assert!(first.get("task").is_none());
        first.keep("task".into(), score.clone()).unwrap();
        assert_eq!(open(checkpoint("a", None)).get("task"), Some(&score));
        assert_eq!(open(checkpoint("a", None)).get("other"), None);
        assert!(open(checkpoint("b", None)).get("task").is_none());
        assert!(open(checkpoint("a", Some("q8"))).get("task").is_none());
        assert_eq!(first.path().file_name().unwrap(), "core-000007.json");
        // A damaged file counts as none, and is replaced.
        std::fs::write(first.path(), b"{").unwrap();
        let mut again = open(checkpoint("a", None));
        assert!(again.get("task").is_none());
        again.keep("task".into(), score.clone()).unwrap();
        assert_eq!(open(checkpoint("a", None)).get("task"), Some(&score));
    }
}
