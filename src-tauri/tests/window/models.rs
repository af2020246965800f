//! Models that write what these tests want.

use super::script::{Script, byte_token};

/// What [`endless`] writes over and over.
pub const ALPHABET: &str = "abcdefghijklmnopqrstuvwxyz";

/// A model that never ends.
pub fn endless() -> Script {
    Script::new(32_768, |tokens, from| {
        let last = (b'a'..=b'z').find(|&byte| byte_token(byte) == from);
        let next = |byte: u8| if byte == b'z' { b'a' } else { byte + 1 };
        let first = from == tokens.assistant_start;
        vec![last.map_or(if first { byte_token(b'a') } else { tokens.assistant_end }, |byte| byte_token(next(byte)))]
    })
}
