//! Fingerprints of data sets: the names, sizes and contents of their files, independent of the folder.
//!
//! Contents are hashed entirely, so that a changed word of the same length is noticed. That takes as long as reading, so the
//! digest of a file is cached by its path, size and modification time.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::DataError;
use super::file::DataFile;
use crate::files::digest::{hex, sha256_of};
use crate::files::kept;

/// Digits of a content's digest that are kept: half of them.
const DIGITS: usize = 32;
/// Hashing more than this takes so long that it is announced.
const MUCH: u64 = 4 << 30;
/// The most differences that are listed.
const MOST_NAMED: usize = 5;
/// A file that changed this recently may change again with the same modification time.
const SETTLED: Duration = Duration::from_secs(2);

/// Identifies a data set: a state saved while reading one must not be resumed with another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The number of files.
    pub files: usize,
    /// Their total size in bytes.
    pub bytes: u64,
    /// SHA-256 over the files' names and sizes, in order, as hexadecimal digits.
    pub sha256: String,
    /// The files, in order. States from before contents were hashed have none.
    #[serde(default, skip_serializing_if = "Contents::is_empty")]
    contents: Contents,
}

/// The files of a data set. Shared, because a state is created after every batch, and there may be thousands of files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Content>", into = "Vec<Content>")]
struct Contents(Arc<[Content]>);

impl Contents {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn iter(&self) -> std::slice::Iter<'_, Content> {
        self.0.iter()
    }
}

impl From<Vec<Content>> for Contents {
    fn from(contents: Vec<Content>) -> Self {
        Self(contents.into())
    }
}

impl From<Contents> for Vec<Content> {
    fn from(contents: Contents) -> Self {
        contents.0.to_vec()
    }
}

/// A file: its name, its bytes, and the first half of the SHA-256 of its content as hexadecimal digits. There may be
/// thousands, so they are written as lists without keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Content(String, u64, String);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} files, {} bytes, {}", self.files, self.bytes, self.sha256.get(..8).unwrap_or(&self.sha256))
    }
}

impl Fingerprint {
    /// The fingerprint of files in reading order. Reads every file whose digest is not in `known`.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn of(files: &[DataFile], known: &mut Digests) -> Result<Self, DataError> {
        let digests = known.of(files)?;
        let mut hash = Sha256::new();
        let mut contents = Vec::with_capacity(files.len());
        for (file, digest) in files.iter().zip(digests) {
            let name = file.path.file_name().unwrap_or_default();
            hash.update((name.len() as u64).to_le_bytes());
            hash.update(name.as_encoded_bytes());
            hash.update(file.bytes.to_le_bytes());
            contents.push(Content(name.to_string_lossy().into_owned(), file.bytes, digest));
        }
        Ok(Self {
            files: files.len(),
            bytes: files.iter().map(|file| file.bytes).sum(),
            sha256: hex(&hash.finalize()),
            contents: contents.into(),
        })
    }

    /// Whether both have files of the same names in the same order, as far as this one knows them.
    pub fn same_names(&self, other: &Self) -> bool {
        fn names(print: &Fingerprint) -> impl Iterator<Item = &str> {
            print.contents.iter().map(|content| content.0.as_str())
        }
        if self.contents.is_empty() { self.files == other.files } else { names(self).eq(names(other)) }
    }

    /// The differences to `now`, each as a clause; none if it is the same data.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        if self.contents.is_empty() {
            let same = (self.files, self.bytes, &self.sha256) == (now.files, now.bytes, &now.sha256);
            return if same { Vec::new() } else { vec![format!("it was {self}, and is now {now}")] };
        }
        let before: BTreeMap<&str, &Content> = self.contents.iter().map(|content| (content.0.as_str(), content)).collect();
        let after: BTreeMap<&str, &Content> = now.contents.iter().map(|content| (content.0.as_str(), content)).collect();
        let mut found = Vec::new();
        for Content(name, bytes, digest) in self.contents.iter() {
            found.extend(match after.get(name.as_str()) {
                None => Some(format!("{name} is missing")),
                Some(now) if now.1 != *bytes => Some(format!("{name} had {bytes} bytes and has {} now", now.1)),
                Some(now) if now.2 != *digest => Some(format!("{name} was changed, though its size is the same")),
                Some(_) => None,
            });
        }
        found.extend(now.contents.iter().filter(|content| !before.contains_key(content.0.as_str())).map(|new| format!("{} is new", new.0)));
        if found.is_empty() && self.contents != now.contents {
            found.push("the files come in another order".to_owned());
        }
        if found.len() > MOST_NAMED {
            let more = found.len() - MOST_NAMED;
            found.truncate(MOST_NAMED);
            found.push(format!("and {more} more"));
        }
        found
    }
}

/// Digests of files' contents, cached in a file.
#[derive(Debug, Default)]
pub struct Digests {
    path: Option<PathBuf>,
    known: BTreeMap<String, Known>,
}

/// The digest of a file with this size and modification time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Known {
    bytes: u64,
    /// Seconds and nanoseconds since 1970.
    changed: (u64, u32),
    digest: String,
}

impl Digests {
    /// The digests in `folder/digests.json`. An unreadable file is replaced.
    pub fn open(folder: &Path) -> Self {
        let path = folder.join("digests.json");
        let known = kept::read(&path);
        Self { path: Some(path), known }
    }

