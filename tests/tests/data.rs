//! Training data: packing equals the reference's, parquet is read row by row from any place, and bad input is refused
//! with one sentence.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nc_core::data::format::{Place, Reader};
use nc_core::data::loader::{Changes, Loader};
use nc_core::data::prefetch::{AHEAD, Prefetcher};
use nc_core::data::{BatchReader, DataError, DataSet, Digests, Position, Split, documents};
use nc_core::tokenizer::Tokenizer;
use parquet::basic::{Compression, Encoding};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use safetensors::SafeTensors;

/// The cases of the golden folders: each holds a packing, a tokenizer and shards.
fn packing_cases() -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = Vec::new();
    for dir in nc_tests::golden_dirs() {
        let folders = std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        let folders = folders.map(|entry| entry.unwrap().path()).chain([dir.clone()]);
        cases.extend(folders.filter(|folder| folder.join("packing.safetensors").is_file()));
    }
    assert!(!cases.is_empty(), "no packing case in any golden folder");
    cases
}

#[test]
fn golden_packing_equals_the_reference_batch_for_batch() {
    for case in packing_cases() {
        let bytes = std::fs::read(case.join("packing.safetensors")).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let meta = header.metadata().as_ref().and_then(|meta| meta.get("meta")).expect("a packing case describes itself");
        let meta: serde_json::Value = serde_json::from_str(meta).unwrap();
        let number = |name: &str| usize::try_from(meta[name].as_u64().unwrap()).unwrap();
        let (rows, row_len, batches) = (number("B"), number("T"), number("batches"));
        let golden = SafeTensors::deserialize(&bytes).unwrap();
        let ids = |name: &str| -> Vec<i32> { bytemuck::pod_collect_to_vec(golden.tensor(name).unwrap().data()) };

        let tokenizer = Arc::new(Tokenizer::from_file(&case.join("tokenizer.json")).unwrap());
        let set = DataSet::open(&[case.join("base/base_data_climbmix")]).unwrap();
        for (split, name) in [(Split::Train, "train"), (Split::Val, "val")] {
            let loader =
                Loader::new(set.clone(), set.fingerprint(&mut Digests::default()).unwrap(), split, Arc::clone(&tokenizer), rows, row_len);
            let mut ahead = Prefetcher::start(loader, AHEAD).unwrap();
            for at in 0..batches {
                let batch = ahead.next_batch().unwrap().batch;
                assert_eq!(batch.inputs, ids(&format!("{name}.{at}.inputs")), "{}: {name} batch {at}", case.display());
                assert_eq!(batch.targets, ids(&format!("{name}.{at}.targets")), "{}: {name} batch {at}", case.display());
            }
        }
    }
}

#[test]
fn golden_packing_resumes_from_a_saved_state() {
    for case in packing_cases() {
        let tokenizer = Arc::new(Tokenizer::from_file(&case.join("tokenizer.json")).unwrap());
        let set = DataSet::open(&[case.join("base/base_data_climbmix")]).unwrap();
        let print = set.fingerprint(&mut Digests::default()).unwrap();
        let mut loader = Loader::new(set.clone(), print.clone(), Split::Train, Arc::clone(&tokenizer), 2, 256);
        for _ in 0..24 {
            let saved = serde_json::to_string(&loader.state()).unwrap();
            let (saved, tokenizer) = (serde_json::from_str(&saved).unwrap(), Arc::clone(&tokenizer));
            let mut again = Loader::resume(set.clone(), print.clone(), tokenizer, saved, Changes::Refuse, 2, 256).unwrap();
            let batch = loader.next_batch().unwrap();
            assert_eq!(again.next_batch().unwrap(), batch);
            assert_eq!(again.state(), loader.state());
        }
    }
}

/// Writes a parquet file whose column `text` holds a group of rows each; `None` is a row without a value.
fn write_texts(path: &Path, schema: &str, groups: &[Vec<Option<String>>]) {
    write_texts_as(path, schema, groups, WriterProperties::default());
}

