//! One writer per run: a file lock, which the system releases when the process ends, however it ends.
//!
//! The locked file is `lock`; the holder's pid is in `lock.pid`, because on Windows a locked file cannot be read.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::error::RunError;
use super::run::Run;
use crate::files::digest::sha256_of;
use crate::files::durable::{remove_folder, sync_folder, write_new};

/// Entries of `checkpoints/` that are being written or removed.
pub(super) const UNFINISHED: &str = ".tmp-";

/// Entries of `checkpoints/` that a new checkpoint of the same step is about to replace.
pub(super) const REPLACED: &str = ".replaced-";

/// Permission to write to a run, held until it is dropped.
#[derive(Debug)]
pub struct RunLock {
    run: Run,
    tokenizer_sha256: Option<String>,
    pid_path: PathBuf,
    /// Locked while it is open.
    _file: File,
}

impl Run {
    /// Locks the run for writing until the lock is dropped or the process ends, however it ends.
    pub fn lock(&self) -> Result<RunLock, RunError> {
        RunLock::take(self)
    }
}

impl RunLock {
    /// Takes the lock, and cleans up after a writer that was killed.
    fn take(run: &Run) -> Result<Self, RunError> {
        let path = run.folder().join("lock");
        let pid_path = run.folder().join("lock.pid");
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(RunError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RunError::Busy { name: run.name().to_owned(), pid: holder(&pid_path) }),
            Err(TryLockError::Error(error)) => return Err(RunError::io("lock", &path)(error)),
        }
        fs::write(&pid_path, format!("{}\n", std::process::id())).map_err(RunError::io("write", &pid_path))?;

        let tokenizer = run.tokenizer_path();
        let tokenizer_sha256 = match File::open(&tokenizer) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            opened => Some(opened.and_then(sha256_of).map_err(RunError::io("read", &tokenizer))?),
        };
        let checkpoints = run.checkpoints_path();
        clean_up(&checkpoints).map_err(RunError::io("clean up", &checkpoints))?;
        Ok(Self { run: run.clone(), tokenizer_sha256, pid_path, _file: file })
    }

    /// The locked run.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Rewrites `config.json`, whole or not at all.
    pub fn replace_config(&self, config: &Value) -> Result<(), RunError> {
        let (path, new) = (self.run.config_path(), self.run.folder().join(".config.json.new"));
        let replace = || {
            match fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            write_new(&new, format!("{config:#}\n").as_bytes())?;
            fs::rename(&new, &path)?;
            sync_folder(self.run.folder())
        };
        replace().map_err(RunError::io("write", &path))
    }

    /// The hash of `tokenizer.json` when the lock was taken; none if the run has no tokenizer.
    pub(super) fn tokenizer_sha256(&self) -> Option<&str> {
        self.tokenizer_sha256.as_deref()
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // Cleared while still locked, so that it never names a process that has released the lock.
        let _ = fs::write(&self.pid_path, "");
    }
}

/// Whether the run in `folder` was once locked but has not been for a while: then its process was killed. A process that
/// releases the lock properly touches the pid file, and gets time for what it does next.
pub(super) fn is_abandoned(folder: &Path) -> bool {
    const A_WHILE: Duration = Duration::from_secs(60);
    let held = |file: File| file.try_lock().is_err();
    let touched = fs::metadata(folder.join("lock.pid")).and_then(|data| data.modified()).ok().and_then(|at| at.elapsed().ok());
    touched.is_some_and(|age| age > A_WHILE) && File::options().write(true).open(folder.join("lock")).is_ok_and(|file| !held(file))
}

