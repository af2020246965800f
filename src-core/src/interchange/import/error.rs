//! Why something cannot be imported, each as one sentence with what can be done.

use std::io;
use std::path::{Path, PathBuf};

use crate::checkpoint::{CheckpointError, FormatError, Mismatch, RunError, TensorFileError};
use crate::files::shown::megabytes;
use crate::interchange::torch::TorchError;
use crate::model::ConfigError;
use crate::tokenizer::TokenizerError;

/// A model could not be imported. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The path contains no known model.
    #[error("{path} holds no model that nc-core can import: {found}; it looks for model_NNNNNN.pt and meta_NNNNNN.json of nanochat, for config.json with safetensors of Hugging Face, and for config.json with checkpoints/ of nc-core", path = path.display())]
    Unknown {
        /// The path.
        path: PathBuf,
        /// What is there instead.
        found: String,
    },
    /// A file is unusable, or lacks something that is needed.
    #[error("{path} {problem}", path = path.display())]
    Refused {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong, continuing a sentence after its name.
        problem: String,
    },
    /// An option does not apply to the source.
    #[error("{option} does not apply to {kind}")]
    NotApplicable {
        /// The option, as a field of [`Options`](super::Options).
        option: &'static str,
        /// What the source is.
        kind: &'static str,
    },
    /// A configuration is invalid.
    #[error("{path} describes a model that nc-core cannot run: {source}", path = path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ConfigError,
    },
    /// A safetensors file is not one.
    #[error("{path} {problem}", path = path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: FormatError,
    },
    /// The weights are not those of the configuration.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// A file of torch or tiktoken is rejected.
    #[error(transparent)]
    Torch(#[from] TorchError),
    /// The tokenizer cannot be read.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The tokenizer belongs to another model.
    #[error("{tokenizer} does not belong to this model: {why}", tokenizer = tokenizer.display())]
    OtherTokenizer {
        /// The tokenizer's file.
        tokenizer: PathBuf,
        /// How it was detected.
        why: String,
    },
    /// An error of the run to copy, or of the one to create.
    #[error(transparent)]
    Run(RunError),
    /// A run of that name exists.
    #[error("there is a run {name:?} already: give the import another name")]
    Exists {
        /// The name.
        name: String,
    },
    /// An error of the checkpoint to copy, or of the one to write.
    #[error(transparent)]
    Checkpoint(CheckpointError),
    /// The run to copy is damaged in its tensors.
    #[error(transparent)]
    Tensors(#[from] TensorFileError),
    /// The disk is full.
    #[error(
        "the imported model needs {needed} in {folder}, {free}: make room and import it again; nothing of it was kept",
        needed = megabytes(*needed), folder = folder.display(),
        free = free.map_or("which does not have that much space".to_owned(), |free| format!("where {} are free", megabytes(free)))
    )]
    NoRoom {
        /// The target folder.
        folder: PathBuf,
        /// Bytes that it needs.
        needed: u64,
        /// Free bytes, if the system reports them.
        free: Option<u64>,
    },
    /// A file or folder could not be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl ImportError {
    /// Makes the error of a file that cannot be used: `refused(&path, "has no key model_config")`.
    pub(super) fn refused(path: &Path, problem: impl Into<String>) -> Self {
        Self::Refused { path: path.to_path_buf(), problem: problem.into() }
    }

    /// Makes the error of a failed system call: `.map_err(ImportError::io(&path))`.
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_path_buf(), source }
    }
}

impl From<RunError> for ImportError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Exists { name, .. } => Self::Exists { name },
            error => Self::Run(error),
        }
    }
}

impl From<CheckpointError> for ImportError {
    fn from(error: CheckpointError) -> Self {
        match error {
            // The checkpoint was in a temporary folder, whose name would mean nothing to the user.
            CheckpointError::NoRoom { folder, needed, free, .. } => {
                Self::NoRoom { folder: folder.ancestors().nth(2).unwrap_or(&folder).to_path_buf(), needed, free }
            }
            error => Self::Checkpoint(error),
        }
    }
}
