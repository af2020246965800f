//! The Hugging Face hub: lists and downloads the files of a repository.
//!
//! A listing names one revision, so that no two are ever mixed. The user's token is not read: everything fetched here is public.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use ureq::Agent;

use super::client::{self, Unanswered};
use super::{Download, Patience};

/// The hub's address unless `HF_ENDPOINT` names another.
const ENDPOINT: &str = "https://huggingface.co";

/// The longest listing that is read, in bytes: enough for about half a million files.
const LONGEST_LISTING: u64 = 64 << 20;

/// Files fetched in parallel.
const WORKERS: usize = 4;

/// The hub, or a mirror of it.
#[derive(Clone, Debug)]
pub struct Hub {
    /// Its address.
    pub endpoint: String,
    /// The folder of fetched files.
    pub folder: PathBuf,
    /// Whether requests are forbidden.
    pub offline: bool,
    /// Timeouts and retries.
    pub patience: Patience,
}

/// The kind of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepoKind {
    /// Data.
    Dataset,
    /// A model.
    Model,
}

/// The files of a repository at a revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// The revision, as an immutable name.
    pub revision: String,
    /// The paths of its files.
    pub files: Vec<String>,
}

/// Why there is no listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unlisted {
    /// The hub permanently refuses it.
    Refused {
        /// Its answer.
        reason: String,
    },
    /// Too many tries failed.
    GaveUp {
        /// How many, and the last failure.
        reason: String,
    },
}

/// The hub's address: `$HF_ENDPOINT`, or the public one.
fn endpoint() -> String {
    let given = std::env::var("HF_ENDPOINT").ok().filter(|endpoint| !endpoint.trim().is_empty());
    given.as_deref().map_or(ENDPOINT, |endpoint| endpoint.trim().trim_end_matches('/')).to_owned()
}

/// The address that the paths of a repository's files are appended to.
fn files_url(endpoint: &str, kind: RepoKind, repo: &str, revision: &str) -> String {
    let folder = match kind {
        RepoKind::Dataset => "/datasets",
        RepoKind::Model => "",
    };
    // A revision is one path segment: a branch name may contain a slash.
    format!("{endpoint}{folder}/{repo}/resolve/{}", revision.replace('/', "%2F"))
}

/// The hub's address for the list of a repository's files.
fn listing_url(endpoint: &str, kind: RepoKind, repo: &str, revision: &str) -> String {
    let kind = match kind {
        RepoKind::Dataset => "datasets",
        RepoKind::Model => "models",
    };
    format!("{endpoint}/api/{kind}/{repo}/revision/{}", revision.replace('/', "%2F"))
}

impl Hub {
    /// The hub at `$HF_ENDPOINT`, or the public one, with its files under `cache`.
    pub fn new(cache: &Path, offline: bool) -> Self {
        Self { endpoint: endpoint(), folder: cache.join("hub"), offline, patience: Patience::default() }
    }

    /// Requests the files of `repo` at `revision`, or at the newest, with retries; `tell` receives the reason and length of
    /// each wait.
    pub fn ask(&self, kind: RepoKind, repo: &str, revision: Option<&str>, tell: &dyn Fn(&str, Duration)) -> Result<Listing, Unlisted> {
        let patience = &self.patience;
        let url = listing_url(&self.endpoint, kind, repo, revision.unwrap_or("main"));
        let agent = client::agent(&url, patience);
        let mut wait = patience.first_wait;
        let mut tried = 0;
        loop {
            tried += 1;
            let reason = match ask_once(&agent, &url) {
                Ok(listing) => return Ok(listing),
                Err(Fault::Final(reason)) => return Err(Unlisted::Refused { reason }),
                Err(Fault::Passing(reason)) => reason,
            };
            if tried >= patience.tries {
                return Err(Unlisted::GaveUp { reason: format!("{tried} tries, the last: {reason}") });
            }
            tell(&reason, wait);
            std::thread::sleep(wait);
            wait = (wait * 2).min(patience.longest_wait);
        }
    }

    /// The download of the files `names` of `repo` at `revision` into `folder`.
    pub fn download(&self, kind: RepoKind, repo: &str, revision: &str, names: Vec<String>, folder: PathBuf) -> Download {
        let base_url = files_url(&self.endpoint, kind, repo, revision);
        Download { base_url, names, folder, workers: WORKERS, patience: self.patience.clone() }
    }
}

/// Why a request gave no listing.
enum Fault {
    /// A retry may succeed.
    Passing(String),
    /// A retry cannot succeed.
    Final(String),
}

/// The needed part of the hub's answer.
#[derive(Deserialize)]
struct RepoInfo {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// One request.
fn ask_once(agent: &Agent, url: &str) -> Result<Listing, Fault> {
    let mut response = client::get(agent, url, &[], &mut |_| {}).map_err(|unanswered| match unanswered {
        Unanswered::Address(reason) => Fault::Final(reason),
        Unanswered::Broken(reason) => Fault::Passing(reason),
    })?;
    match response.status().as_u16() {
        200 => {}
        status @ (408 | 425 | 429 | 500..=599) => return Err(Fault::Passing(format!("it answered {status}"))),
        status => return Err(Fault::Final(format!("it answered {status}"))),
    }
    let body = response.body_mut().with_config().limit(LONGEST_LISTING).read_to_vec();
    let body = body.map_err(|error| match error {
        ureq::Error::BodyExceedsLimit(_) => Fault::Final(format!("the answer is longer than {LONGEST_LISTING} bytes")),
        _ => Fault::Passing("the connection broke".to_owned()),
    })?;
    // A parser's error would quote the answer.
    let info: RepoInfo = serde_json::from_slice(&body).map_err(|_| Fault::Passing("the answer is not a list of files".to_owned()))?;
    if !is_plain(&info.sha) || info.sha.contains('/') {
        return Err(Fault::Final("the answer names no revision".to_owned()));
    }
    Ok(Listing { revision: info.sha, files: info.siblings.into_iter().map(|file| file.rfilename).collect() })
}

impl Listing {
    /// The saved listing of a repository; none if it cannot be read.
    pub fn read(path: &Path) -> Option<Self> {
        let listing: Self = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        is_plain(&listing.revision).then_some(listing)
    }

    /// Saves it, whole or not at all, and creates its folder if needed.
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
        let listed = |kind, revision| listing_url("https://hub.example", kind, "owner/name", revision);
        assert_eq!(listed(RepoKind::Model, "refs/pr/1"), "https://hub.example/api/models/owner/name/revision/refs%2Fpr%2F1");
        assert_eq!(listed(RepoKind::Dataset, "main"), "https://hub.example/api/datasets/owner/name/revision/main");
    }
}
