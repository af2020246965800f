//! One instance at a time: two would answer into the same conversations.
//!
//! The data folder is locked by a file that the system lets go whenever the process ends. A second instance leaves a
//! note for the first, which then shows its window, and ends. No socket is needed for that.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::files::make_private;

/// How often the first instance looks for a note.
const LOOK: Duration = Duration::from_millis(300);

/// The data folder, held until this is dropped.
#[derive(Debug)]
pub struct Instance {
    note: PathBuf,
    _file: File,
}

impl Instance {
    /// Takes the data folder, or leaves a note for whoever has it and gives none.
    pub fn take(folder: &Path) -> io::Result<Option<Self>> {
        make_private(folder)?;
        let note = folder.join("show-window");
        let file = File::options().create(true).truncate(false).write(true).open(folder.join("lock"))?;
        match file.try_lock() {
            Ok(()) => {
                // One that was left for an instance that has ended.
                let _ = fs::remove_file(&note);
                Ok(Some(Self { note, _file: file }))
            }
            Err(TryLockError::WouldBlock) => fs::write(note, "").map(|()| None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Calls `show` whenever another instance has left a note.
    pub fn watch(&self, show: impl Fn() + Send + 'static) -> io::Result<()> {
        let note = self.note.clone();
        let watch = move || loop {
            std::thread::sleep(LOOK);
            if fs::remove_file(&note).is_ok() {
                show();
            }
        };
        std::thread::Builder::new().name("instance".into()).spawn(watch).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_second_instance_calls_the_first_and_gives_way() {
        let folder = tempfile::tempdir().unwrap();
        let first = Instance::take(folder.path()).unwrap().expect("the folder is free");
        let (told, shown) = mpsc::channel();
        first.watch(move || told.send(()).unwrap()).unwrap();
        assert!(Instance::take(folder.path()).unwrap().is_none());
        shown.recv_timeout(Duration::from_secs(10)).unwrap();
        drop(first);
        assert!(Instance::take(folder.path()).unwrap().is_some());
    }
}
