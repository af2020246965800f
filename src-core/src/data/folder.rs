//! The files directly in a folder, and what is skipped there.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::DataError;
use super::file::{Format, PassedOver};
use super::names;

/// How deep, and for how many entries per folder, subfolders are searched for data that is not read.
const DEEPEST: u32 = 3;
const MOST_ENTRIES: usize = 1000;

/// The contents of a folder.
pub(super) struct Folder {
    /// Readable files, sorted by name; at least one.
    pub(super) files: Vec<(PathBuf, Format)>,
    /// What was skipped and may have been meant to be read.
    pub(super) passed_over: Vec<PassedOver>,
}

impl Folder {
    /// Lists the folder `path`. Mere notes, and hidden files without data, are not reported.
    pub(super) fn list(path: &Path) -> Result<Self, DataError> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(path).map_err(DataError::io(path))? {
            entries.push(entry.map_err(DataError::io(path))?.path());
        }
        entries.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
        let names: HashSet<String> = entries.iter().map(|path| lowercase_name(path)).collect();
        let (mut files, mut passed_over, mut taken) = (Vec::new(), Vec::new(), HashSet::new());
        for path in entries {
            let unpacked = names::unpacked(&path);
            let packed = unpacked != lowercase_name(&path);
            let reason = match Format::of(&path) {
                _ if path.is_dir() => {
                    if !is_hidden(&path) && holds_data(&path, DEEPEST) {
                        passed_over.push(PassedOver { path, reason: "is a subfolder; name it to read it too" });
                    }
                    continue;
                }
                None if is_hidden(&path) || names::is_note(&path) => continue,
                None => names::advice(&path),
                Some(_) if is_hidden(&path) => "is hidden",
                Some(_) if names::is_note(&path) => "is a note by its name",
                Some(_) if !path.is_file() => "is not a file, or a broken link",
                Some(_) if packed && (names.contains(&unpacked) || taken.contains(&unpacked)) => "is a compressed copy of a file beside it",
                Some(format) => {
                    taken.insert(unpacked);
                    files.push((path, format));
                    continue;
                }
            };
            passed_over.push(PassedOver { path, reason });
        }
        if files.is_empty() {
            return Err(DataError::NoUsableFiles { path: path.to_path_buf(), hint: hint(&passed_over) });
        }
        Ok(Self { files, passed_over })
    }
}

/// Advice for a folder without data, from what is there instead.
fn hint(passed_over: &[PassedOver]) -> String {
    match passed_over.iter().find(|over| over.path.is_dir()).or(passed_over.first()) {
        Some(over) if over.path.is_dir() => {
            format!("; {} within it holds some, name that folder", over.path.file_name().unwrap_or_default().display())
        }
        Some(over) => format!("; {} {}", over.path.file_name().unwrap_or_default().display(), over.reason),
        None => String::new(),
    }
}

fn lowercase_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().to_lowercase()
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Whether a folder or subfolder has a readable file. A search that would take too long finds nothing.
fn holds_data(folder: &Path, deepest: u32) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().take(MOST_ENTRIES).map(|entry| entry.path()).filter(|path| !is_hidden(path)).any(|path| {
        if path.is_dir() { deepest > 1 && holds_data(&path, deepest - 1) } else { Format::of(&path).is_some() && !names::is_note(&path) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names, with the reason for what is skipped.
    type Listed = (Vec<String>, Vec<(String, &'static str)>);

    fn listed(paths: &[&str]) -> Result<Listed, DataError> {
        let dir = tempfile::tempdir().unwrap();
        for path in paths {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        let folder = Folder::list(dir.path())?;
        let passed_over = folder.passed_over.iter().map(|over| (name(&over.path), over.reason)).collect();
        Ok((folder.files.iter().map(|(path, _)| name(path)).collect(), passed_over))
    }

    #[test]
    fn what_may_have_been_meant_is_told_and_notes_are_not() {
        let quiet =
            ["README.md", "dataset_infos.json", ".gitattributes", ".DS_Store", "LICENSE", "load.py", "empty/notes.md", ".git/a.txt"];
        let files = ["a.parquet", "b.jsonl", "c.jsonl.zst", "d.txt.gz", "e.txt"];
        assert_eq!(listed(&[&quiet[..], &files].concat()).unwrap(), (files.map(String::from).to_vec(), vec![]));
        let passed = [".a.parquet", "README.txt", "a.csv", "b.jsonl.gz", "c.jsonl.zst", "deep/er/a.jsonl.gz"];
        let (read, told) = listed(&[&["b.jsonl", "c.jsonl.gz"][..], &passed].concat()).unwrap();
        assert_eq!(read, ["b.jsonl", "c.jsonl.gz"]);
        let told: Vec<(&str, bool)> = [".a.parquet", "README.txt", "a.csv", "b.jsonl.gz", "c.jsonl.zst", "deep"]
            .iter()
            .zip(["hidden", "note", "table", "copy", "copy", "folder"])
            .map(|(name, reason)| (*name, told.iter().any(|over| over.0 == *name && over.1.contains(reason))))
            .collect();
        assert!(told.iter().all(|(_, found)| *found), "{told:?}");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_those_to_nothing_told() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("blob"), "x").unwrap();
        std::os::unix::fs::symlink("blob", dir.path().join("a.txt")).unwrap();
        std::os::unix::fs::symlink("gone", dir.path().join("b.txt")).unwrap();
        let folder = Folder::list(dir.path()).unwrap();
        assert_eq!(folder.files, [(dir.path().join("a.txt"), Format::Text)]);
        assert!(folder.passed_over.iter().any(|over| over.reason.contains("broken link")));
    }

    #[test]
    fn a_folder_without_data_says_what_to_do() {
        for (files, words) in [
            (&["data/train.parquet", "a.csv"][..], "data within it holds some"),
            (&["README.md", "a.csv"], "a.csv is a table"),
            (&["a.json"], "name it .jsonl if"),
            (&["README.md"], "or .txt file"),
        ] {
            let said = listed(files).unwrap_err().to_string();
            assert!(said.contains("holds no .parquet") && said.contains(words), "{said}");
        }
    }
}
