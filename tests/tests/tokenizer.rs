//! The tokenizer as its users meet it: the reference's own encodings, text that tries to pass for special tokens, and
//! files that are not what they should be.

use nc_core::tokenizer::Tokenizer;
use serde::Deserialize;

/// What the reference printed for one tokenizer.
#[derive(Deserialize)]
struct Golden {
    vocab_size: usize,
    special: std::collections::BTreeMap<String, u32>,
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