fn write_texts_as(path: &Path, schema: &str, groups: &[Vec<Option<String>>], properties: WriterProperties) {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut file = SerializedFileWriter::new(File::create(path).unwrap(), schema, Arc::new(properties)).unwrap();
    for rows in groups {
        let values: Vec<ByteArray> = rows.iter().flatten().map(|text| ByteArray::from(text.as_str())).collect();
        let levels: Vec<i16> = rows.iter().map(|row| i16::from(row.is_some())).collect();
        let mut group = file.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    file.close().unwrap();
}

const STRINGS: &str = "message shard { optional binary text (STRING); }";

#[test]
fn parquet_comes_in_batches_within_a_row_group_and_goes_on_from_each() {
    let dir = tempfile::tempdir().unwrap();
    let texts = |count: usize, group: usize| (0..count).map(|row| (row % 5 != 3).then(|| format!("{group}/{row} é"))).collect();
    let groups: Vec<Vec<Option<String>>> = vec![texts(300, 0), vec![None; 40], texts(1, 2), texts(128, 3)];
    write_texts(&dir.path().join("a.parquet"), STRINGS, &groups);
    // The same rows as plain bytes, which is how some writers store text.
    write_texts(&dir.path().join("b.parquet"), "message shard { optional binary text; }", &groups[2..]);
    write_texts(&dir.path().join("c.parquet"), STRINGS, &groups[2..]);
    let set = DataSet::open(&[dir.path().to_path_buf()]).unwrap();

    let mut reader = BatchReader::new(set.clone(), Split::Train, Position::default());
    let mut steps = vec![(reader.position(), Vec::new())];
    while let Some(batch) = reader.next_batch(128).unwrap() {
        steps.push((reader.position(), batch));
    }
    let sizes: Vec<usize> = steps[1..].iter().map(|(_, batch)| batch.len()).collect();
    // Of the 300 rows of the first group 240 have a text, of the 128 of the last 103.
    assert_eq!(sizes, [128, 112, 1, 103, 1, 103]);
    let read: Vec<&String> = steps.iter().flat_map(|(_, batch)| batch).map(|found| &found.text).collect();
    let written: Vec<&String> = groups.iter().chain(&groups[2..]).flatten().flatten().collect();
    assert_eq!(read, written);

    for at in 0..steps.len() {
        let mut again = BatchReader::new(set.clone(), Split::Train, steps[at].0);
        for (position, batch) in &steps[at + 1..] {
            assert_eq!(&again.next_batch(128).unwrap().unwrap(), batch);
            assert_eq!(&again.position(), position);
        }
        assert_eq!(again.next_batch(128).unwrap(), None);
    }
}

/// The texts of a page of every form, read by many readers: each from where another ended.
#[test]
fn parquet_of_every_encoding_and_codec_is_read_from_every_row() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let texts: Vec<Option<String>> =
        (0..400).map(|row| (row % 5 != 3).then(|| format!("{} é {}", row % 7, "x".repeat(row % 90)))).collect();
    let wanted: Vec<&String> = texts.iter().flatten().collect();
    let codecs = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(Default::default()),
        Compression::ZSTD(Default::default()),
        Compression::BROTLI(Default::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
    ];
    let encodings = [None, Some(Encoding::PLAIN), Some(Encoding::DELTA_BYTE_ARRAY), Some(Encoding::DELTA_LENGTH_BYTE_ARRAY)];
    for (codec, encoding, version, optional) in codecs.iter().flat_map(|codec| {
        let forms = encodings
            .iter()
            .flat_map(|encoding| [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0].map(|version| (*encoding, version)));
        forms.flat_map(|(encoding, version)| [true, false].map(|optional| (*codec, encoding, version, optional)))
    }) {
        let form = format!("{codec} {encoding:?} {version:?} {optional}");
        // Pages of some rows each, and several groups.
        let properties = WriterProperties::builder().set_compression(codec).set_writer_version(version);
        let properties = properties.set_dictionary_enabled(encoding.is_none()).set_data_page_row_count_limit(50).set_write_batch_size(10);
        let properties = match encoding {
            Some(encoding) => properties.set_encoding(encoding),
            None => properties,
        };
        let schema = if optional { STRINGS } else { "message shard { required binary text (STRING); }" };
        let rows: Vec<Option<String>> = if optional { texts.clone() } else { wanted.iter().map(|text| Some((*text).clone())).collect() };
        write_texts_as(&path, schema, &rows.chunks(150).map(<[_]>::to_vec).collect::<Vec<_>>(), properties.build());
        let file = DataSet::open(std::slice::from_ref(&path)).unwrap().files()[0].clone();
        let (mut reader, mut places, mut read) = (Reader::open(&file, Place::default()).unwrap(), Vec::new(), Vec::new());
        loop {
            let place = reader.place();
            let Some(text) = reader.next_document().unwrap_or_else(|error| panic!("{form}: {error}")) else { break };
            places.push(place);
            read.push(text);
        }
        assert!(read.iter().eq(wanted.iter().copied()), "{form}");
        let mut walking = Reader::open(&file, Place::default()).unwrap();
        for (place, text) in places.iter().zip(&read).step_by(13) {
            assert_eq!(Reader::open(&file, *place).unwrap().next_document().unwrap().as_ref(), Some(text), "{form} at {place:?}");
            walking.seek(*place).unwrap();
            assert_eq!(walking.next_document().unwrap().as_ref(), Some(text), "{form} on to {place:?}");
        }
        walking.seek(places[1]).unwrap();
        assert_eq!(walking.next_document().unwrap().as_ref(), Some(&read[1]), "{form} back");
    }
}

