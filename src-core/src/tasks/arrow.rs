//! Rows of Arrow files: the streams that `datasets` keeps in its cache and writes with `save_to_disk`, and files with a footer, which
//! hold such a stream.
//!
//! A batch of rows is in memory at a time, and no more is allocated for it than the file has. Buffers are validated before anything
//! is read from them. Compressed ones are refused, and so are types that can repeat a text without storing it (views,
//! dictionaries): no data set of a task has them.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Take};
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch, StructArray};
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_schema::{ArrowError, DataType, Fields, Schema};
use serde_json::{Map, Value};

use super::TaskError;
use crate::files::contained::{Panicked, contained};

/// Bytes that are read at once.
const PIECE: u64 = 1 << 20;

/// What a file with a footer begins with, and ends with.
const MAGIC: &[u8; 6] = b"ARROW1";

/// What a stream ends with.
const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// Whether a file is an Arrow file by its name.
pub fn is_named(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("arrow"))
}

/// The rows of the file, each an object with the fields `columns`, or with the one struct column whose fields they are.
///
/// # Errors
/// If the file cannot be read or lacks a column. An item is an error if the file is damaged, and the last one then.
pub fn rows(path: &Path, columns: &'static [&'static str]) -> Result<impl Iterator<Item = Result<Value, TaskError>> + use<>, TaskError> {
    let mut rows =
        Rows { path: path.to_path_buf(), file: stream(path)?, decoder: StreamDecoder::new(), piece: Buffer::default(), batch: None };
    // The schema comes first; it may share a piece with a batch, which is decoded afterwards.
    let first = rows.next_batch()?;
    let schema = rows.decoder.schema().ok_or_else(|| broken(path, "it has no schema"))?;
    let kept = projection(path, &schema, columns)?;
    rows.batch = first.map(|batch| (batch, 0));
    let mut damaged = false;
    Ok(std::iter::from_fn(move || {
        if damaged {
            return None;
        }
        let row = rows.next_row(&kept);
        damaged = row.is_err();
        row.transpose()
    }))
}

struct Rows {
    path: PathBuf,
    file: Take<File>,
    decoder: StreamDecoder,
    /// What was read and not decoded.
    piece: Buffer,
    /// The present batch, and its next row.
    batch: Option<(RecordBatch, usize)>,
}

impl Rows {
    fn next_row(&mut self, kept: &[usize]) -> Result<Option<Value>, TaskError> {
        while let Some((batch, row)) = &mut self.batch {
            if *row < batch.num_rows() {
                *row += 1;
                let field = |&column: &usize| (batch.schema_ref().field(column).name().clone(), value(batch.column(column), *row - 1));
                return Ok(Some(Value::Object(kept.iter().map(field).collect())));
            }
            self.batch = self.next_batch()?.map(|batch| (batch, 0));
        }
        Ok(None)
    }

    /// The next batch; `None` after the last.
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, TaskError> {
        loop {
            if self.piece.is_empty() {
                let mut bytes = Vec::new();
                Read::by_ref(&mut self.file).take(PIECE).read_to_end(&mut bytes).map_err(TaskError::io(&self.path))?;
                if bytes.is_empty() {
                    return self.decoder.finish().map(|()| None).map_err(|_| broken(&self.path, "it is cut off"));
                }
                self.piece = bytes.into();
            }
            let (decoder, piece) = (&mut self.decoder, &mut self.piece);
            match contained(|| decoder.decode(piece)) {
                Ok(Ok(None)) => {}
                Ok(Ok(batch)) => return Ok(batch),
                Ok(Err(error)) => return Err(broken(&self.path, &reason(&error))),
                Err(Panicked) => return Err(broken(&self.path, "its batches are damaged")),
            }
        }
    }
}

