//! Parquet files that claim or hold more than they should: refused with a sentence, in a second and in 200 MB.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use nc_tests::nc_core;
use nc_tests::workshop::{limit_memory, limit_refusal, refusal, words};
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
    let said = refused_by(&["tokenizer", "train", "--vocab-size", "300", "--out", "never.json", "--data"], folder, what, bytes);
    assert!(!folder.join("never.json").exists(), "{what}: {said}");
    said
}

/// Why a command refuses a file, whose name comes last.
fn refused_by(arguments: &[&str], folder: &Path, what: &str, bytes: &[u8]) -> String {
    let path = folder.join("shard.parquet");
    fs::write(&path, bytes).unwrap();
    let mut command = nc_core!(folder.join("home"));
    command.args(arguments).arg(&path).current_dir(folder);
    limit_refusal(&mut command);
    let said = refusal(what, &command.output().unwrap());
    assert!(said.contains("shard.parquet is not a readable parquet file"), "{what}: {said}");
    said
}

/// A number as headers of pages have it: its lowest bit is the sign, and seven bits are in a byte.
fn varint(number: u32) -> Vec<u8> {
    let mut left = u64::from(number) << 1;
    let mut bytes = Vec::new();
    while left >= 0x80 {
        bytes.push(left as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
    bytes
}

/// `bytes` with the one place that reads `from` as a number in a page's header reading `to`, and offsets as they were:
/// both take as many bytes.
fn claiming(bytes: &[u8], from: u32, to: u32) -> Vec<u8> {
    let (from, to) = (varint(from), varint(to));
    assert_eq!(from.len(), to.len());
    // The second field of the header, behind its type.
    let at = bytes.windows(from.len() + 1).position(|window| window[0] == 0x15 && window[1..] == from).unwrap() + 1;
    [&bytes[..at], &to, &bytes[at + to.len()..]].concat()
}

#[test]
fn pages_that_claim_more_than_they_hold_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let lz4 = [Compression::LZ4, Compression::LZ4_RAW];
    let streamed = [Compression::GZIP(Default::default()), Compression::BROTLI(Default::default()), Compression::ZSTD(Default::default())];
    let moderate = [Compression::SNAPPY].into_iter().chain(lz4).chain(streamed).map(|codec| (codec, 20, 60 << 20));
    // What is unpacked whole is refused before it is.
    let huge = [Compression::SNAPPY].into_iter().chain(lz4).map(|codec| (codec, 140, i32::MAX as u32));
    for (codec, texts, claim) in moderate.chain(huge) {
        let properties = WriterProperties::builder().set_compression(codec).set_data_page_size_limit(1 << 30).set_write_batch_size(4000);
        let whole = file(properties.set_dictionary_enabled(false), &vec![text(1 << 20); texts]);
        let bytes = claiming(&whole, texts as u32 * ((1 << 20) + 4), claim);
        let told = refused_by(&["data", "info"], folder.path(), &format!("{codec}, {claim}"), &bytes);
        assert!(told.contains("its page at byte 4 is damaged"), "{told}");
    }
}

#[test]
fn a_text_beyond_any_document_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for dictionary in [false, true] {
        let whole = file(WriterProperties::builder().set_dictionary_enabled(dictionary), &[text(10)]);
        // The length in front of the text.
        let at = whole.windows(5).position(|window| window == [10, 0, 0, 0, b'x']).unwrap();
        let bytes = [&whole[..at], &((256u32 << 20) + 1).to_le_bytes(), &whole[at + 4..]].concat();
        let path = folder.path().join("shard.parquet");
        fs::write(&path, bytes).unwrap();
        let mut command = nc_core!(folder.path().join("home"));
        command.args(["data", "info"]).arg(&path);
        limit_refusal(&mut command);
        let said = refusal("a text of 256 MiB and a byte", &command.output().unwrap());
        assert!(said.contains("holds a text of 268435457 bytes") && said.contains("split it"), "{said}");
    }
}

/// What made readers take memory without end: pages of 100 MiB and more, and rows that name one large text again and
/// again. They are legal, and they are read in little memory.
#[test]
fn large_pages_are_read_in_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shard.parquet");
    for (what, properties, texts) in [
        ("a page of 220 MiB", packed().set_dictionary_enabled(false).set_write_batch_size(4000), vec![text(100 << 10); 2200]),
        ("a dictionary of 80 MiB", packed().set_dictionary_page_size_limit(1 << 30), (0..80).map(|at| text((1 << 20) + at)).collect()),
        ("a text of 8 MiB in 50 rows", packed().set_dictionary_page_size_limit(1 << 30), vec![text(8 << 20); 50]),
    ] {
        fs::write(&path, file(properties, &texts)).unwrap();
        let mut command = nc_core!(folder.path().join("home"));
        command.args(["data", "info", "--json"]).arg(&path);
        limit_memory(&mut command);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{what}: {}", words(&output));
        let info: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(info["files"][0]["documents"], texts.len(), "{what}");
    }
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
