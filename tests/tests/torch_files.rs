//! Files that torch and Python pickled: the golden ones read as Python reads them, and hostile ones are refused by a
//! sentence, soon, in little memory, and without anything being run.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nc_core::interchange::torch::{LONGEST_PIECE, TorchDtype, TorchError, TorchFile, TorchTensor, read_tiktoken, tiktoken_from_bytes};
use nc_core::tokenizer::Tokenizer;
use nc_tests::memory::{Counting, peak_of};
use nc_tests::torch::{Pickle, Tensor, archive, archive_64, dict, saved};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The processor time of this thread: a busy machine makes no test fail.
fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec that the call may write to.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Runs `read` and asserts that it takes less than a second and 200 MB, the limits that hold for any file.
fn bounded<T>(read: impl FnOnce() -> T) -> T {
    let began = thread_time();
    let (result, peak) = peak_of(read);
    let took = thread_time() - began;
    assert!(took < Duration::from_secs(1), "it took {took:?}");
    assert!(peak < 200_000_000, "it took {peak} bytes");
    result
}

/// Every tensor of a file with its elements: f32 by their bits, whole numbers as they are.
fn read_all(bytes: &[u8]) -> Result<Vec<(TorchTensor, Vec<i64>)>, TorchError> {
    let mut file = TorchFile::from_reader(Cursor::new(bytes), Path::new("model.pt"))?;
    let tensors = file.tensors().to_vec();
    let mut all = Vec::new();
    for (index, tensor) in tensors.into_iter().enumerate() {
        let mut elements = Vec::new();
        if matches!(tensor.dtype, TorchDtype::F32 | TorchDtype::F16 | TorchDtype::BF16) {
            file.stream(index, &mut |piece| {
                assert!(piece.len() <= LONGEST_PIECE);
                elements.extend(piece.iter().map(|element| i64::from(element.to_bits())));
                Ok(())
            })?;
        } else {
            elements = file.integers(index)?;
        }
        assert_eq!(elements.len(), tensor.shape.iter().product::<usize>());
        all.push((tensor, elements));
    }
    Ok(all)
}

/// Why a `.pt` file is refused.
fn refusal(bytes: &[u8]) -> String {
    let error = bounded(|| read_all(bytes)).expect_err("the file is read");
    let sentence = error.to_string();
    assert!(sentence.starts_with("model.pt ") && !sentence.contains('\n'), "{sentence:?}");
    sentence
}

/// Why a `tokenizer.pkl` is refused.
fn pickle_refusal(bytes: &[u8]) -> String {
    let error = bounded(|| tiktoken_from_bytes(bytes, Path::new("tokenizer.pkl"))).expect_err("the file is read");
    let sentence = error.to_string();
    assert!(sentence.starts_with("tokenizer.pkl") && !sentence.contains('\n'), "{sentence:?}");
    sentence
}

/// The files below the golden folders whose names end so, with those names' folders.
fn golden(ending: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, ending, found);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    nc_tests::golden_dirs().iter().for_each(|folder| walk(folder, ending, &mut found));
    found.sort();
    assert!(!found.is_empty(), "there is no golden file {ending}");
    found
}

