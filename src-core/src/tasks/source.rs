//! Where the files of a data set are: in a folder of the user's, or in the cache of the Hugging Face hub.

use std::path::{Path, PathBuf};

use super::{Sources, Split, TaskError, arrow};
use crate::data::Format;

/// The files of a split.
pub struct Files {
    /// Names of the split in a folder of the user's; the first that exists is used.
    pub splits: &'static [&'static str],
    /// Prefixes of its parquet files on the hub; the first that exists is used.
    pub on_hub: &'static [&'static str],
}

/// A data set on the hub.
pub struct HubSet {
    /// The task's name.
    pub name: &'static str,
    /// The repository, as `owner/name`.
    pub repo: &'static str,
    /// The files of a split.
    pub files: fn(Split) -> Files,
}

impl HubSet {
    /// The files of `split`, sorted by name: from `sources.data` if it is given, else from the hub or the cache.
    ///
    /// In a folder DIR they are found as, for `train` of gsm8k, `DIR/gsm8k/train.parquet`,
    /// `DIR/gsm8k/train-00000-of-00001.parquet`, `DIR/gsm8k/train/*.parquet` or the same with `.arrow` or `.jsonl`; instead of
    /// `gsm8k` the folder may be named `openai--gsm8k` or be `openai/gsm8k`, and have the hub's own folders in it
    /// (`DIR/openai/gsm8k/main/train-00000-of-00001.parquet`). Of several formats the first of these three is taken.
    pub fn locate(&self, split: Split, sources: &Sources) -> Result<Vec<PathBuf>, TaskError> {
        let files = (self.files)(split);
        match &sources.data {
            Some(folder) => self.in_folder(folder, split, &files),
            None => self.on_hub(&files, sources),
        }
    }

    fn in_folder(&self, folder: &Path, split: Split, files: &Files) -> Result<Vec<PathBuf>, TaskError> {
        let last = self.repo.rsplit('/').next().unwrap_or(self.repo);
        for name in [self.name, &self.repo.replace('/', "--"), self.repo, last] {
            let home = folder.join(name);
            for wanted in files.splits {
                // What the hub's layout calls this split, and the folder that it is in.
                let nested = files.on_hub.iter().filter_map(|prefix| prefix.rsplit_once('/'));
                let nested = nested.map(|(inner, start)| (home.join(inner), start.trim_end_matches('-')));
                for (place, wanted) in std::iter::once((home.clone(), *wanted)).chain(nested) {
                    let found = files_of_split(&place, wanted)?;
                    if !found.is_empty() {
                        return Ok(found);
                    }
                }
            }
        }
        let example = Path::new(self.name).join(format!("{}.parquet", files.splits[0])).display().to_string();
        Err(TaskError::NotInFolder { folder: folder.to_path_buf(), task: self.name, split, example })
    }

    #[cfg(feature = "net")]
    fn on_hub(&self, files: &Files, sources: &Sources) -> Result<Vec<PathBuf>, TaskError> {
        let hub = crate::data::download::hub::Hub::new(&sources.cache, sources.offline);
        super::hub::files(&hub, self.name, self.repo, files.on_hub)
    }

    #[cfg(not(feature = "net"))]
    fn on_hub(&self, _: &Files, _: &Sources) -> Result<Vec<PathBuf>, TaskError> {
        Err(TaskError::NoNetwork { task: self.name })
    }
}

/// The usable files in `folder` that are of `split` by their name, and all those in a folder of that name; none if there
/// is no such folder.
fn files_of_split(folder: &Path, split: &str) -> Result<Vec<PathBuf>, TaskError> {
    let mut found = list(folder)?;
    found.retain(|path| stem_of(path).is_some_and(|stem| is_of_split(&stem, split)));
    if found.is_empty() {
        found = list(&folder.join(split))?;
    }
    for preferred in [|path: &Path| Format::of(path) == Some(Format::Parquet), arrow::is_named] {
        if found.iter().any(|path| preferred(path)) {
            found.retain(|path| preferred(path));
        }
    }
    found.sort();
    Ok(found)
}

/// The name in lower case, without the extensions of its format; nothing if no task reads it.
fn stem_of(path: &Path) -> Option<String> {
    let arrow = || arrow::is_named(path).then(|| path.file_stem()?.to_str().map(str::to_lowercase)).flatten();
    Format::stem_of(path).or_else(arrow)
}

