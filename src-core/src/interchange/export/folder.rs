//! The folder of an export: written under a temporary name, and renamed when it is complete.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::ExportError;
use crate::files::durable::{remove_folder, sync_folder, write_new};

/// An export always adds files faster than this: an older temporary folder was left by a killed process.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 3600);

/// The path of a folder that can be created.
pub(super) struct Target {
    place: PathBuf,
    parent: PathBuf,
    /// The prefix of temporary folders for it.
    unfinished: OsString,
}

impl Target {
    /// Checks that the path is free: nothing, or an empty folder.
    pub fn prepare(to: &Path) -> Result<Self, ExportError> {
        let nowhere = |why: &str| ExportError::Place { folder: to.to_owned(), why: why.to_owned() };
        let exists = || ExportError::Exists { folder: to.to_owned() };
        let place = match fs::metadata(to) {
            Ok(data) if !data.is_dir() => return Err(exists()),
            Ok(_) => {
                let mut entries = fs::read_dir(to).map_err(ExportError::io("read", to))?;
                if entries.next().is_some() {
                    return Err(exists());
                }
                // If the path is `.` or a link to an empty folder, use that folder's own name.
                to.canonicalize().map_err(ExportError::io("read", to))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && to.symlink_metadata().is_err() => to.to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(exists()),
            Err(error) => return Err(ExportError::io("read", to)(error)),
        };
        let name = place.file_name().ok_or_else(|| nowhere("its last part is no name of a folder"))?;
        let parent = match place.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        if !parent.is_dir() {
            return Err(nowhere(&format!("there is no folder {}; make it first", parent.display())));
        }
        let mut unfinished = OsString::from(".");
        unfinished.push(name);
        unfinished.push(".unfinished-");
        Ok(Self { place, parent, unfinished })
    }

    /// The final path.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Its parent folder.
    pub fn parent(&self) -> &Path {
        &self.parent
    }

    /// Creates an empty temporary folder next to the path.
    pub fn begin(&self) -> Result<Unfinished<'_>, ExportError> {
        self.remove_abandoned();
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777)); // less the user's mask
        let folder = builder.prefix(&self.unfinished).tempdir_in(&self.parent);
        Ok(Unfinished { target: self, folder: folder.map_err(ExportError::io("make a folder in", &self.parent))? })
    }

    /// Removes temporary folders that killed processes left for this path. What cannot be removed does no harm.
    fn remove_abandoned(&self) {
        let Ok(entries) = fs::read_dir(&self.parent) else { return };
        let begins = |name: &OsString| name.as_encoded_bytes().starts_with(self.unfinished.as_encoded_bytes());
        for entry in entries.flatten().filter(|entry| begins(&entry.file_name())) {
            let age = entry.metadata().and_then(|data| data.modified()).ok().and_then(|made| SystemTime::now().duration_since(made).ok());
            if age.is_some_and(|age| age > ABANDONED_AFTER) {
                let _ = remove_folder(&entry.path());
            }
        }
    }
}

/// A temporary folder; removed if it is not renamed.
pub(super) struct Unfinished<'a> {
    target: &'a Target,
    folder: TempDir,
}

impl Unfinished<'_> {
    /// Its current path.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a small file.
    pub fn add(&self, name: &str, text: &str) -> Result<(), ExportError> {
        let path = self.path().join(name);
        write_new(&path, text.as_bytes()).map_err(ExportError::io("write", &path))
    }

    /// Renames the folder to its final path; returns the bytes of its files.
    pub fn finish(self) -> Result<u64, ExportError> {
        let Target { place, parent, .. } = self.target;
        let measure = || fs::read_dir(self.path())?.try_fold(0, |sum, entry| Ok(sum + entry?.metadata()?.len()));
        let bytes = measure().map_err(ExportError::io("read", self.path()))?;
        sync_folder(self.path()).map_err(ExportError::io("write", self.path()))?;
        // An empty folder may exist there; only another process could have filled it.
        match fs::remove_dir(place) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(ExportError::Exists { folder: place.clone() }),
            _ => {}
        }
        fs::rename(self.path(), place).map_err(|error| match place.symlink_metadata() {
            Ok(_) => ExportError::Exists { folder: place.clone() },
            Err(_) => ExportError::io("make", place)(error),
        })?;
        drop(self.folder.keep());
        sync_folder(parent).map_err(ExportError::io("write", parent))?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_appears_when_it_is_finished_and_leaves_nothing_when_it_is_not() {
        let root = tempfile::tempdir().unwrap();
        let target = Target::prepare(&root.path().join("model")).unwrap();
        let begun = target.begin().unwrap();
        begun.add("a", "text").unwrap();
        assert!(!target.place().exists());
        drop(begun);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);

        let begun = target.begin().unwrap();
        begun.add("a", "text").unwrap();
        begun.add("b", "more").unwrap();
        assert_eq!(begun.finish().unwrap(), 8);
        assert_eq!(fs::read_to_string(target.place().join("b")).unwrap(), "more");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_an_empty_folder_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("model");
        fs::create_dir(&place).unwrap();
        let target = Target::prepare(&place).unwrap();
        let (first, second) = (target.begin().unwrap(), target.begin().unwrap());
        for folder in [&first, &second] {
            folder.add("a", "text").unwrap();
        }
        first.finish().unwrap();
        // If another process was faster, the path is taken.
        assert!(matches!(second.finish(), Err(ExportError::Exists { .. })));
        assert!(matches!(Target::prepare(&place), Err(ExportError::Exists { .. })));
        assert!(matches!(Target::prepare(&place.join("a")), Err(ExportError::Exists { .. })));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
        for nowhere in [root.path().join("no/model"), root.path().join(".."), PathBuf::from("/"), PathBuf::new()] {
            assert!(Target::prepare(&nowhere).is_err(), "{}", nowhere.display());
        }
    }

    #[test]
    fn what_a_killed_process_left_goes_when_it_is_old_and_only_for_the_same_place() {
        let root = tempfile::tempdir().unwrap();
        let make = |name: &str, age| {
            let path = root.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::File::open(&path).unwrap().set_modified(SystemTime::now() - age).unwrap();
            path
        };
        let old = make(".model.unfinished-old", 2 * ABANDONED_AFTER);
        let others = [make(".model.unfinished-new", Duration::ZERO), make(".model2.unfinished-old", 2 * ABANDONED_AFTER)];
        drop(Target::prepare(&root.path().join("model")).unwrap().begin().unwrap());
        assert!(!old.exists() && others.iter().all(|path| path.exists()));
    }
}