    /// The digest of each file, computed on all cores.
    fn of(&mut self, files: &[DataFile]) -> Result<Vec<String>, DataError> {
        let keys: Vec<String> = files.iter().map(|file| absolute(&file.path)).collect();
        let unknown: u64 = files.iter().zip(&keys).filter(|(file, key)| self.get(file, key).is_none()).map(|(file, _)| file.bytes).sum();
        if unknown > MUCH {
            tracing::info!("reading {:.0} GiB of data once, to know it again when the run is resumed", unknown as f64 / f64::from(1 << 30));
        }
        let this = &*self;
        let fresh: Vec<(Known, bool)> = files
            .par_iter()
            .zip(&keys)
            .map(|(file, key)| match this.get(file, key) {
                Some(known) => Ok((known.clone(), false)),
                None => hashed(file),
            })
            .collect::<Result<_, DataError>>()?;
        let settled = SystemTime::now().checked_sub(SETTLED).map(since_1970).unwrap_or_default();
        let mut learnt = false;
        for ((known, new), key) in fresh.iter().zip(keys) {
            if *new && known.changed < settled {
                self.known.insert(key, known.clone());
                learnt = true;
            }
        }
        if let Some(path) = self.path.as_ref().filter(|_| learnt)
            && let Err(error) = kept::write(path, &self.known)
        {
            tracing::debug!(%error, "the digests of data files were not saved");
        }
        Ok(fresh.into_iter().map(|(known, _)| known.digest).collect())
    }

    fn get(&self, file: &DataFile, key: &str) -> Option<&Known> {
        let changed = std::fs::metadata(&file.path).and_then(|metadata| metadata.modified()).ok()?;
        self.known.get(key).filter(|known| known.bytes == file.bytes && known.changed == since_1970(changed))
    }
}

fn hashed(file: &DataFile) -> Result<(Known, bool), DataError> {
    let read = || -> io::Result<Known> {
        let open = File::open(&file.path)?;
        let changed = open.metadata()?.modified().map_or((0, 0), since_1970);
        let mut digest = sha256_of(open)?;
        digest.truncate(DIGITS);
        Ok(Known { bytes: file.bytes, changed, digest })
    };
    read().map(|known| (known, true)).map_err(DataError::io(&file.path))
}

fn absolute(path: &Path) -> String {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf()).to_string_lossy().into_owned()
}

fn since_1970(time: SystemTime) -> (u64, u32) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs(), since.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::DataSet;

    fn write(dir: &tempfile::TempDir, files: &[(&str, &str)]) -> DataSet {
        files.iter().for_each(|(name, text)| std::fs::write(dir.path().join(name), text).unwrap());
        DataSet::open(&[dir.path().to_path_buf()]).unwrap()
    }

    fn print(set: &DataSet) -> Fingerprint {
        set.fingerprint(&mut Digests::default()).unwrap()
    }

    #[test]
    fn what_differs_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let files = [("a.txt", "one"), ("b.txt", "two"), ("c.txt", "three")];
        let first = print(&write(&dir, &files));
        assert_eq!(first.differences(&first), [""; 0]);
        let differ = |change: &[(&str, &str)], removed: Option<&str>| {
            let other = tempfile::tempdir().unwrap();
            write(&other, &files);
            removed.iter().for_each(|name| std::fs::remove_file(other.path().join(name)).unwrap());
            first.differences(&print(&write(&other, change))).join("; ")
        };
        assert_eq!(differ(&[], None), "", "another folder is the same data");
        assert_eq!(differ(&[("b.txt", "owt")], None), "b.txt was changed, though its size is the same");
        assert_eq!(differ(&[("b.txt", "longer")], None), "b.txt had 3 bytes and has 6 now");
        assert_eq!(differ(&[("d.txt", "new")], Some("a.txt")), "a.txt is missing; d.txt is new");
        let paths: Vec<PathBuf> = ["b.txt", "a.txt", "c.txt"].iter().map(|name| dir.path().join(name)).collect();
        assert_eq!(first.differences(&print(&DataSet::open(&paths).unwrap())), ["the files come in another order"]);
        assert!(!first.same_names(&print(&DataSet::open(&paths).unwrap())));
    }

    #[test]
    fn a_fingerprint_from_before_contents_were_hashed_knows_names_and_sizes() {
        let dir = tempfile::tempdir().unwrap();
        let now = print(&write(&dir, &[("a.txt", "one"), ("b.txt", "two")]));
        let old = Fingerprint { contents: Contents::default(), ..now.clone() };
        let read: Fingerprint = serde_json::from_value(serde_json::to_value(&old).unwrap()).unwrap();
        assert!(read == old && read.differences(&now).is_empty());
        let longer = print(&write(&dir, &[("a.txt", "more")]));
        assert_eq!(read.differences(&longer).len(), 1);
    }

    #[test]
    fn a_digest_is_remembered_until_the_file_changes() {
        let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let set = write(&dir, &[("a.txt", "one"), ("b.txt", "two")]);
        let print = |set: &DataSet| set.fingerprint(&mut Digests::open(cache.path())).unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        let touch = |name: &str, time| File::options().append(true).open(dir.path().join(name)).unwrap().set_modified(time).unwrap();
        touch("a.txt", long_ago);
        let first = print(&set);
        // Only the settled file is remembered: a digest that is changed in the cache shows that it is used.
        let path = cache.path().join("digests.json");
        let mut known: BTreeMap<String, Known> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(known.len(), 1);
        known.values_mut().for_each(|known| known.digest = "0".repeat(32));
        std::fs::write(&path, serde_json::to_vec(&known).unwrap()).unwrap();
        assert_eq!(first.differences(&print(&set)), ["a.txt was changed, though its size is the same"]);
        touch("a.txt", long_ago + Duration::from_secs(1));
        assert_eq!(print(&set), first);
    }
}
