//! Rows of a data set's files as JSON values: the requested columns of parquet and Arrow files, whole lines of `.jsonl` files.
//! Errors name the file and row and never quote the content, because people wrote it.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{ConvertedType, Repetition, Type as Physical};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use parquet::schema::types::{Type, TypePtr};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{TaskError, arrow};
use crate::data::format::jsonl;
use crate::data::format::parquet::{contained, verify_pages, verify_whole};
use crate::data::format::source::Source;
use crate::data::{DataError, Format};
use crate::files::json::{self, JsonError};

/// A longer line is not a row but a file of another kind; it must not fill the memory before that is detected.
const LONGEST_LINE: u64 = 64 << 20;

/// Passes every row of `path` to `each`, as an object that should have the fields `columns`. An error from `each`
/// is the reason why the row cannot be used.
///
/// The columns may also be the fields of a single struct column, as `train` is in one export of MMLU.
pub fn for_each(
    path: &Path,
    columns: &'static [&'static str],
    each: &mut dyn FnMut(Value) -> Result<(), RowFault>,
) -> Result<(), TaskError> {
    let (unit, rows): (_, Box<dyn Iterator<Item = Result<Value, Fault>>>) = match Format::of(path) {
        _ if arrow::is_named(path) => ("row", Box::new(arrow::rows(path, columns)?.map(|row| row.map_err(Fault::File)))),
        Some(Format::Parquet) => ("row", Box::new(parquet_rows(path, columns)?)),
        _ => ("line", Box::new(lines(path)?)),
    };
    for (number, row) in (1..).zip(rows) {
        let fault = match row {
            // A blank line.
            Ok(Value::Null) => continue,
            Ok(row) => each(unwrapped(row, columns)),
            Err(Fault::Row(reason)) => Err(RowFault::Unusable(reason)),
            Err(Fault::File(error)) => Err(RowFault::Other(error)),
        };
        match fault {
            Ok(()) => {}
            Err(RowFault::Unusable(reason)) => return Err(TaskError::Row { path: path.to_path_buf(), unit, number, reason }),
            Err(RowFault::Other(error)) => return Err(error),
        }
    }
    Ok(())
}

/// Why a row was rejected.
pub enum RowFault {
    /// It is not what the task expects.
    Unusable(String),
    /// Something that has nothing to do with the row.
    Other(TaskError),
}

/// Why there is no next row.
enum Fault {
    Row(String),
    File(TaskError),
}

/// A row as the type that a task expects; `expected` says in words what that is.
pub fn parse<T: DeserializeOwned>(row: Value, expected: &str) -> Result<T, String> {
    // The parser's message would quote the row.
    json::from_value(&row).map_err(|error| match error {
        JsonError::NotFinite { .. } => error.to_string(),
        JsonError::Json { .. } => format!("it does not have {expected}"),
    })
}

/// The row itself, or the one object in it that has the first of `columns` if the row does not.
fn unwrapped(row: Value, columns: &[&str]) -> Value {
    let has = |value: &Value| columns.first().is_some_and(|column| value.get(column).is_some());
    match row {
        Value::Object(fields) if !columns.first().is_some_and(|column| fields.contains_key(*column)) => {
            match fields.values().find(|value| has(value)) {
                Some(inner) => inner.clone(),
                None => Value::Object(fields),
            }
        }
        row => row,
    }
}

/// The lines of a file of JSON Lines, which may be compressed; blank ones are null.
fn lines(path: &Path) -> Result<impl Iterator<Item = Result<Value, Fault>> + use<>, TaskError> {
    let mut source = Source::open(path, 0)?;
    let (mut line, mut first) = (Vec::new(), true);
    Ok(std::iter::from_fn(move || {
        match source.read_line(LONGEST_LINE, &mut line) {
            Ok(0) => return None,
            Ok(read) if read as u64 == LONGEST_LINE => return Some(Err(Fault::Row("it is longer than 64 MiB".into()))),
            Ok(_) => {}
            Err(error) => return Some(Err(Fault::File(error.into()))),
        }
        let bytes = if std::mem::take(&mut first) { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line };
        // With its line break, a truncated line would look like one with a stray control character.
        let bytes = bytes.trim_ascii();
        if bytes.is_empty() {
            return Some(Ok(Value::Null));
        }
        Some(match json::from_slice(bytes) {
            Ok(row @ Value::Object(_)) => Ok(row),
            Ok(_) => Err(Fault::Row("it is no JSON object".into())),
            Err(error) => Err(Fault::Row(jsonl::reason(bytes, &error))),
        })
    }))
}

