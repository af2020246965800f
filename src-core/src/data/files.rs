//! Which files make up a data set, and which documents are held out for validation.
//!
//! As in nanochat, files are sorted by name and the last one is validation. A data set of one file would leave nothing
//! to train on, so there one document in [`HELD_OUT_EVERY`] is held out instead: the 2nd, the 22nd, the 42nd, …

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::DataError;

/// In a data set of a single file, one document in this many is held out for validation.
pub const HELD_OUT_EVERY: u64 = 20;

/// The half of the data: what is trained on, or what is only measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Documents to train on.
    Train,
    /// Documents held out for validation.
    Val,
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "training",
            Self::Val => "validation",
        })
    }
}

/// How documents lie in a file; known by its extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A parquet file: a document is a row of the column `text`; rows without a value are passed over.
    Parquet,
    /// A `.jsonl` file: a document is the field `text` of the object on a line; blank lines are passed over.
    JsonLines,
    /// A `.txt` file: documents end at form feeds, at `<|endoftext|>`, and else at a blank line within 2048 bytes.
    /// See [`super::format::text`] for why.
    Text,
}

impl Format {
    /// The format that the extension of `path` names, in any case of letters.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "parquet" => Some(Self::Parquet),
            "jsonl" => Some(Self::JsonLines),
            "txt" => Some(Self::Text),
            _ => None,
        }
    }
}

/// A file of a data set.
#[derive(Clone, Debug)]
pub struct DataFile {
    /// Where it is.
    pub path: PathBuf,
    /// How documents lie in it.
    pub format: Format,
    /// Its size on disk.
    pub bytes: u64,
}

/// Tells data sets apart: a state saved while reading one must not go on in another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The number of files.
    pub files: usize,
    /// Their bytes together.
    pub bytes: u64,
    /// SHA-256 over the files' names and sizes, in order, as hexadecimal digits.
    pub sha256: String,
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} files, {} bytes, {}", self.files, self.bytes, self.sha256.get(..8).unwrap_or(&self.sha256))
    }
}

/// The files of a data set, in reading order. Never empty.
#[derive(Clone, Debug)]
pub struct DataSet {
    files: Vec<DataFile>,
}

impl DataSet {
    /// Finds the files that `paths` name: files in the order given, folders replaced by their files sorted by name.
    /// A file that is named twice counts once.
    ///
    /// Of a folder that has parquet files only these count, because notes often lie beside the shards; of any other
    /// the `.jsonl` and `.txt` files do. Hidden files and folders within folders are passed over.
    pub fn open(paths: &[PathBuf]) -> Result<Self, DataError> {
        let mut files = Vec::new();
        for path in paths {
            if std::fs::metadata(path).map_err(DataError::io(path))?.is_dir() {
                files.extend(folder(path)?);
            } else {
                let format = Format::of(path).ok_or_else(|| DataError::UnknownExtension { path: path.clone() })?;
                files.push(data_file(path.clone(), format)?);
            }
        }
        let mut seen = HashSet::new();
        files.retain(|file| seen.insert(file.path.canonicalize().unwrap_or_else(|_| file.path.clone())));
        if files.is_empty() { Err(DataError::NoPath) } else { Ok(Self { files }) }
    }

    /// Every file, in reading order.
    pub fn files(&self) -> &[DataFile] {
        &self.files
    }

    /// The files that documents of `split` are read from: the last one for validation, those before it for training;
    /// a single file serves both.
    pub fn files_of(&self, split: Split) -> &[DataFile] {
        match (self.files.len() - 1, split) {
            (0, _) => &self.files,
            (last, Split::Train) => &self.files[..last],
            (last, Split::Val) => &self.files[last..],
        }
    }

    /// Whether the document at `record` (counted from 0 within its file) of a file of `split` belongs to it.
    pub fn keeps(&self, split: Split, record: u64) -> bool {
        self.files.len() > 1 || (record % HELD_OUT_EVERY == 1) == (split == Split::Val)
    }

