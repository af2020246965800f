//! Names and sizes for messages.

/// A tensor's name for messages: quoted, and not longer than a line.
pub(crate) fn short(name: &str) -> String {
    const SHOWN: usize = 80;
    let mut shown: String = name.chars().take(SHOWN).collect();
    if shown.len() < name.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// A readable number of bytes, rounded up: "12.4 MB".
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes.div_ceil(100_000) / 10, bytes.div_ceil(100_000) % 10)
}

#[cfg(test)]
mod tests {
    use super::megabytes;

    #[test]
    fn megabytes_round_up() {
        assert_eq!(["0.0 MB", "0.1 MB", "0.1 MB", "12.5 MB"], [0, 1, 100_000, 12_400_001].map(megabytes).each_ref().map(String::as_str));
    }
}
