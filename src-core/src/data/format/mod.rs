//! Readers of single files, one module per format. Each returns documents in file order and knows its position, so
//! that reading can resume exactly there.
//!
//! In every format a blank document does not count: it is skipped, and the skipped ones are counted. That includes
//! null rows of a parquet file, `"text": null` in a line of JSON, and empty strings in
//! either.

pub mod jsonl;
pub mod parquet;
pub mod source;
pub mod text;

use super::DataError;
use super::file::{DataFile, Format};

/// The longest document that is read, and the longest line of JSON, in bytes. Anything longer is not a document but a file
/// of another kind; it must not fill the memory before that is detected.
pub const LONGEST_DOCUMENT: u64 = 256 << 20;

/// [`Reader::read`] ends a batch when its documents have this many bytes, however few they are.
pub const LARGEST_BATCH: usize = 32 << 20;

/// A position within a file, between two documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The row group of a parquet file; 0 for other formats.
    pub row_group: usize,
    /// The row within the row group, or the bytes from the start of a file of text, counted after unpacking it where
    /// it is compressed.
    pub offset: u64,
}

/// A file that is open for reading.
pub enum Reader {
    /// A parquet file.
    Parquet(Box<parquet::Reader>),
    /// A file of JSON Lines.
    JsonLines(jsonl::Reader),
    /// A file of text.
    Text(text::Reader),
}

impl Reader {
    /// Opens `file` at `place`. A compressed file is unpacked up to there.
    pub fn open(file: &DataFile, place: Place) -> Result<Self, DataError> {
        Ok(match file.format {
            Format::Parquet => Self::Parquet(Box::new(parquet::Reader::open(&file.path, place)?)),
            Format::JsonLines => Self::JsonLines(jsonl::Reader::open(&file.path, place.offset)?),
            Format::Text => Self::Text(text::Reader::open(&file.path, place.offset)?),
        })
    }

    /// Reads the next document; `None` after the last. Opened at the [`place`](Self::place) of before, another reader
    /// reads the same one.
    pub fn next_document(&mut self) -> Result<Option<String>, DataError> {
        match self {
            Self::Parquet(reader) => reader.next_document(),
            Self::JsonLines(reader) => reader.next_document(),
            Self::Text(reader) => reader.next_document(),
        }
    }

    /// Reads at most `max` documents, of one row group if the format has them, and fewer if they reach
    /// [`LARGEST_BATCH`] bytes first. Returns none at the end. Each comes with the place where it can be
    /// read again.
    pub fn read(&mut self, max: usize) -> Result<Vec<(Place, String)>, DataError> {
        let mut documents = Vec::new();
        let mut bytes = 0;
        while documents.len() < max && bytes < LARGEST_BATCH {
            let place = self.place();
            let next = match &mut *self {
                Self::Parquet(reader) if !documents.is_empty() => reader.next_in_group()?,
                reader => reader.next_document()?,
            };
            let Some(document) = next else { break };
            bytes += document.len();
            documents.push((place, document));
        }
        Ok(documents)
    }

    /// Goes to `place`, like a reader that is opened there. Going forward, nothing is read or decompressed twice.
    pub fn seek(&mut self, place: Place) -> Result<(), DataError> {
        match self {
            Self::Parquet(reader) => reader.seek(place),
            Self::JsonLines(reader) => reader.seek(place.offset),
            Self::Text(reader) => reader.seek(place.offset),
        }
    }

    /// Where the next document is read from.
    pub fn place(&self) -> Place {
        match self {
            Self::Parquet(reader) => reader.place(),
            Self::JsonLines(reader) => Place { row_group: 0, offset: reader.offset() },
            Self::Text(reader) => Place { row_group: 0, offset: reader.offset() },
        }
    }

    /// Rows and lines without a text that this reader has skipped.
    pub fn passed_over(&self) -> u64 {
        match self {
            Self::Parquet(reader) => reader.passed_over(),
            Self::JsonLines(reader) => reader.passed_over(),
            Self::Text(_) => 0,
        }
    }
}

/// Whether a text is blank.
fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}