/// The rows of a parquet file, decoded column by column and a row group at a time.
fn parquet_rows(path: &Path, columns: &'static [&'static str]) -> Result<impl Iterator<Item = Result<Value, Fault>> + use<>, TaskError> {
    verify_whole(path)?;
    let file = File::open(path).map_err(TaskError::io(path))?;
    let reader = contained(path, || SerializedFileReader::new(file))?.map_err(|error| broken(path, &error))?;
    let wanted = projection(path, reader.metadata().file_metadata().schema(), columns)?;
    verify_pages(path, |name| wanted.get_fields().iter().any(|field| field.name() == name))?;
    let mut rows = contained(path, || reader.into_iter().project(Some(wanted)))?.map_err(|error| broken(path, &error))?;
    let path = path.to_path_buf();
    let mut damaged = false;
    Ok(std::iter::from_fn(move || {
        if damaged {
            return None;
        }
        let row = match contained(&path, || rows.next()) {
            Ok(row) => row?.map(object).map_err(|error| broken(&path, &error)),
            Err(error) => Err(error.into()),
        };
        damaged = row.is_err();
        Some(row.map_err(Fault::File))
    }))
}

fn broken(path: &Path, error: &ParquetError) -> TaskError {
    let said = error.to_string();
    let said = said.trim_start_matches("Parquet error: ");
    // For text that is not UTF-8 the decoder quotes the bytes.
    let reason = said.split(" Bytes: ").next().unwrap_or(said).to_owned();
    DataError::Parquet { path: path.to_path_buf(), reason }.into()
}

/// The part of the schema that has `columns`: these columns, or the struct column whose fields they are.
fn projection(path: &Path, schema: &Type, columns: &'static [&'static str]) -> Result<Type, TaskError> {
    let named = |fields: &[TypePtr], name: &str| fields.iter().find(|field| field.name() == name).cloned();
    let fields = schema.get_fields();
    let wrapper = fields.iter().find(|field| field.is_group() && columns.iter().all(|name| named(field.get_fields(), name).is_some()));
    let found: Vec<(&'static str, Option<TypePtr>)> = columns.iter().map(|name| (*name, named(fields, name))).collect();
    let kept = match wrapper {
        Some(wrapper) if found.iter().any(|(_, column)| column.is_none()) => vec![Arc::clone(wrapper)],
        _ => {
            let missing = |column| {
                let columns = fields.iter().map(|field| field.name()).collect::<Vec<_>>().join(", ");
                TaskError::MissingColumn { path: path.to_path_buf(), column, columns }
            };
            found.into_iter().map(|(name, column)| column.ok_or_else(|| missing(name))).collect::<Result<_, _>>()?
        }
    };
    if let Some(column) = kept.iter().find(|column| !readable(column)) {
        let reason = format!("its column `{}` holds a type that no task has", column.name());
        return Err(DataError::Parquet { path: path.to_path_buf(), reason }.into());
    }
    Type::group_type_builder(schema.name()).with_fields(kept).build().map_err(|error| broken(path, &error))
}

/// Whether rows of this type can be decoded. The library panics on some that cannot.
fn readable(column: &Type) -> bool {
    let converted = column.get_basic_info().converted_type();
    if column.is_primitive() {
        let text = matches!(converted, ConvertedType::UTF8 | ConvertedType::JSON | ConvertedType::ENUM | ConvertedType::NONE);
        return match column.get_physical_type() {
            Physical::BYTE_ARRAY => text,
            Physical::INT32 | Physical::INT64 => !matches!(converted, ConvertedType::UTF8 | ConvertedType::DECIMAL),
            Physical::BOOLEAN | Physical::FLOAT | Physical::DOUBLE => true,
            Physical::INT96 | Physical::FIXED_LEN_BYTE_ARRAY => false,
        };
    }
    let fields = column.get_fields();
    let shape = match converted {
        ConvertedType::LIST => fields.len() == 1 && fields[0].get_basic_info().repetition() == Repetition::REPEATED,
        ConvertedType::NONE => !fields.is_empty(),
        _ => false,
    };
    shape && fields.iter().all(|field| readable(field))
}

fn object(row: Row) -> Value {
    Value::Object(row.into_columns().into_iter().map(|(name, field)| (name, value(field))).collect::<Map<_, _>>())
}

/// A field as JSON; null if no task uses its type.
fn value(field: Field) -> Value {
    match field {
        Field::Str(text) => Value::String(text),
        Field::Bytes(bytes) => bytes.as_utf8().map_or(Value::Null, Value::from),
        Field::Bool(value) => value.into(),
        Field::Byte(value) => value.into(),
        Field::Short(value) => value.into(),
        Field::Int(value) => value.into(),
        Field::Long(value) => value.into(),
        Field::UByte(value) => value.into(),
        Field::UShort(value) => value.into(),
        Field::UInt(value) => value.into(),
        Field::ULong(value) => value.into(),
        Field::Float(value) => value.into(),
        Field::Double(value) => value.into(),
        Field::Group(row) => object(row),
        Field::ListInternal(list) => list.elements().iter().cloned().map(value).collect(),
        _ => Value::Null,
    }
}