/// The stream in the file, of which the end is there.
fn stream(path: &Path) -> Result<Take<File>, TaskError> {
    let mut file = File::open(path).map_err(TaskError::io(path))?;
    let mut read_at = |offset: u64, bytes: &mut [u8]| {
        file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(bytes)).map_err(TaskError::io(path))
    };
    let len = std::fs::metadata(path).map_err(TaskError::io(path))?.len();
    let cut_off = || broken(path, "it is cut off");
    let (mut start, mut end) = (0, len);
    let mut magic = [0; MAGIC.len()];
    if len >= MAGIC.len() as u64 {
        read_at(0, &mut magic)?;
    }
    if &magic == MAGIC {
        // At the end are a footer, its size and the same bytes again. Padded to 8 bytes, by arrow-rs to 64.
        let mut block = [0; 8];
        for at in (8..=64).step_by(8).take_while(|at| at + 8 <= len) {
            read_at(at, &mut block)?;
            if block != [0; 8] {
                start = at;
                break;
            }
        }
        if start == 0 {
            return Err(cut_off());
        }
        let mut last = [0; 4 + MAGIC.len()];
        let after_footer = len.checked_sub(last.len() as u64).ok_or_else(cut_off)?;
        read_at(after_footer, &mut last)?;
        let footer = u32::from_le_bytes([last[0], last[1], last[2], last[3]]);
        end = after_footer.checked_sub(footer.into()).filter(|_| last.ends_with(MAGIC)).ok_or_else(cut_off)?;
    }
    let mut mark = [0; END.len()];
    let at = end.checked_sub(END.len() as u64).filter(|&at| at >= start).ok_or_else(cut_off)?;
    read_at(at, &mut mark)?;
    if mark != END {
        return Err(cut_off());
    }
    file.seek(SeekFrom::Start(start)).map_err(TaskError::io(path))?;
    Ok(file.take(end - start))
}

/// The columns that have `columns`: these, or the struct column whose fields they are.
fn projection(path: &Path, schema: &Schema, columns: &'static [&'static str]) -> Result<Vec<usize>, TaskError> {
    let fields = schema.fields();
    let position = |fields: &Fields, name: &str| fields.iter().position(|field| field.name() == name);
    let wraps = |kind: &DataType| matches!(kind, DataType::Struct(inner) if columns.iter().all(|name| position(inner, name).is_some()));
    let own: Vec<(&'static str, Option<usize>)> = columns.iter().map(|name| (*name, position(fields, name))).collect();
    let kept = match fields.iter().position(|field| wraps(field.data_type())) {
        Some(wrapper) if own.iter().any(|(_, column)| column.is_none()) => vec![wrapper],
        _ => {
            let missing = |column| {
                let columns = fields.iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
                TaskError::MissingColumn { path: path.to_path_buf(), column, columns }
            };
            own.into_iter().map(|(name, column)| column.ok_or_else(|| missing(name))).collect::<Result<_, _>>()?
        }
    };
    match kept.iter().map(|&column| &fields[column]).find(|field| !readable(field.data_type())) {
        Some(field) => Err(broken(path, &format!("its column `{}` holds a type that no task has", field.name()))),
        None => Ok(kept),
    }
}

fn readable(kind: &DataType) -> bool {
    match kind {
        DataType::List(item) | DataType::LargeList(item) => readable(item.data_type()),
        DataType::Struct(fields) => !fields.is_empty() && fields.iter().all(|field| readable(field.data_type())),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Boolean | DataType::Float32 | DataType::Float64 => true,
        kind => kind.is_integer(),
    }
}

/// Element `at` as JSON.
fn value(array: &dyn Array, at: usize) -> Value {
    if array.is_null(at) {
        return Value::Null;
    }
    let all = |list: &dyn Array| (0..list.len()).map(|at| value(list, at)).collect();
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(at).into(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(at).into(),
        DataType::Boolean => array.as_boolean().value(at).into(),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(at).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(at).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(at).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(at).into(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(at).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(at).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(at).into(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(at).into(),
        DataType::Float32 => array.as_primitive::<Float32Type>().value(at).into(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(at).into(),
        DataType::List(_) => all(&array.as_list::<i32>().value(at)),
        DataType::LargeList(_) => all(&array.as_list::<i64>().value(at)),
        DataType::Struct(_) => Value::Object(object(array.as_struct(), at)),
        // `readable` lets no other type through.
        _ => Value::Null,
    }
}

fn object(array: &StructArray, at: usize) -> Map<String, Value> {
    array.fields().iter().zip(array.columns()).map(|(field, column)| (field.name().clone(), value(column, at))).collect()
}

fn broken(path: &Path, reason: &str) -> TaskError {
    TaskError::Arrow { path: path.to_path_buf(), reason: reason.to_owned() }
}

/// The kind of an error. Its message may quote what people wrote.
fn reason(error: &ArrowError) -> String {
    match error {
        ArrowError::IpcError(said) if said.contains("Unexpected EOS") => "something follows its end".into(),
        ArrowError::IpcError(said) if said.to_lowercase().contains("compress") => {
            "it is compressed, and only files that are not are read".into()
        }
        ArrowError::NotYetImplemented(_) => "it uses a part of the format that is not supported".into(),
        _ => "its batches are damaged".into(),
    }
}

#[cfg(test)]
mod tests;
