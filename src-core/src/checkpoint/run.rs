//! The folder of a run: where its files are, and which runs there are.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::RunError;
use super::home::Home;
use super::name;
use crate::files::StandIn;
use crate::files::plain::read_at_most;

/// The longest `config.json` that is read, in bytes.
const LARGEST_CONFIG: u64 = 4 << 20;

pub(super) const CONFIG_FILE: &str = "config.json";
pub(super) const TOKENIZER_FILE: &str = "tokenizer.json";

/// A run's folder, found and read; training also takes its [`lock`](Run::lock).
#[derive(Clone, Debug)]
pub struct Run {
    name: String,
    folder: PathBuf,
    config: Value,
}

/// A run in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSummary {
    /// The run's name.
    pub name: String,
    /// Steps of its checkpoints, ascending. They are not verified.
    pub steps: Vec<u64>,
    /// Its `config.json`, or why it cannot be read.
    pub config: Result<Value, String>,
}

impl Run {
    /// The run `name`, whose `folder` holds all that a run needs.
    pub(super) fn of(name: &str, folder: PathBuf, config: Value) -> Self {
        Self { name: name.to_owned(), folder, config }
    }

    /// Reads a run in `folder`, which may be anywhere. Its name is that of the folder.
    pub fn at(folder: &Path) -> Result<Self, RunError> {
        let name = folder.file_name().map_or_else(|| "run".to_owned(), |name| name.to_string_lossy().into_owned());
        let damaged = |problem| RunError::Damaged { name: name.clone(), file: CONFIG_FILE, problem };
        let config = read_config(folder).map_err(damaged)?;
        Ok(Self { name, folder: folder.to_path_buf(), config })
    }

    /// Finds a run; the error for a missing one lists those that exist.
    pub fn open(home: &Home, name: &str) -> Result<Self, RunError> {
        let folder = home.run(name);
        if name::check(name).is_err() || !folder.is_dir() {
            let existing: Vec<String> = Self::list(home)?.into_iter().map(|run| run.name).collect();
            return Err(RunError::Missing {
                name: name.to_owned(),
                runs: home.runs(),
                any: !existing.is_empty(),
                advice: name::advice(name, &existing),
            });
        }
        let damaged = |problem| RunError::Damaged { name: name.to_owned(), file: CONFIG_FILE, problem };
        let config = read_config(&folder).map_err(damaged)?;
        Ok(Self::of(name, folder, config))
    }

