//! How much a data set holds.

use serde::Serialize;

use super::DataError;
use super::files::{DataFile, DataSet, Format, HELD_OUT_EVERY, Split};
use super::format::{Place, Reader, parquet};

/// What belongs to a split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Files that are read for it.
    pub files: usize,
    /// Their bytes on disk; a single file that serves both splits counts whole for each.
    pub bytes: u64,
    /// Documents.
    pub documents: u64,
}

impl DataSet {
    /// The documents of each file, those of both splits together. A file of text is read for it; of a parquet file the
    /// metadata says the rows, and those without a value are counted too.
    pub fn count_documents(&self) -> Result<Vec<u64>, DataError> {
        self.files().iter().map(count).collect()
    }

    /// What belongs to `split`, given the documents of each file.
    pub fn tally(&self, split: Split, documents: &[u64]) -> Tally {
        let files = self.files_of(split);
        let first = if split == Split::Val { self.files().len() - files.len() } else { 0 };
        let all: u64 = documents.iter().skip(first).take(files.len()).sum();
        // Held out are the documents 1, 1 + HELD_OUT_EVERY, …, counted from 0.
        let held_out = (all + HELD_OUT_EVERY - 2) / HELD_OUT_EVERY;
        let documents = match (self.files().len(), split) {
            (1, Split::Val) => held_out,
            (1, Split::Train) => all - held_out,
            _ => all,
        };
        Tally { files: files.len(), bytes: files.iter().map(|file| file.bytes).sum(), documents }
    }
}

fn count(file: &DataFile) -> Result<u64, DataError> {
    let documents = if file.format == Format::Parquet {
        parquet::Reader::open(&file.path, Place::default())?.num_rows()
    } else {
        let mut reader = Reader::open(file, Place::default())?;
        let mut documents = 0;
        loop {
            match reader.read(1024)?.len() {
                0 => break documents,
                read => documents += read as u64,
            }
        }
    };
    if documents == 0 { Err(DataError::Empty { path: file.path.clone() }) } else { Ok(documents) }
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
            std::fs::write(&path, "{\"text\": \"x\"}\n".repeat(documents)).unwrap();
            let set = DataSet::open(std::slice::from_ref(&path)).unwrap();
            let counted = set.count_documents().unwrap();
            for split in [Split::Train, Split::Val] {
                let read = Documents::new(set.clone(), split).map(Result::unwrap).count();
                assert_eq!(set.tally(split, &counted).documents, read as u64, "{split} of {documents}");
            }
        }
        std::fs::write(dir.path().join("b.txt"), "one\x0ctwo").unwrap();
        let set = DataSet::open(&[dir.path().to_path_buf()]).unwrap();
        let counted = set.count_documents().unwrap();
        assert_eq!(counted, [100, 2]);
        assert_eq!((set.tally(Split::Train, &counted).documents, set.tally(Split::Val, &counted).documents), (100, 2));
        assert_eq!(set.tally(Split::Val, &counted), Tally { files: 1, bytes: 7, documents: 2 });
    }
}