fn python<T: for<'de> Deserialize<'de>>(mode: &str, path: &Path) -> T {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/torch_files.py");
    let output = Command::new("python3").arg("-I").arg(script).arg(mode).arg(path).output().unwrap_or_else(|error| {
        panic!("this test compares with Python 3 and could not start python3 ({error}): run scripts/setup.sh --test")
    });
    assert!(output.status.success(), "the Python script failed: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn golden_tensors_are_the_ones_that_python_reads() {
    for path in golden(".pt") {
        let expected: Vec<(String, String, Vec<usize>, String)> = python("read", &path);
        let found = bounded(|| read_all(&std::fs::read(&path).unwrap())).unwrap();
        assert_eq!(found.len(), expected.len());
        for ((tensor, elements), (name, class, shape, sha256)) in found.iter().zip(expected) {
            let (dtype, digest) = match class.as_str() {
                "FloatStorage" => (TorchDtype::F32, None),
                "BFloat16Storage" => (TorchDtype::BF16, None),
                "IntStorage" => (TorchDtype::I32, Some(elements.iter().flat_map(|element| element.to_le_bytes()).collect::<Vec<u8>>())),
                other => panic!("{other}"),
            };
            let digest = digest.unwrap_or_else(|| elements.iter().flat_map(|&bits| (bits as u32).to_le_bytes()).collect());
            assert_eq!(*tensor, TorchTensor { name, shape, dtype });
            assert_eq!(Sha256::digest(&digest).iter().map(|byte| format!("{byte:02x}")).collect::<String>(), sha256, "{}", tensor.name);
        }
    }
}

#[test]
fn golden_tokenizers_are_those_of_the_json_and_encode_alike() {
    for path in golden("tokenizer.pkl") {
        let folder = path.parent().unwrap();
        let tokenizer = bounded(|| read_tiktoken(&path)).unwrap();
        let mut bytes = TorchFile::open(&folder.join("token_bytes.pt")).unwrap();
        let expected: Vec<i64> = tokenizer.token_bytes().into_iter().map(i64::from).collect();
        assert_eq!(bytes.integers(0).unwrap(), expected);

        let golden = folder.ancestors().find(|folder| folder.join("tokenizer_cases.json").exists()).unwrap();
        let json = Tokenizer::from_file(&golden.join("tokenizer.json")).unwrap();
        assert_eq!((tokenizer.to_json(), tokenizer.hash()), (json.to_json(), json.hash()));
        let cases: Value = serde_json::from_slice(&std::fs::read(golden.join("tokenizer_cases.json")).unwrap()).unwrap();
        let cases = cases["encode"].as_array().unwrap();
        assert!(cases.len() >= 45);
        for case in cases {
            let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
            assert_eq!(tokenizer.encode(case["text"].as_str().unwrap()), ids, "{case}");
        }
    }
}

#[test]
fn a_written_file_reads_as_it_was_written() {
    let matrix: Vec<u8> = (1u8..=6).flat_map(|number| f32::from(number).to_le_bytes()).collect();
    let halves = [0x00, 0x3C, 0x00, 0xC0]; // 1 and −2 as float16
    let bytes = saved(
        &Pickle::new(2)
            .global("collections", "OrderedDict")
            .raw(")R(")
            .text("whole")
            .tensor(&Tensor::default())
            .text("second row")
            .tensor(&Tensor { key: "2", offset: 3, shape: &[3], strides: &[1], ..Tensor::default() })
            .text("scalar")
            .tensor(&Tensor { key: "1", class: "HalfStorage", stored: 2, offset: 1, shape: &[], strides: &[] })
            .text("empty")
            .tensor(&Tensor { offset: 6, shape: &[0, 7], strides: &[7, 1], ..Tensor::default() })
            .text("axis of one")
            .tensor(&Tensor { key: "2", shape: &[1, 3], strides: &[1 << 62, 1], ..Tensor::default() })
            .text("parameter")
            .global("torch._utils", "_rebuild_parameter")
            .raw("(")
            .tensor(&Tensor::default())
            .raw(b"\x88")
            .global("collections", "OrderedDict")
            .raw(")RtR")
            // What torch says about the modules: a state of the dict.
            .raw("u}(")
            .text("_metadata")
            .raw("}(")
            .text("version")
            .raw("K\x01uub")
            .stop(),
        &[&matrix, &halves, &matrix],
    );
    let bits = |numbers: &[f32]| numbers.iter().map(|number| i64::from(number.to_bits())).collect::<Vec<_>>();
    let found: Vec<_> = read_all(&bytes).unwrap().into_iter().map(|(tensor, elements)| (tensor.name, tensor.shape, elements)).collect();
    let all = bits(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(
        found,
        [
            ("whole".to_owned(), vec![2, 3], all.clone()),
            ("second row".to_owned(), vec![3], bits(&[4.0, 5.0, 6.0])),
            ("scalar".to_owned(), vec![], bits(&[-2.0])),
            ("empty".to_owned(), vec![0, 7], vec![]),
            ("axis of one".to_owned(), vec![1, 3], bits(&[1.0, 2.0, 3.0])),
            ("parameter".to_owned(), vec![2, 3], all),
        ]
    );
}

/// Where fuzzing begins: pickles that Python's own pickler wrote, of torch's classes by their names.
#[test]
fn the_seeds_of_fuzzing_are_read() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    let files = |folder: &str| std::fs::read_dir(seeds.join(folder)).unwrap().map(|file| file.unwrap().path()).collect::<Vec<_>>();
    let mut named = Vec::new();
    for path in files("torch_pt") {
        let bytes = std::fs::read(&path).unwrap();
        let bytes = if path.extension().is_some_and(|ending| ending == "pkl") { saved(&bytes, &[&[1; 48], &[2; 24]]) } else { bytes };
        named.extend(
            read_all(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into_iter().map(|(tensor, _)| tensor.name),
        );
    }
    assert!(named.iter().any(|name| name == "x0_lambdas"));
    for path in files("tiktoken_pkl") {
        assert!(read_tiktoken(&path).unwrap().vocab_size() >= 258);
    }
}

#[test]
fn lengths_and_places_of_64_bits_are_read() {
    let pickle = dict(&[("a", Tensor::default())]);
    let entries: [(&str, &[u8]); 2] = [("model/data.pkl", &pickle), ("model/data/0", &[3; 24])];
    assert_eq!(read_all(&archive_64(&entries)).unwrap(), read_all(&archive(&entries)).unwrap());
    let longer = patch(&archive_64(&entries), b"PK\x01\x02", 46, "model/data/0", 46 + 12 + 4 + 7, &[0x80]);
    assert!(refusal(&longer).contains("whose header differs from the directory"));
}

#[test]
fn a_wrong_type_or_a_sink_that_fails_ends_the_reading() {
    let bytes = saved(&dict(&[("a", Tensor::default())]), &[&[0; 24]]);
    let mut file = TorchFile::from_reader(Cursor::new(&bytes), Path::new("model.pt")).unwrap();
    let error = file.stream(0, &mut |_| Err(std::io::Error::other("the disk is full"))).unwrap_err();
    assert_eq!(error.to_string(), "the disk is full");
    assert_eq!(file.integers(0).unwrap_err().to_string(), "model.pt is refused: tensor \"a\" is of float32 instead of whole numbers");

    let bytes = saved(&dict(&[("ids", Tensor { class: "LongStorage", ..Tensor::default() })]), &[&[7; 48]]);
    let mut file = TorchFile::from_reader(Cursor::new(&bytes), Path::new("model.pt")).unwrap();
    let error = file.stream(0, &mut |_| Ok(())).unwrap_err().to_string();
    assert_eq!(error, "model.pt is refused: tensor \"ids\" is of int64; only float32, float16 and bfloat16 are read as weights");
    assert_eq!(file.integers(0).unwrap(), [0x0707_0707_0707_0707; 6]);
}

#[test]
fn pickles_that_call_something_are_refused_at_every_protocol_and_nothing_is_called() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("marker");
    let attacks: Vec<(String, u8, String)> = python("attacks", &marker);
    assert!(attacks.len() > 100);
    for (label, protocol, hex) in attacks {
        let pickle: Vec<u8> = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        for sentence in [refusal(&saved(&pickle, &[])), pickle_refusal(&pickle)] {
            let by_name = sentence.contains("its pickle names \"") && sentence.contains("nothing was run");
            let before_protocol_2 = protocol < 2 && sentence.contains("at byte 0 its pickle does not begin with a protocol from 2 to 5");
            assert!(sentence.contains(" at byte ") && (by_name || before_protocol_2), "{label}, protocol {protocol}: {sentence}");
        }
    }
    assert!(!marker.exists());
    assert_eq!(
        refusal(&saved(&Pickle::new(2).raw("}").global("os", "system").text("id").raw(b"\x85R").stop(), &[])),
        "model.pt is refused: at byte 3 its pickle names \"os.system\", which is none of the globals that such a file needs; nothing was run"
    );
}

#[test]
fn opcodes_that_such_files_do_not_use_are_refused_by_name_and_place() {
    let opcodes = [
        ("POP", "0"),
        ("POP_MARK", "1"),
        ("DUP", "2"),
        ("INT", "I1\n"),
        ("LONG", "L1L\n"),
        ("FLOAT", "F1.0\n"),
        ("STRING", "S'a'\n"),
        ("BINSTRING", "T\u{7f}\u{7f}\u{7f}\u{7f}"),
        ("SHORT_BINSTRING", "U\u{1}a"),
        ("UNICODE", "Va\n"),
        ("LIST", "(l"),
        ("DICT", "(d"),
        ("PUT", "p99999999999\n"),
        ("GET", "g99999999999\n"),
        ("PERSID", "P0\n"),
        ("INST", "(ios\nsystem\n"),
        ("OBJ", "(o"),
    ];
    let two_byte = [
        ("EXT1", 0x82),
        ("EXT2", 0x83),
        ("EXT4", 0x84),
        ("LONG4", 0x8b),
        ("BINUNICODE8", 0x8d),
        ("BINBYTES8", 0x8e),
        ("EMPTY_SET", 0x8f),
        ("ADDITEMS", 0x90),
        ("FROZENSET", 0x91),
        ("NEWOBJ_EX", 0x92),
        ("BYTEARRAY8", 0x96),
        ("NEXT_BUFFER", 0x97),
        ("READONLY_BUFFER", 0x98),
    ];
    let opcodes = opcodes.iter().map(|(name, bytes)| (*name, bytes.as_bytes().to_vec()));
    let opcodes = opcodes.chain(two_byte.iter().map(|(name, byte)| (*name, [vec![*byte], vec![0xFF; 8]].concat())));
    for (name, bytes) in opcodes {
        let mark = usize::from(bytes[0] == b'(');
        let pickle = Pickle::new(5).raw("N").raw(&bytes).stop();
        let expected = format!("at byte {} its pickle has opcode {name}, which such a file does not need; nothing was run", 3 + mark);
        assert!(refusal(&saved(&pickle, &[])).ends_with(&expected), "{name}");
        assert!(pickle_refusal(&pickle).ends_with(&expected), "{name}");
    }
    assert!(pickle_refusal(&Pickle::new(4).raw(b"\xFE").stop()).ends_with("at byte 2 its pickle has 0xfe, which is no opcode"));
}

#[test]
fn pickles_that_bend_the_rules_are_refused() {
    let start = || Pickle::new(4);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "at byte 0 its pickle does not begin with a protocol from 2 to 5"),
        (Pickle::new(6).raw("N").stop(), "does not begin with a protocol from 2 to 5"),
        (start().0, "at byte 2 its pickle ends within opcode STOP"),
        (start().stop(), "at byte 2 its pickle does not end with one value"),
        (start().raw("NN").stop(), "does not end with one value"),
        (start().raw("N(").stop(), "does not end with one value"),
        (start().raw("N.N").stop(), "at byte 3 its pickle does not end with one value and the end of the file"),
        (start().raw(b"\x80\x04N").stop(), "has opcode PROTO"),
        (start().raw("X\u{7f}\u{7f}\u{7f}\u{7f}abc").stop(), "ends within opcode BINUNICODE"),
        (start().raw(b"B\xFF\xFF\xFF\xFFabc").stop(), "ends within opcode BINBYTES"),
        (start().raw(b"\x8c\x02\xC3\x28").stop(), "at byte 2 its pickle has text that is not UTF-8"),
        (start().raw(b"\x8a\xFF").stop(), "has a whole number of 255 bytes; at most 8 are read"),
        (start().raw(b"\x8a\x08abc").stop(), "ends within opcode LONG1"),
        (start().raw(b"\x95\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFFN").stop(), "has a frame of 18446744073709551615 bytes"),
        (start().raw(b"\x95\x10\0\0\0\0\0\0\0N").stop(), "at byte 2 its pickle has a frame of 16 bytes, which do not fit here"),
        (start().raw(b"\x95\x0a\0\0\0\0\0\0\0\x95\x01\0\0\0\0\0\0\0N").stop(), "at byte 11 its pickle has a frame of 1 bytes"),
        (start().raw(b"\x95\x02\0\0\0\0\0\0\0J\0\0\0\0").stop(), "ends within opcode BININT, or its frame does"),
        (start().raw("t").stop(), "has opcode TUPLE with too little on the stack"),
        (start().raw("N(\u{2}").stop(), "has 0x02, which is no opcode"),
        (start().raw("N(").raw(b"\x85").stop(), "at byte 4 its pickle has opcode TUPLE1 with too little on the stack"),
        (start().raw("(Nq").raw([0]).raw("tR").stop(), "has opcode REDUCE with too little on the stack"),
        (start().raw("R").stop(), "has opcode REDUCE with too little on the stack"),
        (start().raw("b").stop(), "has opcode BUILD with too little on the stack"),
        (start().raw("Q").stop(), "has opcode BINPERSID with too little on the stack"),
        (start().raw("q\0").stop(), "has opcode BINPUT with too little on the stack"),
        (start().raw(b"\x94").stop(), "has opcode MEMOIZE with too little on the stack"),
        (start().raw("N)R").stop(), "has opcode REDUCE where the stack has no global and tuple of arguments"),
        (start().raw("NN").raw(b"\x93").stop(), "has opcode STACK_GLOBAL where the stack has no module and name"),
        (start().raw("h\0").stop(), "at byte 2 its pickle reads memo entry 0 of 0"),
        (start().raw("j").raw(u32::MAX.to_le_bytes()).stop(), "reads memo entry 4294967295 of 0"),
        (start().raw("Nr").raw(u32::MAX.to_le_bytes()).stop(), "at byte 3 its pickle writes memo entry 4294967295 where 0 comes next"),
        (start().raw("Nq\0q\0").stop(), "writes memo entry 0 where 1 comes next"),
        (start().raw("}NNs").stop(), "has a dict key that is neither text nor bytes nor a whole number"),
        (start().raw("})Ns").stop(), "has a dict key"),
        (start().raw("}").text("a").raw("Ns").text("a").raw("Ns").stop(), "at byte 18 its pickle has the key \"a\" twice in one dict"),
        (start().raw("}(K\u{1}NK\u{1}Nu").stop(), "has the key 1 twice in one dict"),
        (start().raw("}(Nu").stop(), "has opcode SETITEMS where the stack has no value for each key"),
        (start().raw("](Ne(NNu").stop(), "has opcode SETITEMS where the stack has no dict"),
        (start().raw("}Na").stop(), "has opcode APPEND where the stack has no list"),
        (start().raw(")Na").stop(), "has opcode APPEND where the stack has no list"),
        (start().raw("]}b").stop(), "has opcode BUILD where the stack has no object to give a state to"),
        (start().raw(format!("c{}\nname\n", "m".repeat(300))).stop(), "at byte 2 its pickle ends within opcode GLOBAL"),
        (start().raw("cos\nsystem").0, "at byte 2 its pickle ends within opcode GLOBAL"),
        (start().text("os").text("system").raw(b"\x93").stop(), "at byte 20 its pickle names \"os.system\""),
        (start().global("tiktoken.core", "Encoding.__init__").stop(), "names \"tiktoken.core.Encoding.__init__\""),
        (start().global("\u{1b}[2J", "x").stop(), "names \"\\u{1b}[2J.x\""),
    ];
    for (pickle, expected) in cases {
        assert!(refusal(&saved(&pickle, &[])).contains(expected), "{expected}: {}", refusal(&saved(&pickle, &[])));
        assert!(pickle_refusal(&pickle).contains(expected), "{expected}: {}", pickle_refusal(&pickle));
    }
    let torch = [
        (start().global("torch", "FloatStorage").raw(")R").stop(), "gives \"torch.FloatStorage\" to opcode REDUCE"),
        (
            start().global("torch._utils", "_rebuild_tensor_v2").raw(b")\x81").stop(),
            "gives \"torch._utils._rebuild_tensor_v2\" to opcode NEWOBJ",
        ),
        (start().global("collections", "OrderedDict").raw("N\u{5}").stop(), "has 0x05"),
        (start().global("collections", "OrderedDict").raw(b"N\x85R").stop(), "gives \"collections.OrderedDict\" to opcode REDUCE"),
        (start().global("torch.storage", "_load_from_bytes").stop(), "names \"torch.storage._load_from_bytes\""),
        (start().global("torch._utils", "_rebuild_tensor_v3").stop(), "names \"torch._utils._rebuild_tensor_v3\""),
        (start().raw("N").stop(), "holds neither tensors by name nor a tensor"),
        (start().raw("]").stop(), "holds neither tensors by name nor a tensor"),
        (start().raw("}K\u{1}Ns").stop(), "holds neither tensors by name nor a tensor"),
    ];
    for (pickle, expected) in torch {
        assert!(refusal(&saved(&pickle, &[])).contains(expected), "{expected}: {}", refusal(&saved(&pickle, &[])));
    }
}

