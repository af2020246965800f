//! A place to import into, for tests that run the program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nc_core::checkpoint::TensorFile;
use serde_json::{Value, json};

use crate::golden_dirs;
use crate::workshop::{Workshop, refusal, words};

/// A home folder to import into.
pub struct Place {
    folder: tempfile::TempDir,
    program: fn(&Path) -> Command,
}

impl Place {
    /// An empty one. `program` makes the command that runs `nc-core` with a home folder.
    pub fn new(program: fn(&Path) -> Command) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), program }
    }

    /// The home folder.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// The folder of a run.
    pub fn run(&self, name: &str) -> PathBuf {
        self.home().join("runs").join(name)
    }

    /// A path beside the home folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program with these arguments.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = (self.program)(&self.home());
        command.args(args).stdin(Stdio::null());
        command
    }

    /// What the program says.
    pub fn output(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs the program with `--json`, and gives the last line of what it prints.
    pub fn json(&self, args: &[&str]) -> Value {
        let output = self.output(&[args, &["--json"]].concat());
        assert!(output.status.success(), "{args:?}: {}", words(&output));
        serde_json::from_str(String::from_utf8(output.stdout).unwrap().lines().last().unwrap()).unwrap()
    }

    /// Imports, and gives what is said of it as JSON.
    pub fn import(&self, path: &Path, more: &[&str]) -> Value {
        self.json(&[&["import", path.to_str().unwrap()], more].concat())
    }

    /// The sentence with which importing is refused.
    pub fn refused(&self, path: &Path, more: &[&str]) -> String {
        let args = [&["import", path.to_str().unwrap()], more].concat();
        refusal(&format!("{args:?}"), &self.output(&args))
    }

    /// The weights of a run's only checkpoint.
    pub fn weights(&self, run: &str) -> TensorFile {
        TensorFile::open(&self.checkpoint_file(run, "model.safetensors")).unwrap()
    }

    /// A file of a run's only checkpoint.
    pub fn checkpoint_file(&self, run: &str, name: &str) -> PathBuf {
        let checkpoints = self.run(run).join("checkpoints");
        let steps = Workshop::names(&checkpoints);
        assert_eq!(steps.len(), 1, "{steps:?}");
        checkpoints.join(&steps[0]).join(name)
    }

    /// A file that holds these ids.
    pub fn ids(&self, ids: &[u32]) -> String {
        let path = self.path(&format!("ids-{}.json", ids.len()));
        fs::write(&path, json!(ids).to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// Folders of the golden cases that hold a file of this name.
pub fn golden_with(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in golden_dirs() {
        let entries = fs::read_dir(folder).unwrap();
        found.extend(entries.map(|entry| entry.unwrap().path()).filter(|path| path.join(name).is_file()));
    }
    assert!(!found.is_empty(), "there is no golden case with {name}");
    found
}

/// Copies the files of a folder, and of the folders in it.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let place = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &place);
        } else {
            fs::write(place, fs::read(path).unwrap()).unwrap();
        }
    }
}