    /// Names and sizes of the files, folded into a digest.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        for file in &self.files {
            let name = file.path.file_name().unwrap_or_default().as_encoded_bytes();
            hash.update((name.len() as u64).to_le_bytes());
            hash.update(name);
            hash.update(file.bytes.to_le_bytes());
        }
        let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Fingerprint { files: self.files.len(), bytes: self.files.iter().map(|file| file.bytes).sum(), sha256 }
    }
}

/// The usable files right in a folder, sorted by name.
fn folder(path: &Path) -> Result<Vec<DataFile>, DataError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(DataError::io(path))? {
        let entry = entry.map_err(DataError::io(path))?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if let (false, true, Some(format)) = (hidden, entry.path().is_file(), Format::of(&entry.path())) {
            found.push((entry.path(), format));
        }
    }
    if found.iter().any(|(_, format)| *format == Format::Parquet) {
        found.retain(|(_, format)| *format == Format::Parquet);
    }
    if found.is_empty() {
        return Err(DataError::NoUsableFiles { path: path.to_path_buf() });
    }
    found.sort_by(|a, b| a.0.file_name().cmp(&b.0.file_name()));
    found.into_iter().map(|(path, format)| data_file(path, format)).collect()
}

/// A file that has at least one byte.
fn data_file(path: PathBuf, format: Format) -> Result<DataFile, DataError> {
    let bytes = std::fs::metadata(&path).map_err(DataError::io(&path))?.len();
    if bytes == 0 { Err(DataError::Empty { path }) } else { Ok(DataFile { path, format, bytes }) }
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

    #[test]
    fn a_folder_is_sorted_and_its_last_file_is_validation() {
        let dir = folder_of(&["c.jsonl", "a.txt", "b.TXT", "notes.md", ".hidden.txt"]);
        let set = DataSet::open(&[dir.path().to_path_buf()]).unwrap();
        assert_eq!(names(set.files_of(Split::Train)), ["a.txt", "b.TXT"]);
        assert_eq!(names(set.files_of(Split::Val)), ["c.jsonl"]);
        assert!((0..100).all(|record| set.keeps(Split::Train, record) && set.keeps(Split::Val, record)));
    }

    #[test]
    fn notes_beside_parquet_shards_are_no_data() {
        let dir = folder_of(&["shard_1.parquet", "shard_0.parquet", "zebra.txt"]);
        let set = DataSet::open(&[dir.path().to_path_buf()]).unwrap();
        assert_eq!(names(set.files()), ["shard_0.parquet", "shard_1.parquet"]);
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
    fn the_fingerprint_depends_on_names_sizes_and_order() {
        let dir = folder_of(&["a.txt", "b.txt"]);
        let (a, b) = (dir.path().join("a.txt"), dir.path().join("b.txt"));
        let print = |paths: &[PathBuf]| DataSet::open(paths).unwrap().fingerprint();
        let first = print(&[a.clone(), b.clone()]);
        assert_eq!(first, print(&[dir.path().to_path_buf()]));
        assert_ne!(first, print(&[b.clone(), a.clone()]));
        std::fs::write(&b, "longer than before").unwrap();
        assert_ne!(first, print(&[a, b]));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let dir = folder_of(&["notes.md"]);
        let open = |path: PathBuf| DataSet::open(&[path]).unwrap_err();
        assert!(matches!(open(dir.path().to_path_buf()), DataError::NoUsableFiles { .. }));
        assert!(matches!(open(dir.path().join("notes.md")), DataError::UnknownExtension { .. }));
        assert!(matches!(open(dir.path().join("missing.txt")), DataError::NotFound { .. }));
        std::fs::write(dir.path().join("empty.txt"), "").unwrap();
        assert!(matches!(open(dir.path().to_path_buf()), DataError::Empty { .. }));
        assert!(matches!(DataSet::open(&[]), Err(DataError::NoPath)));
    }
}