/// Megabytes of one opcode, or of a few, are stopped by a limit.
#[test]
fn floods_take_neither_long_nor_much() {
    const SIZE: usize = 4 << 20;
    let flood = |head: &[u8], unit: &[u8]| {
        let pickle = Pickle::new(4).raw(head).raw(unit.repeat((SIZE - head.len()) / unit.len())).stop();
        (refusal(&saved(&pickle, &[])), pickle_refusal(&pickle))
    };
    for (head, unit, expected) in [
        (&b""[..], &b"N"[..], "has more than 65536 values on its stack"),
        (b"", b"(", "has more than 64 open marks"),
        (b"N", b"\x94", "has more than 524288 memo entries"),
        (b"]", b"Na", "has more than 524288 items of dicts and lists"),
        (b"N", b"\x85", "has more than 524288 items of tuples"),
        (b"]", b"]a", "has more than 131072 dicts, lists and calls"),
        (b"](", b"}", "has more than 65536 values on its stack"),
        (b"N", b"Q", "has more than 131072 dicts, lists and calls"),
    ] {
        let (torch, tokenizer) = flood(head, unit);
        assert!(torch.contains(expected) && tokenizer.contains(expected), "{torch} / {tokenizer}");
    }
    // As many different keys as a dict may have, and one more.
    let keys = (0..600_000u32).flat_map(|key| [b"J".as_slice(), &key.to_le_bytes(), b"Ns"].concat()).collect::<Vec<_>>();
    let pickle = Pickle::new(4).raw("}").raw(keys).stop();
    assert!(pickle_refusal(&pickle).contains("has more than 524288 items of dicts and lists"));
    let long = Pickle::new(4).raw(vec![b'N'; 17 << 20]).stop();
    assert!(pickle_refusal(&long).contains("goes on past 16777216 bytes"));
    assert!(refusal(&saved(&long, &[])).contains("has entry \"model/data.pkl\" of 17825795 bytes, more than the 16777216 that are read"));
    // A dict that holds itself has no end, but nobody goes there.
    let itself = Pickle::new(4).raw("}").raw(b"\x94").text("a").raw("h\0s").stop();
    assert!(refusal(&saved(&itself, &[])).contains("tensor \"a\", made at byte 2 of data.pkl, is not a tensor"));
}

