//! Documents of a JSON Lines file: the string `text` of the object on each line. Other fields and blank lines are
//! ignored; anything else is rejected by file and line.

use std::collections::HashMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::source::Source;
use super::{LONGEST_DOCUMENT, is_blank};
use crate::data::DataError;
use crate::files::json::{self, JsonError};

const MISSING: &str = "missing field `text`";
const TWICE: &str = "it has the key `text` twice";

/// A JSON Lines file that is open for reading.
pub struct Reader {
    path: PathBuf,
    source: Source,
    passed_over: u64,
}

impl Reader {
    /// Opens the file at a line that starts `offset` bytes into it.
    pub fn open(path: &Path, offset: u64) -> Result<Self, DataError> {
        let mut source = Source::open(path, offset)?;
        if offset == 0 && without_mark(source.peek()?).trim_ascii_start().starts_with(b"[") {
            return Err(DataError::JsonArray { path: path.to_path_buf() });
        }
        Ok(Self { path: path.to_path_buf(), source, passed_over: 0 })
    }

    /// See [`super::Reader::next_document`].
    pub fn next_document(&mut self) -> Result<Option<String>, DataError> {
        let mut line = Vec::new();
        loop {
            let start = self.source.offset();
            if self.source.read_line(LONGEST_DOCUMENT, &mut line)? == 0 {
                return Ok(None);
            }
            if line.len() as u64 == LONGEST_DOCUMENT && line.last() != Some(&b'\n') {
                return Err(self.broken(start, "the line is longer than 256 MiB".into()));
            }
            // With its line break, a truncated line would look like one with a stray control character.
            let content = if start == 0 { without_mark(&line) } else { &line }.trim_ascii();
            if content.is_empty() {
                continue;
            }
            match text(content).map_err(|reason| self.broken(start, reason))? {
                Some(text) if !is_blank(&text) => return Ok(Some(text)),
                _ => self.passed_over += 1,
            }
        }
    }

    /// See [`super::Reader::seek`].
    pub fn seek(&mut self, offset: u64) -> Result<(), DataError> {
        self.source.seek(offset)
    }

    /// Where the next line starts.
    pub fn offset(&self) -> u64 {
        self.source.offset()
    }

    /// See [`super::Reader::passed_over`].
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// The error for the line at `offset`. Its number is only counted now, so that it need not be in the state.
    fn broken(&self, offset: u64, reason: String) -> DataError {
        match lines_before(&self.path, offset) {
            Ok(lines) => DataError::BrokenLine { path: self.path.clone(), line: lines + 1, reason },
            Err(error) => error,
        }
    }
}

/// Whether the file begins with a line that is an object.
pub fn is_lines(path: &Path) -> bool {
    let mut line = Vec::new();
    let read = Source::open(path, 0).and_then(|mut source| source.read_line(LONGEST_DOCUMENT, &mut line));
    read.is_ok() && json::from_slice::<HashMap<String, IgnoredAny>>(without_mark(&line).trim_ascii()).is_ok()
}

/// How many lines end within the first `offset` bytes.
fn lines_before(path: &Path, offset: u64) -> Result<u64, DataError> {
    let mut before = Source::open(path, 0)?;
    let (mut left, mut lines, mut buffer) = (offset, 0, vec![0; 1 << 16]);
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = before.read(&mut buffer[..most]).map_err(|error| before.fault(error))?;
        if read == 0 {
            break;
        }
        lines += buffer[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
        left -= read as u64;
    }
    Ok(lines)
}

fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// The text of a line, which may be null; the error says what is wrong with the line, without quoting it.
fn text(line: &[u8]) -> Result<Option<String>, String> {
    let parsed = json::from_slice::<Line>(line);
    parsed.map(|line| line.text).map_err(|error| text_reason(line, &error))
}

