//! What the targets share.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Hands `bytes` to `read` as a file, for readers that want a path. It lies in memory where the system has such a place.
pub fn with_file(name: &str, bytes: &[u8], read: impl FnOnce(&Path)) {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let folder = folder.join(format!("nc-fuzz-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a place for files");
        folder
    });
    let path = folder.join(name);
    fs::write(&path, bytes).expect("room for a file");
    read(&path);
}
