//! Where nc-core stores its files: runs, downloaded data and caches under one root.

use std::path::{Path, PathBuf};

/// There is no folder for files.
#[derive(Debug, thiserror::Error)]
#[error("there is no home folder to keep runs in; set NC_HOME to a folder that you can write to")]
pub struct NoHome;

/// The root of all files of nc-core: `$NC_HOME`, or the platform's data folder for `nc-core`.
#[derive(Clone, Debug)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// `$NC_HOME` if set and not empty, else the platform's data folder. Creates nothing.
    pub fn locate() -> Result<Self, NoHome> {
        match std::env::var_os("NC_HOME").filter(|value| !value.is_empty()) {
            Some(root) => Ok(Self { root: root.into() }),
            None => {
                let folders = directories::ProjectDirs::from("", "", "nc-core").ok_or(NoHome)?;
                Ok(Self { root: folders.data_dir().to_path_buf() })
            }
        }
    }

    /// A home rooted at `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The root folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `runs/`: one folder per run.
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// `runs/NAME`.
    pub fn run(&self, name: &str) -> PathBuf {
        self.runs().join(name)
    }

    /// `data/`: downloaded shards.
    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// `data/python/`: the interpreter of the sandbox.
    pub fn python(&self) -> PathBuf {
        self.data().join("python")
    }

    /// `tokenizer.json`: the tokenizer that new runs copy unless they are given another.
    pub fn tokenizer(&self) -> PathBuf {
        self.root.join("tokenizer.json")
    }

    /// `cache/`: what can be recreated, such as the autotuner's choices.
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }
}
