//! The parts of a data set: splits, files and their formats.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A split of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Documents to train on.
    Train,
    /// Documents held out for validation.
    Val,
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "training",
            Self::Val => "validation",
        })
    }
}

/// The format of a file, from its name. JSON Lines and text may be compressed with gzip or zstd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A parquet file: a document is a row of the column `text`.
    Parquet,
    /// JSON Lines (`.jsonl`, `.ndjson`; compressed also `.json.gz`): a document is the field `text` of the object on a
    /// line.
    JsonLines,
    /// A `.txt` file: documents end at form feeds, at `<|endoftext|>`, else at a blank line within 2048 bytes.
    /// See [`super::format::text`] for why.
    Text,
}

/// A file of a data set.
#[derive(Clone, Debug)]
pub struct DataFile {
    /// Its path.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// Its size on disk.
    pub bytes: u64,
}

/// Something that was found next to the data and is not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// Its path.
    pub path: PathBuf,
    /// Why it is not read; the rest of a sentence that begins with its name.
    pub reason: &'static str,
}
