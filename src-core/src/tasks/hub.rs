//! Data sets of the Hugging Face hub, in a cache.
//!
//! Files are fetched by the downloader of the shards, because it resumes after interruptions, tolerates stalls, and checks
//! digests. The first list of a repository's files is saved (`CACHE/hub/OWNER--NAME/listing.json`) and names one revision,
//! so that a cache never mixes two, a resumed run reads the same files, and no further requests are needed. Delete the
//! folder to fetch the newest revision.

use std::path::{Path, PathBuf};

use super::{Sources, TaskError};
use crate::data::download::hub::{self, Listing, RepoKind, Unlisted, is_plain};
use crate::data::download::{Content, Download, Event, Patience};
use crate::data::format::parquet::verify_whole;

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

impl Hub {
    /// The hub at `$HF_ENDPOINT`, or the public one, with its cache under `sources.cache`.
    pub fn new(sources: &Sources) -> Self {
        Self { endpoint: hub::endpoint(), folder: sources.cache.join("hub"), offline: sources.offline, patience: Patience::default() }
    }

    /// The parquet files of `repo` whose paths begin with the first of `prefixes` that matches any, sorted. Files
    /// that are not in the cache, or are damaged there, are fetched.
    pub fn files(&self, task: &'static str, repo: &'static str, prefixes: &[&'static str]) -> Result<Vec<PathBuf>, TaskError> {
        let folder = self.folder.join(repo.replace('/', "--"));
        let written = folder.join("listing.json");
        let listing = match Listing::read(&written) {
            Some(listing) => listing,
            None if self.offline => return Err(TaskError::Offline { task, folder }),
            None => {
                let listing = self.ask(task, repo)?;
                listing.write(&written).map_err(TaskError::io(&written))?;
                listing
            }
        };
        let named = |prefix: &str| -> Vec<String> {
            let of_split = |file: &&String| file.starts_with(prefix) && file.ends_with(".parquet") && is_plain(file);
            let mut names: Vec<String> = listing.files.iter().filter(of_split).cloned().collect();
            names.sort();
            names
        };
        let names = prefixes.iter().map(|prefix| named(prefix)).find(|names| !names.is_empty());
        let names = names.ok_or_else(|| TaskError::NotOnHub { repo, wanted: prefixes.first().copied().unwrap_or_default() })?;
        let home = folder.join(&listing.revision);
        let paths: Vec<PathBuf> = names.iter().map(|name| home.join(name)).collect();
        let damaged = paths.iter().find_map(|path| check(path).err().map(|reason| (path, reason)));
        match damaged {
            None => {}
            Some((path, _)) if self.offline && !path.exists() => return Err(TaskError::Offline { task, folder: home }),
            Some((path, reason)) if self.offline => return Err(TaskError::Damaged { path: path.clone(), reason }),
            Some(_) => {
                self.fetch(task, hub::files_url(&self.endpoint, RepoKind::Dataset, repo, &listing.revision), names, home)?;
            }
        }
        Ok(paths)
    }

    fn fetch(&self, task: &'static str, base_url: String, names: Vec<String>, folder: PathBuf) -> Result<(), TaskError> {
        for parent in names.iter().filter_map(|name| Path::new(name).parent()) {
            let parent = folder.join(parent);
            std::fs::create_dir_all(&parent).map_err(TaskError::io(&parent))?;
        }
        let download = Download { base_url, names, folder, workers: WORKERS, patience: self.patience.clone() };
        let report = |name: &str, event: Event<'_>| match event {
            Event::Started { total, .. } => tracing::info!(task, file = name, bytes = total, "fetching"),
            Event::Waiting { reason, wait } => tracing::warn!(task, file = name, reason, seconds = wait.as_secs(), "trying again"),
            Event::Finished { bytes } => tracing::info!(task, file = name, bytes, "fetched"),
            Event::Present | Event::Advanced { .. } | Event::Failed { .. } => {}
        };
        download.run_for(&Content::parquet(check), &report).map(drop).map_err(|source| TaskError::Download { task, source })
    }

    /// Requests the list of files, with retries.
    fn ask(&self, task: &'static str, repo: &str) -> Result<Listing, TaskError> {
        let tell = |reason: &str, wait: std::time::Duration| tracing::warn!(task, reason, seconds = wait.as_secs(), "trying again");
        hub::ask(&self.endpoint, RepoKind::Dataset, repo, None, &self.patience, &tell).map_err(|unlisted| match unlisted {
            Unlisted::Refused { reason } => self.unlisted(task, reason, "check HF_ENDPOINT"),
            Unlisted::GaveUp { reason } => self.unlisted(task, reason, "try again later"),
        })
    }

    fn unlisted(&self, task: &'static str, reason: String, advice: &'static str) -> TaskError {
        TaskError::Listing { task, url: self.endpoint.clone(), reason, advice }
    }
}

/// What is wrong with a fetched file, if anything is.
fn check(path: &Path) -> Result<(), String> {
    verify_whole(path).map_err(|error| match error {
        crate::data::DataError::Parquet { reason, .. } => reason,
        other => other.to_string(),
    })
}
