//! Detects duplicate conversations.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

/// The set of conversations so far.
#[derive(Default)]
pub struct Distinct(HashSet<[u8; 32]>);

impl Distinct {
    /// Whether `line` is new. Adds it.
    pub fn is_new(&mut self, line: &str) -> bool {
        self.0.insert(Sha256::digest(line.as_bytes()).into())
    }
}
