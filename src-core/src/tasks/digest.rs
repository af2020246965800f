//! Fingerprints: short texts that change if the data behind a task does.

use sha2::{Digest, Sha256};

use crate::files::digest::hex;

/// SHA-256 over `parts`, each preceded by its length, so that different lists never coincide.
#[derive(Default)]
pub struct Fingerprinter {
    hash: Sha256,
}

impl Fingerprinter {
    /// Adds a part.
    pub fn add(&mut self, part: impl AsRef<[u8]>) -> &mut Self {
        let part = part.as_ref();
        self.hash.update((part.len() as u64).to_le_bytes());
        self.hash.update(part);
        self
    }

    /// Adds a number.
    pub fn add_number(&mut self, number: u64) -> &mut Self {
        self.add(number.to_le_bytes())
    }

    /// The digest so far, as hexadecimal digits.
    pub fn finish(&self) -> String {
        hex(&self.hash.clone().finalize())
    }
}