    /// All runs by name. None is not an error, and a run whose config is damaged is listed too.
    pub fn list(home: &Home) -> Result<Vec<RunSummary>, RunError> {
        let runs = home.runs();
        let entries = match fs::read_dir(&runs) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(RunError::io("read", &runs))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(RunError::io("read", &runs))?;
            let Some(name) = entry.file_name().to_str().filter(|name| name::check(name).is_ok()).map(str::to_owned) else { continue };
            let folder = entry.path();
            if folder.is_dir() {
                // One that cannot be read must not hide others.
                let steps = steps_in(&folder.join("checkpoints")).map_err(|error| format!("its checkpoints cannot be read: {error}"));
                let (steps, config) = match steps {
                    Ok(steps) => (steps, read_config(&folder)),
                    Err(problem) => (Vec::new(), Err(problem)),
                };
                found.push(RunSummary { name, steps, config });
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// The run's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `config.json` as it was written.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// The run's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// `config.json`.
    pub(super) fn config_path(&self) -> PathBuf {
        self.folder.join(CONFIG_FILE)
    }

    /// `tokenizer.json`.
    pub fn tokenizer_path(&self) -> PathBuf {
        self.folder.join(TOKENIZER_FILE)
    }

    /// `metrics.jsonl`.
    pub fn metrics_path(&self) -> PathBuf {
        self.folder.join("metrics.jsonl")
    }

    /// `tensorboard/`, the folder of event files.
    pub fn tensorboard_path(&self) -> PathBuf {
        self.folder.join("tensorboard")
    }

    /// `checkpoints/`.
    pub fn checkpoints_path(&self) -> PathBuf {
        self.folder.join("checkpoints")
    }

    /// `checkpoints/NNNNNN`.
    pub fn checkpoint_path(&self, step: u64) -> PathBuf {
        self.checkpoints_path().join(step_name(step))
    }

    /// Steps of the checkpoints, ascending. They are not verified.
    pub fn steps(&self) -> io::Result<Vec<u64>> {
        steps_in(&self.checkpoints_path())
    }
}

/// The folder's name for a step: at least six digits, so that names sort like steps.
pub(super) fn step_name(step: u64) -> String {
    format!("{step:06}")
}

/// Steps of the checkpoints in a folder, ascending; other entries are ignored.
fn steps_in(checkpoints: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(checkpoints) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut steps = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let step = name.to_str().and_then(|name| name.parse().ok());
        steps.extend(step.filter(|&step| name.to_str() == Some(&step_name(step))));
    }
    steps.sort_unstable();
    Ok(steps)
}

fn read_config(folder: &Path) -> Result<Value, String> {
    let bytes = read_at_most(&folder.join(CONFIG_FILE), LARGEST_CONFIG).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "is missing".to_owned(),
        _ => format!("cannot be read: {error}"),
    })?;
    match StandIn::of(&bytes) {
        Some(found) => Err(found.to_string()),
        None => serde_json::from_slice(&bytes).map_err(|error| format!("cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_is_made_once_and_found_again() {
        let root = tempfile::tempdir().unwrap();
        let home = Home::at(root.path());
        assert!(Run::list(&home).unwrap().is_empty());
        let config = json!({"z": 1, "a": {"depth": 4}});
        let run = Run::create(&home, "d4", &config, "{\"model\": \"é\"}").unwrap();
        assert_eq!(fs::read_to_string(run.tokenizer_path()).unwrap(), "{\"model\": \"é\"}");
        assert_eq!(Run::open(&home, "d4").unwrap().config().to_string(), config.to_string());
        let error = Run::create(&home, "d4", &config, "").unwrap_err();
        assert!(matches!(error, RunError::Exists { .. }), "{error}");
        assert_eq!(fs::read_dir(home.runs()).unwrap().count(), 1, "nothing else is left in runs/");
    }

    #[test]
    fn a_missing_run_is_answered_with_those_that_exist_and_a_path_is_no_name() {
        let root = tempfile::tempdir().unwrap();
        let home = Home::at(root.path());
        Run::create(&home, "shakespeare", &json!({}), "{}").unwrap();
        let message = Run::open(&home, "shakespear").unwrap_err().to_string();
        assert!(message.contains("did you mean \"shakespeare\""), "{message}");
        assert!(matches!(Run::open(&home, "../runs/shakespeare"), Err(RunError::Missing { .. })));
        assert!(matches!(Run::create(&home, "../x", &json!({}), "{}"), Err(RunError::BadName { .. })));
        assert!(!root.path().join("x").exists());
    }

    #[test]
    fn a_damaged_run_is_listed_and_refused_by_the_file() {
        let root = tempfile::tempdir().unwrap();
        let home = Home::at(root.path());
        let run = Run::create(&home, "a", &json!({}), "{}").unwrap();
        fs::write(run.folder().join(CONFIG_FILE), "{\"depth\"").unwrap();
        assert!(Run::list(&home).unwrap()[0].config.is_err());
        let message = Run::open(&home, "a").unwrap_err().to_string();
        assert!(message.contains("config.json cannot be read"), "{message}");
        // A file where the folder of checkpoints should be.
        let run = Run::create(&home, "b", &json!({}), "{}").unwrap();
        fs::remove_dir(run.checkpoints_path()).unwrap();
        fs::write(run.checkpoints_path(), "").unwrap();
        let listed = Run::list(&home).unwrap();
        assert_eq!(listed.len(), 2);
        assert!(listed[1].config.as_ref().unwrap_err().contains("checkpoints cannot be read"));
    }

    #[test]
    fn only_folders_named_like_steps_count_as_checkpoints() {
        let root = tempfile::tempdir().unwrap();
        for name in ["000010", "1234567", "000002", "7", "0000003", ".tmp-000004", "+00005", "notes"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        assert_eq!(steps_in(root.path()).unwrap(), [2, 10, 1_234_567]);
    }

    #[test]
    fn runs_are_listed_by_name_and_other_entries_are_none() {
        let root = tempfile::tempdir().unwrap();
        let home = Home::at(root.path());
        let error = Run::open(&home, "a").unwrap_err();
        assert!(matches!(error, RunError::Missing { any: false, .. }), "{error}");
        let names: Vec<String> = (0..20).map(|i| format!("run-{:02}", i * 7 % 20)).collect();
        for name in &names {
            Run::create(&home, name, &json!({}), "{}").unwrap();
        }
        fs::write(home.runs().join("notes"), "").unwrap();
        fs::create_dir(home.runs().join(".new-unfinished")).unwrap();
        let listed: Vec<String> = Run::list(&home).unwrap().into_iter().map(|run| run.name).collect();
        assert!(listed.is_sorted() && listed.len() == 20, "{listed:?}");
        for missing in ["b", "notes"] {
            let error = Run::open(&home, missing).unwrap_err();
            assert!(matches!(error, RunError::Missing { any: true, .. }), "{error}");
        }
        // A folder that was made by hand has no checkpoints.
        let run = Run::open(&home, "run-00").unwrap();
        fs::remove_dir(run.checkpoints_path()).unwrap();
        assert!(run.steps().unwrap().is_empty());
    }

    #[test]
    fn a_configuration_that_is_none_is_told_by_what_it_is() {
        let root = tempfile::tempdir().unwrap();
        let run = Run::create(&Home::at(root.path()), "a", &json!({}), "{}").unwrap();
        let path = run.folder().join(CONFIG_FILE);
        let problem = || Run::at(run.folder()).unwrap_err().to_string();
        fs::write(&path, "<!DOCTYPE html><html></html>").unwrap();
        assert!(problem().contains("web page"), "{}", problem());
        // JSON, and far longer than it can be.
        let blanks = " ".repeat(LARGEST_CONFIG as usize);
        fs::write(&path, format!("{{}}{blanks}")).unwrap();
        assert!(problem().contains("longer than"), "{}", problem());
        fs::write(&path, format!("{{}}{}", &blanks[2..])).unwrap();
        Run::at(run.folder()).unwrap();
    }
}
