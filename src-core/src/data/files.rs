//! Which files make up a data set, and which documents are held out for validation.
//!
//! Names take precedence: a file named `validation`, `valid`, `val`, `dev` or `eval` is validation, and so is one
//! named `test` if there is none of these; neither is ever trained on. If no name says so, it is as in nanochat:
//! files are sorted by name and the last one is validation. A data set of one file would leave nothing to train on, so
//! there one document in [`HELD_OUT_EVERY`] is held out instead: the 2nd, the 22nd, the 42nd, …

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::file::{DataFile, Format, PassedOver, Split};
use super::fingerprint::{Digests, Fingerprint};
use super::folder::Folder;
use super::names::{self, Role};
use super::{DataError, format};
use crate::files::StandIn;
use serde::Serialize;

/// In a data set of a single file, one document in this many is held out for validation.
pub const HELD_OUT_EVERY: u64 = 20;

/// Why a file is the one for validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ValidationBy {
    /// Its name says so.
    Name,
    /// No name does, and it is the last.
    Last,
    /// It is the only file; some of its documents are held out.
    HeldOut,
}

impl fmt::Display for ValidationBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "by its name",
            Self::Last => "the last by name",
            Self::HeldOut => "one document in 20 of the only file",
        })
    }
}

/// The files of a data set, in reading order, those for validation last. Never empty.
#[derive(Clone, Debug)]
pub struct DataSet {
    files: Vec<DataFile>,
    /// How many of the files are for training. If it is all of them, the only one serves both splits.
    training: usize,
    validation_by: ValidationBy,
    passed_over: Vec<PassedOver>,
}

impl DataSet {
    /// Finds the files of `paths`: files in the order given, folders replaced by their files of every format,
    /// sorted by name. A file that is named twice counts once.
    ///
    /// Hidden files, subfolders, notes such as `README.txt`, and a compressed copy of a file beside it are
    /// skipped, and so is a test set beside a validation set: see [`passed_over`](Self::passed_over).
    pub fn open(paths: &[PathBuf]) -> Result<Self, DataError> {
        let (mut found, mut passed_over) = (Vec::new(), Vec::new());
        for path in paths {
            if std::fs::metadata(path).map_err(DataError::io(path))?.is_dir() {
                let folder = Folder::list(path)?;
                found.extend(folder.files.into_iter().map(|(path, format)| (path, format, false)));
                passed_over.extend(folder.passed_over);
            } else {
                let format = Format::of(path).or_else(|| lines_in_json(path));
                let format = format.ok_or_else(|| DataError::UnknownFormat { path: path.clone(), advice: names::advice(path) })?;
                found.push((path.clone(), format, true));
            }
        }
        let mut seen = HashSet::new();
        found.retain(|(path, ..)| seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())));
        let named = found.iter().all(|(.., named)| *named);
        let role = |path: &Path| names::format(path).map_or(Role::Training, |(_, stem)| names::role(&stem));
        let (mut files, [mut validation, mut test]) = (Vec::new(), [const { Vec::new() }; 2]);
        for (path, format, _) in found {
            let to = match role(&path) {
                Role::Training => &mut files,
                Role::Validation => &mut validation,
                Role::Test => &mut test,
            };
            to.push((path, format));
        }
        if files.is_empty() && named {
            // A test set that is named alone is meant to be used.
            files = [std::mem::take(&mut test), std::mem::take(&mut validation)].concat();
        }
        if files.is_empty() {
            let path = validation.into_iter().chain(test).next().ok_or(DataError::NoPath)?.0;
            return Err(DataError::NothingToTrainOn { path });
        }
        if validation.is_empty() {
            validation = std::mem::take(&mut test);
        }
        passed_over.extend(test.into_iter().map(|(path, _)| PassedOver { path, reason: "is a test set by its name" }));
        let (training, validation_by) = match (files.len(), validation.len()) {
            (1, 0) => (1, ValidationBy::HeldOut),
            (files, 0) => (files - 1, ValidationBy::Last),
            (files, _) => (files, ValidationBy::Name),
        };
        files.extend(validation);
        let files = files.into_iter().map(|(path, format)| data_file(path, format)).collect::<Result<_, _>>()?;
        Ok(Self { files, training, validation_by, passed_over })
    }

    /// Every file, in reading order.
    pub fn files(&self) -> &[DataFile] {
        &self.files
    }

    /// The files with documents of `split`; a single file serves both.
    pub fn files_of(&self, split: Split) -> &[DataFile] {
        match split {
            _ if self.validation_by == ValidationBy::HeldOut => &self.files,
            Split::Train => &self.files[..self.training],
            Split::Val => &self.files[self.training..],
        }
    }

    /// Why the files of [`Split::Val`] are the ones for validation.
    pub fn validation_by(&self) -> ValidationBy {
        self.validation_by
    }

    /// What was found next to the files and may have been meant to be read.
    pub fn passed_over(&self) -> &[PassedOver] {
        &self.passed_over
    }

    /// Whether the document at `record` (counted from 0 within its file) of a file of `split` belongs to it.
    pub fn keeps(&self, split: Split, record: u64) -> bool {
        self.validation_by != ValidationBy::HeldOut || (record % HELD_OUT_EVERY == 1) == (split == Split::Val)
    }

    /// The fingerprint of these files; reads those whose digest is not in `known`.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn fingerprint(&self, known: &mut Digests) -> Result<Fingerprint, DataError> {
        Fingerprint::of(&self.files, known)
    }
}

