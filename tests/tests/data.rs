//! Training data: packing equals the reference's, parquet is read row by row from any place, and bad input is refused
//! with one sentence.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nc_core::data::loader::Loader;
use nc_core::data::prefetch::{AHEAD, Prefetcher};
use nc_core::data::{BatchReader, DataError, DataSet, Position, Split, documents};
use nc_core::tokenizer::Tokenizer;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
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
            let loader = Loader::new(set.clone(), split, Arc::clone(&tokenizer), rows, row_len);
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
        let mut loader = Loader::new(set.clone(), Split::Train, Arc::clone(&tokenizer), 2, 256);
        for _ in 0..24 {
            let saved = serde_json::to_string(&loader.state()).unwrap();
            let mut again = Loader::resume(set.clone(), Arc::clone(&tokenizer), serde_json::from_str(&saved).unwrap(), 2, 256).unwrap();
            let batch = loader.next_batch().unwrap();
            assert_eq!(again.next_batch().unwrap(), batch);
            assert_eq!(again.state(), loader.state());
        }
    }
}

/// Writes a parquet file whose column `text` holds a group of rows each; `None` is a row without a value.
fn write_texts(path: &Path, schema: &str, groups: &[Vec<Option<String>>]) {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut file = SerializedFileWriter::new(File::create(path).unwrap(), schema, Arc::new(WriterProperties::default())).unwrap();
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
    let kept = |rows: std::ops::Range<usize>| rows.filter(|row| row % 5 != 3).count();
    assert_eq!(sizes, [kept(0..128), kept(128..256), kept(256..300), 1, kept(0..128), 1, kept(0..128)]);
    let read: Vec<&String> = steps.iter().flat_map(|(_, batch)| batch).collect();
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

    std::fs::write(&path, "<html>not found</html>").unwrap();
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
    write("html.parquet", b"<html></html>");
    std::fs::create_dir(dir.path().join("nothing")).unwrap();
    write_texts(&dir.path().join("untold.parquet"), "message shard { optional binary content (STRING); }", &[vec![None]]);
    for (name, told) in [
        ("empty.txt", "is empty"),
        ("blank.txt", "is empty"),
        ("binary.txt", "zero byte at byte 4"),
        ("latin1.txt", "no character at byte 3"),
        ("broken.jsonl", "line 2"),
        ("notes.md", "neither"),
        ("html.parquet", "not a readable parquet file"),
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
    use nc_core::data::format::Place;
    use nc_core::data::format::parquet::Reader;
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/parquet");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shard.parquet");
    let read = || -> Result<usize, String> {
        let mut reader = Reader::open(&path, Place::default()).map_err(|error| error.to_string())?;
        let mut texts = 0;
        loop {
            match reader.read(64).map_err(|error| error.to_string())?.len() {
                0 => return Ok(texts),
                more => texts += more,
            }
        }
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