#[test]
fn parquet_that_is_none_or_has_no_text_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let error = |path: &PathBuf| documents(std::slice::from_ref(path), Split::Train).unwrap().next().unwrap().unwrap_err();

    write_texts(&path, "message shard { optional binary content (STRING); }", &[vec![Some("text".into())]]);
    let missing = error(&path);
    assert!(matches!(&missing, DataError::NoTextColumn { columns, .. } if columns == "content"), "{missing}");

    let schema = Arc::new(parse_message_type("message shard { required int64 text; }").unwrap());
    let mut file = SerializedFileWriter::new(File::create(&path).unwrap(), schema, Arc::default()).unwrap();
    let mut group = file.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&[1, 2], None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    file.close().unwrap();
    let number = error(&path);
    assert!(matches!(&number, DataError::TextColumnType { found, .. } if found == "INT64"), "{number}");

    std::fs::write(&path, "not found").unwrap();
    assert!(matches!(error(&path), DataError::Parquet { .. }));

    write_texts(&path, STRINGS, &[]);
    assert!(matches!(error(&path), DataError::Empty { .. }));
}

/// Wherever a shard is damaged, reading ends in documents or in an error that names the file: never in a panic.
#[test]
fn damaged_parquet_never_panics() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    write_texts(&path, STRINGS, &[(0..200).map(|row| Some(format!("row {row} {}", "x".repeat(row)))).collect()]);
    let good = std::fs::read(&path).unwrap();
    let mut refused = 0;
    for at in (0..good.len()).step_by(1 + good.len() / 400) {
        let mut bad = good.clone();
        bad[at] ^= 0x5a;
        std::fs::write(&path, &bad).unwrap();
        let read: Result<Vec<String>, DataError> = documents(std::slice::from_ref(&path), Split::Train).unwrap().collect();
        refused += usize::from(read.is_err_and(|error| error.to_string().contains("a.parquet")));
        std::fs::write(&path, &good[..at]).unwrap();
        if at > 0 {
            documents(std::slice::from_ref(&path), Split::Train).unwrap().collect::<Result<Vec<_>, _>>().unwrap_err();
        }
    }
    assert!(refused > 0);
}

fn info(arguments: &[&str]) -> std::process::Output {
    let home = tempfile::tempdir().unwrap();
    nc_tests::nc_core!(home.path()).args(["data", "info"]).args(arguments).output().unwrap()
}

