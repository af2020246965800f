//! Headers of files of tensors that claim what is not so.

use super::*;

/// A safetensors file of this header, and so many bytes of data.
fn raw(header: impl AsRef<[u8]>, data: usize) -> Vec<u8> {
    let header = header.as_ref();
    [&(header.len() as u64).to_le_bytes(), header, &vec![0; data]].concat()
}

/// A header's entry of one tensor.
fn entry(name: &str, dtype: &str, shape: &str, offsets: &str) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[{offsets}]}}"#)
}

/// A file whose header has these entries.
fn with_entries(entries: &[String], data: usize) -> Vec<u8> {
    raw(format!("{{{}}}", entries.join(",")), data)
}

#[test]
fn hostile_headers_are_refused_fast_and_with_little_memory() {
    let f32 = |name, shape, offsets| entry(name, "F32", shape, offsets);
    let long = "n".repeat(3 << 20);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("no bytes", vec![]),
        ("7 bytes", vec![0; 7]),
        ("a header of 2^63 bytes", (1u64 << 63).to_le_bytes().into()),
        ("a header of 2^64 - 1 bytes", [&u64::MAX.to_le_bytes()[..], b"{}"].concat()),
        ("a header of a gigabyte", [&(1u64 << 30).to_le_bytes()[..], &[b' '; 1000]].concat()),
        ("a header of 5 MB that is there", raw(vec![b' '; 5 << 20], 0)),
        ("a shape of 2^63", with_entries(&[f32("a", "9223372036854775808", "0,4")], 4)),
        ("a shape whose product wraps to 0", with_entries(&[f32("a", "4294967296,4294967296,1", "0,0")], 0)),
        ("a shape whose bytes wrap to 4", with_entries(&[f32("a", "4611686018427387905", "0,4")], 4)),
        ("a terabyte in a short file", with_entries(&[f32("a", "274877906944", "0,1099511627776")], 8)),
        ("offsets beyond 2^64", with_entries(&[f32("a", "1", "18446744073709551612,18446744073709551616")], 4)),
        ("offsets at the end of u64", with_entries(&[f32("a", "0", "18446744073709551615,18446744073709551615")], 0)),
        ("negative offsets", with_entries(&[f32("a", "1", "-4,0")], 4)),
        ("offsets backwards", with_entries(&[f32("a", "0", "0,0"), f32("b", "1", "4,0")], 4)),
        ("overlap", with_entries(&[f32("a", "1", "0,4"), f32("b", "1", "0,4")], 4)),
        ("partial overlap", with_entries(&[f32("a", "2", "0,8"), f32("b", "2", "4,12")], 12)),
        ("a gap", with_entries(&[f32("a", "1", "4,8")], 8)),
        ("out of the file", with_entries(&[f32("a", "4", "0,16")], 4)),
        ("bytes left over", with_entries(&[f32("a", "1", "0,4")], 8)),
        ("the same name twice", with_entries(&[f32("a", "1", "0,4"), f32("a", "1", "4,8")], 8)),
        ("the same name twice, once escaped", with_entries(&[f32("a", "1", "0,4"), f32("\\u0061", "1", "4,8")], 8)),
        ("another type", with_entries(&[entry("a", "I16", "2", "0,4")], 4)),
        ("integers without scales", with_entries(&[entry("a", "I8", "1,32", "0,32")], 32)),
        ("scales of another tensor", with_entries(&[entry("a", "I8", "1,32", "0,32"), entry("b.scales", "F16", "1,1", "32,34")], 34)),
        ("too few scales", with_entries(&[entry("a", "U8", "2,16", "0,32"), entry("a.scales", "F16", "1,1", "32,34")], 34)),
        ("halves whose number overflows", with_entries(&[entry("a", "U8", "1,4611686018427387904", "0,4611686018427387904")], 4)),
        ("deep nesting", raw(format!("{{\"a\":{}", "[".repeat(1 << 20)), 0)),
        ("a million axes", with_entries(&[f32("a", &vec!["1"; 1 << 20].join(","), "0,4")], 4)),
        ("a name of 3 MB", with_entries(&[f32(&long, "2", "0,4")], 4)),
        ("a name of 3 MB twice", with_entries(&[f32(&long[..1 << 20], "1", "0,4"), f32(&long[..1 << 20], "1", "4,8")], 8)),
        ("metadata of 3 MB", raw(format!("{{\"__metadata__\":{{\"a\":\"{long}\"}},\"a\":3}}"), 0)),
        ("no UTF-8", raw(b"{\"\xff\":1}", 0)),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(MODEL_FILE);
    for (what, bytes) in cases {
        fs::write(&path, bytes).unwrap();
        let start = Instant::now();
        let (message, peak) = peak_of(|| TensorFile::open(&path).expect_err(what).to_string());
        assert!(start.elapsed() < Duration::from_secs(10), "{what} took {:?}", start.elapsed());
        assert!(peak < 32 << 20, "{what} took {peak} bytes");
        assert!(message.contains(MODEL_FILE) && message.len() < 500, "{what}: {message}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever a few altered bytes make of a file, opening and reading it ends in an answer.
    #[test]
    fn altered_headers_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5)) {
        let entries = [entry("a", "F32", "2,1", "0,8"), entry("b", "F32", "0", "8,8"), entry("c", "F32", "", "8,12")];
        let mut bytes = with_entries(&entries, 12);
        for (position, value) in changes {
            let position = position.index(bytes.len());
            bytes[position] = value;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(MODEL_FILE);
        fs::write(&path, &bytes).unwrap();
        if let Ok(mut file) = TensorFile::open(&path) {
            for spec in file.specs().cloned().collect::<Vec<_>>() {
                prop_assert_eq!(file.read(&spec.name).unwrap().len(), spec.elements().unwrap());
            }
        }
    }
}