/// The pid of the process that holds the lock. The file is written shortly after the lock is taken, so an
/// empty one, or that of a dead process, is read again.
fn holder(pid_path: &Path) -> Option<u32> {
    for _ in 0..25 {
        let pid = fs::read_to_string(pid_path).ok().and_then(|text| text.trim().parse().ok());
        if pid.is_some_and(is_alive) {
            return pid;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}

/// Whether a process exists, if the system can tell.
fn is_alive(pid: u32) -> bool {
    #[cfg(unix)]
    {
        let Ok(pid) = libc::pid_t::try_from(pid) else { return false };
        // SAFETY: signal 0 is never sent, only checked.
        pid > 0 && (unsafe { libc::kill(pid, 0) } == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM))
    }
    #[cfg(not(unix))]
    {
        pid > 0
    }
}

/// Removes what a killed writer left in `checkpoints/`, and restores a checkpoint whose replacement was not completed.
fn clean_up(checkpoints: &Path) -> io::Result<()> {
    fs::create_dir_all(checkpoints)?;
    for entry in fs::read_dir(checkpoints)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if name.starts_with(UNFINISHED) {
            remove_folder(&path)?;
        } else if let Some(step) = name.strip_prefix(REPLACED) {
            let place = checkpoints.join(step);
            if place.exists() { remove_folder(&path)? } else { fs::rename(&path, place)? }
        }
    }
    sync_folder(checkpoints)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::checkpoint::home::Home;

    #[test]
    fn the_second_lock_is_refused_with_the_holders_pid_until_the_first_is_dropped() {
        let root = tempfile::tempdir().unwrap();
        let run = Run::create(&Home::at(root.path()), "a", &json!({}), "{}").unwrap();
        let first = run.lock().unwrap();
        let error = run.lock().unwrap_err();
        assert!(matches!(error, RunError::Busy { pid, .. } if pid == Some(std::process::id())), "{error}");
        assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
        drop(first);
        run.lock().unwrap();
    }

    #[test]
    fn locking_removes_leftovers_and_puts_back_what_was_not_replaced() {
        let root = tempfile::tempdir().unwrap();
        let run = Run::create(&Home::at(root.path()), "a", &json!({}), "{}").unwrap();
        for name in [".tmp-000003", ".replaced-000002", ".replaced-000001", "000001"] {
            let folder = run.checkpoints_path().join(name);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("mark"), name).unwrap();
        }
        run.lock().unwrap();
        assert_eq!(fs::read_dir(run.checkpoints_path()).unwrap().count(), 2);
        let mark = |step| fs::read_to_string(run.checkpoint_path(step).join("mark")).unwrap();
        assert_eq!((mark(1), mark(2)), ("000001".to_owned(), ".replaced-000002".to_owned()));
    }

    #[test]
    fn a_released_lock_names_no_process_and_a_run_without_a_tokenizer_can_be_locked() {
        let root = tempfile::tempdir().unwrap();
        let run = Run::create(&Home::at(root.path()), "a", &json!({}), "{}").unwrap();
        fs::remove_file(run.tokenizer_path()).unwrap();
        fs::remove_dir(run.checkpoints_path()).unwrap();
        let lock = run.lock().unwrap();
        assert_eq!(lock.tokenizer_sha256(), None);
        assert!(run.checkpoints_path().is_dir());
        let pid = || fs::read_to_string(run.folder().join("lock.pid")).unwrap();
        assert_eq!(pid(), format!("{}\n", std::process::id()));
        drop(lock);
        assert_eq!(pid(), "");
    }

    #[test]
    fn a_configuration_is_replaced_whatever_a_killed_process_left() {
        let root = tempfile::tempdir().unwrap();
        let home = Home::at(root.path());
        let lock = Run::create(&home, "a", &json!({}), "{}").unwrap().lock().unwrap();
        fs::write(lock.run().folder().join(".config.json.new"), "{\"half").unwrap();
        for config in [json!({"data": ["a"]}), json!({"data": ["b"]})] {
            lock.replace_config(&config).unwrap();
            assert_eq!(Run::open(&home, "a").unwrap().config(), &config);
        }
    }

    #[cfg(unix)]
    #[test]
    fn only_processes_that_exist_are_named() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        // The first process is another user's, except for root.
        assert_eq!([std::process::id(), 1, 0, u32::MAX, child.id()].map(is_alive), [true, true, false, false, false]);
    }

    /// A pipe in its place tells when the file is read: only then is it replaced by the one that says who holds the lock.
    #[cfg(unix)]
    #[test]
    fn a_pid_that_is_not_the_holders_yet_is_read_again() {
        use std::io::Write;
        use std::os::unix::ffi::OsStrExt;

        let mut dead = std::process::Command::new("true").spawn().unwrap();
        dead.wait().unwrap();
        for before in [String::new(), format!("{}\n", dead.id())] {
            let root = tempfile::tempdir().unwrap();
            let [path, next] = ["lock.pid", "next"].map(|name| root.path().join(name));
            let pipe = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
            // SAFETY: a system call with a C string.
            assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
            std::thread::scope(|scope| {
                let named = scope.spawn(|| holder(&path));
                let mut pipe = File::options().write(true).open(&path).unwrap();
                fs::write(&next, std::process::id().to_string()).unwrap();
                fs::rename(&next, &path).unwrap();
                pipe.write_all(before.as_bytes()).unwrap();
                drop(pipe);
                assert_eq!(named.join().unwrap(), Some(std::process::id()));
            });
        }
    }
}