#[test]
fn info_counts_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    write_texts(&dir.path().join("a.parquet"), STRINGS, &[vec![Some("one".into()); 7], vec![Some("two".into()); 5]]);
    write_texts(&dir.path().join("b.parquet"), STRINGS, &[vec![Some("three".into()); 3]]);
    let output = info(&[dir.path().to_str().unwrap(), "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&value["train"]["documents"], &value["val"]["documents"]), (&12.into(), &3.into()));
    assert_eq!(value["files"][1]["documents"], 3);
    assert_eq!(value["val"]["bytes"], std::fs::metadata(dir.path().join("b.parquet")).unwrap().len());
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The same rule for every format: null, nothing and blanks are no document, for counting and for training.
#[test]
fn documents_without_text_are_passed_over_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let texts = [Some("one"), None, Some(""), Some(" \n\t"), Some(" two "), None];
    write_texts(&dir.path().join("a.parquet"), STRINGS, &[texts.iter().map(|text| text.map(str::to_owned)).collect()]);
    let lines: String = texts.iter().map(|text| format!("{}\n", serde_json::json!({ "text": text }))).collect();
    std::fs::write(dir.path().join("b.jsonl"), &lines).unwrap();
    std::fs::write(dir.path().join("c.jsonl.gz"), gzip(lines.as_bytes())).unwrap();
    std::fs::write(dir.path().join("d.jsonl.zst"), zstd::stream::encode_all(lines.as_bytes(), 3).unwrap()).unwrap();
    std::fs::write(dir.path().join("val.txt.gz"), gzip(b"three\x0c\n \x0c")).unwrap();
    let output = info(&[dir.path().to_str().unwrap(), "--json"]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for file in &value["files"].as_array().unwrap()[..4] {
        assert_eq!((&file["documents"], &file["passed_over"], &file["longest"]), (&2.into(), &4.into(), &5.into()), "{file}");
    }
    assert_eq!((&value["train"]["documents"], &value["val"]["documents"]), (&8.into(), &1.into()));
    let read: Vec<String> = documents(&[dir.path().to_path_buf()], Split::Train).unwrap().map(Result::unwrap).collect();
    assert_eq!(read, ["one", " two "].repeat(4));
}

#[test]
fn info_names_what_is_validation_and_what_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["train-0.txt", "train-1.jsonl", "validation.txt", "test.txt", "README.md", "table.csv", "more/a.txt"] {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, if name.ends_with("jsonl") { "{\"text\": \"a line\"}" } else { "some text" }).unwrap();
    }
    let output = info(&[dir.path().to_str().unwrap()]);
    let (told, passed) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(told.contains("training:   2 documents in 2 files"), "{told}");
    assert!(told.contains("validation.txt (by its name)") && told.contains("  train-1.jsonl: 1 document,"), "{told}");
    for (name, reason) in [("table.csv", "is a table"), ("more", "is a subfolder"), ("test.txt", "is a test set")] {
        assert!(passed.lines().any(|line| line.contains(name) && line.contains(reason)), "{name}: {passed}");
    }
    assert_eq!(passed.lines().count(), 3, "{passed}");
}

#[test]
fn a_last_file_that_is_most_of_the_data_is_pointed_out() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.txt"), "a few words").unwrap();
    let last = dir.path().join("more.jsonl");
    for (lines, told) in [(1000, true), (0, false)] {
        std::fs::write(&last, format!("{{\"text\":\"\u{e9}\"}}{}", "\n{\"text\": \"line\"}".repeat(lines))).unwrap();
        std::fs::write(dir.path().join("b.txt"), "some more words").unwrap();
        let said = String::from_utf8(info(&[dir.path().to_str().unwrap()]).stderr).unwrap();
        assert_eq!(said.contains("most of the data is not trained on: more.jsonl"), told, "{said}");
    }
}

