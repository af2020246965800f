//! Documents of a parquet file: the rows of its column `text`, row group by row group, page by page and text by text.
//! The parquet library reads the metadata at the end of the file; `rows` reads the pages, so that memory holds a text
//! and not a page, which may be two gigabytes.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use parquet::basic::Type;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader};

use super::{Place, is_blank};
use crate::data::DataError;
use crate::files::StandIn;
use crate::files::contained;

mod claims;
mod delta;
mod dictionary;
mod header;
mod hybrid;
mod rows;
mod stream;
mod text;
mod thrift;

use rows::Rows;
use text::Fault;

/// A parquet file that is open for reading.
pub struct Reader {
    path: PathBuf,
    metadata: ParquetMetaData,
    column: usize,
    place: Place,
    passed_over: u64,
    /// The column's pages in the current row group, positioned at `place`.
    rows: Option<Rows>,
}

impl Reader {
    /// Opens the file and checks that it has a column `text` of strings.
    pub fn open(path: &Path, place: Place) -> Result<Self, DataError> {
        let metadata = whole(path)?;
        let column = contained(path, || text_column(path, &metadata))??;
        Ok(Self { path: path.to_path_buf(), metadata, column, place, passed_over: 0, rows: None })
    }

    /// See [`super::Reader::next_document`].
    pub fn next_document(&mut self) -> Result<Option<String>, DataError> {
        while self.place.row_group < self.metadata.num_row_groups() {
            let document = self.next_in_group()?;
            if document.is_some() {
                return Ok(document);
            }
            self.place = Place { row_group: self.place.row_group + 1, offset: 0 };
            self.rows = None;
        }
        Ok(None)
    }

    /// The next document of the row group that the reader is in; `None` after its last.
    pub fn next_in_group(&mut self) -> Result<Option<String>, DataError> {
        let rows = match self.metadata.row_groups().get(self.place.row_group) {
            Some(group) => u64::try_from(group.num_rows()).unwrap_or(0),
            None => 0,
        };
        while self.place.offset < rows {
            let document = self.read_row()?;
            if document.is_some() {
                return Ok(document);
            }
        }
        Ok(None)
    }

    /// See [`super::Reader::seek`].
    pub fn seek(&mut self, place: Place) -> Result<(), DataError> {
        let from = std::mem::replace(&mut self.place, place);
        match &mut self.rows {
            Some(rows) if from.row_group == place.row_group && from.offset <= place.offset => {
                let skipped = rows.skip(place.offset - from.offset);
                let page = rows.page_start();
                skipped.map_err(|fault| unreadable(&self.path, page, fault))
            }
            _ => {
                self.rows = None;
                Ok(())
            }
        }
    }

    /// See [`super::Reader::place`].
    pub fn place(&self) -> Place {
        self.place
    }

    /// See [`super::Reader::passed_over`].
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// Reads the next row of the current row group; a row without text is not a document.
    fn read_row(&mut self) -> Result<Option<String>, DataError> {
        let group = self.place.row_group;
        let rows = match &mut self.rows {
            Some(rows) => rows,
            closed => {
                let rows = closed.insert(open_rows(&self.path, &self.metadata, self.column, group)?);
                let skipped = rows.skip(self.place.offset);
                skipped.map_err(|fault| unreadable(&self.path, rows.page_start(), fault))?;
                rows
            }
        };
        let row = rows.next().map_err(|fault| unreadable(&self.path, rows.page_start(), fault))?;
        let text = match row.ok_or_else(|| broken(&self.path, format!("row group {group} ends early")))? {
            Some(bytes) => String::from_utf8(bytes).map_err(|_| broken(&self.path, format!("a text of row group {group} is not UTF-8")))?,
            None => String::new(),
        };
        self.place.offset += 1;
        if is_blank(&text) {
            self.passed_over += 1;
            return Ok(None);
        }
        Ok(Some(text))
    }
}

/// Checks that the file is [whole](verify_whole) and has a column `text`.
pub fn verify(path: &Path) -> Result<(), DataError> {
    Reader::open(path, Place::default()).map(drop)
}

/// Checks what can be checked without decoding a page: the magic bytes at both ends, the metadata, and that every column chunk
/// is within the file.
pub fn verify_whole(path: &Path) -> Result<(), DataError> {
    whole(path).map(drop)
}

