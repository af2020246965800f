//! Documents of a `.txt` file.
//!
//! A form feed or `<|endoftext|>` ends a document. Between those, text is split into documents of at most
//! [`LONGEST`] bytes, at the last blank line, else the last end of a sentence, line or word. Packing crops what is
//! longer than a row and discards the rest, so of a book kept whole only the first page would be used; 2048 bytes
//! are about 500 tokens, which fit in a row of the shortest sequence that is worth training on.
//!
//! The position of a split depends only on the bytes after the previous one, so the state is just a byte offset.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::source::Source;
use crate::data::DataError;

/// The longest document, in bytes.
pub const LONGEST: usize = 2048;
/// The shortest document: a short heading stays with what follows it.
const SHORTEST: usize = LONGEST / 4;
const SEPARATOR: &[u8] = b"<|endoftext|>";
/// The lookahead to decide a split: the longest document, and a separator that starts right after it.
const WINDOW: usize = LONGEST + SEPARATOR.len();
const BLOCK: usize = 1 << 16;

/// A `.txt` file that is open for reading.
pub struct Reader {
    path: PathBuf,
    source: Source,
    offset: u64,
    /// Bytes read from the file; those from `start` on are still to be split.
    buffer: Vec<u8>,
    start: usize,
    at_end: bool,
}

impl Reader {
    /// Opens the file at a document that starts `offset` bytes into it.
    pub fn open(path: &Path, offset: u64) -> Result<Self, DataError> {
        let source = Source::open(path, offset)?;
        Ok(Self { path: path.to_path_buf(), source, offset, buffer: Vec::new(), start: 0, at_end: false })
    }

    /// See [`super::Reader::next_document`].
    pub fn next_document(&mut self) -> Result<Option<String>, DataError> {
        loop {
            self.fill()?;
            let window = &self.buffer[self.start..];
            if window.is_empty() {
                return Ok(None);
            }
            let cut = cut(window, self.at_end);
            let text = self.text(&window[..cut.document])?;
            let document = (!text.is_empty()).then(|| text.to_owned());
            self.start += cut.next;
            self.offset += cut.next as u64;
            if document.is_some() {
                return Ok(document);
            }
        }
    }

    /// See [`super::Reader::seek`].
    pub fn seek(&mut self, offset: u64) -> Result<(), DataError> {
        let at_hand = self.buffer.len() - self.start;
        match offset.checked_sub(self.offset).and_then(|more| usize::try_from(more).ok()) {
            Some(more) if more <= at_hand => self.start += more,
            _ => {
                self.source.seek(offset)?;
                self.buffer.clear();
                (self.start, self.at_end) = (0, false);
            }
        }
        self.offset = offset;
        Ok(())
    }

    /// Where the next document starts.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads until a whole window, or the rest of the file, is buffered.
    fn fill(&mut self) -> Result<(), DataError> {
        if self.at_end || self.buffer.len() - self.start >= WINDOW {
            return Ok(());
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        let wanted = BLOCK.saturating_sub(self.buffer.len()) as u64;
        let read = self.source.by_ref().take(wanted).read_to_end(&mut self.buffer).map_err(|error| self.source.fault(error))?;
        self.at_end = (read as u64) < wanted;
        Ok(())
    }

    /// The document's text without the blank lines around it.
    fn text<'a>(&self, bytes: &'a [u8]) -> Result<&'a str, DataError> {
        let binary = |what, at: usize| DataError::Binary { path: self.path.clone(), what, offset: self.offset + at as u64 };
        if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
            return Err(binary("a zero byte", at));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| binary("bytes that are no character", error.valid_up_to()))?;
        let text = if self.offset == 0 { text.trim_start_matches('\u{feff}') } else { text };
        Ok(text.trim_end().trim_start_matches(['\n', '\r']))
    }
}

/// Where a document ends and where the next one starts, from the start of the window.
#[derive(Debug, PartialEq, Eq)]
struct Cut {
    document: usize,
    next: usize,
}

