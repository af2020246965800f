//! Models on the Hugging Face hub: fetched into the cache, and imported from there like any other folder.

use std::path::{Path, PathBuf};

use super::shards::{INDEX, SINGLE};
use super::{Options, hugging_face, nanochat, run_name};
use crate::checkpoint::header;
use crate::data::download::hub::{Hub, Listing, RepoKind, Unlisted, is_plain};
use crate::data::download::{Content, DownloadError, Event};
use crate::files::json;

/// A model that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The folder with its files.
    pub folder: PathBuf,
    /// A name for the run, from the repository.
    pub name: String,
}

/// Why a model could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// It is not the name of a repository.
    #[error("{0:?} names no repository of the hub: write hub:OWNER/NAME, or hub:OWNER/NAME@REVISION")]
    Name(String),
    /// The hub does not list the files.
    #[error("{endpoint} cannot be asked for the files of {repo} ({reason}); {advice}")]
    Listing {
        /// The hub's address.
        endpoint: String,
        /// The repository.
        repo: String,
        /// What happened.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
    /// It is not in the cache, and must not be fetched.
    #[error("{repo} is not in the cache ({folder}) and may not be fetched", folder = folder.display())]
    Offline {
        /// The repository.
        repo: String,
        /// The folder in the cache.
        folder: PathBuf,
    },
    /// The repository contains no known model.
    #[error("{repo} on the hub holds no model that nc-core can import: it has neither config.json with model.safetensors nor model_NNNNNN.pt with meta_NNNNNN.json{step}, but {found}", step = step.map(|step| format!(" of step {step}")).unwrap_or_default())]
    NoModel {
        /// The repository.
        repo: String,
        /// The requested step.
        step: Option<u64>,
        /// What it has.
        found: String,
    },
    /// A file could not be fetched.
    #[error("{repo} could not be fetched")]
    Download {
        /// The repository.
        repo: String,
        /// Why.
        source: DownloadError,
    },
    /// The cache cannot be written.
    #[error("cannot write {path}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

/// Fetches the model `repo` (`OWNER/NAME` or `OWNER/NAME@REVISION`), unless it is in the cache. `tell` receives the
/// list of files before the first is fetched, and `report` the progress of each.
pub fn fetch(
    hub: &Hub,
    repo: &str,
    options: &Options,
    tell: &dyn Fn(usize),
    report: &(dyn Fn(&str, Event<'_>) + Sync),
) -> Result<Fetched, HubError> {
    let (repo, revision) = parse(repo)?;
    let folder = hub.folder.join(format!("models--{}", repo.replace('/', "--")));
    let written = folder.join(format!("listing-{}.json", revision.unwrap_or("main").replace('/', "--")));
    let listing = if hub.offline {
        let none = || HubError::Offline { repo: repo.to_owned(), folder: folder.clone() };
        Listing::read(&written).ok_or_else(none)?
    } else {
        let listing = ask(hub, repo, revision)?;
        listing.write(&written).map_err(|source| HubError::Io { path: written.clone(), source })?;
        listing
    };
    let home = folder.join(&listing.revision);
    get(hub, repo, &listing, &home, needed(repo, &listing.files, options)?, tell, report)?;
    // An index lists further files.
    if let Some(shards) = sharded(&home, &listing.files) {
        get(hub, repo, &listing, &home, shards, tell, report)?;
    }
    Ok(Fetched { folder: home, name: run_name::name_after(Path::new(repo)) })
}

fn get(
    hub: &Hub,
    repo: &str,
    listing: &Listing,
    home: &Path,
    names: Vec<String>,
    tell: &dyn Fn(usize),
    report: &(dyn Fn(&str, Event<'_>) + Sync),
) -> Result<(), HubError> {
    if hub.offline {
        return match names.iter().find(|name| check(&home.join(name)).is_err()) {
            Some(_) => Err(HubError::Offline { repo: repo.to_owned(), folder: home.to_path_buf() }),
            None => Ok(()),
        };
    }
    tell(names.len());
    let download = hub.download(RepoKind::Model, repo, &listing.revision, names, home.to_path_buf());
    let content = Content { what: "file of a model", opening: b"", check };
    download.run_for(&content, report).map(drop).map_err(|source| HubError::Download { repo: repo.to_owned(), source })
}

fn ask(hub: &Hub, repo: &str, revision: Option<&str>) -> Result<Listing, HubError> {
    let tell = |reason: &str, wait: std::time::Duration| tracing::warn!(reason, seconds = wait.as_secs(), "trying again");
    let listing = hub.ask(RepoKind::Model, repo, revision, &tell);
    listing.map_err(|unlisted| {
        let (reason, advice) = match unlisted {
            Unlisted::Refused { reason } => (reason, "check the name, and HF_ENDPOINT if it is set; private repositories are not read"),
            Unlisted::GaveUp { reason } => (reason, "try again later"),
        };
        HubError::Listing { endpoint: hub.endpoint.clone(), repo: repo.to_owned(), reason, advice }
    })
}

/// The repository and the revision in `OWNER/NAME@REVISION`.
fn parse(text: &str) -> Result<(&str, Option<&str>), HubError> {
    let (repo, revision) = text.split_once('@').map_or((text, None), |(repo, revision)| (repo, Some(revision)));
    let word = |word: &str| word.starts_with(|c: char| c.is_ascii_alphanumeric()) && !word.contains("..");
    let letters = |text: &str, more: &[char]| text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c) || more.contains(&c));
    let good = |(owner, name): (&str, &str)| word(owner) && word(name) && letters(owner, &[]) && letters(name, &[]);
    let good_repo = repo.split_once('/').is_some_and(good);
    if good_repo && revision.is_none_or(|revision| word(revision) && letters(revision, &['/'])) {
        Ok((repo, revision))
    } else {
        Err(HubError::Name(text.to_owned()))
    }
}

/// The files of a repository that are needed, except for those that are only in an index.
fn needed(repo: &str, files: &[String], options: &Options) -> Result<Vec<String>, HubError> {
    let has = |name: &str| files.iter().any(|file| file == name);
    let those = |names: &[&str]| names.iter().filter(|name| has(name)).map(|name| name.to_string()).collect::<Vec<_>>();
    let weights = [SINGLE, INDEX].into_iter().find(|name| has(name));
    if let Some(weights) = weights.filter(|_| has(hugging_face::CONFIG_FILE)) {
        return Ok(those(&[hugging_face::CONFIG_FILE, weights, "tokenizer.json", "generation_config.json"]));
    }
    // The canonical name of the step: files with other spellings do not belong to a checkpoint.
    let of_checkpoint = |file: &String| nanochat::step_of(Path::new(file)).filter(|step| *file == format!("model_{step:06}.pt"));
    let mut steps: Vec<u64> = files.iter().filter_map(of_checkpoint).collect();
    steps.sort_unstable();
    let step = options.step.or(steps.last().copied()).filter(|step| steps.contains(step));
    match step.map(|step| (format!("model_{step:06}.pt"), format!("meta_{step:06}.json"))) {
        Some((model, meta)) if has(&meta) => Ok(those(&[&model, &meta, "tokenizer.pkl", "tokenizer.json", "token_bytes.pt"])),
        _ => {
            const SHOWN: usize = 6;
            let mut found = files.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
            if files.len() > SHOWN {
                found.push_str(&format!(" and {} more", files.len() - SHOWN));
            }
            let found = if files.is_empty() { "no file at all".to_owned() } else { found };
            Err(HubError::NoModel { repo: repo.to_owned(), step: options.step, found })
        }
    }
}

/// The safetensors files in a fetched index. Its content is checked when they are opened.
fn sharded(home: &Path, files: &[String]) -> Option<Vec<String>> {
    let single = home.join(SINGLE).exists();
    let beside = |file: &&String| file.ends_with(".safetensors") && !file.contains('/') && is_plain(file);
    (!single && home.join(INDEX).exists()).then(|| files.iter().filter(beside).cloned().collect())
}

/// What is wrong with a fetched file, if it can be detected without reading it all. Its type follows from its first bytes.
fn check(path: &Path) -> Result<(), String> {
    use std::io::{Read, Seek, SeekFrom};
    const END_OF_ZIP: u64 = 22 + u16::MAX as u64;
    let mut file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let bytes = file.metadata().map_err(|error| error.to_string())?.len();
    let mut head = [0; 8];
    let read = file.read(&mut head).map_err(|error| error.to_string())?;
    match head[..read] {
        [] => Err("it is empty".to_owned()),
        [b'{', ..] => {
            let mut text = Vec::new();
            file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut text)).map_err(|error| error.to_string())?;
            json::from_slice::<serde::de::IgnoredAny>(&text).map(drop).map_err(|error| error.to_string())
        }
        [b'<', ..] => Err("it is a web page".to_owned()),
        [b'v', b'e', b'r', b's', ..] => Err("it is a Git LFS pointer".to_owned()),
        [b'P', b'K', ..] => {
            let mut end = Vec::new();
            let start = SeekFrom::Start(bytes.saturating_sub(END_OF_ZIP));
            file.seek(start).and_then(|_| file.read_to_end(&mut end)).map_err(|error| error.to_string())?;
            if end.windows(4).any(|mark| mark == b"PK\x05\x06") { Ok(()) } else { Err("its end is missing".to_owned()) }
        }
        // A pickle, of protocol 2 or later.
        [0x80, 2..=5, ..] if read < 8 || u64::from_le_bytes(head) > bytes => Ok(()),
        _ if read == 8 => header::length(head, bytes).map(drop).map_err(|error| format!("it {error}")),
        _ => Err("it is too short".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_named_by_owner_and_name() {
        assert_eq!(parse("karpathy/nanochat-d32").unwrap(), ("karpathy/nanochat-d32", None));
        assert_eq!(parse("a/b.c@refs/pr/1").unwrap(), ("a/b.c", Some("refs/pr/1")));
        for bad in ["", "nanochat", "a/", "/b", "a/b/c", "../b", "a/..", "a/b@", "a/b@../x", "a b/c", "a/b@a..b", "a\\b/c"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_what_is_needed_is_fetched() {
        let needed = |files: &[&str], step| {
            let files: Vec<String> = files.iter().map(|file| file.to_string()).collect();
            needed("a/b", &files, &Options { step, ..Options::default() }).map_err(|error| error.to_string())
        };
        let published =
            ["README.md", "meta_000650.json", "model_000650.pt", "model_000010.pt", "meta_000010.json", "token_bytes.pt", "tokenizer.pkl"];
        assert_eq!(needed(&published, None).unwrap(), ["model_000650.pt", "meta_000650.json", "tokenizer.pkl", "token_bytes.pt"]);
        assert_eq!(needed(&published, Some(10)).unwrap()[0], "model_000010.pt");
        assert!(needed(&published, Some(11)).unwrap_err().contains("of step 11"));
        let transformers = ["config.json", "model.safetensors", "optimizer.bin", "tokenizer.json"];
        assert_eq!(needed(&transformers, None).unwrap(), ["config.json", "model.safetensors", "tokenizer.json"]);
        assert!(needed(&["a", "b", "model_7.pt"], None).unwrap_err().contains("but a, b, model_7.pt"));
        assert!(needed(&[], None).unwrap_err().contains("no file at all"));
    }

    #[test]
    fn what_was_cut_is_not_whole() {
        let folder = tempfile::tempdir().unwrap();
        let check = |bytes: &[u8]| {
            let path = folder.path().join("file");
            std::fs::write(&path, bytes).unwrap();
            check(&path)
        };
        assert_eq!(check(b"{\"a\": 1}\n"), Ok(()));
        assert_eq!(check(b"{\"a\": NaN}\n"), Ok(()));
        assert_eq!(check(&[b"PK\x03\x04", &[0; 100][..], b"PK\x05\x06", &[0; 18]].concat()), Ok(()));
        assert_eq!(check(&[&2u64.to_le_bytes()[..], b"{}"].concat()), Ok(()));
        assert_eq!(check(b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00."), Ok(()));
        for bad in [&b""[..], b"{\"a\": ", b"<!doctype html>", b"PK\x03\x04abc", b"short", &[&9u64.to_le_bytes()[..], b"{}"].concat()] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