/// The same, and that no page of the columns that `wanted` names, each by its outermost part, claims to be larger than
/// pages are.
pub fn verify_pages(path: &Path, wanted: impl Fn(&str) -> bool) -> Result<(), DataError> {
    let metadata = whole(path)?;
    let mut pages = File::open(path).map_err(DataError::io(path))?;
    for group in metadata.row_groups() {
        let named = |column: &&ColumnChunkMetaData| column.column_path().parts().first().is_some_and(|name| wanted(name));
        for column in group.columns().iter().filter(named) {
            claims::check_pages(path, &mut pages, column)?;
        }
    }
    Ok(())
}

/// The metadata at the end of the file, if the file is complete.
fn whole(path: &Path) -> Result<ParquetMetaData, DataError> {
    let mut file = File::open(path).map_err(DataError::io(path))?;
    let mut mark = [0; 4];
    if file.read_exact(&mut mark).is_err() || &mark != b"PAR1" {
        if let Some(stand_in) = StandIn::in_file(&mut file).map_err(DataError::io(path))? {
            return Err(DataError::StandIn { path: path.to_path_buf(), stand_in });
        }
        return Err(broken(path, "it does not start as one".into()));
    }
    let bytes = file.metadata().map_err(DataError::io(path))?.len();
    claims::check_metadata(path, &mut file)?;
    let metadata = contained(path, || ParquetMetaDataReader::new().parse_and_finish(&file))?.map_err(decoding(path))?;
    for (at, group) in metadata.row_groups().iter().enumerate() {
        for column in group.columns() {
            let (start, end) = claims::range(column);
            if start == 0 || column.compressed_size() < 0 || end > bytes {
                return Err(broken(path, format!("row group {at} lies beyond its end")));
            }
        }
    }
    Ok(metadata)
}

/// The column's rows in a row group, from the first on.
fn open_rows(path: &Path, metadata: &ParquetMetaData, column: usize, group: usize) -> Result<Rows, DataError> {
    let chunk = metadata.row_group(group).column(column);
    if chunk.column_type() != Type::BYTE_ARRAY {
        return Err(broken(path, format!("row group {group} holds another type than the schema says")));
    }
    Ok(Rows::new(File::open(path).map_err(DataError::io(path))?, chunk))
}

/// The index of the leaf column `text`, which must hold at most one byte string a row.
fn text_column(path: &Path, metadata: &ParquetMetaData) -> Result<usize, DataError> {
    let schema = metadata.file_metadata().schema_descr();
    let found = |found: String| DataError::TextColumnType { path: path.to_path_buf(), found };
    let Some(column) = schema.columns().iter().position(|column| column.path().parts() == ["text"]) else {
        if schema.columns().iter().any(|column| column.path().parts().first().is_some_and(|name| name == "text")) {
            return Err(found("lists or other columns".into()));
        }
        let columns = schema.columns().iter().map(|column| column.path().string()).collect::<Vec<_>>().join(", ");
        return Err(DataError::NoTextColumn { path: path.to_path_buf(), columns });
    };
    let text = schema.column(column);
    if text.physical_type() != Type::BYTE_ARRAY || text.max_rep_level() > 0 {
        let list = if text.max_rep_level() > 0 { "lists of " } else { "" };
        return Err(found(format!("{list}{}", text.physical_type())));
    }
    Ok(column)
}

/// Why a row of the page that starts at byte `page` cannot be read.
fn unreadable(path: &Path, page: u64, fault: Fault) -> DataError {
    let path = path.to_path_buf();
    match fault {
        Fault::TooLong(bytes) => DataError::TooLong { path, bytes },
        Fault::Io(source) if source.raw_os_error().is_some() => DataError::Io { path, source },
        Fault::Io(error) if error.kind() == ErrorKind::Unsupported => DataError::ParquetKind { path, kind: error.to_string() },
        Fault::Io(error) if error.kind() == ErrorKind::UnexpectedEof => broken(&path, format!("its page at byte {page} ends too early")),
        Fault::Io(error) => broken(&path, format!("its page at byte {page} is damaged: {error}")),
    }
}

fn decoding(path: &Path) -> impl FnOnce(ParquetError) -> DataError {
    move |error| broken(path, error.to_string().trim_start_matches("Parquet error: ").to_owned())
}

/// What `read` returns; an error if the parquet library panics. Its reader must not be used after that.
pub fn contained<T>(path: &Path, read: impl FnOnce() -> T) -> Result<T, DataError> {
    contained::contained(read).map_err(|contained::Panicked| broken(path, "its pages are damaged".into()))
}

fn broken(path: &Path, reason: String) -> DataError {
    DataError::Parquet { path: path.to_path_buf(), reason }
}
