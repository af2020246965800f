//! Downloads public shards over an unreliable network.
//!
//! Each shard is downloaded into a partial file beside its final path, resumes after any interruption, and is renamed
//! only when it is complete: the length is what the server promised, the parquet footer can be read, its columns
//! are within the file, and the SHA-256 is the one that the hub gives. Killing a download at any moment leaves complete
//! shards and partial files, with which the next download continues.

mod bundle;
mod client;
mod error;
pub mod hub;
mod lock;
mod partial;
#[cfg(feature = "python")]
pub mod python;
mod transfer;
mod unzip;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

pub use bundle::{BUNDLE_ARCHIVE, BUNDLE_BASE_URL, BUNDLE_FOLDER, fetch_bundle};
pub use error::DownloadError;

use lock::FolderLock;
use transfer::{Fetched, Transfer};

/// Where the public shards of `karpathy/climbmix-400b-shuffle` are.
pub const BASE_URL: &str = "https://huggingface.co/datasets/karpathy/climbmix-400b-shuffle/resolve/main";
/// The number of the last public shard, which is the validation split.
pub const LAST_SHARD: u32 = 6542;

/// The name of a public shard.
pub fn shard_name(shard: u32) -> String {
    format!("shard_{shard:05}.parquet")
}

/// The names of the first `train` shards (at most all) and of the validation shard.
pub fn shard_names(train: u32) -> Vec<String> {
    (0..train.min(LAST_SHARD)).chain([LAST_SHARD]).map(shard_name).collect()
}

/// Retries and timeouts before a file is given up.
#[derive(Clone, Debug)]
pub struct Patience {
    /// Tries in a row without progress.
    pub tries: u32,
    /// The wait after the first such try; each further one doubles it.
    pub first_wait: Duration,
    /// The longest wait between tries, even if the server asks for more.
    pub longest_wait: Duration,
    /// How long a server may stall.
    pub stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { tries: 8, first_wait: Duration::from_secs(1), longest_wait: Duration::from_secs(60), stall: Duration::from_secs(30) }
    }
}

/// Progress of a file.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The file already existed.
    Present,
    /// Bytes arrive from offset `from` on; `total` if the server gives the length.
    Started {
        /// Bytes of earlier tries.
        from: u64,
        /// The file's whole length.
        total: Option<u64>,
    },
    /// `bytes` of the file have arrived.
    Advanced {
        /// Bytes so far.
        bytes: u64,
    },
    /// A try failed; the next begins after `wait`.
    Waiting {
        /// Why it failed.
        reason: &'a str,
        /// How long until the next try.
        wait: Duration,
    },
    /// The file is complete.
    Finished {
        /// Its length.
        bytes: u64,
    },
    /// The file is given up.
    Failed {
        /// Why.
        error: &'a DownloadError,
    },
}

/// The result of a download.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files that were fetched.
    pub fetched: usize,
    /// Files that already existed.
    pub present: usize,
    /// Bytes of the fetched files, including those of earlier tries.
    pub bytes: u64,
}

/// A download: which files, from where, to where.
#[derive(Clone, Debug)]
pub struct Download {
    /// The URL that file names are appended to, with a slash between.
    pub base_url: String,
    /// The names of the files.
    pub names: Vec<String>,
    /// The target folder; created if needed.
    pub folder: PathBuf,
    /// Files fetched in parallel.
    pub workers: usize,
    /// Retries and timeouts.
    pub patience: Patience,
}

impl Download {
    /// Fetches the missing files and reports progress to `report`.
    ///
    /// A file that cannot be fetched does not stop the others; a full disk does.
    pub fn run(&self, report: &(dyn Fn(&str, Event<'_>) + Sync)) -> Result<Summary, DownloadError> {
        self.run_for(&SHARD, report)
    }

    /// As [`run`](Self::run), for other files than shards of text.
    pub fn run_for(&self, content: &Content, report: &(dyn Fn(&str, Event<'_>) + Sync)) -> Result<Summary, DownloadError> {
        std::fs::create_dir_all(&self.folder).map_err(DownloadError::io(&self.folder))?;
        let _lock = FolderLock::take(&self.folder)?;
        let agent = client::agent(&self.base_url, &self.patience);
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let outcome = Mutex::new((Summary::default(), Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..self.workers.clamp(1, self.names.len().max(1)) {
                scope.spawn(|| {
                    while let Some(name) = self.names.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let tell = |event: Event<'_>| report(name, event);
                        let target = self.folder.join(name);
                        let url = format!("{}/{name}", self.base_url.trim_end_matches('/'));
                        let patience = &self.patience;
                        let transfer = Transfer { agent: &agent, url, target: &target, content, patience, stop: &stop, tell: &tell };
                        let fetched = transfer.run();
                        let mut outcome = outcome.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        match fetched {
                            Ok(Fetched::Present) => outcome.0.present += 1,
                            Ok(Fetched::Whole(bytes)) => {
                                outcome.0.fetched += 1;
                                outcome.0.bytes += bytes;
                            }
                            Ok(Fetched::Stopped) => return,
                            Err(error) => {
                                tell(Event::Failed { error: &error });
                                if error.concerns_the_disk() {
                                    stop.store(true, Ordering::Relaxed);
                                }
                                outcome.1.push(error);
                            }
                        }
                    }
                });
            }
        });
        let (summary, mut errors) = outcome.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        // The disk first: whatever else went wrong, that must be fixed first.
        errors.sort_by_key(|error| !error.concerns_the_disk());
        match errors.len() {
            0 => Ok(summary),
            1 => Err(errors.remove(0)),
            failed => Err(DownloadError::Several { failed, of: self.names.len(), first: Box::new(errors.remove(0)) }),
        }
    }
}

/// What files must contain.
#[derive(Clone, Copy, Debug)]
pub struct Content {
    /// The name of such a file, without article: "parquet file".
    pub what: &'static str,
    /// The magic bytes at the start.
    pub opening: &'static [u8],
    /// Returns what is wrong with a complete file, if anything.
    pub check: fn(&Path) -> Result<(), String>,
}

/// A shard of text.
const SHARD: Content = Content::parquet(verify);

impl Content {
    /// Parquet files that pass `check`.
    pub const fn parquet(check: fn(&Path) -> Result<(), String>) -> Self {
        Self { what: "parquet file", opening: b"PAR1", check }
    }
}

/// Whether `path` is a complete parquet file: the magic bytes at both ends, readable metadata, a column `text`, and
/// every column chunk within the file. Returns what is wrong if not.
fn verify(path: &Path) -> Result<(), String> {
    super::format::parquet::verify(path).map_err(|error| match error {
        super::DataError::Parquet { reason, .. } => reason,
        other => other.to_string(),
    })
}
