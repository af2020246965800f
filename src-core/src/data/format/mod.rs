//! Readers of single files, one module a format. Each hands out documents in file order and knows where it stands, so
//! that reading can go on later from exactly there.

pub mod jsonl;
pub mod parquet;
pub mod text;

use super::DataError;
use super::files::{DataFile, Format};

/// A place within a file, between two documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The row group of a parquet file; 0 for other formats.
    pub row_group: usize,
    /// The row within the row group, or the bytes from the start of a file of text.
    pub offset: u64,
}

/// A file that is open for reading.
pub enum Reader {
    /// A parquet file.
    Parquet(Box<parquet::Reader>),
    /// A `.jsonl` file.
    JsonLines(jsonl::Reader),
    /// A `.txt` file.
    Text(text::Reader),
}

impl Reader {
    /// Opens `file` at `place`.
    pub fn open(file: &DataFile, place: Place) -> Result<Self, DataError> {
        Ok(match file.format {
            Format::Parquet => Self::Parquet(Box::new(parquet::Reader::open(&file.path, place)?)),
            Format::JsonLines => Self::JsonLines(jsonl::Reader::open(&file.path, place.offset)?),
            Format::Text => Self::Text(text::Reader::open(&file.path, place.offset)?),
        })
    }

    /// Reads at most `max` documents, of one row group where the format has such. None are left when none come.
    pub fn read(&mut self, max: usize) -> Result<Vec<String>, DataError> {
        match self {
            Self::Parquet(reader) => reader.read(max),
            Self::JsonLines(reader) => reader.read(max),
            Self::Text(reader) => reader.read(max),
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
}
