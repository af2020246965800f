//! Documents of a parquet file: the rows of its column `text`, read with the low-level column reader, row group by row
//! group and page by page, so that memory holds a batch and not a shard.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use parquet::basic::Type;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::ByteArrayType;
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::Place;
use crate::data::DataError;

mod claims;
mod contained;
mod thrift;

pub use contained::contained;

/// The most bytes that the texts of one batch may have. A dictionary can give every row the same large text.
const LARGEST_BATCH: usize = 256 << 20;

/// A parquet file that is open for reading.
pub struct Reader {
    path: PathBuf,
    file: SerializedFileReader<File>,
    column: usize,
    place: Place,
    /// The column's pages in the current row group, standing at `place`.
    rows: Option<ColumnReaderImpl<ByteArrayType>>,
}

impl Reader {
    /// Opens the file and checks that it has a column `text` of strings.
    pub fn open(path: &Path, place: Place) -> Result<Self, DataError> {
        let file = whole(path)?;
        let column = contained(path, || text_column(path, &file))??;
        Ok(Self { path: path.to_path_buf(), file, column, place, rows: None })
    }

    /// The rows that the file says it has.
    pub fn num_rows(&self) -> u64 {
        u64::try_from(self.file.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// See [`super::Reader::read`].
    pub fn read(&mut self, max: usize) -> Result<Vec<String>, DataError> {
        let path = self.path.clone();
        contained(&path, || self.read_next(max))?
    }

    fn read_next(&mut self, max: usize) -> Result<Vec<String>, DataError> {
        while self.place.row_group < self.file.num_row_groups() {
            let rows = self.file.metadata().row_group(self.place.row_group).num_rows();
            if self.place.offset >= u64::try_from(rows).unwrap_or(0) {
                self.place = Place { row_group: self.place.row_group + 1, offset: 0 };
                self.rows = None;
                continue;
            }
            let documents = self.read_rows(max)?;
            if !documents.is_empty() {
                return Ok(documents);
            }
        }
        Ok(Vec::new())
    }

    /// See [`super::Reader::place`].
    pub fn place(&self) -> Place {
        self.place
    }

    /// Reads at most `max` rows of the current row group; rows without a value give no document.
    fn read_rows(&mut self, max: usize) -> Result<Vec<String>, DataError> {
        let rows = match &mut self.rows {
            Some(rows) => rows,
            closed => closed.insert(open_rows(&self.path, &self.file, self.column, self.place)?),
        };
        let (mut values, mut levels) = (Vec::new(), Vec::new());
        let (read, _, _) = rows.read_records(max, Some(&mut levels), None, &mut values).map_err(decoding(&self.path))?;
        if read == 0 {
            return Err(broken(&self.path, format!("row group {} ends early", self.place.row_group)));
        }
        self.place.offset += read as u64;
        let bytes: usize = values.iter().map(|value| value.len()).sum();
        if bytes > LARGEST_BATCH {
            let problem = format!("{read} rows of row group {} hold {bytes} bytes of text; split its texts", self.place.row_group);
            return Err(broken(&self.path, problem));
        }
        let not_text = |_| broken(&self.path, format!("a text of row group {} is not UTF-8", self.place.row_group));
        values.iter().map(|value| value.as_utf8().map(str::to_owned).map_err(not_text)).collect()
    }
}

/// Checks that the file is [whole](verify_whole) and has a column `text`.
pub fn verify(path: &Path) -> Result<(), DataError> {
    Reader::open(path, Place::default()).map(drop)
}

/// Checks what can be checked without decoding a page: the mark at both ends, the metadata, and that every column chunk
/// lies within the file.
pub fn verify_whole(path: &Path) -> Result<(), DataError> {
    whole(path).map(drop)
}

/// The same, and that no page of the columns that `wanted` names, each by its outermost part, claims to be larger than
/// pages are.
pub fn verify_pages(path: &Path, wanted: impl Fn(&str) -> bool) -> Result<(), DataError> {
    let metadata = whole(path)?;
    let mut pages = File::open(path).map_err(DataError::io(path))?;
    for group in metadata.metadata().row_groups() {
        let named = |column: &&ColumnChunkMetaData| column.column_path().parts().first().is_some_and(|name| wanted(name));
        for column in group.columns().iter().filter(named) {
            claims::check_pages(path, &mut pages, column)?;
        }
    }
    Ok(())
}

/// The file, if it is whole. What is checked here the library takes for granted.
fn whole(path: &Path) -> Result<SerializedFileReader<File>, DataError> {
    let mut file = File::open(path).map_err(DataError::io(path))?;
    let mut mark = [0; 4];
    if file.read_exact(&mut mark).is_err() || &mark != b"PAR1" {
        return Err(broken(path, "it does not start as one".into()));
    }
    let bytes = file.metadata().map_err(DataError::io(path))?.len();
    claims::check_metadata(path, &mut file)?;
    let file = contained(path, || SerializedFileReader::new(file))?.map_err(decoding(path))?;
    for (at, group) in file.metadata().row_groups().iter().enumerate() {
        for column in group.columns() {
            let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
            let end = start.checked_add(column.compressed_size()).and_then(|end| u64::try_from(end).ok());
            if start < 0 || column.compressed_size() < 0 || end.is_none_or(|end| end > bytes) {
                return Err(broken(path, format!("row group {at} lies beyond its end")));
            }
        }
    }
    Ok(file)
}

/// The column's reader in the row group of `place`, standing at its row.
fn open_rows(
    path: &Path,
    file: &SerializedFileReader<File>,
    column: usize,
    place: Place,
) -> Result<ColumnReaderImpl<ByteArrayType>, DataError> {
    let mut pages = File::open(path).map_err(DataError::io(path))?;
    claims::check_pages(path, &mut pages, file.metadata().row_group(place.row_group).column(column))?;
    let group = file.get_row_group(place.row_group).map_err(decoding(path))?;
    let ColumnReader::ByteArrayColumnReader(mut rows) = group.get_column_reader(column).map_err(decoding(path))? else {
        return Err(broken(path, format!("row group {} holds another type than the schema says", place.row_group)));
    };
    let skip = usize::try_from(place.offset).map_err(|_| broken(path, "a row group is too long".into()))?;
    rows.skip_records(skip).map_err(decoding(path))?;
    Ok(rows)
}

/// The index of the leaf column `text`, which must hold at most one byte string a row.
fn text_column(path: &Path, file: &SerializedFileReader<File>) -> Result<usize, DataError> {
    let schema = file.metadata().file_metadata().schema_descr();
    let Some(column) = schema.columns().iter().position(|column| column.path().parts() == ["text"]) else {
        let columns = schema.columns().iter().map(|column| column.path().string()).collect::<Vec<_>>().join(", ");
        return Err(DataError::NoTextColumn { path: path.to_path_buf(), columns });
    };
    let text = schema.column(column);
    if text.physical_type() != Type::BYTE_ARRAY || text.max_rep_level() > 0 {
        let list = if text.max_rep_level() > 0 { "lists of " } else { "" };
        let found = format!("{list}{}", text.physical_type());
        return Err(DataError::TextColumnType { path: path.to_path_buf(), found });
    }
    Ok(column)
}

fn decoding(path: &Path) -> impl FnOnce(ParquetError) -> DataError {
    move |error| broken(path, error.to_string().trim_start_matches("Parquet error: ").to_owned())
}

fn broken(path: &Path, reason: String) -> DataError {
    DataError::Parquet { path: path.to_path_buf(), reason }
}
