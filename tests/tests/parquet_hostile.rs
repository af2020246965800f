//! Parquet files that claim or hold more than they should: refused with a sentence, in a second and in 200 MB.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use nc_tests::nc_core;
use nc_tests::workshop::{limit_refusal, refusal};
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// A file whose column `text` holds these texts in one row group.
fn file(properties: WriterPropertiesBuilder, texts: &[ByteArray]) -> Vec<u8> {
    let schema = Arc::new(parse_message_type("message shard { required binary text (STRING); }").unwrap());
    let mut bytes = Vec::new();
    let mut file = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties.build())).unwrap();
    let mut group = file.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(texts, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    file.close().unwrap();
    bytes
}

fn packed() -> WriterPropertiesBuilder {
    WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::try_new(3).unwrap())).set_data_page_size_limit(1 << 30)
}

fn text(bytes: usize) -> ByteArray {
    ByteArray::from(vec![b'x'; bytes])
}

/// Why a command that reads all of a file refuses it.
fn refused(folder: &Path, what: &str, bytes: &[u8]) -> String {
    let path = folder.join("shard.parquet");
    fs::write(&path, bytes).unwrap();
    let mut command = nc_core!(folder.join("home"));
    command.args(["tokenizer", "train", "--vocab-size", "300", "--out", "never.json", "--data"]).arg(&path).current_dir(folder);
    limit_refusal(&mut command);
    let said = refusal(what, &command.output().unwrap());
    assert!(said.contains("shard.parquet is not a readable parquet file") && !folder.join("never.json").exists(), "{what}: {said}");
    said
}

#[test]
fn pages_that_unpack_to_much_more_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bomb = file(packed().set_dictionary_enabled(false), &[text(100 << 20)]);
    assert!(bomb.len() < 100_000, "{} bytes", bomb.len());
    assert!(refused(folder.path(), "a page of 100 MiB", &bomb).contains("is larger than pages are: 104857604 bytes"));

    // Of the largest size that is read, a batch of which is too much.
    let rows = file(packed().set_dictionary_page_size_limit(1 << 30), &vec![text(20 << 20); 100]);
    assert!(rows.len() < 100_000, "{} bytes", rows.len());
    assert!(refused(folder.path(), "a dictionary that gives all rows one large text", &rows).contains("split its texts"));
}

#[test]
fn metadata_that_would_be_counted_through_for_hours_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let whole = file(WriterProperties::builder(), &[text(10)]);
    // Unknown fields behind the known ones: lists of two billion truth values, which take no room.
    let list = [0x09, 80, 0xF1, 0xFF, 0xFF, 0xFF, 0xFF, 0x07];
    let tail = whole.len() - 8;
    let length = u32::from_le_bytes(whole[tail..tail + 4].try_into().unwrap());
    assert_eq!(whole[tail - 1], 0, "the end of the metadata's struct");
    for count in [1, 10_000] {
        let more = list.repeat(count);
        let length = length + more.len() as u32;
        let bytes = [&whole[..tail - 1], &more, &[0], &length.to_le_bytes(), b"PAR1"].concat();
        assert!(refused(folder.path(), "lists of truth values", &bytes).contains("its metadata is damaged"));
    }
    for claim in [u32::MAX, 1 << 31, whole.len() as u32] {
        let bytes = [&whole[..tail], &claim.to_le_bytes(), b"PAR1"].concat();
        assert!(refused(folder.path(), "metadata longer than the file", &bytes).contains("its metadata is damaged"));
    }
    assert!(refused(folder.path(), "another end", &[&whole[..tail], b"0000PAR2"].concat()).contains("it does not end as one"));
    assert!(refused(folder.path(), "a mark and no more", b"PAR1").contains("its metadata is damaged"));
}

#[test]
fn a_file_that_was_cut_anywhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let texts: Vec<ByteArray> = (0..50).map(|number| ByteArray::from(format!("text {number}").as_str())).collect();
    let whole = file(packed(), &texts);
    for percent in 1..100 {
        refused(folder.path(), &format!("{percent} %"), &whole[..whole.len() * percent / 100]);
    }
}
