//! A partial file: `NAME.part`, which only grows, and `NAME.part.json`, which identifies the version of the
//! remote file. The second is written before the first byte, so a kill at any moment leaves a
//! partial file that can be continued, or one that is known to be useless.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::DownloadError;

/// Identifies a version of a remote file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The strong `ETag`, else `Last-Modified`: what `If-Range` may carry.
    pub validator: Option<String>,
    /// The whole length.
    pub total: Option<u64>,
    /// The SHA-256 of the whole file as hexadecimal digits, if the server gives it.
    pub sha256: Option<String>,
}

/// A partial file of `target`.
pub struct Partial {
    target: PathBuf,
    part: PathBuf,
    note: PathBuf,
    /// Opened for appending at the first write.
    file: Option<File>,
    version: Version,
    len: u64,
}

impl Partial {
    /// What earlier tries left of `target`, if it is usable.
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

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Their version.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Whether it is complete.
    pub fn is_complete(&self) -> bool {
        self.len > 0 && self.version.total == Some(self.len)
    }

    /// The path of the partial file.
    pub fn path(&self) -> &Path {
        &self.part
    }

    /// Corrects the total length to the server's.
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

    /// Appends bytes. If the disk is full, it keeps what was there, and as much of `bytes` as fitted.
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

    /// Discards the bytes.
    pub fn discard(&mut self) -> Result<(), DownloadError> {
        self.file = None;
        self.len = 0;
        self.version = Version::default();
        remove(&self.part)?;
        remove(&self.note)
    }

    /// Renames the file to its final path, durably.
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