#[test]
fn tensors_that_cannot_be_are_refused() {
    let matrix = Tensor::default();
    let cases = [
        (Tensor { shape: &[-2, -3], ..matrix }, "has an impossible shape"),
        (Tensor { shape: &[i64::MAX, i64::MAX], ..matrix }, "has an impossible shape"),
        (Tensor { shape: &[1 << 32, 1 << 32], strides: &[0, 0], ..matrix }, "has an impossible shape"),
        (Tensor { shape: &[1; 9], strides: &[1; 9], ..matrix }, "has an impossible shape"),
        (Tensor { shape: &[i64::MAX], strides: &[1], ..matrix }, "reaches out of its storage of 6 elements"),
        (Tensor { shape: &[i64::MAX], strides: &[i64::MAX], ..matrix }, "reaches out of its storage of 6 elements"),
        (Tensor { shape: &[2, 4], strides: &[4, 1], ..matrix }, "reaches out of its storage of 6 elements"),
        (Tensor { offset: 1, ..matrix }, "reaches out of its storage of 6 elements"),
        (Tensor { offset: -1, ..matrix }, "reaches out of its storage of 6 elements"),
        (Tensor { offset: i64::MAX, ..matrix }, "reaches out of its storage of 6 elements"),
        (Tensor { offset: 7, shape: &[0], strides: &[1], ..matrix }, "reaches out of its storage of 6 elements"),
        (Tensor { strides: &[1], ..matrix }, "has impossible strides"),
        (Tensor { strides: &[-3, -1], ..matrix }, "has impossible strides"),
        (Tensor { strides: &[1, 2], ..matrix }, "is a view whose elements do not lie row by row"),
        (Tensor { strides: &[0, 0], ..matrix }, "is a view whose elements do not lie row by row"),
        (Tensor { shape: &[1 << 40], strides: &[0], ..matrix }, "is a view whose elements do not lie row by row"),
        (Tensor { stored: -1, ..matrix }, "says that its storage has -1 elements of float32; the file has 24 bytes there"),
        (Tensor { stored: 7, ..matrix }, "says that its storage has 7 elements of float32; the file has 24 bytes there"),
        (Tensor { stored: 1 << 62, ..matrix }, "says that its storage has 4611686018427387904 elements"),
        (Tensor { stored: i64::MAX, ..matrix }, "says that its storage has 9223372036854775807 elements"),
        (Tensor { class: "LongStorage", ..matrix }, "says that its storage has 6 elements of int64; the file has 24 bytes there"),
        (Tensor { key: "9", ..matrix }, "has its elements in storage \"9\", which the file does not have"),
        (Tensor { key: "../../etc/passwd", ..matrix }, "has its elements in storage \"../../etc/passwd\""),
        (Tensor { class: "DoubleStorage", stored: 3, shape: &[3], strides: &[1], ..matrix }, "is of float64 instead of whole numbers"),
    ];
    for (tensor, expected) in cases {
        let sentence = refusal(&saved(&dict(&[("wte", tensor)]), &[&[0; 24]]));
        assert!(sentence.contains("is refused: tensor \"wte\"") && sentence.contains(expected), "{expected}: {sentence}");
    }

    let half = Tensor { shape: &[3], strides: &[1], ..matrix };
    let sentence = refusal(&saved(&dict(&[("a", half), ("b", Tensor { offset: 2, ..half })]), &[&[0; 24]]));
    assert_eq!(sentence, "model.pt is refused: tensor \"b\" overlaps tensor \"a\" without being the same");
    assert!(read_all(&saved(&dict(&[("a", half), ("b", Tensor { offset: 3, ..half })]), &[&[0; 24]])).is_ok());
    let twice = refusal(&saved(&dict(&[("a", half), ("a", half)]), &[&[0; 24]]));
    assert!(twice.contains("its pickle has the key \"a\" twice in one dict"), "{twice}");

    let rebuilt = |arguments: Pickle| {
        let pickle = Pickle::new(2).raw("}").text("a").global("torch._utils", "_rebuild_tensor_v2");
        refusal(&saved(&pickle.raw(arguments.0).raw("Rs").stop(), &[&[0; 24]]))
    };
    for arguments in [b")".as_slice(), b"N\x85", b"(NNNNNNt", b"(NK\0)))N}t", b"(NK\0))\x88Nt", b"(NK\0))\x88}Nt"] {
        let sentence = rebuilt(Pickle(arguments.to_vec()));
        assert!(sentence.contains("is put together from something else than a storage, an offset, a shape"), "{sentence}");
    }
    let persistent = Pickle(Vec::new()).raw("((").text("module").raw("tQK\0))").raw(b"\x89}t");
    assert!(rebuilt(persistent).contains("is put together from something else than a storage by class, key, device and length"));
}

