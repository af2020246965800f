use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, LargeStringArray, StringArray, StringViewArray};
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_schema::Field;
use serde_json::json;

use super::*;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

/// Questions with the numbers of `range`, as MMLU has them.
fn questions(range: std::ops::Range<i64>) -> RecordBatch {
    let mut choices = ListBuilder::new(StringBuilder::new());
    for number in range.clone() {
        choices.append_value([Some(format!("{number}")), None, Some("ü".into())]);
    }
    let asked: Vec<String> = range.clone().map(|number| format!("How many? {number}")).collect();
    batch(vec![
        ("subject", Arc::new(StringArray::from_iter_values(range.clone().map(|_| "sums")))),
        ("question", Arc::new(LargeStringArray::from(asked))),
        ("choices", Arc::new(choices.finish())),
        ("answer", Arc::new(Int64Array::from_iter_values(range))),
    ])
}

fn stream_of(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), batches[0].schema_ref()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

fn file_of(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = FileWriter::try_new(Vec::new(), batches[0].schema_ref()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

fn read(bytes: &[u8], columns: &'static [&'static str]) -> Result<Vec<Value>, TaskError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test.arrow");
    std::fs::write(&path, bytes).unwrap();
    rows(&path, columns)?.collect()
}

const COLUMNS: &[&str] = &["answer", "choices", "question"];

#[test]
fn rows_of_streams_and_files_are_read_in_order() {
    let batches = [questions(0..3), questions(3..3), questions(3..5)];
    let expected: Vec<Value> = (0..5)
        .map(|number| json!({ "answer": number, "choices": [format!("{number}"), null, "ü"], "question": format!("How many? {number}") }))
        .collect();
    assert_eq!(read(&stream_of(&batches), COLUMNS).unwrap(), expected);
    assert_eq!(read(&file_of(&batches), COLUMNS).unwrap(), expected);
    assert_eq!(read(&stream_of(&[questions(0..0)]), COLUMNS).unwrap(), [] as [Value; 0]);
    // Longer than what is read at once.
    let long = batch(vec![("text", Arc::new(StringArray::from_iter_values(["a", &"b".repeat(3 << 20), "c"])))]);
    let lengths: Vec<usize> = read(&stream_of(&[long]), &["text"]).unwrap().iter().map(|row| row["text"].as_str().unwrap().len()).collect();
    assert_eq!(lengths, [1, 3 << 20, 1]);
}

#[test]
fn every_type_that_is_read_keeps_its_value() {
    let inner = StructArray::from(vec![
        (Arc::new(Field::new("yes", DataType::Boolean, true)), Arc::new(BooleanArray::from(vec![Some(true), None])) as ArrayRef),
        (Arc::new(Field::new("x", DataType::Float64, false)), Arc::new(Float64Array::from(vec![0.5, -2.0]))),
    ]);
    let stored = stream_of(&[batch(vec![("all", Arc::new(inner))])]);
    let expected = [json!({ "yes": true, "x": 0.5 }), json!({ "yes": null, "x": -2.0 })];
    assert_eq!(read(&stored, &["all"]).unwrap(), expected.clone().map(|all| json!({ "all": all })));
    // The columns may be the fields of one that wraps them.
    assert_eq!(read(&stored, &["x", "yes"]).unwrap(), expected.map(|all| json!({ "all": all })));
    let small: Vec<(&str, ArrayRef)> = vec![
        ("a", Arc::new(arrow_array::Int8Array::from(vec![i8::MIN]))),
        ("b", Arc::new(arrow_array::Int16Array::from(vec![i16::MIN]))),
        ("c", Arc::new(arrow_array::Int32Array::from(vec![i32::MIN]))),
        ("d", Arc::new(arrow_array::UInt8Array::from(vec![u8::MAX]))),
        ("e", Arc::new(arrow_array::UInt16Array::from(vec![u16::MAX]))),
        ("f", Arc::new(arrow_array::UInt32Array::from(vec![u32::MAX]))),
        ("g", Arc::new(arrow_array::UInt64Array::from(vec![u64::MAX]))),
        ("h", Arc::new(arrow_array::Float32Array::from(vec![0.25]))),
    ];
    let expected =
        json!({ "a": i8::MIN, "b": i16::MIN, "c": i32::MIN, "d": u8::MAX, "e": u16::MAX, "f": u32::MAX, "g": u64::MAX, "h": 0.25 });
    assert_eq!(read(&stream_of(&[batch(small)]), &["a", "b", "c", "d", "e", "f", "g", "h"]).unwrap(), [expected]);
}

#[test]
fn what_is_cut_off_is_refused_wherever_it_ends() {
    for whole in [stream_of(&[questions(0..2), questions(2..4)]), file_of(&[questions(0..2)])] {
        for len in 0..whole.len() {
            let error = read(&whole[..len], COLUMNS).unwrap_err();
            assert!(matches!(error, TaskError::Arrow { .. }), "{len} of {}: {error}", whole.len());
        }
        assert!(read(&whole, COLUMNS).is_ok());
    }
    let error = read(b"", COLUMNS).unwrap_err().to_string();
    assert!(error.contains("test.arrow is not a readable Arrow file (it is cut off); fetch it again"), "{error}");
}

#[test]
fn other_columns_and_types_are_refused_by_their_names() {
    let said = |bytes: &[u8], columns| read(bytes, columns).unwrap_err().to_string();
    let asked = stream_of(&[questions(0..1)]);
    assert!(said(&asked, &["question", "answerKey"]).contains("no column `answerKey` (its columns: subject, question, choices, answer)"));
    let views = stream_of(&[batch(vec![("text", Arc::new(StringViewArray::from(vec!["a"])))])]);
    assert!(said(&views, &["text"]).contains("its column `text` holds a type that no task has"));
    let more = [&asked[..], &asked].concat();
    assert!(said(&more, COLUMNS).contains("something follows its end"));
    assert!(matches!(read(b"PAR1 and so on", COLUMNS), Err(TaskError::Arrow { .. })));
}

#[test]
fn no_changed_byte_makes_the_reader_panic() {
    let whole = stream_of(&[questions(0..2)]);
    for at in 0..whole.len() {
        for change in [1, 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[at] ^= change;
            // Many changes are of text or of padding, and cannot be told.
            if let Ok(rows) = read(&changed, COLUMNS) {
                assert!(rows.len() <= 4, "{} rows with byte {at} changed", rows.len());
            }
        }
    }
}
