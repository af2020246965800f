//! One download at a time in a folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use super::DownloadError;

/// Hidden, so that it is not taken for data.
const NAME: &str = ".download.lock";

/// Holds a folder until dropped. The system releases it even if the process is killed.
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the lock, or says who has it.
    pub fn take(folder: &Path) -> Result<Self, DownloadError> {
        let path = folder.join(NAME);
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(DownloadError::io(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // On Windows a locked file cannot be read; the sentence does without the number then.
                let _ = file.read_to_string(&mut pid);
                return Err(DownloadError::Locked { folder: folder.to_path_buf(), pid: pid.trim().parse().ok() });
            }
            Err(TryLockError::Error(source)) => return Err(DownloadError::Io { path, source }),
        }
        let write = |file: &mut File| -> std::io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(DownloadError::io(&path))?;
        Ok(Self { _file: file })
    }
}
