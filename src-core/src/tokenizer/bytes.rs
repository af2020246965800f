//! The byte alphabet of byte-level BPE: each of the 256 bytes written as one printable character.
//!
//! `tokenizer.json` and the `tokenizers` library store tokens as text, so raw bytes need a spelling. The table is
//! GPT-2's: printable Latin-1 characters represent themselves, the other 68 bytes are the characters from U+0100 on.

use std::collections::HashMap;
use std::sync::LazyLock;

static TO_CHAR: LazyLock<[char; 256]> = LazyLock::new(|| {
    let mut spare = '\u{100}'..;
    std::array::from_fn(|byte| match byte as u8 {
        printable @ (b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF) => char::from(printable),
        hidden => spare.next().unwrap_or(char::from(hidden)),
    })
});

static TO_BYTE: LazyLock<HashMap<char, u8>> = LazyLock::new(|| (0..=255).map(|byte| (TO_CHAR[usize::from(byte)], byte)).collect());

/// Spells `bytes` in the byte alphabet.
pub(super) fn spell(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| TO_CHAR[usize::from(byte)]).collect()
}

/// The bytes of `spelling`; `None` if a character is not in the alphabet.
pub(super) fn unspell(spelling: &str) -> Option<Vec<u8>> {
    spelling.chars().map(|c| TO_BYTE.get(&c).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_own_character() {
        let all: Vec<u8> = (0..=255).collect();
        let spelling = spell(&all);
        assert_eq!(spelling.chars().count(), 256);
        assert_eq!(unspell(&spelling), Some(all));
        assert!(spelling.chars().all(|c| !c.is_whitespace() && !c.is_control()));
    }

    #[test]
    fn the_table_is_gpt2s() {
        assert_eq!(spell(b" the\n"), "ĠtheĊ");
        assert_eq!(spell(&[0, 0x7F, 0xAD, 0xFF]), "ĀġŃÿ");
        assert_eq!(unspell("日"), None);
    }
}