/// Whether a file name without its extension is `split`, or that and the number of a part.
fn is_of_split(stem: &str, split: &str) -> bool {
    stem.strip_prefix(split).is_some_and(|rest| {
        let mut rest = rest.chars();
        match rest.next() {
            None => true,
            Some('-' | '_' | '.') => rest.next().is_some_and(|digit| digit.is_ascii_digit()),
            Some(_) => false,
        }
    })
}

/// The parquet, Arrow and `.jsonl` files directly in a folder; none if there is no such folder.
fn list(folder: &Path) -> Result<Vec<PathBuf>, TaskError> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(TaskError::io(folder))? {
        let entry = entry.map_err(TaskError::io(folder))?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let usable = matches!(Format::of(&entry.path()), Some(Format::Parquet | Format::JsonLines)) || arrow::is_named(&entry.path());
        if !hidden && usable && entry.path().is_file() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: HubSet = HubSet { name: "sums", repo: "some-one/all-sums", files };

    fn files(split: Split) -> Files {
        match split {
            Split::Train => Files { splits: &["extra_train", "train"], on_hub: &["main/extra_train-", "extra/train-"] },
            Split::Validation | Split::Test => Files { splits: &["test"], on_hub: &["main/test-"] },
        }
    }

    /// What is found for `split` among `paths`, as paths from the folder.
    fn found(paths: &[&str], split: Split) -> Result<Vec<String>, TaskError> {
        let dir = tempfile::tempdir().unwrap();
        for path in paths {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let sources =
            Sources { data: Some(dir.path().to_path_buf()), offline: true, cache: dir.path().join("cache"), files: Default::default() };
        let found = SET.locate(split, &sources)?;
        Ok(found.iter().map(|path| path.strip_prefix(dir.path()).unwrap().to_str().unwrap().replace('\\', "/")).collect())
    }

    #[test]
    fn files_are_found_under_every_name_that_a_folder_may_have() {
        for path in [
            "sums/test.parquet",
            "sums/test.jsonl",
            "sums/test-00000-of-00001.parquet",
            "sums/test_0.JSONL",
            "sums/test.arrow",
            "sums/test/data-00000-of-00001.arrow",
            "some-one/all-sums/main/test/data-00000-of-00001.Arrow",
            "sums/test.jsonl.gz",
            "sums/test-0.ndjson.zst",
            "sums/test/0000.parquet",
            "sums/main/test-00000-of-00001.parquet",
            "some-one--all-sums/test.jsonl",
            "some-one--all-sums/main/test/00000.parquet",
            "some-one/all-sums/main/test-00000-of-00001.parquet",
            "all-sums/test.parquet",
        ] {
            assert_eq!(found(&[path, "sums/train.parquet", "sums/readme.md"], Split::Validation).unwrap(), [path]);
        }
        for path in ["sums/extra/train-00000-of-00001.parquet", "sums/main/extra_train-0.parquet", "sums/train.jsonl"] {
            assert_eq!(found(&[path, "sums/test.parquet"], Split::Train).unwrap(), [path]);
        }
    }

    #[test]
    fn parts_are_sorted_and_parquet_goes_before_arrow_and_jsonl() {
        let paths = ["sums/test-00001-of-00002.parquet", "sums/test.jsonl", "sums/test-00000-of-00002.parquet", "sums/.test-3.parquet"];
        assert_eq!(found(&paths, Split::Validation).unwrap(), ["sums/test-00000-of-00002.parquet", "sums/test-00001-of-00002.parquet"]);
        assert_eq!(found(&["sums/test.jsonl", "sums/test.arrow"], Split::Validation).unwrap(), ["sums/test.arrow"]);
    }

    #[test]
    fn files_of_other_splits_and_tasks_are_not_taken() {
        for path in ["sums/test_socratic.jsonl", "sums/tests.parquet", "sums/test.txt", "other/test.parquet", "test.parquet"] {
            let error = found(&[path], Split::Validation).unwrap_err();
            assert!(matches!(error, TaskError::NotInFolder { .. }), "{path}: {error}");
            assert!(error.to_string().contains("sums for validation") && error.to_string().contains("test.parquet"), "{error}");
        }
    }
}
