//! Splits text into the words within which BPE merges.
//!
//! The pattern is matched by hand: its alternatives can be distinguished by the first two characters, and there is no
//! backtracking except at the end of white space. So a text of any length is split in one pass, whereas a
//! regex engine gives up after some million steps. The tests compare the two.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, HirKind};

/// The reference's split pattern: contractions, letters with at most one leading mark, numbers two digits at a time,
/// runs of punctuation, and white space.
pub const SPLIT_PATTERN: &str =
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";

/// The classes of characters in the pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `\p{L}`
    Letter,
    /// `\p{N}`
    Number,
    /// `[\r\n]`
    Break,
    /// The rest of `\s`.
    Blank,
    /// Everything else.
    Mark,
}

impl Kind {
    fn is_white(self) -> bool {
        matches!(self, Self::Break | Self::Blank)
    }
}

/// The class of each character: letters and numbers as defined by tiktoken's regex engine.
static KINDS: LazyLock<Box<[Kind]>> = LazyLock::new(|| {
    let mut kinds = vec![Kind::Mark; char::MAX as usize + 1];
    for (pattern, kind) in [(r"\p{L}", Kind::Letter), (r"\p{N}", Kind::Number)] {
        if let Ok(HirKind::Class(Class::Unicode(class))) = regex_syntax::parse(pattern).map(|hir| hir.into_kind()) {
            for range in class.iter() {
                kinds[range.start() as usize..=range.end() as usize].fill(kind);
            }
        }
    }
    for white in ('\0'..=char::MAX).filter(|character| character.is_whitespace()) {
        kinds[white as usize] = Kind::Blank;
    }
    for line_break in ['\r', '\n'] {
        kinds[line_break as usize] = Kind::Break;
    }
    kinds.into()
});

/// Splits by [`SPLIT_PATTERN`].
#[derive(Clone, Copy)]
pub(super) struct Splitter {
    kinds: &'static [Kind],
}

impl Splitter {
    /// A splitter.
    pub(super) fn new() -> Self {
        Self { kinds: &KINDS }
    }

    /// Calls `each` with every word of `text`, in order. The concatenated words are the text.
    pub(super) fn words<'t>(&self, text: &'t str, mut each: impl FnMut(&'t str)) {
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let (word, after) = rest.split_at(self.first_word(rest, first));
            each(word);
            rest = after;
        }
    }

    /// The length in bytes of the first word of `text`, which begins with `first`.
    fn first_word(&self, text: &str, first: char) -> usize {
        let kind = self.kind(first);
        let behind = &text[first.len_utf8()..];
        let next = behind.chars().next().map(|next| self.kind(next));
        // In the order of the pattern.
        if first == '\''
            && let Some(length) = contraction(behind)
        {
            return 1 + length;
        }
        match kind {
            Kind::Letter => self.run(text, Kind::Letter),
            Kind::Mark | Kind::Blank if next == Some(Kind::Letter) => first.len_utf8() + self.run(behind, Kind::Letter),
            Kind::Number if next == Some(Kind::Number) => first.len_utf8() + behind.chars().next().map_or(0, char::len_utf8),
            Kind::Number => first.len_utf8(),
            Kind::Mark => self.marks(text),
            Kind::Blank if first == ' ' && next == Some(Kind::Mark) => 1 + self.marks(behind),
            Kind::Blank | Kind::Break => self.white(text),
        }
    }

    fn kind(&self, character: char) -> Kind {
        self.kinds[character as usize]
    }

    /// The length in bytes of the leading characters of `kind`.
    fn run(&self, text: &str, kind: Kind) -> usize {
        text.find(|character| self.kind(character) != kind).unwrap_or(text.len())
    }

    /// The length in bytes of leading punctuation, and of line breaks after it.
    fn marks(&self, text: &str) -> usize {
        let marks = self.run(text, Kind::Mark);
        marks + self.run(&text[marks..], Kind::Break)
    }

    /// The length in bytes of the leading white space that is one word: up to its last line break; without one,
    /// all of it at the end of the text, or else all but its last character, which belongs to the next word.
    fn white(&self, text: &str) -> usize {
        let (mut end, mut last, mut break_end) = (0, 0, None);
        for (at, character) in text.char_indices() {
            match self.kind(character) {
                Kind::Break => break_end = Some(at + 1),
                kind if !kind.is_white() => break,
                _ => {}
            }
            (end, last) = (at + character.len_utf8(), at);
        }
        match break_end {
            Some(break_end) => break_end,
            None if end == text.len() || last == 0 => end,
            None => last,
        }
    }
}