/// Finds the first document of `window`, which is not empty and holds [`WINDOW`] bytes unless the file ends before.
fn cut(window: &[u8], at_end: bool) -> Cut {
    let reach = window.len().min(LONGEST + 1);
    for at in 0..reach {
        match window[at] {
            b'\x0c' => return Cut { document: at, next: at + 1 },
            b'<' if window[at..].starts_with(SEPARATOR) => return Cut { document: at, next: at + SEPARATOR.len() },
            _ => {}
        }
    }
    if at_end && window.len() <= LONGEST {
        return Cut { document: window.len(), next: window.len() };
    }
    let limit = LONGEST.min(window.len());
    let last = |ends: fn(&[u8]) -> bool| (SHORTEST..=limit).rev().find(|end| ends(&window[..*end]));
    let end = last(ends_paragraph)
        .or_else(|| last(ends_sentence))
        .or_else(|| last(|text| text.ends_with(b"\n")))
        .or_else(|| last(|text| text.last().is_some_and(u8::is_ascii_whitespace)))
        .or_else(|| (SHORTEST..=limit).rev().find(|end| window.get(*end).is_none_or(|byte| byte & 0xc0 != 0x80)))
        .unwrap_or(limit);
    Cut { document: end, next: end }
}

/// Ends in a blank line.
fn ends_paragraph(text: &[u8]) -> bool {
    text.ends_with(b"\n\n") || text.ends_with(b"\n\r\n")
}

/// Ends in a blank after a full stop, exclamation or question mark.
fn ends_sentence(text: &[u8]) -> bool {
    matches!(text, [.., b'.' | b'!' | b'?', blank] if blank.is_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All documents, each read by a new reader that is opened where the previous one ended.
    fn read_all(bytes: &[u8]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        std::fs::write(&path, bytes).unwrap();
        let (mut reader, mut documents) = (Reader::open(&path, 0).unwrap(), Vec::new());
        loop {
            let mut again = Reader::open(&path, reader.offset()).unwrap();
            let document = reader.next_document().unwrap();
            assert_eq!((again.next_document().unwrap(), again.offset()), (document.clone(), reader.offset()));
            match document {
                Some(document) => documents.push(document),
                None => break,
            }
        }
        assert_eq!(reader.offset(), bytes.len() as u64);
        documents
    }

    #[test]
    fn form_feeds_and_end_marks_separate_documents() {
        assert_eq!(read_all("\u{feff}one\x0c\n\n two\n<|endoftext|>\nthree\n\nfour\n".as_bytes()), ["one", " two", "three\n\nfour"]);
        assert_eq!(read_all(b"\n \n\x0c\x0c"), Vec::<String>::new());
    }

    #[test]
    fn long_text_is_cut_at_blank_lines_then_sentences_then_lines_then_words() {
        let paragraph = format!("{}\n\n", "word ".repeat(150).trim_end());
        let documents = read_all(paragraph.repeat(5).as_bytes());
        assert_eq!(documents.iter().map(|text| text.matches("\n\n").count() + 1).collect::<Vec<_>>(), [2, 2, 1]);

        let sentences = read_all("It was dark.  Very dark. ".repeat(200).as_bytes());
        assert!(sentences.len() > 2 && sentences.iter().all(|text| text.ends_with('.')));

        let lines = read_all("a line of words without an end\n".repeat(200).as_bytes());
        assert!(lines.len() > 2 && lines.iter().all(|text| text.starts_with("a line") && text.ends_with("end")));

        let words = read_all("word ".repeat(2000).as_bytes());
        assert!(words.len() > 4 && words.iter().all(|text| text.starts_with("word") && text.ends_with("word")));
    }

    #[test]
    fn characters_stay_whole_and_nothing_is_lost_without_any_blank() {
        let text = "αβγ€".repeat(3000);
        let documents = read_all(text.as_bytes());
        assert!(documents.iter().all(|document| document.len() <= LONGEST));
        assert_eq!(documents.concat(), text);
    }

    #[test]
    fn binary_files_are_refused_with_the_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        for (bytes, at) in [(&b"abc\0def"[..], 3), (b"ab\xff\xfe", 2)] {
            std::fs::write(&path, bytes).unwrap();
            let error = Reader::open(&path, 0).unwrap().next_document().unwrap_err();
            assert!(matches!(error, DataError::Binary { offset, .. } if offset == at), "{error}");
        }
    }

    proptest! {
        /// Whatever the text, no word of it is lost, no document is too long, and each can be read again at its place.
        #[test]
        fn every_word_survives(pieces in proptest::collection::vec("[a-zé.]{0,9}[ \n\r\u{c}]{0,3}|[a-z]{300,900} ?", 0..200)) {
            let text = pieces.concat();
            let documents = read_all(text.as_bytes());
            prop_assert!(documents.iter().all(|document| !document.is_empty() && document.len() <= LONGEST));
            let letters = |text: &str| text.chars().filter(|letter| !letter.is_whitespace()).collect::<String>();
            prop_assert_eq!(letters(&documents.concat()), letters(&text));
        }
    }
}
