//! A file on its way: `NAME.part`, which only ever grows, and `NAME.part.json`, which says of which version of the
//! remote file it is the beginning. The second is written before the first byte, so a kill at any moment leaves a
//! beginning that can be gone on with, or one that is known to be of no use.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::DownloadError;

/// Tells versions of a remote file apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The strong `ETag`, else `Last-Modified`: what `If-Range` may carry.
    pub validator: Option<String>,
    /// The whole length.
    pub total: Option<u64>,
    /// The SHA-256 of the whole file as hexadecimal digits, where the server tells it.
    pub sha256: Option<String>,
}

/// A file on its way to `target`.
pub struct Partial {
    target: PathBuf,
    part: PathBuf,
    note: PathBuf,
    /// Open for appending once something is to be written.
    file: Option<File>,
    version: Version,
    len: u64,
}

impl Partial {
    /// What earlier tries left of `target`, if that is of use.
    pub fn open(target: &Path) -> Result<Self, DownloadError> {
        let beside = |ending: &str| {
            let mut name = target.file_name().unwrap_or_default().to_os_string();
            name.push(ending);
            target.with_file_name(name)
        };
        let (part, note) = (beside(".part"), beside(".part.json"));
        let version = std::fs::read(&note).ok().and_then(|note| serde_json::from_slice::<Version>(&note).ok()).unwrap_or_default();
        let found = std::fs::metadata(&part).map_or(0, |part| part.len());
        let len = if version.total.is_none_or(|total| found <= total) { found } else { 0 };
        Ok(Self { target: target.to_path_buf(), part, note, file: None, version, len })
    }

    /// Bytes that are there.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The version that they are of.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Whether all bytes are there.
    pub fn is_complete(&self) -> bool {
        self.len > 0 && self.version.total == Some(self.len)
    }

    /// Where the bytes are.
    pub fn path(&self) -> &Path {
        &self.part
    }

    /// Corrects the length to the one that the server turned out to mean.
    pub fn set_total(&mut self, total: u64) {
        self.version.total = Some(total);
    }

    /// Starts over with the first byte of `version`.
    pub fn restart(&mut self, version: Version) -> Result<(), DownloadError> {
        let file = File::create(&self.part).map_err(DownloadError::io(&self.part))?;
        self.len = 0;
        self.file = Some(file);
        let note = serde_json::json!(version).to_string();
        std::fs::write(&self.note, note).map_err(DownloadError::io(&self.note))?;
        self.version = version;
        Ok(())
    }

    /// Adds bytes at the end. A full disk keeps what was there, and as much of `bytes` as went in.
    pub fn append(&mut self, mut bytes: &[u8]) -> Result<(), DownloadError> {
        let file = match &mut self.file {
            Some(file) => file,
            closed => {
                let file = OpenOptions::new().append(true).open(&self.part).map_err(DownloadError::io(&self.part))?;
                closed.insert(file)
            }
        };
        while !bytes.is_empty() {
            match file.write(bytes) {
                Ok(0) => return Err(DownloadError::io(&self.part)(std::io::ErrorKind::StorageFull.into())),
                Ok(written) => {
                    self.len += written as u64;
                    bytes = &bytes[written..];
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(DownloadError::io(&self.part)(error)),
            }
        }
        Ok(())
    }

    /// Throws the bytes away.
    pub fn discard(&mut self) -> Result<(), DownloadError> {
        self.file = None;
        self.len = 0;
        self.version = Version::default();
        remove(&self.part)?;
        remove(&self.note)
    }

    /// Puts the file in its place, durably.
    pub fn finish(mut self) -> Result<u64, DownloadError> {
        self.file = None;
        let io = |path: &Path| DownloadError::io(path);
        // Windows only syncs a file that is open for writing.
        OpenOptions::new().append(true).open(&self.part).and_then(|part| part.sync_all()).map_err(io(&self.part))?;
        std::fs::rename(&self.part, &self.target).map_err(io(&self.target))?;
        remove(&self.note)?;
        #[cfg(unix)]
        if let Some(folder) = self.target.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(io(folder))?;
        }
        Ok(self.len)
    }
}

fn remove(path: &Path) -> Result<(), DownloadError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(DownloadError::io(path)(error)),
        _ => Ok(()),
    }
}