#[test]
fn bad_data_gets_one_sentence_and_exit_code_2() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
    write("empty.txt", b"");
    write("blank.txt", b"\n \n");
    write("binary.txt", b"some\0thing");
    write("latin1.txt", b"caf\xe9");
    write("broken.jsonl", b"{\"text\": \"fine\"}\n{\"text\": 1}\n");
    write("notes.md", b"notes");
    for name in ["table.csv", "many.zip", "letter.docx", "lines.jsonl.xz", "other.parquet"] {
        write(name, b"something");
    }
    write("rows.json", b"[{\"text\": \"one\"}]");
    write("array.jsonl", b"[{\"text\": \"one\"},\n {\"text\": \"two\"}]");
    write("twice.jsonl", b"{\"text\": \"one\", \"text\": \"two\"}");
    write("cut.jsonl", b"{\"text\": \"one\"}\n{\"text\": \"tw\n{\"text\": \"three\"}\n");
    write("more.jsonl", b"{\"text\": \"one\"} {\"text\": \"two\"}\n");
    write("nulls.jsonl", b"{\"text\": null}\n{\"text\": \"\"}\n{\"text\": \" \"}\n");
    let packed = gzip(b"{\"text\": \"one\"}\n");
    write("cut.jsonl.gz", &packed[..packed.len() - 3]);
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";
    for name in ["pointer.txt", "pointer.jsonl", "pointer.parquet"] {
        write(name, pointer);
    }
    for name in ["html.parquet", "page.txt"] {
        write(name, b"<!DOCTYPE html>\n<html></html>");
    }
    write("page.jsonl.gz", &gzip(b"<html></html>"));
    write_texts(&dir.path().join("nulls.parquet"), STRINGS, &[vec![None; 5], vec![Some(String::new()), Some(" \n".into())]]);
    std::fs::create_dir(dir.path().join("nothing")).unwrap();
    write_texts(&dir.path().join("untold.parquet"), "message shard { optional binary content (STRING); }", &[vec![None]]);
    for (name, told) in [
        ("empty.txt", "is empty"),
        ("blank.txt", "is empty"),
        ("binary.txt", "zero byte at byte 4"),
        ("latin1.txt", "no character at byte 3"),
        ("broken.jsonl", "line 2"),
        ("notes.md", "name it .txt"),
        ("table.csv", "is a table, not text"),
        ("rows.json", "jq -c"),
        ("many.zip", "is an archive"),
        ("letter.docx", "save it as plain text"),
        ("lines.jsonl.xz", "compress it with gzip or zstd"),
        ("array.jsonl", "is one JSON array"),
        ("twice.jsonl", "line 1: it has the key `text` twice"),
        ("cut.jsonl", "line 2: the line ends too early"),
        ("more.jsonl", "line 1: something follows the object"),
        ("cut.jsonl.gz", "ends too early"),
        ("nulls.jsonl", "is empty"),
        ("pointer.txt", "git lfs pull"),
        ("pointer.jsonl", "git lfs pull"),
        ("pointer.parquet", "git lfs pull"),
        ("page.txt", "is a web page"),
        ("page.jsonl.gz", "is a web page"),
        ("html.parquet", "is a web page"),
        ("other.parquet", "not a readable parquet file"),
        ("nulls.parquet", "is empty"),
        ("nothing", "holds no"),
        ("missing", "does not exist"),
        ("untold.parquet", "no column `text` (its columns: content)"),
    ] {
        let output = info(&[dir.path().join(name).to_str().unwrap()]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}: {stderr}");
        assert!(stderr.starts_with("error: ") && stderr.lines().count() == 1 && stderr.contains(told) && stderr.contains(name), "{stderr}");
    }
}

#[test]
fn info_of_a_new_home_is_that_of_the_sample_corpus() {
    let output = info(&["--json"]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(value["files"][0]["path"].as_str().unwrap().contains("corpus"), "{value}");
    assert!(value["train"]["documents"].as_u64().unwrap() > value["val"]["documents"].as_u64().unwrap());
}

/// Small files of every compression that is read, each with every byte changed in turn: texts or a sentence, and no panic.
#[test]
fn a_damaged_parquet_file_is_read_or_refused() {
    use nc_core::data::format::parquet::Reader;
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/parquet");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shard.parquet");
    let read = || -> Result<usize, String> {
        let mut reader = Reader::open(&path, Place::default()).map_err(|error| error.to_string())?;
        let mut texts = 0;
        while reader.next_document().map_err(|error| error.to_string())?.is_some() {
            texts += 1;
        }
        Ok(texts)
    };
    let (mut whole, mut refused) = (0, 0);
    for seed in std::fs::read_dir(seeds).unwrap() {
        let bytes = std::fs::read(seed.unwrap().path()).unwrap();
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(read(), Ok(9));
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] = !bytes[at];
            std::fs::write(&path, &bytes).unwrap();
            match read() {
                Ok(_) => whole += 1,
                Err(sentence) => {
                    assert!(sentence.contains("shard.parquet"), "{sentence}");
                    refused += 1;
                }
            }
        }
    }
    assert!(whole > 500 && refused > 500, "{whole} read, {refused} refused");
}
