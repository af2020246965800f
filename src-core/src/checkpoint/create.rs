//! Creates a run's folder, whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::error::RunError;
use super::home::Home;
use super::lock::{RunLock, is_abandoned};
use super::name;
use super::run::{CONFIG_FILE, Run, TOKENIZER_FILE};
use crate::files::durable::{remove_folder, sync_folder, write_new};

/// The prefix of temporary folders under `runs/`. A run's name never starts with a dot.
const UNFINISHED: &str = ".new-";

/// Creating a run's folder never takes this long: an older one that is not locked was left by a killed process.
const ABANDONED_AFTER: Duration = Duration::from_secs(3600);

impl Run {
    /// Checks that a run of this name can be created: to reject early what [`create`](Self::create) would reject.
    pub fn check_vacant(home: &Home, name: &str) -> Result<(), RunError> {
        name::check(name).map_err(|why| RunError::BadName { name: name.to_owned(), why })?;
        let folder = home.run(name);
        if folder.symlink_metadata().is_ok() {
            return Err(RunError::Exists { name: name.to_owned(), folder });
        }
        Ok(())
    }

    /// Creates the folder of a new run, whole or not at all, and rejects a name that exists. `config` and
    /// `tokenizer_json` are stored unchanged.
    pub fn create(home: &Home, name: &str, config: &Value, tokenizer_json: &str) -> Result<Self, RunError> {
        Self::create_with(home, name, config, Some(tokenizer_json), |_| Ok(()))
    }

    /// The same for a run that has a checkpoint from the beginning, and perhaps no tokenizer: `save` writes it, before
    /// the run gets its name. If that fails, no run is created.
    pub fn create_with<E: From<RunError>>(
        home: &Home,
        name: &str,
        config: &Value,
        tokenizer_json: Option<&str>,
        save: impl FnOnce(&RunLock) -> Result<(), E>,
    ) -> Result<Self, E> {
        let unfinished = Self::begin(home, name, config, tokenizer_json)?;
        save(&Self::of(name, unfinished.path().to_path_buf(), config.clone()).lock()?)?;
        Ok(Self::of(name, Self::put_in_place(home, name, unfinished)?, config.clone()))
    }

    /// Creates a temporary folder under `runs/` with a run's files.
    fn begin(home: &Home, name: &str, config: &Value, tokenizer_json: Option<&str>) -> Result<tempfile::TempDir, RunError> {
        Self::check_vacant(home, name)?;
        let runs = home.runs();
        fs::create_dir_all(&runs).map_err(RunError::io("make", &runs))?;
        remove_abandoned(&runs);

        let unfinished = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(&runs).map_err(RunError::io("make a folder in", &runs))?;
        let fill = |path: &Path| {
            fs::create_dir(path.join("checkpoints"))?;
            tokenizer_json.map_or(Ok(()), |json| write_new(&path.join(TOKENIZER_FILE), json.as_bytes()))?;
            write_new(&path.join(CONFIG_FILE), format!("{config:#}\n").as_bytes())?;
            sync_folder(path)
        };
        fill(unfinished.path()).map_err(RunError::io("write the run's files in", &runs))?;
        Ok(unfinished)
    }

    /// Renames a finished folder to the run's name, and returns its path.
    fn put_in_place(home: &Home, name: &str, unfinished: tempfile::TempDir) -> Result<PathBuf, RunError> {
        let (runs, folder) = (home.runs(), home.run(name));
        let exists = || RunError::Exists { name: name.to_owned(), folder: folder.clone() };
        match fs::rename(unfinished.path(), &folder) {
            Ok(()) => drop(unfinished.keep()),
            Err(_) if folder.symlink_metadata().is_ok() => return Err(exists()),
            Err(error) => return Err(RunError::io("make", &folder)(error)),
        }
        sync_folder(&runs).map_err(RunError::io("write to", &runs))?;
        Ok(folder)
    }
}

