//! Blanks as Python has them.

/// Whether Python's `str.isspace` holds: Unicode's White_Space and the four separators of ASCII.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Python's `str.strip()`.
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_blank)
}

#[cfg(test)]
mod tests {
    use super::strip;

    #[test]
    fn blanks_are_pythons() {
        assert_eq!(strip(" \u{1c}\u{1f}\u{85}\u{a0}\u{2028}\u{3000}a b\u{200b}\n\t\x0b"), "a b\u{200b}");
        assert_eq!(strip("\u{1b}a\u{feff}"), "\u{1b}a\u{feff}");
        assert_eq!(strip("  \n"), "");
    }
}
