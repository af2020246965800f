//! Documents of a `.jsonl` file: the string `text` of the object on each line. Other fields and blank lines are passed
//! over; anything else is refused by file and line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::data::DataError;
use crate::files::json::{self, JsonError};

/// A longer line is no document but a file of another kind; it must not fill the memory before that shows.
const LONGEST_LINE: u64 = 256 << 20;

#[derive(Deserialize)]
struct Line {
    text: String,
}

/// A `.jsonl` file that is open for reading.
pub struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    offset: u64,
}

impl Reader {
    /// Opens the file at a line that starts `offset` bytes into it.
    pub fn open(path: &Path, offset: u64) -> Result<Self, DataError> {
        let mut file = File::open(path).map_err(DataError::io(path))?;
        file.seek(SeekFrom::Start(offset)).map_err(DataError::io(path))?;
        Ok(Self { path: path.to_path_buf(), file: BufReader::with_capacity(1 << 16, file), offset })
    }

    /// See [`super::Reader::read`].
    pub fn read(&mut self, max: usize) -> Result<Vec<String>, DataError> {
        let mut documents = Vec::new();
        let mut line = Vec::new();
        while documents.len() < max {
            line.clear();
            let read = (&mut self.file).take(LONGEST_LINE).read_until(b'\n', &mut line).map_err(DataError::io(&self.path))?;
            if read == 0 {
                break;
            }
            if read as u64 == LONGEST_LINE && line.last() != Some(&b'\n') {
                return Err(self.broken("the line is longer than 256 MiB".into()));
            }
            let start = if self.offset == 0 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line };
            if !start.trim_ascii().is_empty() {
                let parsed = json::from_slice::<Line>(start).map_err(|error| self.broken(reason(&error)))?;
                documents.push(parsed.text);
            }
            self.offset += read as u64;
        }
        Ok(documents)
    }

    /// Where the next line starts.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The line that starts at `offset` is broken. Its number is only counted now, so that no state has to carry it.
    fn broken(&self, reason: String) -> DataError {
        let line = File::open(&self.path).map(|file| {
            let before = BufReader::new(file.take(self.offset));
            before.bytes().filter(|byte| matches!(byte, Ok(b'\n'))).count() as u64 + 1
        });
        match line {
            Ok(line) => DataError::BrokenLine { path: self.path.clone(), line, reason },
            Err(source) => DataError::Io { path: self.path.clone(), source },
        }
    }
}

/// What the parser says, without what it read: of a value of another kind it would quote the text.
fn reason(error: &JsonError) -> String {
    let said = error.reason();
    if error.is_data() && !said.starts_with("missing field") {
        return "it is no object with a string `text`".to_owned();
    }
    // The parser only saw this line: "at line 1 column 7" would mislead.
    said
}