/// The length in bytes of a leading `(?i:[sdmt]|ll|ve|re)`, if there is one. The long s is also an s.
fn contraction(text: &str) -> Option<usize> {
    let mut characters = text.chars();
    match characters.next()? {
        's' | 'S' | 'd' | 'D' | 'm' | 'M' | 't' | 'T' => Some(1),
        'ſ' => Some('ſ'.len_utf8()),
        first @ ('l' | 'L' | 'v' | 'V' | 'r' | 'R') => {
            let wanted = if first.eq_ignore_ascii_case(&'l') { 'l' } else { 'e' };
            characters.next().is_some_and(|second| second.eq_ignore_ascii_case(&wanted)).then_some(2)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use fancy_regex::Regex;
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> Vec<&str> {
        let mut words = Vec::new();
        Splitter::new().words(text, |word| words.push(word));
        words
    }

    #[test]
    fn splits_as_the_pattern_says() {
        assert_eq!(
            words("I'll see WE'VE  3.14159\n\n  x"),
            ["I", "'ll", " see", " WE", "'VE", " ", " ", "3", ".", "14", "15", "9", "\n\n", " ", " x"]
        );
        assert_eq!(words("a,\r\nb \t\n "), ["a", ",\r\n", "b", " \t\n", " "]);
        assert_eq!(words("'lx 're'Ve 'ſo'smile"), ["'lx", " '", "re", "'Ve", " '", "ſo", "'s", "mile"]);
    }

    #[test]
    fn white_space_is_that_of_the_pattern() {
        let Ok(HirKind::Class(Class::Unicode(class))) = regex_syntax::parse(r"\s").map(|hir| hir.into_kind()) else { panic!() };
        let white: Vec<char> = class.iter().flat_map(|range| range.start()..=range.end()).collect();
        assert_eq!(white, ('\0'..=char::MAX).filter(|&character| Splitter::new().kind(character).is_white()).collect::<Vec<_>>());
    }

    #[test]
    fn a_huge_run_of_anything_is_no_trouble() {
        for (run, count) in [(" ", 1), ("\n", 1), ("\t \r", 1), ("1", 8 << 20), (".", 1), ("é", 1), ("\u{301}", 1)] {
            let text = format!("x{}", run.repeat((16 << 20) / run.len()));
            let mut found = 0;
            Splitter::new().words(&text, |_| found += 1);
            assert_eq!(found, count + usize::from(run != "é"), "{run:?}");
        }
    }

    /// Text with characters of all classes.
    fn text() -> impl Strategy<Value = String> {
        let pieces = [
            "a", "S", "ll", "Ve", "rE", "t", "é", "日", "ſ", "ß", "K", "ʼ", "'", "'", "’", "1", "23", "٣", "½", "Ⅷ", ".", ",", "_", "😀",
            "\u{200D}", "\u{301}", "\0", " ", " ", "  ", "\n", "\r\n", "\r", "\t", "\u{B}", "\u{85}", "\u{A0}", "\u{2028}", "\u{3000}",
            "\u{180E}", "\u{FEFF}",
        ];
        prop_oneof![prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..60).prop_map(|pieces| pieces.concat()), "(?s).{0,60}"]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn the_words_are_those_of_a_regex_engine(text in text()) {
            static REGEX: LazyLock<Regex> = LazyLock::new(|| Regex::new(SPLIT_PATTERN).unwrap());
            let matched: Vec<&str> = REGEX.find_iter(&text).map(|found| found.unwrap().as_str()).collect();
            prop_assert_eq!(words(&text), matched);
        }
    }
}
