//! Files that the person chose. The pages know them by tokens only: they can name nothing that was not handed to them.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use crate::error::{AppError, AppResult};
use crate::types::PickedFile;

/// Files at most whose sizes are added up for a folder.
const COUNTED: usize = 10_000;

/// The files that were chosen since the app started.
#[derive(Default)]
pub struct Files {
    known: Mutex<HashMap<String, PathBuf>>,
}

impl Files {
    /// Remembers a file, and gives what stands for it.
    pub fn add(&self, path: &Path) -> AppResult<PickedFile> {
        let data = fs::metadata(path)?;
        let token = format!("{:032x}", rand::random::<u128>());
        self.lock().insert(token.clone(), path.to_owned());
        let name = path.file_name().map_or_else(|| "/".to_owned(), |name| name.to_string_lossy().into_owned());
        let bytes = if data.is_dir() { folder_bytes(path) } else { data.len() };
        Ok(PickedFile { token, name, bytes, folder: data.is_dir() })
    }

    /// The file that a token stands for.
    pub fn path(&self, token: &str) -> AppResult<PathBuf> {
        self.lock().get(token).cloned().ok_or_else(|| AppError::bad_input("This file was not chosen here; choose it again."))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, PathBuf>> {
        self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Makes a folder that nobody else may look into, and makes one such that is there already.
pub fn make_private(folder: &Path) -> io::Result<()> {
    if let Some(above) = folder.parent() {
        fs::create_dir_all(above)?;
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(folder)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            fs::set_permissions(folder, fs::Permissions::from_mode(mode & !0o077))?;
        }
    }
    Ok(())
}

/// The length of the files in a folder and below it, without following links.
fn folder_bytes(folder: &Path) -> u64 {
    let (mut folders, mut bytes, mut counted) = (vec![folder.to_owned()], 0, 0);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            counted += 1;
            if counted > COUNTED {
                return bytes;
            }
            match entry.metadata() {
                Ok(data) if data.is_dir() => folders.push(entry.path()),
                Ok(data) => bytes += data.len(),
                Err(_) => {}
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_private_folder_is_private_even_if_it_was_not() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let (new, old) = (folder.path().join("a/new"), folder.path().join("old"));
        make_private(&new).unwrap();
        fs::create_dir(&old).unwrap();
        fs::set_permissions(&old, fs::Permissions::from_mode(0o755)).unwrap();
        make_private(&old).unwrap();
        assert_eq!((mode(&new), mode(&old)), (0o700, 0o700));
    }

    #[test]
    fn only_what_was_handed_out_can_be_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(folder.path().join("inner/a.txt"), "12345").unwrap();
        let files = Files::default();
        let file = files.add(&folder.path().join("inner/a.txt")).unwrap();
        assert_eq!((file.name.as_str(), file.bytes, file.folder), ("a.txt", 5, false));
        let whole = files.add(folder.path()).unwrap();
        assert_eq!((whole.bytes, whole.folder), (5, true));
        assert_eq!(files.path(&file.token).unwrap(), folder.path().join("inner/a.txt"));
        for forged in ["", "/etc/passwd", "../a.txt", "0", &file.token[1..]] {
            assert!(files.path(forged).is_err(), "{forged}");
        }
        assert!(files.add(Path::new("/no/such/file")).is_err());
    }
}
