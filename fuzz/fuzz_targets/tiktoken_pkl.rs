//! A `tokenizer.pkl` is read as a tokenizer that works, or refused: nothing is run.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use nc_core::interchange::torch::tiktoken_from_bytes;

fuzz_target!(|bytes: &[u8]| {
    let Ok(tokenizer) = tiktoken_from_bytes(bytes, Path::new("fuzzed.pkl")) else { return };
    let text = "The  sea's 1234 ships — naïve…\n";
    let ids = tokenizer.encode(text);
    assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()), "an id outside the vocabulary");
    assert_eq!(tokenizer.decode(&ids), text);
});
