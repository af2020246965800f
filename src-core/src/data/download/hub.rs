//! Which files a repository of the Hugging Face hub has, and where.
//!
//! `hf-hub` is asked for that alone; the downloader here moves the bytes, because it goes on where it was cut, bears
//! silence, and checks digests. An answer names one revision, so that no two are ever mixed.

use std::path::{Component, Path};
use std::time::Duration;

use hf_hub::api::RepoInfo;
use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use serde::{Deserialize, Serialize};

use super::Patience;

/// The hub's address unless `HF_ENDPOINT` names another.
const ENDPOINT: &str = "https://huggingface.co";

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepoKind {
    /// Data.
    Dataset,
    /// A model.
    Model,
}

/// Which files a repository has at a revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// The revision, as a name that will not move.
    pub revision: String,
    /// The paths of its files.
    pub files: Vec<String>,
}

/// Why there is no listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unlisted {
    /// The hub will not give it, however often it is asked.
    Refused {
        /// What it answered.
        reason: String,
    },
    /// It was asked in vain for so long that it was given up.
    GaveUp {
        /// How often, and what happened last.
        reason: String,
    },
    /// No request could be made at all.
    Client {
        /// What the client said.
        reason: String,
    },
}

/// The hub's address: `$HF_ENDPOINT`, or the public one.
pub fn endpoint() -> String {
    let given = std::env::var("HF_ENDPOINT").ok().filter(|endpoint| !endpoint.trim().is_empty());
    given.as_deref().map_or(ENDPOINT, |endpoint| endpoint.trim().trim_end_matches('/')).to_owned()
}

/// The address that the paths of a repository's files are appended to.
pub fn files_url(endpoint: &str, kind: RepoKind, repo: &str, revision: &str) -> String {
    let folder = match kind {
        RepoKind::Dataset => "/datasets",
        RepoKind::Model => "",
    };
    // A revision is one part of the path: a branch may have a slash in its name.
    format!("{endpoint}{folder}/{repo}/resolve/{}", revision.replace('/', "%2F"))
}

/// Asks which files `repo` has at `revision`, or now, again and again while that may help; `tell` hears why and how long
/// it is waited for. Nothing is written to `cache`.
pub fn ask(
    endpoint: &str,
    cache: &Path,
    kind: RepoKind,
    repo: &str,
    revision: Option<&str>,
    patience: &Patience,
    tell: &dyn Fn(&str, Duration),
) -> Result<Listing, Unlisted> {
    // The library's own cache stays empty, and no token of the user's is read: what is fetched here is public.
    let builder = ApiBuilder::from_cache(Cache::new(cache.to_path_buf())).with_token(None).with_progress(false);
    let builder = builder.with_endpoint(endpoint.to_owned()).with_user_agent("nc-core", env!("CARGO_PKG_VERSION"));
    let api = builder.build().map_err(|error| Unlisted::Client { reason: error.to_string() })?;
    let repo_type = match kind {
        RepoKind::Dataset => RepoType::Dataset,
        RepoKind::Model => RepoType::Model,
    };
    let repo = match revision {
        Some(revision) => Repo::with_revision(repo.to_owned(), repo_type, revision.to_owned()),
        None => Repo::new(repo.to_owned(), repo_type),
    };
    let request = api.repo(repo);
    let mut wait = patience.first_wait;
    let mut tried = 0;
    loop {
        tried += 1;
        let (reason, passing) = match ask_once(&request, patience) {
            Ok(info) if is_plain(&info.sha) && !info.sha.contains('/') => {
                let files = info.siblings.into_iter().map(|file| file.rfilename).collect();
                return Ok(Listing { revision: info.sha, files });
            }
            Ok(_) => ("the answer names no revision".to_owned(), false),
            Err(fault) => fault,
        };
        if !passing {
            return Err(Unlisted::Refused { reason });
        }
        if tried >= patience.tries {
            return Err(Unlisted::GaveUp { reason: format!("{tried} tries, the last: {reason}") });
        }
        tell(&reason, wait);
        std::thread::sleep(wait);
        wait = (wait * 2).min(patience.longest_wait);
    }
}

/// One request; an error says why it failed and whether another may succeed.
fn ask_once(repo: &ApiRepo, patience: &Patience) -> Result<RepoInfo, (String, bool)> {
    let request = repo.info_request().timeout(patience.stall);
    match request.call().map_err(|error| ApiError::from(Box::new(error))) {
        Ok(response) => response.into_json().map_err(|error| {
            // The text of a parser's error would quote the answer.
            let reason =
                if error.kind() == std::io::ErrorKind::InvalidData { "the answer is no list of files" } else { "the connection broke" };
            (reason.to_owned(), true)
        }),
        Err(ApiError::RequestError(error)) => {
            let said = error.to_string();
            match error.into_response() {
                Some(response) => {
                    let status = response.status();
                    Err((format!("it answered {status}"), matches!(status, 408 | 425 | 429 | 500..=599)))
                }
                None => Err((said.rsplit(": ").next().unwrap_or(&said).to_owned(), true)),
            }
        }
        Err(error) => Err((error.to_string(), false)),
    }
}

impl Listing {
    /// What was written down about a repository; none if that cannot be read.
    pub fn read(path: &Path) -> Option<Self> {
        let listing: Self = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        is_plain(&listing.revision).then_some(listing)
    }

    /// Writes it down, whole or not at all, and makes its folder if there is none.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer(&mut file, self)?;
        file.persist(path)?;
        Ok(())
    }
}

/// Whether a path from the hub stays in the folder that it is joined to.
pub fn is_plain(path: &str) -> bool {
    let plain = |component| matches!(component, Component::Normal(_));
    !path.is_empty() && !path.contains(['\\', ':', '\0']) && Path::new(path).components().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_lead_elsewhere_are_not_plain() {
        assert!(is_plain("main/train-00000-of-00001.parquet") && is_plain("0123abc"));
        for path in ["", "/etc/x.parquet", "../x.parquet", "main/../../x.parquet", "c:\\x.parquet", "a\\b", "./a/..", "a\0"] {
            assert!(!is_plain(path), "{path:?}");
        }
    }

    #[test]
    fn files_are_where_the_hub_has_them() {
        let url = |kind, revision| files_url("https://hub.example", kind, "owner/name", revision);
        assert_eq!(url(RepoKind::Model, "refs/pr/1"), "https://hub.example/owner/name/resolve/refs%2Fpr%2F1");
        assert_eq!(url(RepoKind::Dataset, "main"), "https://hub.example/datasets/owner/name/resolve/main");
    }
}
