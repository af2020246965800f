//! Errors of downloads, each as one sentence that says what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Files could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// Another download writes to the folder.
    #[error("another download{} is writing to {}; wait for it", of(.pid), .folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
        /// The process, if it is known.
        pid: Option<u32>,
    },
    /// The disk is full.
    #[error("no room is left for {}; free some space and run the same command: it continues where it stopped", .path.display())]
    NoRoom {
        /// The file that was being written.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another I/O error.
    #[error("cannot write {}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The server permanently refuses the file.
    #[error("{url} cannot be fetched: the server answered {status}; check the address")]
    Refused {
        /// The file's address.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The address cannot be used.
    #[error("{url} cannot be fetched: {reason}; check the address")]
    Address {
        /// The address.
        url: String,
        /// Why.
        reason: String,
    },
    /// Too many tries in a row made no progress.
    #[error("gave up on {url} after {tries} tries ({reason}); run the same command later: it continues where it stopped")]
    GaveUp {
        /// The file's address.
        url: String,
        /// Tries without progress.
        tries: u32,
        /// Why the last one failed.
        reason: String,
    },
    /// It is another file than the one that was asked for.
    #[error("{url} is another file than the one that this version of the program was made for; check the address")]
    Different {
        /// The file's address.
        url: String,
    },
    /// An archive that cannot be unpacked.
    #[error("{} cannot be unpacked ({reason}); delete it and run the same command again", .path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Several files failed.
    #[error("{failed} of {of} files could not be fetched; the first: {first}")]
    Several {
        /// How many.
        failed: usize,
        /// The number of files.
        of: usize,
        /// The error of the first.
        #[source]
        first: Box<DownloadError>,
    },
}

fn of(pid: &Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

impl DownloadError {
    /// Wraps an I/O error with the path it concerns, and recognises a full disk.
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Self::NoRoom { path, source },
            _ => Self::Io { path, source },
        }
    }

    /// Whether continuing with other files is useless.
    pub(super) fn concerns_the_disk(&self) -> bool {
        matches!(self, Self::NoRoom { .. } | Self::Io { .. })
    }
}
