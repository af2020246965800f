//! The autotuner's choices per adapter, kept in a file: measuring takes longer than the work itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::files::kept;

/// Choices for one adapter, and those for others in the same file.
#[derive(Debug)]
pub(super) struct Choices {
    path: PathBuf,
    adapter: String,
    /// Adapter → question → choice, as in the file.
    known: BTreeMap<String, BTreeMap<String, String>>,
}

impl Choices {
    /// The choices in `folder/autotune.json`. An unreadable file is replaced.
    pub(super) fn open(folder: &Path, adapter: String) -> Self {
        let path = folder.join("autotune.json");
        let known = kept::read(&path);
        Self { path, adapter, known }
    }

    pub(super) fn get(&self, question: &str) -> Option<&str> {
        self.known.get(&self.adapter)?.get(question).map(String::as_str)
    }

    /// Remembers a choice, and writes the file; if that fails, this process remembers it anyway.
    pub(super) fn set(&mut self, question: String, choice: String) {
        self.known.entry(self.adapter.clone()).or_default().insert(question, choice);
        if let Err(error) = kept::write(&self.path, &self.known) {
            tracing::debug!(%error, "the autotuner's choices were not saved");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_kept_by_adapter() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("cache");
        for adapter in ["one", "two"] {
            let mut choices = Choices::open(&inside, adapter.into());
            assert_eq!(choices.get("shape"), None);
            choices.set("shape".into(), format!("best on {adapter}"));
        }
        assert_eq!(Choices::open(&inside, "one".into()).get("shape"), Some("best on one"));
        assert_eq!(Choices::open(&inside, "two".into()).get("shape"), Some("best on two"));
        assert_eq!(Choices::open(&inside, "two".into()).get("another shape"), None);
    }

    #[test]
    fn an_unreadable_file_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("autotune.json"), "{ not JSON").unwrap();
        let mut choices = Choices::open(folder.path(), "one".into());
        choices.set("shape".into(), "best".into());
        assert_eq!(Choices::open(folder.path(), "one".into()).get("shape"), Some("best"));
    }
}
