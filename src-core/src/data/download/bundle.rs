//! The bundle of CORE's tasks: one zip archive, which is unpacked into a folder that appears whole or not at all.

use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::unzip;
use super::{Content, Download, DownloadError, Event, Patience};
use crate::files::durable::sync_folder;

/// Where the reference keeps the bundle.
pub const BUNDLE_BASE_URL: &str = "https://karpathy-public.s3.us-west-2.amazonaws.com";

/// The archive's name.
pub const BUNDLE_ARCHIVE: &str = "eval_bundle.zip";

/// The folder in the archive, and the one that it becomes.
pub const BUNDLE_FOLDER: &str = "eval_bundle";

/// A file that the bundle must have.
const CONFIG: &str = "eval_bundle/core.yaml";

/// The most entries and unpacked bytes; the bundle has about a hundred, and some hundred megabytes.
const MOST_ENTRIES: usize = 10_000;
const MOST_BYTES: u64 = 4 << 30;

/// What the archive must be.
const ARCHIVE: Content = Content { what: "zip archive", opening: b"PK\x03\x04", check };

fn check(path: &Path) -> Result<(), String> {
    let entries = File::open(path).and_then(|mut file| unzip::entries(&mut file)).map_err(|error| error.to_string())?;
    if entries.len() > MOST_ENTRIES {
        return Err(format!("it has {} entries, more than {MOST_ENTRIES}", entries.len()));
    }
    if entries.iter().any(|entry| entry.name == CONFIG) { Ok(()) } else { Err(format!("it has no {CONFIG}")) }
}

/// Fetches the bundle into `folder` and unpacks it, unless it is there. Returns its folder, and whether it was there.
///
/// # Errors
/// If it cannot be fetched or written, or the archive is not what it should be.
pub fn fetch_bundle(
    base_url: String,
    folder: &Path,
    patience: Patience,
    report: &(dyn Fn(&str, Event<'_>) + Sync),
) -> Result<(PathBuf, bool), DownloadError> {
    let target = folder.join(BUNDLE_FOLDER);
    if target.is_dir() {
        return Ok((target, true));
    }
    let download = Download { base_url, names: vec![BUNDLE_ARCHIVE.to_owned()], folder: folder.to_path_buf(), workers: 1, patience };
    download.run_for(&ARCHIVE, report)?;
    let archive = folder.join(BUNDLE_ARCHIVE);
    unpack(&archive, &target)?;
    // What it holds is in the folder now.
    std::fs::remove_file(&archive).map_err(DownloadError::io(&archive))?;
    Ok((target, false))
}

/// Unpacks the archive's folder as `target`, which must not exist.
fn unpack(path: &Path, target: &Path) -> Result<(), DownloadError> {
    let bad = |reason: String| DownloadError::Archive { path: path.to_path_buf(), reason };
    let damaged = |to: &Path| {
        let io = DownloadError::io(to);
        move |error: io::Error| match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
                DownloadError::Archive { path: path.to_path_buf(), reason: error.to_string() }
            }
            _ => io(error),
        }
    };
    let parent = target.parent().unwrap_or(Path::new("."));
    let mut file = File::open(path).map_err(DownloadError::io(path))?;
    let entries = unzip::entries(&mut file).map_err(damaged(path))?;
    if entries.iter().map(|entry| entry.bytes).sum::<u64>() > MOST_BYTES {
        return Err(bad(format!("it unpacks to more than {MOST_BYTES} bytes")));
    }
    let place = tempfile::Builder::new().prefix(".eval_bundle").tempdir_in(parent).map_err(DownloadError::io(parent))?;
    // Some systems add folders of their own.
    for entry in entries.iter().filter(|entry| Path::new(&entry.name).starts_with(BUNDLE_FOLDER)) {
        let name = Path::new(&entry.name);
        if entry.name.contains(['\\', ':', '\0']) || !name.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(bad("an entry would be written outside of its folder".to_owned()));
        }
        let to = place.path().join(name);
        let folder = if entry.is_folder() { &to } else { to.parent().unwrap_or(parent) };
        std::fs::create_dir_all(folder).map_err(DownloadError::io(folder))?;
        if !entry.is_folder() {
            let mut unpacked = File::create_new(&to).map_err(DownloadError::io(&to))?;
            unzip::unpack(&mut file, entry, &mut unpacked).map_err(damaged(&to))?;
            unpacked.sync_all().map_err(DownloadError::io(&to))?;
        }
    }
    std::fs::rename(place.path().join(BUNDLE_FOLDER), target).map_err(DownloadError::io(target))?;
    sync_folder(parent).map_err(DownloadError::io(parent))
}
