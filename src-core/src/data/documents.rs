//! Reads the documents of a split in order, from any position on.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::DataError;
use super::file::Split;
use super::files::DataSet;
use super::format::{Place, Reader};

/// How many documents [`Documents`] reads at a time.
const BATCH: usize = 128;

/// A position in the files of a split, between two documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The file, counted from 0 among the files of the split.
    pub file: usize,
    /// The row group of a parquet file; 0 for other formats.
    pub row_group: usize,
    /// The row within the row group, or the bytes from the start of a file of text.
    pub offset: u64,
    /// The documents of the file before this position, including those of the other split.
    pub record: u64,
}

/// A document, and the position where it can be read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The position.
    pub at: Position,
    /// The document.
    pub text: String,
}

/// Reads the documents of a split once, in batches, and knows its position between them.
pub struct BatchReader {
    set: DataSet,
    split: Split,
    position: Position,
    /// The file of `position`, opened there.
    open: Option<Reader>,
}

impl BatchReader {
    /// Starts at `position`; the default is the first document.
    pub fn new(set: DataSet, split: Split, position: Position) -> Self {
        Self { set, split, position, open: None }
    }

    /// The split that is read.
    pub fn split(&self) -> Split {
        self.split
    }

    /// The position after the last batch.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Goes back to the first document.
    pub fn rewind(&mut self) {
        self.position = Position::default();
        self.open = None;
    }

    /// The next documents, at least one and at most `max`, all of one file and one row group; `None` after the last.
    ///
    /// From a single file that serves both splits, `max` documents are read and those of the other split dropped.
    pub fn next_batch(&mut self, max: usize) -> Result<Option<Vec<Found>>, DataError> {
        while let Some(file) = self.set.files_of(self.split).get(self.position.file) {
            let reader = match &mut self.open {
                Some(reader) => reader,
                closed => {
                    let place = Place { row_group: self.position.row_group, offset: self.position.offset };
                    closed.insert(Reader::open(file, place)?)
                }
            };
            let read = reader.read(max.max(1))?;
            if read.is_empty() {
                if self.position.record == 0 {
                    return Err(DataError::Empty { path: file.path.clone() });
                }
                self.position = Position { file: self.position.file + 1, ..Position::default() };
                self.open = None;
                continue;
            }
            let first = self.position.record;
            let Place { row_group, offset } = reader.place();
            self.position = Position { row_group, offset, record: first + read.len() as u64, ..self.position };
            let file = self.position.file;
            let found = |(record, (Place { row_group, offset }, text))| Found { at: Position { file, row_group, offset, record }, text };
            let kept: Vec<Found> = (first..).zip(read).map(found).filter(|found| self.set.keeps(self.split, found.at.record)).collect();
            if !kept.is_empty() {
                return Ok(Some(kept));
            }
        }
        Ok(None)
    }
}

/// The documents of a split, one after another, once. Ends after the first error.
pub struct Documents {
    batches: BatchReader,
    batch: std::vec::IntoIter<Found>,
    over: bool,
}

/// Reads the documents of `split` in `paths`; see [`DataSet::open`] for what `paths` may name.
pub fn documents(paths: &[PathBuf], split: Split) -> Result<Documents, DataError> {
    Ok(Documents::new(DataSet::open(paths)?, split))
}

impl Documents {
    /// Reads `split` of `set` from its first document.
    pub fn new(set: DataSet, split: Split) -> Self {
        Self { batches: BatchReader::new(set, split, Position::default()), batch: Vec::new().into_iter(), over: false }
    }
}

impl Iterator for Documents {
    type Item = Result<String, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(found) = self.batch.next() {
            return Some(Ok(found.text));
        }
        if self.over {
            return None;
        }
        match self.batches.next_batch(BATCH) {
            Ok(Some(batch)) => {
                self.batch = batch.into_iter();
                self.batch.next().map(|found| Ok(found.text))
            }
            Ok(None) => {
                self.over = true;
                None
            }
            Err(error) => {
                self.over = true;
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &tempfile::TempDir, name: &str, bytes: &str) -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn lines(texts: impl Iterator<Item = String>) -> String {
        texts.map(|text| format!("{}\n", serde_json::json!({ "text": text, "more": [1, 2] }))).collect()
    }

    #[test]
    fn one_file_is_divided_between_the_splits() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(&dir, "a.jsonl", &lines((0..100).map(|i| i.to_string())));
        let read = |split| documents(std::slice::from_ref(&path), split).unwrap().map(Result::unwrap).collect::<Vec<_>>();
        assert_eq!(read(Split::Val), ["1", "21", "41", "61", "81"]);
        assert_eq!(read(Split::Train).len(), 95);
    }

    #[test]
    fn reading_goes_on_from_every_position() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir, "a.jsonl", &format!("{}\n\n", lines((0..50).map(|i| format!("line {i}")))));
        write(&dir, "b.txt", &"A paragraph of some words.\n\n".repeat(300));
        write(&dir, "c.txt", "held out");
        let set = DataSet::open(&[dir.path().to_path_buf()]).unwrap();
        let mut reader = BatchReader::new(set.clone(), Split::Train, Position::default());
        let mut steps = vec![(reader.position(), None)];
        while let Some(batch) = reader.next_batch(7).unwrap() {
            steps.push((reader.position(), Some(batch)));
        }
        assert!(steps.len() > 8, "{}", steps.len());
        for (at, (position, _)) in steps.iter().enumerate() {
            let saved = serde_json::from_str(&serde_json::to_string(position).unwrap()).unwrap();
            let mut again = BatchReader::new(set.clone(), Split::Train, saved);
            for (_, batch) in &steps[at + 1..] {
                assert_eq!(&again.next_batch(7).unwrap(), batch);
            }
            assert_eq!(again.next_batch(7).unwrap(), None);
        }
    }

    #[test]
    fn a_broken_line_is_named_and_ends_the_reading() {
        let dir = tempfile::tempdir().unwrap();
        for (broken, reason) in
            [("{\"txt\": 1}", "missing field `text`"), ("{\"text\": 5}", "no object with a string"), ("hello", "expected value")]
        {
            let path = write(&dir, "a.jsonl", &format!("{}\n{broken}\n", lines(["one".to_owned()].into_iter())));
            let mut read = documents(&[path], Split::Train).unwrap();
            let error = read.next().unwrap().unwrap_err().to_string();
            assert!(error.contains("a.jsonl, line 3: ") && error.contains(reason) && !error.contains("column"), "{error}");
            assert!(read.next().is_none());
        }
    }

    #[test]
    fn a_file_of_blanks_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.txt", "a.jsonl"] {
            let path = write(&dir, name, "\n \n\n");
            let error = documents(&[path], Split::Train).unwrap().next().unwrap().unwrap_err();
            assert!(matches!(error, DataError::Empty { .. }), "{error}");
        }
    }
}