/// Removes temporary folders that killed processes left. What cannot be removed does no harm.
fn remove_abandoned(runs: &Path) {
    let Ok(entries) = fs::read_dir(runs) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(UNFINISHED)) {
        let age = entry.metadata().and_then(|data| data.modified()).ok().and_then(|made| SystemTime::now().duration_since(made).ok());
        let folder = entry.path();
        let old = || !folder.join("lock").exists() && age.is_some_and(|age| age > ABANDONED_AFTER);
        if is_abandoned(&folder) || old() {
            let _ = remove_folder(&folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_killed_maker_left_goes_when_it_is_old() {
        let root = tempfile::tempdir().unwrap();
        let home = Home::at(root.path());
        let (old, young) = (home.runs().join(".new-old"), home.runs().join(".new-young"));
        fs::create_dir_all(&old).unwrap();
        fs::create_dir_all(&young).unwrap();
        fs::File::open(&old).unwrap().set_modified(SystemTime::now() - 2 * ABANDONED_AFTER).unwrap();
        Run::create(&home, "a", &json!({}), "{}").unwrap();
        assert!(!old.exists() && young.exists());
    }

    /// When the process that holds a lock is killed, the file with its pid stays as old as the lock.
    fn locked_once(folder: &Path, age: Duration) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("lock"), "").unwrap();
        fs::write(folder.join("lock.pid"), "1\n").unwrap();
        for file in [folder.join("lock.pid"), folder.to_path_buf()] {
            fs::File::open(file).unwrap().set_modified(SystemTime::now() - age).unwrap();
        }
    }

    #[test]
    fn only_what_no_process_makes_any_more_is_removed_and_never_a_run() {
        let root = tempfile::tempdir().unwrap();
        let home = Home::at(root.path());
        let folder = |name: &str| home.runs().join(name);
        locked_once(&folder(".new-killed"), 2 * Duration::from_secs(60));
        locked_once(&folder(".new-just-released"), Duration::ZERO);
        locked_once(&folder(".new-in-use"), 2 * ABANDONED_AFTER);
        let held = fs::File::options().write(true).open(folder(".new-in-use").join("lock")).unwrap();
        held.try_lock().unwrap();
        let run = Run::create(&home, "idle", &json!({}), "{}").unwrap();
        locked_once(run.folder(), 2 * ABANDONED_AFTER);

        Run::create(&home, "a", &json!({}), "{}").unwrap();
        assert!(!folder(".new-killed").exists());
        for kept in [".new-just-released", ".new-in-use", "idle", "a"] {
            assert!(folder(kept).exists(), "{kept}");
        }
        // Not even with its age alone: whoever holds the lock decides.
        drop(held);
        Run::create(&home, "b", &json!({}), "{}").unwrap();
        assert!(!folder(".new-in-use").exists() && folder("idle").exists());
    }

    #[test]
    fn a_name_that_is_taken_meanwhile_is_the_others() {
        let root = tempfile::tempdir().unwrap();
        let home = Home::at(root.path());
        Run::check_vacant(&home, "a").unwrap();
        let taken = Run::create_with(&home, "a", &json!({"mine": true}), None, |_| {
            Run::create(&home, "a", &json!({"mine": false}), "{}").map(drop)
        });
        assert!(matches!(taken, Err(RunError::Exists { .. })), "{taken:?}");
        assert_eq!(Run::open(&home, "a").unwrap().config(), &json!({"mine": false}));
        assert_eq!(fs::read_dir(home.runs()).unwrap().count(), 1);
        assert!(matches!(Run::check_vacant(&home, "a"), Err(RunError::Exists { .. })));
        assert!(matches!(Run::check_vacant(&home, "../a"), Err(RunError::BadName { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn others_may_read_a_run_if_they_may_read_the_users_folders() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let home = Home::at(root.path());
        let run = Run::create(&home, "a", &json!({}), "{}").unwrap();
        let mode = |folder: &Path| fs::metadata(folder).unwrap().permissions().mode();
        assert_eq!(mode(run.folder()), mode(&home.runs()));
    }
}
