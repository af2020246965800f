//! Counts the contents of a data set.

use rayon::prelude::*;
use serde::Serialize;

use super::DataError;
use super::file::{DataFile, Split};
use super::files::{DataSet, HELD_OUT_EVERY, ValidationBy};
use super::format::{Place, Reader};

/// The contents of a file, for any split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FileTally {
    /// Documents.
    pub documents: u64,
    /// Rows and lines without a text, which are skipped.
    pub passed_over: u64,
    /// Total bytes of the documents' texts.
    pub text_bytes: u64,
    /// Bytes of the longest document.
    pub longest: u64,
}

/// The contents of a split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Files of the split.
    pub files: usize,
    /// Their bytes on disk; a single file that serves both splits counts fully for each.
    pub bytes: u64,
    /// Documents.
    pub documents: u64,
}

impl DataSet {
    /// Reads every file as training does, several in parallel, and counts its contents: documents of both splits together,
    /// in the order of [`files`](Self::files). Memory holds one document per file.
    ///
    /// # Errors
    /// For the first file that training would reject: one that cannot be read, or contains no document.
    pub fn count(&self) -> Result<Vec<FileTally>, DataError> {
        let counted: Vec<_> = self.files().par_iter().map(count).collect();
        counted.into_iter().collect()
    }

    /// The contents of `split`, given those of each file.
    pub fn tally(&self, split: Split, counted: &[FileTally]) -> Tally {
        let files = self.files_of(split);
        let first = if split == Split::Val { self.files().len() - files.len() } else { 0 };
        let all: u64 = counted.iter().skip(first).take(files.len()).map(|file| file.documents).sum();
        // Held out are the documents 1, 1 + HELD_OUT_EVERY, …, counted from 0.
        let held_out = (all + HELD_OUT_EVERY - 2) / HELD_OUT_EVERY;
        let documents = match (self.validation_by(), split) {
            (ValidationBy::HeldOut, Split::Val) => held_out,
            (ValidationBy::HeldOut, Split::Train) => all - held_out,
            _ => all,
        };
        Tally { files: files.len(), bytes: files.iter().map(|file| file.bytes).sum(), documents }
    }
}

fn count(file: &DataFile) -> Result<FileTally, DataError> {
    let mut reader = Reader::open(file, Place::default())?;
    let mut tally = FileTally::default();
    while let Some(document) = reader.next_document()? {
        let bytes = document.len() as u64;
        tally.documents += 1;
        tally.text_bytes += bytes;
        tally.longest = tally.longest.max(bytes);
    }
    tally.passed_over = reader.passed_over();
    if tally.documents == 0 { Err(DataError::Empty { path: file.path.clone() }) } else { Ok(tally) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Documents;

    #[test]
    fn tallies_are_what_reading_gives() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        for documents in [1, 2, 19, 20, 21, 22, 41, 42, 100] {
            std::fs::write(&path, "{\"text\": \"x\"}\n{\"text\": null}\n".repeat(documents)).unwrap();
            let set = DataSet::open(std::slice::from_ref(&path)).unwrap();
            let counted = set.count().unwrap();
            for split in [Split::Train, Split::Val] {
                let read = Documents::new(set.clone(), split).map(Result::unwrap).count();
                assert_eq!(set.tally(split, &counted).documents, read as u64, "{split} of {documents}");
            }
        }
        std::fs::write(dir.path().join("b.txt"), "one\x0cthree\x0c \x0c").unwrap();
        let set = DataSet::open(&[dir.path().to_path_buf()]).unwrap();
        let counted = set.count().unwrap();
        assert_eq!(counted[0], FileTally { documents: 100, passed_over: 100, text_bytes: 100, longest: 1 });
        assert_eq!(counted[1], FileTally { documents: 2, passed_over: 0, text_bytes: 8, longest: 5 });
        assert_eq!((set.tally(Split::Train, &counted).documents, set.tally(Split::Val, &counted).documents), (100, 2));
        assert_eq!(set.tally(Split::Val, &counted), Tally { files: 1, bytes: 12, documents: 2 });
    }

    #[test]
    fn a_file_without_a_document_is_refused_as_in_training() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        for text in ["{\"text\": null}\n{\"text\": \" \"}\n", "\n\n"] {
            std::fs::write(&path, text).unwrap();
            let set = DataSet::open(std::slice::from_ref(&path)).unwrap();
            assert!(matches!(set.count(), Err(DataError::Empty { .. })));
            assert!(matches!(Documents::new(set, Split::Train).next(), Some(Err(DataError::Empty { .. }))));
        }
    }
}
