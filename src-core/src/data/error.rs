//! What can be wrong with training data, each as one sentence that says what to do.

use std::io;
use std::path::{Path, PathBuf};

use super::file::Split;
use crate::files::StandIn;

/// Training data could not be found, read, tokenised or resumed.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// No path was given.
    #[error("no data was named; give a parquet, .jsonl or .txt file, or a folder of them")]
    NoPath,
    /// A path does not exist.
    #[error("{} does not exist; name a parquet, .jsonl or .txt file, or a folder of them", .path.display())]
    NotFound {
        /// The path as given.
        path: PathBuf,
    },
    /// A file whose name has no known format.
    #[error("{} {advice}", .path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// What it seems to be, and what to do.
        advice: &'static str,
    },
    /// A folder holds no file of a known format.
    #[error("{} holds no .parquet, .jsonl or .txt file{hint}", .path.display())]
    NoUsableFiles {
        /// The folder.
        path: PathBuf,
        /// What it holds instead, and what to do.
        hint: String,
    },
    /// A folder holds test and validation sets only.
    #[error(
        "there is nothing to train on: by their names all files are test or validation sets, {} too; name the files one by one to train on them anyway",
        .path.display()
    )]
    NothingToTrainOn {
        /// The first of the files.
        path: PathBuf,
    },
    /// A file is empty or blank.
    #[error("{} is empty; remove it or put text into it", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The files contain no document of a split.
    #[error("the data holds no document for the {split} split; add more text, or a second file")]
    EmptySplit {
        /// The split.
        split: Split,
    },
    /// A text file is not text.
    #[error("{} is not UTF-8 text ({what} at byte {offset}); convert it to UTF-8", .path.display())]
    Binary {
        /// The file.
        path: PathBuf,
        /// What was found: a zero byte, or invalid bytes.
        what: &'static str,
        /// The offset in the file, in bytes.
        offset: u64,
    },
    /// A line of a .jsonl file is not an object with a string `text`.
    #[error("{}, line {line}: {reason}; each line must be an object like {{\"text\": \"…\"}}", .path.display())]
    BrokenLine {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// The parser's message.
        reason: String,
    },
    /// A file is not what its name says.
    #[error("{} {stand_in}", .path.display())]
    StandIn {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        stand_in: StandIn,
    },
    /// A file of JSON is an array.
    #[error("{} is one JSON array, not one JSON object per line; make lines of it with `jq -c '.[]' FILE.json > FILE.jsonl`", .path.display())]
    JsonArray {
        /// The file.
        path: PathBuf,
    },
    /// A compressed file cannot be decompressed.
    #[error("{} cannot be decompressed ({reason}); fetch it again, or compress it again", .path.display())]
    Packed {
        /// The file.
        path: PathBuf,
        /// The decoder's message.
        reason: String,
    },
    /// Decompressing a file needs more memory than allowed.
    #[error(
        "{} needs more than 128 MiB of memory to be unpacked; compress it again with a smaller window",
        .path.display()
    )]
    LargeWindow {
        /// The file.
        path: PathBuf,
    },
    /// A document is too long.
    #[error("{} holds a text of {bytes} bytes, and the longest that is read has 256 MiB; split it", .path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The length of the text in bytes.
        bytes: u64,
    },
    /// A parquet file uses an unsupported feature.
    #[error("{} uses a parquet feature that is not supported ({kind}); write it again with pyarrow, pandas or DuckDB", .path.display())]
    ParquetKind {
        /// The file.
        path: PathBuf,
        /// What it uses.
        kind: String,
    },
    /// A parquet file cannot be decoded.
    #[error("{} is not a readable parquet file ({reason}); remove it and fetch it again", .path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The decoder's message.
        reason: String,
    },
    /// A parquet file lacks the column `text`.
    #[error("{} has no column `text` (its columns: {columns}); rename the one that holds the documents", .path.display())]
    NoTextColumn {
        /// The file.
        path: PathBuf,
        /// The columns that it has.
        columns: String,
    },
    /// The column `text` of a parquet file does not hold one string per row.
    #[error("the column `text` of {} holds {found}, not one string per row", .path.display())]
    TextColumnType {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: String,
    },
    /// A saved loader state belongs to another data set.
    #[error("the data is not what this run was trained on: {changed}")]
    OtherData {
        /// What differs.
        changed: String,
    },
    /// The documents of a saved loader state have different tokens than before.
    #[error(
        "the documents that were waiting when the run was saved have other tokens now: the tokenizer or the data has changed; resume with the run's own tokenizer and data"
    )]
    OtherDocuments,
    /// A saved loader state belongs to other conversations.
    #[error(
        "this run was reading other conversations ({saved} of them; now there are {found}, or the same number of others); give the same files, or start a new run"
    )]
    OtherConversations {
        /// How many there were when the state was saved.
        saved: usize,
        /// How many there are now.
        found: usize,
    },
    /// No conversation has anything to learn.
    #[error(
        "there is nothing to learn: in no conversation does the assistant say anything within the first {tokens} tokens; give others, or longer rows"
    )]
    NothingToLearn {
        /// Tokens per row.
        tokens: usize,
    },
    /// A conversation cannot be read or rendered, for the given reason.
    #[error(transparent)]
    Conversations(Box<dyn std::error::Error + Send + Sync>),
    /// The thread that makes batches could not be started.
    #[error("cannot start the thread that reads the data")]
    Thread(#[source] io::Error),
    /// The thread that makes batches panicked.
    #[error("the thread that reads the data failed unexpectedly; this is a bug, please report it with the file being read")]
    Panicked,
    /// The thread that makes batches has ended after an earlier error.
    #[error("reading the data has stopped after an earlier error")]
    Stopped,
    /// An I/O error.
    #[error("cannot read {}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl DataError {
    /// Wraps the error of a source of conversations.
    pub(crate) fn conversations(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Conversations(Box::new(error))
    }

    /// Wraps an I/O error with the path it concerns.
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { path },
            _ => Self::Io { path, source },
        }
    }
}
