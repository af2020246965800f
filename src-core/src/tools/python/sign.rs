//! The sign that a program came to its end.
//!
//! An exit status does not say so: a program that leaves before its last check has 0 as well. So the interpreter must
//! write a word that the program was not told and cannot guess.

use std::hash::{BuildHasher, RandomState};

/// A word of 32 hexadecimal digits, another one for each program.
pub struct Sign(String);

impl Sign {
    /// A new one.
    pub fn new() -> Self {
        // The keys of the standard library's hash tables come from the system's random numbers, and its hash does not
        // reveal them: that is enough for a word that lives for seconds.
        let random = || RandomState::new().hash_one(0u8);
        Self(format!("{:016x}{:016x}", random(), random()))
    }

    /// The word.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_are_alike() {
        let signs: HashSet<Vec<u8>> = (0..1000).map(|_| Sign::new().as_bytes().to_vec()).collect();
        assert!(signs.len() == 1000 && signs.iter().all(|sign| sign.len() == 32));
    }
}
