//! The tokenizer as its users meet it: the reference's own encodings, text that tries to pass for special tokens, and
//! files that are not what they should be.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::sync::LazyLock;

use nc_core::checkpoint::Run;
use nc_core::checkpoint::home::Home;
use nc_core::tokenizer::{SPECIAL_TOKENS, Tokenizer, TokenizerError, TrainOptions};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

/// What the reference printed for one tokenizer.
#[derive(Deserialize)]
struct Golden {
    vocab_size: usize,
    special: BTreeMap<String, u32>,
    encode: Vec<Encoding>,
    token_bytes: Vec<u32>,
}

#[derive(Deserialize)]
struct Encoding {
    text: String,
    ids: Vec<u32>,
}

/// Every golden folder that holds a tokenizer with its encodings.
fn golden() -> Vec<(Tokenizer, Golden)> {
    let mut found = Vec::new();
    for dir in nc_tests::golden_dirs() {
        let folders = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
        for folder in folders.chain([dir.clone()]).filter(|folder| folder.join("tokenizer_cases.json").exists()) {
            let tokenizer = Tokenizer::from_file(&folder.join("tokenizer.json")).unwrap();
            let cases = std::fs::read_to_string(folder.join("tokenizer_cases.json")).unwrap();
            found.push((tokenizer, serde_json::from_str(&cases).unwrap()));
        }
    }
    assert!(!found.is_empty(), "no golden tokenizer was found");
    found
}

#[test]
fn golden_encodings_are_the_references() {
    for (tokenizer, golden) in golden() {
        assert_eq!(tokenizer.vocab_size(), golden.vocab_size);
        assert_eq!(tokenizer.token_bytes(), golden.token_bytes);
        for (name, id) in &golden.special {
            assert_eq!(tokenizer.special(name), Some(*id), "{name}");
        }
        for case in &golden.encode {
            assert_eq!(tokenizer.encode(&case.text), case.ids, "{:?}", case.text);
            assert_eq!(tokenizer.decode(&case.ids), case.text);
        }
        let texts: Vec<String> = golden.encode.iter().map(|case| case.text.clone()).collect();
        let ids: Vec<Vec<u32>> = golden.encode.into_iter().map(|case| case.ids).collect();
        assert_eq!(tokenizer.encode_batch(&texts), ids);
    }
}

/// One of the golden tokenizers.
static GOLDEN: LazyLock<Tokenizer> = LazyLock::new(|| golden().swap_remove(0).0);

/// A tokenizer that has seen the names of the special tokens so often that it merged as much of them as it can.
static LURED: LazyLock<Tokenizer> = LazyLock::new(|| {
    let text = format!("{} and other words {}", SPECIAL_TOKENS.concat().repeat(50), SPECIAL_TOKENS.join(" "));
    let options = TrainOptions { vocab_size: 300, ..TrainOptions::default() };
    Tokenizer::train([Ok::<_, std::io::Error>(text)], &options).unwrap().tokenizer
});

fn assert_plain(tokenizer: &Tokenizer, text: &str) {
    let special: Vec<u32> = SPECIAL_TOKENS.iter().map(|name| tokenizer.special(name).unwrap()).collect();
    let ids = tokenizer.encode(text);
    assert!(ids.iter().all(|id| !special.contains(id)), "{text:?} gave a special token: {ids:?}");
    assert_eq!(tokenizer.decode(&ids), text);
}

