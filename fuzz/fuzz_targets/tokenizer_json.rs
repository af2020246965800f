//! A tokenizer from outside encodes and decodes, or is refused; one that is taken is written and read back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nc_core::tokenizer::Tokenizer;

const TEXT: &str = "The 12 tokens: <|bos|>, naïve café\n\t日本 🙂";

fuzz_target!(|json: &str| {
    let Ok(tokenizer) = Tokenizer::from_json(json) else { return };
    let ids = tokenizer.encode(TEXT);
    assert_eq!(tokenizer.decode(&ids), TEXT);
    let again = Tokenizer::from_json(&tokenizer.to_json()).expect("what was written can be read");
    assert_eq!((again.hash(), again.encode(TEXT)), (tokenizer.hash(), ids));
});
