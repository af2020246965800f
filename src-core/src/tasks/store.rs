//! Examples on disk, by index: an unnamed file that the system deletes with the process.
//!
//! SmolTalk's 460,000 conversations are about a gigabyte, and training needs them in random order, for which parquet is
//! too slow: one row costs the decoding of a thousand. So every row is read once, checked, and written as JSON for
//! random access. Memory holds eight bytes per conversation, the disk (`cache/` under the home folder) the text.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::TaskError;
use super::digest::Fingerprinter;
use crate::tokenizer::Conversation;

/// What is kept of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The conversation.
    #[serde(flatten)]
    pub conversation: Conversation,
    /// The labels of its choices, if it has others than the task's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

impl From<Conversation> for Kept {
    fn from(conversation: Conversation) -> Self {
        Self { conversation, labels: Vec::new() }
    }
}

/// Writes a [`Store`].
pub struct StoreWriter {
    folder: PathBuf,
    file: BufWriter<File>,
    ends: Vec<u64>,
    digest: Fingerprinter,
}

impl StoreWriter {
    /// Starts an empty store in `folder`, which is created if needed.
    pub fn create(folder: &Path) -> Result<Self, TaskError> {
        std::fs::create_dir_all(folder).map_err(TaskError::io(folder))?;
        let file = tempfile::tempfile_in(folder).map_err(TaskError::io(folder))?;
        Ok(Self { folder: folder.to_path_buf(), file: BufWriter::new(file), ends: Vec::new(), digest: Fingerprinter::default() })
    }

    /// Appends an example.
    pub fn push(&mut self, example: &Kept) -> Result<(), TaskError> {
        let bytes = serde_json::to_vec(example).map_err(|error| TaskError::io(&self.folder)(error.into()))?;
        self.file.write_all(&bytes).map_err(TaskError::io(&self.folder))?;
        self.digest.add(&bytes);
        self.ends.push(self.ends.last().copied().unwrap_or(0) + bytes.len() as u64);
        Ok(())
    }

    /// Finishes writing.
    pub fn finish(self) -> Result<Store, TaskError> {
        let file = self.file.into_inner().map_err(|error| TaskError::io(&self.folder)(error.into_error()))?;
        Ok(Store { folder: self.folder, file: Mutex::new(file), ends: self.ends, fingerprint: self.digest.finish() })
    }
}

/// Examples that are read back one at a time.
pub struct Store {
    folder: PathBuf,
    file: Mutex<File>,
    /// The end offset of each example in the file.
    ends: Vec<u64>,
    fingerprint: String,
}

impl Store {
    /// How many examples there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// A digest of every example, in order.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Reads example `index`, which is below [`len`](Self::len).
    pub fn get(&self, index: usize) -> Result<Kept, TaskError> {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        let mut bytes = vec![0; (self.ends[index] - start) as usize];
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(start)).and_then(|_| file.read_exact(&mut bytes)).map_err(TaskError::io(&self.folder))?;
        drop(file);
        serde_json::from_slice(&bytes).map_err(|error| TaskError::io(&self.folder)(error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::{Message, Role};

    fn said(text: &str) -> Kept {
        Conversation { messages: vec![Message::text(Role::User, text)] }.into()
    }

    fn store(folder: &Path, texts: &[&str]) -> Store {
        let mut writer = StoreWriter::create(folder).unwrap();
        texts.iter().for_each(|text| writer.push(&said(text)).unwrap());
        writer.finish().unwrap()
    }

    #[test]
    fn what_was_written_is_read_in_any_order_and_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let texts = ["one", "", "dréi\n", "four"];
        let store = store(&dir.path().join("made"), &texts);
        assert_eq!(store.len(), 4);
        for index in [3, 0, 2, 1, 2] {
            assert_eq!(store.get(index).unwrap(), said(texts[index]));
        }
        assert_eq!(std::fs::read_dir(dir.path().join("made")).unwrap().count(), 0);
    }

    #[test]
    fn an_example_without_labels_is_kept_as_its_conversation_alone() {
        // Fingerprints of data sets, which runs record, hang on it.
        let plain = said("a");
        assert_eq!(serde_json::to_string(&plain).unwrap(), serde_json::to_string(&plain.conversation).unwrap());
        let dir = tempfile::tempdir().unwrap();
        let labelled = Kept { labels: vec!["1".into(), "2".into()], ..plain };
        let mut writer = StoreWriter::create(dir.path()).unwrap();
        writer.push(&labelled).unwrap();
        assert_eq!(writer.finish().unwrap().get(0).unwrap(), labelled);
    }

    #[test]
    fn the_fingerprint_depends_on_every_text_and_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let print = |texts: &[&str]| store(dir.path(), texts).fingerprint().to_owned();
        assert_eq!(print(&["a", "b"]), print(&["a", "b"]));
        assert_ne!(print(&["a", "b"]), print(&["b", "a"]));
        assert_ne!(print(&["a", "b"]), print(&["a", "c"]));
        assert_ne!(print(&["a"]), print(&["a", "a"]));
    }
}