/// The object of a line: its field `text`, once.
struct Line {
    text: Option<String>,
}

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Line;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Line, A::Error> {
                let mut found = None;
                while let Some(key) = fields.next_key::<String>()? {
                    if key != "text" {
                        fields.next_value::<IgnoredAny>()?;
                    } else if found.is_some() {
                        return Err(A::Error::custom(TWICE));
                    } else {
                        found = Some(fields.next_value()?);
                    }
                }
                found.map(|text| Line { text }).ok_or_else(|| A::Error::custom(MISSING))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// Why a line has no text.
fn text_reason(line: &[u8], error: &JsonError) -> String {
    match error.reason() {
        said if error.is_data() && [MISSING, TWICE].contains(&said.as_str()) => said,
        // The parser would quote the value.
        _ if error.is_data() => "it is no object with a string `text`".to_owned(),
        _ => reason(line, error),
    }
}

/// Why a line is not JSON.
pub fn reason(line: &[u8], error: &JsonError) -> String {
    let said = error.reason();
    if said.starts_with("EOF while parsing") {
        "the line ends too early: it was cut short, or its object goes on in the next line".to_owned()
    } else if std::str::from_utf8(line).is_err() {
        "it is not UTF-8 text".to_owned()
    } else if said == "trailing characters" {
        "something follows the object on its line".to_owned()
    } else {
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: impl AsRef<[u8]>) -> Result<(Vec<String>, u64), DataError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        std::fs::write(&path, bytes).unwrap();
        let (mut reader, mut texts) = (Reader::open(&path, 0)?, Vec::new());
        loop {
            let mut again = Reader::open(&path, reader.offset())?;
            let text = reader.next_document()?;
            assert_eq!((again.next_document()?, again.offset()), (text.clone(), reader.offset()));
            match text {
                Some(text) => texts.push(text),
                None => return Ok((texts, reader.passed_over())),
            }
        }
    }

    #[test]
    fn lines_without_a_text_are_passed_over() {
        let lines = "\u{feff}{\"text\": \"one\"}\r\n\n{\"text\": null}\n {\"id\": {\"text\": 5}, \"text\": \" two \"} \n{\"text\": \"\"}\n{\"text\": \" \\n\"}\n\t\n{\"score\": NaN, \"text\":\"three\"}";
        assert_eq!(read(lines).unwrap(), (vec!["one".into(), " two ".into(), "three".into()], 3));
        assert_eq!(read("{\"text\": null}").unwrap(), (vec![], 1));
        assert_eq!(read("").unwrap(), (vec![], 0));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said_and_not_quoted() {
        for (line, expected) in [
            ("{\"text\": \"sec", "ends too early"),
            ("{\"text\": \"secret\"", "ends too early"),
            ("{", "ends too early"),
            ("{\"text\": \"secret\"} x", "something follows the object"),
            ("{\"text\": \"secret\"}, ", "something follows the object"),
            ("{\"text\": \"secret\"}{\"text\": \"secret\"}", "something follows the object"),
            ("{\"text\": \"se\tcret\"}", "control character"),
            ("{\"text\": \"secret\", \"text\": \"secret\"}", "`text` twice"),
            ("{\"text\": null, \"text\": \"secret\"}", "`text` twice"),
            ("{\"txt\": \"secret\"}", "missing field `text`"),
            ("{\"text\": [\"secret\"]}", "no object with a string"),
            ("{\"text\": NaN}", "no object with a string"),
            ("{\"text\": 5}", "no object with a string"),
            ("\"secret\"", "no object with a string"),
            ("[\"secret\"]", "no object with a string"),
            ("secret", "expected value"),
        ] {
            let said = read(format!("{{\"text\": \"one\"}}\n\n{line}\n{{\"text\": \"two\"}}\n")).unwrap_err().to_string();
            assert!(said.contains("a.jsonl, line 3: ") && said.contains(expected) && !said.contains("secret"), "{line}: {said}");
            assert!(!said.contains("column"), "{said}");
        }
        assert!(read(b"{\"text\": \"caf\xe9\"}").unwrap_err().to_string().contains("line 1: it is not UTF-8 text"));
    }

    #[test]
    fn an_array_gets_an_advice() {
        for array in ["[{\"text\": \"one\"}]", "\u{feff} \n[\n {\"text\": \"one\"}\n]\n"] {
            let error = read(array).unwrap_err();
            assert!(matches!(error, DataError::JsonArray { .. }) && error.to_string().contains("jq -c"), "{error}");
        }
    }
}