/// A `.json` file that is named explicitly is read if it contains lines of objects, as in some data sets.
fn lines_in_json(path: &Path) -> Option<Format> {
    let json = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
    (json && format::jsonl::is_lines(path)).then_some(Format::JsonLines)
}

/// Checks that a file is not empty and not a stand-in for another file.
fn data_file(path: PathBuf, format: Format) -> Result<DataFile, DataError> {
    let mut file = File::open(&path).map_err(DataError::io(&path))?;
    let bytes = file.metadata().map_err(DataError::io(&path))?.len();
    if bytes == 0 {
        return Err(DataError::Empty { path });
    }
    match StandIn::in_file(&mut file).map_err(DataError::io(&path))? {
        Some(stand_in) => Err(DataError::StandIn { path, stand_in }),
        None => Ok(DataFile { path, format, bytes }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_of(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        dir
    }

    fn names(files: &[DataFile]) -> Vec<String> {
        files.iter().map(|file| file.path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    /// How a folder with these names is read: training, validation, and what is skipped.
    fn splits(files: &[&str]) -> [Vec<String>; 3] {
        let dir = folder_of(files);
        let set = DataSet::open(&[dir.path().to_path_buf()]).unwrap();
        let mut passed: Vec<String> =
            set.passed_over().iter().map(|over| over.path.file_name().unwrap().to_string_lossy().into_owned()).collect();
        passed.sort();
        [names(set.files_of(Split::Train)), names(set.files_of(Split::Val)), passed]
    }

    #[test]
    fn a_folder_of_all_formats_is_sorted_and_its_last_file_is_validation() {
        let dir = folder_of(&["c.jsonl", "a.txt", "b.TXT", "b.parquet", "a.jsonl.gz", "notes.md"]);
        let set = DataSet::open(&[dir.path().to_path_buf()]).unwrap();
        assert_eq!(names(set.files_of(Split::Train)), ["a.jsonl.gz", "a.txt", "b.TXT", "b.parquet"]);
        assert_eq!(names(set.files_of(Split::Val)), ["c.jsonl"]);
        assert_eq!((set.validation_by(), set.passed_over()), (ValidationBy::Last, &[][..]));
        assert!((0..100).all(|record| set.keeps(Split::Train, record) && set.keeps(Split::Val, record)));
    }

    #[test]
    fn names_say_what_is_validation_and_what_is_never_trained_on() {
        for (files, training, validation, passed) in [
            (&["chapters.jsonl", "val.jsonl", "words.jsonl"][..], &["chapters.jsonl", "words.jsonl"][..], &["val.jsonl"][..], &[][..]),
            (&["test-0.parquet", "train-0.parquet", "train-1.parquet"], &["train-0.parquet", "train-1.parquet"], &["test-0.parquet"], &[]),
            (&["test.txt", "train.jsonl", "validation.parquet"], &["train.jsonl"], &["validation.parquet"], &["test.txt"]),
            (&["train-0.parquet", "train-1.parquet"], &["train-0.parquet"], &["train-1.parquet"], &[]),
            (&["a.dev.jsonl.gz", "a.train.jsonl.gz", "a.test.jsonl.gz"], &["a.train.jsonl.gz"], &["a.dev.jsonl.gz"], &["a.test.jsonl.gz"]),
            (&["a.txt", "eval-0.txt", "eval-1.txt"], &["a.txt"], &["eval-0.txt", "eval-1.txt"], &[]),
        ] {
            assert_eq!(splits(files), [training, validation, passed], "{files:?}");
        }
        let dir = folder_of(&["test-0.parquet", "val.jsonl"]);
        assert!(matches!(DataSet::open(&[dir.path().to_path_buf()]), Err(DataError::NothingToTrainOn { .. })));
        // Files that are named one by one are meant to be used.
        let paths = ["val.jsonl", "test-0.parquet"].map(|name| dir.path().join(name));
        let set = DataSet::open(&paths).unwrap();
        assert_eq!((names(set.files_of(Split::Train)), set.validation_by()), (vec!["test-0.parquet".into()], ValidationBy::Last));
        let set = DataSet::open(&paths[..1]).unwrap();
        assert_eq!((names(set.files_of(Split::Train)), set.validation_by()), (vec!["val.jsonl".into()], ValidationBy::HeldOut));
    }

    #[test]
    fn a_file_named_twice_counts_once_and_serves_both_splits() {
        let dir = folder_of(&["a.txt"]);
        let set = DataSet::open(&[dir.path().join("a.txt"), dir.path().to_path_buf()]).unwrap();
        assert_eq!(names(set.files_of(Split::Train)), ["a.txt"]);
        assert_eq!(names(set.files_of(Split::Val)), ["a.txt"]);
        assert!((0..100).all(|record| set.keeps(Split::Train, record) != set.keeps(Split::Val, record)));
        assert!(set.keeps(Split::Val, 1) && set.keeps(Split::Val, 21) && !set.keeps(Split::Val, 20));
    }

    #[test]
    fn a_json_file_is_read_where_it_is_named_and_holds_lines() {
        let dir = folder_of(&["a.txt"]);
        let path = dir.path().join("a.json");
        for (text, lines) in [
            ("{\"text\": \"one\"}\n{\"text\": \"two\"}\n", true),
            ("{\"a\": [1]}", true),
            ("[{\"text\": 1}]", false),
            ("{\n \"text\": 1}", false),
        ] {
            std::fs::write(&path, text).unwrap();
            let set = DataSet::open(std::slice::from_ref(&path));
            assert_eq!(set.is_ok(), lines, "{text}");
            let set = DataSet::open(&[dir.path().to_path_buf()]).unwrap();
            assert_eq!((names(set.files()), set.passed_over().len()), (vec!["a.txt".into()], 1));
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let dir = folder_of(&["notes.md"]);
        let open = |path: PathBuf| DataSet::open(&[path]).unwrap_err();
        assert!(matches!(open(dir.path().to_path_buf()), DataError::NoUsableFiles { .. }));
        assert!(matches!(open(dir.path().join("notes.md")), DataError::UnknownFormat { .. }));
        assert!(matches!(open(dir.path().join("missing.txt")), DataError::NotFound { .. }));
        std::fs::write(dir.path().join("empty.txt"), "").unwrap();
        assert!(matches!(open(dir.path().to_path_buf()), DataError::Empty { .. }));
        assert!(matches!(DataSet::open(&[]), Err(DataError::NoPath)));
    }
}
