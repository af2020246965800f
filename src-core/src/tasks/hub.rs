//! Data sets of the Hugging Face hub, in a cache.
//!
//! Files are fetched by the downloader of the shards, because it resumes after interruptions, tolerates stalls, and checks
//! digests. The first list of a repository's files is saved (`CACHE/hub/OWNER--NAME/listing.json`) and names one revision,
//! so that a cache never mixes two, a resumed run reads the same files, and no further requests are needed. Delete the
//! folder to fetch the newest revision.

use std::path::{Path, PathBuf};

use super::TaskError;
use crate::data::download::hub::{Hub, Listing, RepoKind, Unlisted, is_plain};
use crate::data::download::{Content, Download, Event};
use crate::data::format::parquet::verify_whole;

/// The parquet files of `repo` whose paths begin with the first of `prefixes` that matches any, sorted. Files
/// that are not in the cache, or are damaged there, are fetched.
pub fn files(hub: &Hub, task: &'static str, repo: &'static str, prefixes: &[&'static str]) -> Result<Vec<PathBuf>, TaskError> {
    let folder = hub.folder.join(repo.replace('/', "--"));
    let written = folder.join("listing.json");
    let listing = match Listing::read(&written) {
        Some(listing) => listing,
        None if hub.offline => return Err(TaskError::Offline { task, folder }),
        None => {
            let listing = ask(hub, task, repo)?;
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
        Some((path, _)) if hub.offline && !path.exists() => return Err(TaskError::Offline { task, folder: home }),
        Some((path, reason)) if hub.offline => return Err(TaskError::Damaged { path: path.clone(), reason }),
        Some(_) => {
            fetch(task, &hub.download(RepoKind::Dataset, repo, &listing.revision, names, home))?;
        }
    }
    Ok(paths)
}

fn fetch(task: &'static str, download: &Download) -> Result<(), TaskError> {
    for parent in download.names.iter().filter_map(|name| Path::new(name).parent()) {
        let parent = download.folder.join(parent);
        std::fs::create_dir_all(&parent).map_err(TaskError::io(&parent))?;
    }
    let report = |name: &str, event: Event<'_>| match event {
        Event::Started { total, .. } => tracing::info!(task, file = name, bytes = total, "fetching"),
        Event::Waiting { reason, wait } => tracing::warn!(task, file = name, reason, seconds = wait.as_secs(), "trying again"),
        Event::Finished { bytes } => tracing::info!(task, file = name, bytes, "fetched"),
        Event::Present | Event::Advanced { .. } | Event::Failed { .. } => {}
    };
    download.run_for(&Content::parquet(check), &report).map(drop).map_err(|source| TaskError::Download { task, source })
}

/// Requests the list of files, with retries.
fn ask(hub: &Hub, task: &'static str, repo: &str) -> Result<Listing, TaskError> {
    let tell = |reason: &str, wait: std::time::Duration| tracing::warn!(task, reason, seconds = wait.as_secs(), "trying again");
    hub.ask(RepoKind::Dataset, repo, None, &tell).map_err(|fault| match fault {
        Unlisted::Refused { reason } => unlisted(hub, task, reason, "check HF_ENDPOINT"),
        Unlisted::GaveUp { reason } => unlisted(hub, task, reason, "try again later"),
    })
}

fn unlisted(hub: &Hub, task: &'static str, reason: String, advice: &'static str) -> TaskError {
    TaskError::Listing { task, url: hub.endpoint.clone(), reason, advice }
}

/// What is wrong with a fetched file, if anything is.
fn check(path: &Path) -> Result<(), String> {
    verify_whole(path).map_err(|error| match error {
        crate::data::DataError::Parquet { reason, .. } => reason,
        other => other.to_string(),
    })
}