#[test]
fn names_of_special_tokens_are_only_text() {
    for tokenizer in [&*GOLDEN, &*LURED] {
        for name in SPECIAL_TOKENS {
            assert_plain(tokenizer, name);
            assert_plain(tokenizer, &format!(" {name}\n{name}{name} x{name}y "));
            for cut in 1..name.len() {
                let (left, right) = name.split_at(cut);
                assert_plain(tokenizer, left);
                assert_plain(tokenizer, right);
                // Taking the inner one out would leave the outer one.
                for inner in SPECIAL_TOKENS {
                    assert_plain(tokenizer, &format!("{left}{inner}{right}"));
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn every_text_comes_back(text in any::<String>()) {
        let tokenizer = &*GOLDEN;
        let ids = tokenizer.encode(&text);
        prop_assert_eq!(tokenizer.decode_bytes(&ids), text.as_bytes());
        let lengths = tokenizer.token_bytes();
        prop_assert_eq!(ids.iter().map(|&id| lengths[id as usize] as usize).sum::<usize>(), text.len());
    }

    #[test]
    fn every_heap_of_bytes_comes_back_as_far_as_it_is_text(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let text = String::from_utf8_lossy(&bytes);
        let tokenizer = &*GOLDEN;
        prop_assert_eq!(tokenizer.decode(&tokenizer.encode(&text)), text);
    }

    #[test]
    fn crumbs_of_special_tokens_are_only_text(crumbs in proptest::collection::vec("<\\|?|\\|?>|bos|_?(user|end|start|output)_?|[ \n]", 0..20)) {
        for tokenizer in [&*GOLDEN, &*LURED] {
            assert_plain(tokenizer, &crumbs.concat());
        }
    }

    #[test]
    fn a_damaged_file_is_refused_or_read_and_never_a_panic(at in any::<prop::sample::Index>(), byte in 0x20u8..0x7F) {
        let mut json = LURED.to_json().into_bytes();
        let at = at.index(json.len());
        json[at] = byte;
        if let Ok(tokenizer) = Tokenizer::from_json(&String::from_utf8_lossy(&json)) {
            let text = "Whatever was changed, bytes are bytes: <|bos|> \u{1F433}";
            prop_assert_eq!(tokenizer.decode(&tokenizer.encode(text)), text);
        }
    }
}

#[test]
fn a_cut_file_is_refused() {
    let json = LURED.to_json();
    for end in (0..json.trim_end().len()).step_by(97).chain([json.trim_end().len() - 1]) {
        let error = Tokenizer::from_json(&json[..json.floor_char_boundary(end)]).unwrap_err();
        assert!(matches!(error, TokenizerError::Json(_)), "cut at {end}: {error}");
    }
}

#[test]
fn a_file_that_cannot_be_right_is_refused_by_what_is_wrong() {
    let json: Value = serde_json::from_str(&LURED.to_json()).unwrap();
    let cases: [(&str, Value, &str); 20] = [
        ("/model/vocab/a", json!(4_000_000_000u32), "outside a vocabulary of 300"),
        ("/model/vocab/a", json!(98), "stands for two tokens"),
        ("/model/vocab/a", json!(1e300), "invalid"),
        ("/model/vocab/a", json!(-1), "invalid"),
        ("/model/vocab/a", json!(u64::MAX), "invalid"),
        ("/model/vocab", json!({}), "outside a vocabulary"),
        ("/model/merges/0", json!(["a", "日"]), "merge 0 refers to tokens"),
        ("/model/merges/0", json!("ab"), "merge 0 is not a pair"),
        ("/model/merges/1", json["model"]["merges"][0].clone(), "merge 1 occurs twice"),
        ("/model/type", json!("Unigram"), "not a byte-level BPE"),
        ("/model/dropout", json!(0.5), "dropout"),
        ("/model/continuing_subword_prefix", json!("##"), "not a byte-level BPE"),
        ("/model/end_of_word_suffix", json!("</w>"), "not a byte-level BPE"),
        ("/added_tokens", json!([]), "no special token <|bos|>"),
        ("/added_tokens/0/content", json!("<|eos|>"), "no special token <|bos|>"),
        ("/added_tokens/0/special", json!(false), "not a special token"),
        ("/added_tokens/1/content", json!("<|bos|>"), "no name of its own"),
        ("/pre_tokenizer/pretokenizers/0/pattern/Regex", json!("(x+x+)+y"), "split pattern is not nanochat's"),
        ("/pre_tokenizer", Value::Null, "does not split text"),
        ("/normalizer", json!({ "type": "Lowercase" }), "a normalizer"),
    ];
    for (place, value, expected) in cases {
        let mut json = json.clone();
        *json.pointer_mut(place).unwrap() = value.clone();
        let error = Tokenizer::from_json(&json.to_string()).unwrap_err().to_string();
        assert!(error.contains(expected), "{place} = {value}: {error}");
    }
    for text in ["", " ", "null", "[]", "{}", "\u{0}", &"[".repeat(100_000)] {
        assert!(matches!(Tokenizer::from_json(text), Err(TokenizerError::Json(_))));
    }
}

/// Settings that change no id, because a program sets them anew or because every byte has a token.
#[test]
fn a_file_with_settings_that_change_no_id_is_read() {
    let json: Value = serde_json::from_str(&LURED.to_json()).unwrap();
    let bytes = json["decoder"].clone();
    let split = json["pre_tokenizer"].clone();
    let cases = [
        ("/model/byte_fallback", json!(true)),
        ("/model/unk_token", json!("<unk>")),
        ("/model/fuse_unk", json!(true)),
        ("/model/dropout", json!(0.0)),
        ("/model/continuing_subword_prefix", json!("")),
        ("/model/end_of_word_suffix", json!("")),
        ("/truncation", json!({ "direction": "Right", "max_length": 64, "strategy": "LongestFirst", "stride": 0 })),
        (
            "/padding",
            json!({ "strategy": { "Fixed": 8 }, "direction": "Left", "pad_to_multiple_of": 8, "pad_id": 0, "pad_type_id": 0, "pad_token": "<|bos|>" }),
        ),
        ("/normalizer", json!({ "type": "Sequence", "normalizers": [] })),
        ("/pre_tokenizer", json!({ "type": "Sequence", "pretokenizers": [split] })),
        ("/post_processor", json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true })),
        ("/decoder", json!({ "type": "Sequence", "decoders": [{ "type": "ByteFallback" }, bytes] })),
        ("/decoder", Value::Null),
        ("/version", json!("2.0")),
    ];
    for (place, value) in cases {
        let mut json = json.clone();
        *json.pointer_mut(place).unwrap() = value.clone();
        let tokenizer = Tokenizer::from_json(&json.to_string()).unwrap_or_else(|error| panic!("{place} = {value}: {error}"));
        assert_eq!(tokenizer.hash(), LURED.hash(), "{place} = {value}");
    }
    let mut old = json;
    old["model"].as_object_mut().unwrap().remove("type");
    assert_eq!(Tokenizer::from_json(&old.to_string()).unwrap().hash(), LURED.hash());
}

#[test]
fn what_lies_in_a_files_place_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    for (bytes, words) in [
        (&b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n"[..], "tokenizer.json is a Git LFS pointer"),
        (b"<!DOCTYPE html><html></html>", "tokenizer.json is a web page"),
        (b"{\"\xff\": 1}", "it is not UTF-8 text"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = Tokenizer::from_file(&path).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

/// Files that are within the limits on length, and would take gigabytes as the values that they hold.
#[cfg(target_os = "linux")]
#[test]
fn a_file_of_millions_of_values_is_refused_soon_and_in_little_memory() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("tokenizer.json");
    let refused = |what: &str, json: String| {
        assert!(json.len() < 32 << 20, "{what} has {} bytes", json.len());
        std::fs::write(&path, json).unwrap();
        let mut command = nc_tests::nc_core!(home.path());
        command.args(["tokenizer", "encode", "x", "--file"]).arg(&path);
        nc_tests::workshop::limit_refusal(&mut command);
        nc_tests::workshop::refusal(what, &command.output().unwrap())
    };
    let json = LURED.to_json();
    let with = |from: &str, to: String| {
        let changed = json.replacen(from, &to, 1);
        assert_ne!(changed, json, "{from}");
        changed
    };
    let (ones, maps) = ("1,".repeat(12 << 20) + "1", "{\"\":1},".repeat(3 << 20) + "{}");
    for (what, json) in [
        ("a normalizer of numbers", with("\"normalizer\":null", format!("\"normalizer\":[{ones}]"))),
        ("a post-processor of maps", with("\"post_processor\":null", format!("\"post_processor\":[{maps}]"))),
        ("merges without end", with("\"merges\":[", format!("\"merges\":[{}", "[\"\",\"\"],".repeat(3 << 20)))),
        ("a key that nobody knows", with("{", format!("{{\"more\":[{maps}],"))),
        ("a vocabulary without end", {
            let tokens: String = (0..1_400_000).map(|id| format!("\"{id:x}\":{id},")).collect();
            with("\"vocab\":{", format!("\"vocab\":{{{tokens}"))
        }),
    ] {
        assert!(refused(what, json).contains("more than the 1310720 values that are read"), "{what}");
    }
    // As many values as are read, and no more.
    let (ones, maps) = ("1,".repeat(1_300_000) + "1", "{\"\":1},".repeat(600_000) + "{}");
    for (what, json, words) in [
        ("a normalizer of fewer", with("\"normalizer\":null", format!("\"normalizer\":[{ones}]")), "a normalizer"),
        ("a post-processor of fewer", with("\"post_processor\":null", format!("\"post_processor\":[{maps}]")), "a part in more than 65536"),
        ("a dropout of maps", with("\"dropout\":null", format!("\"dropout\":[{maps}]")), "dropout"),
        ("an affix of maps", with("\"end_of_word_suffix\":null", format!("\"end_of_word_suffix\":[{maps}]")), "not a byte-level BPE"),
        ("a merge of maps", with("\"merges\":[", format!("\"merges\":[[{maps}],")), "expected a string"),
        ("a merge of many", with("\"merges\":[", format!("\"merges\":[[\"a\",\"b\",{ones}],")), "not a pair"),
        (
            "a vocabulary of half as many",
            {
                let tokens: String = (0..650_000).map(|id| format!("\"{id:x}\":{id},")).collect();
                with("\"vocab\":{", format!("\"vocab\":{{{tokens}"))
            },
            "cannot be used",
        ),
        ("a long text", with("\"normalizer\":null", format!("\"normalizer\":\"{}\"", "x".repeat(31 << 20))), "a normalizer"),
    ] {
        let said = refused(what, json);
        assert!(said.contains(words), "{what}: {said}");
    }
    let spaces = " ".repeat((32 << 20) + 1);
    std::fs::write(&path, spaces + &json).unwrap();
    assert!(Tokenizer::from_file(&path).unwrap_err().to_string().contains("longer than 33554432 bytes"));
}

#[test]
fn whole_words_are_looked_up_where_the_file_says_so() {
    let mut json: Value = serde_json::from_str(&LURED.to_json()).unwrap();
    // Without its last merge, the token that it makes is only found as a whole word.
    let last = json["model"]["merges"].as_array_mut().unwrap().pop().unwrap();
    let word = format!("{}{}", last[0].as_str().unwrap(), last[1].as_str().unwrap()).replace('Ġ', " ");
    let merging = Tokenizer::from_json(&json.to_string()).unwrap();
    assert!(merging.encode(&word).len() > 1, "{word:?}");
    json["model"]["ignore_merges"] = json!(true);
    let whole = Tokenizer::from_json(&json.to_string()).unwrap();
    assert_eq!(whole.encode(&word), [290]);
    assert_eq!(Tokenizer::from_json(&whole.to_json()).unwrap().encode(&word), [290]);
}

#[test]
fn a_special_token_listed_among_the_ordinary_ones_is_still_special() {
    let tokenizer = &*LURED;
    let mut json: Value = serde_json::from_str(&tokenizer.to_json()).unwrap();
    for (name, id) in SPECIAL_TOKENS.iter().zip(291..) {
        json["model"]["vocab"][name] = json!(id);
    }
    let read = Tokenizer::from_json(&json.to_string()).unwrap();
    assert_eq!(read.hash(), tokenizer.hash());
    assert_plain(&read, "<|bos|>");
}

/// Runs `nc-core tokenizer` with `args` and `stdin` in `home`; gives its exit code, stdout and stderr.
fn run(home: &Path, args: &[&str], stdin: &[u8]) -> (Option<i32>, String, String) {
    let mut command = nc_tests::nc_core!(home);
    command.arg("tokenizer").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that fails before it reads closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// The JSON document on the last line of a successful command's stdout.
fn json_of(home: &Path, args: &[&str], stdin: &str) -> Value {
    let (code, stdout, stderr) = run(home, &[args, &["--json"]].concat(), stdin.as_bytes());
    assert_eq!(code, Some(0), "{args:?}: {stderr}");
    serde_json::from_str(stdout.lines().last().unwrap()).unwrap()
}

#[test]
fn the_command_trains_measures_encodes_and_decodes() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let trained = json_of(home, &["train", "--vocab-size", "2048"], "");
    let shared = home.join("tokenizer.json");
    assert_eq!(trained["path"], json!(shared));
    assert_eq!(trained["hash"], json!(Tokenizer::from_file(&shared).unwrap().hash()));

    // The same text gives the same bytes.
    let again = home.join("again.json");
    json_of(home, &["train", "--vocab-size", "2048", "--out", again.to_str().unwrap()], "");
    assert_eq!(std::fs::read(&shared).unwrap(), std::fs::read(&again).unwrap());

    let json = std::fs::read_to_string(&shared).unwrap();
    Run::create(&Home::at(home), "small", &json!({}), &json).unwrap();
    std::fs::remove_file(&shared).unwrap();

    let compared = json_of(home, &["eval", "--run", "small"], "");
    let names: Vec<&str> = compared["contenders"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["ours", "gpt2", "cl100k"]);
    let validation = &compared["texts"][0];
    assert_eq!(validation["text"], "validation");
    assert!(
        validation["bytes_per_token"].as_array().unwrap().iter().all(|ratio| (3.0..6.0).contains(&ratio.as_f64().unwrap())),
        "{validation}"
    );

    let text = "Call me Ishmael. <|bos|>\n  — naïve 日本 ";
    let encoded = json_of(home, &["encode", text, "--run", "small"], "");
    assert_eq!(encoded, json_of(home, &["encode", "--run", "small"], text));
    assert_eq!(encoded["bytes"], json!(text.len()));
    assert_eq!(json_of(home, &["decode", "--run", "small"], &encoded["ids"].to_string())["text"], json!(text));
    let ids: Vec<String> = encoded["ids"].as_array().unwrap().iter().map(Value::to_string).collect();
    let mut args = vec!["decode", "--run", "small"];
    args.extend(ids.iter().map(String::as_str));
    assert_eq!(json_of(home, &args, "")["text"], json!(text));
    let (_, printed, _) = run(home, &["encode", text, "--run", "small"], b"");
    assert_eq!(printed.trim_end(), ids.join(" "));
}

#[test]
fn the_command_says_what_it_wrote_and_what_to_run_next() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("folder/mine.json");
    let (code, stdout, _) =
        run(home.path(), &["train", "--vocab-size", "300", "--max-chars", "10000", "--out", file.to_str().unwrap()], b"");
    assert_eq!(code, Some(0));
    assert!(stdout.contains(&format!("wrote {}\nnext: nc-core tokenizer eval --file {}", file.display(), file.display())), "{stdout}");
    let (code, stdout, _) = run(home.path(), &["eval", "--file", file.to_str().unwrap()], b"");
    assert_eq!(code, Some(0));
    assert!(stdout.contains("validation") && stdout.contains("cl100k") && stdout.contains("next: nc-core train"), "{stdout}");
}

#[test]
fn bad_input_gets_one_sentence_and_exit_code_2() {
    let home = tempfile::tempdir().unwrap();
    let place = |name: &str, bytes: &[u8]| {
        let path = home.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (blank, binary, short) =
        (place("blank.txt", b" \n"), place("binary.txt", &[0, 159, 146, 150]), place("short.txt", b"so little text"));
    let (damaged, inside) = (place("damaged.json", b"{\"model\": "), place("plain", b""));
    let inside = format!("{inside}/tokenizer.json");
    std::fs::create_dir_all(home.path().join("unusable.json")).unwrap();
    let huge = home.path().join("huge.json");
    std::fs::File::create(&huge).unwrap().set_len(65 << 20).unwrap();

    let cases: [(&[&str], &[u8], &str); 17] = [
        (&["eval"], b"", "run `nc-core tokenizer train` first"),
        (&["encode", "x", "--run", "none"], b"", "there is no run"),
        (&["encode", "x", "--run", "../up"], b"", "there is no run"),
        (&["encode", "x", "--run", "a", "--file", "b"], b"", "cannot be used with"),
        (&["encode", "x", "--file", &damaged], b"", "not a readable tokenizer.json"),
        (&["encode", "x", "--file", huge.to_str().unwrap()], b"", "longer than"),
        (&["train", "--vocab-size", "264"], b"", "too small"),
        (&["train", "--vocab-size", "1000000000000"], b"", "use --vocab-size 300000 or less"),
        (&["train", "--vocab-size", "299999"], b"", "or less, or more text"),
        (&["train", "--data", &short], b"", "or less"),
        (&["train", "--data", &blank], b"", "blank.txt"),
        (&["train", "--data", &binary], b"", "binary.txt"),
        (&["train", "--data", "no-such-folder"], b"", "no-such-folder"),
        (&["train", "--vocab-size", "300", "--out", &inside], b"", "cannot write"),
        (&["train", "--vocab-size", "300", "--out", home.path().to_str().unwrap()], b"", "is a folder"),
        (&["train", "--max-chars", "0"], b"", "--max-chars"),
        (&["decode", "--file", "unusable.json"], b"", "tokenizer"),
    ];
    for (args, stdin, expected) in cases {
        let (code, stdout, stderr) = run(home.path(), args, stdin);
        assert_eq!(code, Some(2), "{args:?}: {stderr}");
        assert!(stdout.is_empty(), "{args:?}: {stdout}");
        assert!(stderr.starts_with("error: ") && stderr.contains(expected), "{args:?}: {stderr}");
        assert!(stderr.contains("try '--help'") || stderr.trim_end().lines().count() == 1, "{args:?}: {stderr}");
    }
    assert!(!home.path().join("tokenizer.json").exists(), "a failed training left a tokenizer");

    assert_eq!(run(home.path(), &["train", "--vocab-size", "300"], b"").0, Some(0));
    let cases: [(&[&str], &[u8], &str); 4] = [
        (&["decode", "300"], b"", "there is no id 300"),
        (&["decode"], b"12 twelve", "not a token id"),
        (&["decode"], b"99999999999999999999", "not a token id"),
        (&["encode"], &[0xFF, 0xFE], "not UTF-8"),
    ];
    for (args, stdin, expected) in cases {
        let (code, _, stderr) = run(home.path(), args, stdin);
        assert!(code == Some(2) && stderr.contains(expected) && stderr.lines().count() == 1, "{args:?}: {stderr}");
    }
}

#[test]
fn a_failed_training_leaves_the_tokenizer_that_was_there() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(run(home.path(), &["train", "--vocab-size", "300"], b"").0, Some(0));
    let before = std::fs::read(home.path().join("tokenizer.json")).unwrap();
    assert_eq!(run(home.path(), &["train", "--vocab-size", "290000"], b"").0, Some(2));
    assert_eq!(std::fs::read(home.path().join("tokenizer.json")).unwrap(), before);
    let names: Vec<_> = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["tokenizer.json"]);
}

#[test]
fn the_sample_corpus_is_as_its_readme_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/corpus");
    let mut works = [HashSet::new(), HashSet::new()];
    let mut bytes = 0;
    for (name, split) in [("00-text.jsonl", 0), ("01-text.jsonl", 0), ("99-val.jsonl", 1)] {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        bytes += text.len();
        for line in text.lines() {
            let document: Value = serde_json::from_str(line).unwrap();
            let (work, _) = document["source"].as_str().unwrap().rsplit_once('/').unwrap();
            works[split].insert(work.to_owned());
            let passage = document["text"].as_str().unwrap();
            assert!(!passage.trim().is_empty() && passage.chars().all(|c| c == '\n' || !c.is_control()), "{line}");
        }
    }
    assert!((2 << 20..6 << 20).contains(&bytes), "{bytes}");
    assert!(works[0].is_disjoint(&works[1]));
    for split in works {
        for source in ["moby-dick/", "state-of-the-union/"] {
            assert!(split.iter().filter(|work| work.starts_with(source)).count() > 5);
        }
    }
}