/// Overwrites bytes in front of which `signature` and the name of an entry are found: `at` counts from the signature.
fn patch(file: &[u8], signature: &[u8], name_at: usize, name: &str, at: usize, bytes: &[u8]) -> Vec<u8> {
    let found = (0..file.len()).find(|&start| {
        file[start..].starts_with(signature) && file.get(start + name_at..).is_some_and(|rest| rest.starts_with(name.as_bytes()))
    });
    let start = found.expect("the record is there") + at;
    let mut file = file.to_vec();
    file[start..start + bytes.len()].copy_from_slice(bytes);
    file
}

#[test]
fn archives_that_lie_are_refused() {
    let whole = saved(&dict(&[("a", Tensor::default())]), &[&[0; 24]]);
    assert!(read_all(&whole).is_ok());
    let name = "model/data/0";
    let central = |at: usize, bytes: &[u8]| patch(&whole, b"PK\x01\x02", 46, name, at, bytes);
    let local = |at: usize, bytes: &[u8]| patch(&whole, b"PK\x03\x04", 30, name, at, bytes);
    let end = |back: usize, bytes: &[u8]| {
        let mut file = whole.clone();
        let at = file.len() - back;
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    let both = |at: usize, bytes: &[u8]| patch(&central(at + 2, bytes), b"PK\x03\x04", 30, name, at, bytes);
    let with = |extra: &[(&str, &[u8])]| {
        let pickle = dict(&[("a", Tensor::default())]);
        archive(&[&[("model/data.pkl", pickle.as_slice()), (name, &[0; 24])], extra].concat())
    };
    let pickle_at = (whole.windows(14).position(|window| window == b"model/data.pkl").unwrap() - 30) as u32;
    let max = u32::MAX.to_le_bytes();

    let cases = [
        (vec![], "it does not begin as a zip archive"),
        (b"PK".to_vec(), "it does not begin as a zip archive"),
        (b"PK\x03\x04".to_vec(), "is cut short or altered"),
        (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02".to_vec(), "is in the format that torch wrote before version 1.6"),
        (b"{\"format\": \"safetensors\"}".to_vec(), "it does not begin as a zip archive"),
        ([whole.clone(), b" ".to_vec()].concat(), "does not end with the directory of a zip archive"),
        // Deflate, the compression of zip bombs, and others; encryption; masked headers.
        (both(8, &[8, 0]), "has entry \"model/data/0\" compressed by method 8"),
        (central(10, &[8, 0]), "has entry \"model/data/0\" compressed by method 8"),
        (local(8, &[8, 0]), "has entry \"model/data/0\" whose header differs from the directory"),
        (both(6, &[9, 8]), "has an encrypted entry \"model/data/0\""),
        (both(6, &[8, 0x20]), "with flags 0x2008"),
        // Lengths and places.
        (central(24, &max), "has a zip directory that ends within an entry"),
        (central(24, &[25, 0, 0, 0]), "whose header differs from the directory"),
        (
            patch(&central(24, &[0, 0, 0, 0x7F]), b"PK\x01\x02", 46, name, 20, &[0, 0, 0, 0x7F]),
            "where it overlaps another, or the directory",
        ),
        (patch(&central(24, &[200, 0, 0, 0]), b"PK\x01\x02", 46, name, 20, &[200, 0, 0, 0]), "where it overlaps another"),
        (central(42, &[0xFE, 0xFF, 0xFF, 0xFF]), "where it overlaps another, or the directory"),
        (central(42, &pickle_at.to_le_bytes()), "has entry \"model/data/0\" whose header differs from the directory"),
        (central(34, &[1, 0]), "is one volume of a zip archive in several"),
        (central(46, b"model/data/1"), "has entry \"model/data/1\" whose header differs from the directory"),
        (central(46, b"model/data/\xFF"), "that is not in the one folder of the archive"),
        (local(0, b"PK\x05\x06"), "whose header differs from the directory"),
        (local(28, &[0xFF, 0xFF]), "where it overlaps another, or the directory"),
        (central(16, &[1, 2, 3, 4]), "was altered: entry \"model/data/0\" does not have the CRC-32"),
        // The two ends.
        (end(22 - 10, &[9, 9]), "is one volume of a zip archive in several"),
        (end(22 - 16, &[9, 9, 9, 9]), "has a zip directory that has two ends that differ"),
        (end(22 - 4, &[1, 0]), "is one volume"),
        (end(2, &[1, 0]), "does not end with the directory"),
        (end(22 + 20 - 8, &[1]), "has a zip directory that has no 64-bit end where it should be"),
        (end(22 + 20 - 4, &[1]), "is one volume of a zip archive in several"),
        (end(22 + 20 + 56 - 4, &[9]), "has no 64-bit end where it should be"),
        // Names.
        (with(&[(name, &[0; 24])]), "has two entries \"model/data/0\""),
        (with(&[("model/data.pkl", b"N.")]), "has two entries \"model/data.pkl\""),
        (with(&[("other/data.pkl", b"N.")]), "has an entry \"other/data.pkl\" that is not in the one folder"),
        (with(&[("data.pkl", b"N.")]), "has an entry \"data.pkl\" that is not in the one folder"),
        (with(&[("model/constants.pkl", b"N.")]), "is a TorchScript program"),
        (with(&[("model/byteorder", b"big")]), "was written in byte order \"big\"; only \"little\" is read"),
        (with(&[("model/byteorder", &[b'l'; 1000])]), "has entry \"model/byteorder\" of 1000 bytes, more than the 16 that are read"),
        (archive(&[(name, &[0; 24])]), "it has no entry data.pkl"),
        (archive(&[]), "it does not begin as a zip archive"),
    ];
    for (file, expected) in cases {
        let sentence = refusal(&file);
        assert!(sentence.contains(expected), "{expected}: {sentence}");
    }
    // Claims in both ends at once, so that they agree.
    for claim in [u64::MAX, 1 << 62, 1 << 32, whole.len() as u64] {
        for (field, short) in [(24, 22 - 8), (32, 22 - 8), (40, 22 - 12), (48, 22 - 16)] {
            let mut file = end(22 + 20 + 56 - field, &claim.to_le_bytes());
            let at = file.len() - short;
            file[at..at + 4].copy_from_slice(&max);
            refusal(&file);
        }
    }
}

#[test]
fn golden_files_cut_anywhere_are_refused() {
    for path in golden(".pt") {
        let whole = std::fs::read(&path).unwrap();
        for percent in 0..100 {
            refusal(&whole[..whole.len() * percent / 100]);
        }
        refusal(&whole[..whole.len() - 1]);
    }
    for path in golden("tokenizer.pkl") {
        let whole = std::fs::read(&path).unwrap();
        for percent in 0..100 {
            pickle_refusal(&whole[..whole.len() * percent / 100]);
        }
        pickle_refusal(&whole[..whole.len() - 1]);
    }
}

#[test]
fn a_changed_byte_changes_no_tensor_unnoticed() {
    for path in golden(".pt") {
        let mut file = std::fs::read(&path).unwrap();
        let whole = read_all(&file).unwrap();
        // All of a small file; of a large one, what is around its data and some of that.
        let step = if file.len() < 10_000 { 1 } else { file.len() / 150 };
        let mut noticed = 0;
        for at in (0..file.len()).step_by(step).chain(file.len().saturating_sub(300)..file.len()) {
            for bit in [1u8 << (at % 8), 0xFF] {
                file[at] ^= bit;
                match bounded(|| read_all(&file)) {
                    Ok(found) => assert!(found == whole, "byte {at} of {}", path.display()),
                    Err(error) => {
                        noticed += 1;
                        assert!(error.to_string().starts_with("model.pt "), "{error}");
                    }
                }
                file[at] ^= bit;
            }
        }
        assert!(noticed > 100, "{noticed}");
    }
    // A pickle alone has no checksum: what is read may be another tokenizer, but it is one.
    for path in golden("tokenizer.pkl") {
        let mut file = std::fs::read(&path).unwrap();
        for at in (0..file.len()).step_by(11).chain(0..60) {
            file[at] ^= 1 << (at % 8);
            if let Ok(tokenizer) = bounded(|| tiktoken_from_bytes(&file, &path)) {
                assert_eq!(tokenizer.token_bytes().len(), tokenizer.vocab_size());
            }
            file[at] ^= 1 << (at % 8);
        }
    }
}

proptest! {
    #[test]
    fn any_change_to_a_pickle_is_read_or_refused(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut pickle = dict(&[("a", Tensor::default()), ("b", Tensor { key: "1", class: "BFloat16Storage", ..Tensor::default() })]);
        for (at, byte) in changes {
            let at = at.index(pickle.len());
            pickle[at] = byte;
        }
        let file = saved(&pickle, &[&[1; 24], &[2; 12]]);
        if let Ok(tensors) = bounded(|| read_all(&file)) {
            prop_assert!(tensors.iter().all(|(_, elements)| elements.len() <= 24));
        }
    }
}

/// A pickled encoding with one of its parts replaced.
fn encoding(part: &str, value: impl Fn(Pickle) -> Pickle) -> Vec<u8> {
    let ranks = |pickle: Pickle| (0..=255u8).fold(pickle.raw("}("), |pickle, byte| pickle.bytes(&[byte]).int(byte.into())).raw("u");
    let mut pickle = Pickle::new(4).global("tiktoken.core", "Encoding").raw(b")\x81}(");
    for known in ["name", "pat_str", "mergeable_ranks", "special_tokens"] {
        pickle = pickle.text(known);
        pickle = match known {
            _ if known == part => value(pickle),
            "name" => pickle.text("rustbpe"),
            "pat_str" => pickle.text(nc_core::tokenizer::SPLIT_PATTERN),
            "mergeable_ranks" => ranks(pickle),
            _ => pickle.raw("}").text("<|bos|>").int(256).raw("s"),
        };
    }
    pickle.raw("ub").stop()
}

#[test]
fn encodings_that_make_no_tokenizer_are_refused() {
    assert_eq!(tiktoken_from_bytes(&encoding("", |pickle| pickle), Path::new("tokenizer.pkl")).unwrap().vocab_size(), 257);
    let bytes = |but: u8| {
        move |pickle: Pickle| (0..=255u8).filter(|&byte| byte != but).fold(pickle, |pickle, byte| pickle.bytes(&[byte]).int(byte.into()))
    };
    let cases = [
        (encoding("pat_str", |pickle| pickle.text(".*")), "its split pattern is not nanochat's"),
        (encoding("pat_str", |pickle| pickle.int(1)), "its pat_str is no text"),
        (encoding("mergeable_ranks", |pickle| pickle.raw("}")), "byte 0 has no token"),
        (encoding("mergeable_ranks", |pickle| pickle.raw("]")), "its mergeable_ranks are no dict"),
        (
            encoding("mergeable_ranks", |pickle| pickle.raw("}").text("a").int(1).raw("s")),
            "a mergeable rank is not of bytes and a 32-bit number",
        ),
        (
            encoding("mergeable_ranks", |pickle| pickle.raw("}").bytes(b"a").int(-1).raw("s")),
            "a mergeable rank is not of bytes and a 32-bit number",
        ),
        (encoding("mergeable_ranks", |pickle| pickle.raw("}").bytes(b"a").int(1 << 32).raw("s")), "a mergeable rank is not of bytes"),
        (encoding("mergeable_ranks", |pickle| bytes(7)(pickle.raw("}(")).bytes(b"ab").int(7).raw("u")), "byte 7 has no token"),
        (encoding("mergeable_ranks", |pickle| bytes(7)(pickle.raw("}(")).bytes(&[7]).int(8).raw("u")), "id 8 stands for two tokens"),
        (
            encoding("mergeable_ranks", |pickle| bytes(7)(pickle.raw("}(")).bytes(&[7]).int(900).raw("u")),
            "id 900 is outside a vocabulary of 257",
        ),
        (
            encoding("mergeable_ranks", |pickle| pickle.raw("}").bytes(&[b' '; 20_000]).int(1).raw("s")),
            "its tokens are longer than a vocabulary's are",
        ),
        (encoding("special_tokens", |pickle| pickle.raw("}")), "it has no special token <|bos|>"),
        (
            encoding("special_tokens", |pickle| pickle.raw("}").text("<|bos|>").raw("Ns")),
            "a special token is not of a name and a 32-bit number",
        ),
        (encoding("special_tokens", |pickle| pickle.raw("}").text("<|bos|>").int(3).raw("s")), "stands for two tokens"),
        (encoding("name", |pickle| pickle.text("a").text("more").raw("N")), "it has the unknown part \"more\""),
        (Pickle::new(4).global("tiktoken.core", "Encoding").raw(b")\x81").text("gpt2").raw("b").stop(), "it has no parts of its own"),
        (Pickle::new(4).global("tiktoken.core", "Encoding").raw(b")\x81}b").stop(), "it has no pat_str"),
        (Pickle::new(4).global("tiktoken.core", "Encoding").raw(b")\x81").stop(), "it holds something else"),
        (Pickle::new(4).global("tiktoken.core", "Encoding").raw(b")\x81}b}b").stop(), "has opcode BUILD where the stack has no object"),
        (Pickle::new(4).global("tiktoken.core", "Encoding").raw(b"N\x85\x81").stop(), "gives \"tiktoken.core.Encoding\" to opcode NEWOBJ"),
        (Pickle::new(4).global("tiktoken.core", "Encoding").raw(")R").stop(), "gives \"tiktoken.core.Encoding\" to opcode REDUCE"),
        (Pickle::new(4).global("torch", "FloatStorage").stop(), "names \"torch.FloatStorage\""),
        (Pickle::new(4).raw("}").stop(), "it holds something else"),
    ];
    for (pickle, expected) in cases {
        let sentence = pickle_refusal(&pickle);
        assert!(sentence.contains(expected), "{expected}: {sentence}");
    }
}
