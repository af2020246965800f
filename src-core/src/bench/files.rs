//! The two files of a document: both are written completely, or neither.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// The files could not be written.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// One already exists.
    #[error("{path} already exists", path = path.display())]
    Exists {
        /// Its path.
        path: PathBuf,
    },
    /// The folder is not writable.
    #[error("cannot write to the folder {folder}: {source}", folder = folder.display())]
    Refused {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The paths of a document.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
    /// The document as JSON.
    pub json: PathBuf,
    /// The document as Markdown.
    pub markdown: PathBuf,
    force: bool,
}

impl Files {
    /// Files for an adapter and a day in `folder`, which is created if needed. Checks before anything is measured that
    /// they can be written; without `force` none may exist.
    pub fn prepare(folder: &Path, adapter: &str, date: &str, force: bool) -> Result<Self, FilesError> {
        let stem = format!("nc-core-device-{}-{date}", slug(adapter));
        let path = |ending: &str| folder.join(format!("{stem}.{ending}"));
        let files = Self { folder: folder.to_owned(), json: path("json"), markdown: path("md"), force };
        files.refused(fs::create_dir_all(folder))?;
        for path in [&files.json, &files.markdown] {
            if !force && path.exists() {
                return Err(FilesError::Exists { path: path.clone() });
            }
        }
        files.refused(NamedTempFile::new_in(folder))?;
        Ok(files)
    }

    /// Writes both. Each appears under its name only when both are on the disk.
    pub fn write(&self, json: &str, markdown: &str) -> Result<(), FilesError> {
        let whole = |text: &str| -> io::Result<NamedTempFile> {
            let mut file = NamedTempFile::new_in(&self.folder)?;
            file.write_all(text.as_bytes())?;
            // The usual permissions of new files.
            #[cfg(unix)]
            file.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
            file.as_file().sync_all()?;
            Ok(file)
        };
        let (first, second) = (self.refused(whole(json))?, self.refused(whole(markdown))?);
        self.name(first, &self.json)?;
        self.name(second, &self.markdown).inspect_err(|_| {
            // One without the other is not a document.
            let _ = fs::remove_file(&self.json);
        })
    }

    fn name(&self, file: NamedTempFile, path: &Path) -> Result<(), FilesError> {
        let named = if self.force { file.persist(path) } else { file.persist_noclobber(path) };
        match named {
            Ok(_) => Ok(()),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(FilesError::Exists { path: path.to_owned() }),
            Err(error) => self.refused(Err(error.error)),
        }
    }

    fn refused<T>(&self, outcome: io::Result<T>) -> Result<T, FilesError> {
        outcome.map_err(|source| FilesError::Refused { folder: self.folder.clone(), source })
    }
}

/// A name in lower-case letters, digits and single hyphens, of at most 60 characters.
fn slug(name: &str) -> String {
    let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { ' ' }).collect();
    let mut slug = plain.split_whitespace().collect::<Vec<_>>().join("-");
    slug.truncate(60);
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "adapter".to_owned() } else { slug.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn names_are_plain() {
        assert_eq!(slug("llvmpipe (LLVM 15.0.6, 256 bits)"), "llvmpipe-llvm-15-0-6-256-bits");
        assert_eq!(slug("../…"), "adapter");
        assert_eq!(slug(&"x ".repeat(100)).len(), 59);
    }

    #[test]
    fn both_files_are_written_and_not_over_others() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("new");
        let files = Files::prepare(&inside, "A B", "2026-11-29", false).unwrap();
        assert_eq!(names(&inside), [""; 0], "a trial left something behind");
        files.write("{}", "# A").unwrap();
        assert_eq!(names(&inside), ["nc-core-device-a-b-2026-11-29.json", "nc-core-device-a-b-2026-11-29.md"]);
        assert!(matches!(Files::prepare(&inside, "A B", "2026-11-29", false), Err(FilesError::Exists { .. })));
        assert!(matches!(files.write("{1}", "# B"), Err(FilesError::Exists { .. })));
        assert_eq!(fs::read_to_string(&files.json).unwrap(), "{}");
        Files::prepare(&inside, "A B", "2026-11-29", true).unwrap().write("{2}", "# C").unwrap();
        assert_eq!(fs::read_to_string(&files.json).unwrap(), "{2}");
        assert_eq!(names(&inside).len(), 2);
    }

    #[test]
    fn where_one_cannot_be_written_neither_is() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::prepare(folder.path(), "A", "2026-11-29", true).unwrap();
        fs::create_dir(&files.markdown).unwrap();
        assert!(files.write("{}", "# A").is_err());
        assert_eq!(names(folder.path()), ["nc-core-device-a-2026-11-29.md"]);
    }
}
