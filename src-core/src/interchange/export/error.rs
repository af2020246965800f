//! What can go wrong with an export, each as one sentence with the next step.

use std::io;
use std::path::{Path, PathBuf};

use crate::checkpoint::Mismatch;
use crate::checkpoint::SourceError;
use crate::files::durable::is_out_of_room;
use crate::files::shown::megabytes;
use crate::weights::{Format, OutOfRange};

/// A model could not be exported. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The model has parts that transformers does not support.
    #[error(
        "transformers supports only the classic architecture under the name nanochat, and this model has another one; the format safetensors supports every architecture"
    )]
    NotClassic,
    /// A layer does not have full attention.
    #[error(
        "the model type nanochat of transformers sees the whole context in every layer, and this model has a layer that sees {window} of {sequence_len} tokens back; the format safetensors has such layers, too"
    )]
    Windows {
        /// The layer's window.
        window: usize,
        /// The context.
        sequence_len: usize,
    },
    /// The run has no tokenizer.
    #[error("run {run:?} has no tokenizer, without which the export would be useless; import it again with one")]
    NoTokenizer {
        /// The run.
        run: String,
    },
    /// Model and tokenizer do not belong together.
    #[error("the model has {model} ids and its tokenizer {tokenizer}; they do not belong together")]
    Tokenizer {
        /// Ids of the model.
        model: usize,
        /// Ids of the tokenizer.
        tokenizer: usize,
    },
    /// The folder already exists.
    #[error("{folder} already exists and is not an empty folder; choose another, or remove it first", folder = folder.display())]
    Exists {
        /// The path.
        folder: PathBuf,
    },
    /// The path has no name, or its parent does not exist.
    #[error("{folder} cannot be made: {why}", folder = folder.display())]
    Place {
        /// The path.
        folder: PathBuf,
        /// Why not.
        why: String,
    },
    /// The checkpoint's tensors are not those of its config.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The checkpoint could not be read.
    #[error(transparent)]
    Source(SourceError),
    /// The format cannot represent the model.
    #[error("this model cannot be exported: {0}")]
    Unwritable(String),
    /// Other programs do not read our blocks.
    #[error("Hugging Face's transformers does not read {format}: take f32, bf16 or f16, or our own layout, safetensors")]
    Blocks {
        /// The format.
        format: Format,
    },
    /// A number is out of range for its new type.
    #[error("tensor {tensor}: {source}")]
    TooLarge {
        /// The tensor, quoted.
        tensor: String,
        /// The number.
        source: OutOfRange,
    },
    /// The disk is full.
    #[error(
        "the export needs {needed} in {folder}, {free}; make room, or choose another disk",
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
    /// A file or folder could not be read or written.
    #[error("cannot {doing} {path}: {source}", path = path.display())]
    Io {
        /// The operation.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl ExportError {
    /// Makes the error of a failed system call: `.map_err(ExportError::io("write", &path))`.
    pub(super) fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { doing, path: path.to_path_buf(), source }
    }

    /// The same error, or "disk full" if that is the cause.
    pub(super) fn for_want_of_room(self, folder: &Path, needed: u64) -> Self {
        match self {
            Self::Io { source, .. } if is_out_of_room(&source) => Self::NoRoom { folder: folder.to_owned(), needed, free: None },
            other => other,
        }
    }
}
