//! The texts of a dictionary page, by number.

use std::io::{self, Read, Seek, SeekFrom, Write};

use tempfile::SpooledTempFile;

use super::hybrid::damaged;
use super::stream::Stream;
use super::text::{Fault, read_text};

/// The largest dictionary that is kept in memory, in bytes. A larger one goes to a file that the system deletes with the
/// process: with long documents pyarrow and DuckDB write dictionaries of a gigabyte.
const IN_MEMORY: usize = 32 << 20;

/// The most texts; each takes eight bytes of memory in addition to its own.
const MOST: u64 = 1 << 22;

/// The texts of a dictionary.
pub(super) struct Dictionary {
    texts: SpooledTempFile,
    /// The end offset of each text.
    ends: Vec<u64>,
}

impl Dictionary {
    /// Reads the `count` texts of a page.
    pub(super) fn read(mut page: Stream, count: u64) -> Result<Self, Fault> {
        if count > MOST {
            return Err(damaged("its dictionary has more than four million texts").into());
        }
        let mut texts = tempfile::spooled_tempfile(IN_MEMORY);
        let (mut ends, mut end) = (Vec::new(), 0);
        for _ in 0..count {
            let text = read_text(&mut page)?;
            texts.write_all(&text)?;
            end += text.len() as u64;
            ends.push(end);
        }
        page.finish()?;
        Ok(Self { texts, ends })
    }

    /// The text with an index.
    pub(super) fn get(&mut self, number: u32) -> io::Result<Vec<u8>> {
        let number = number as usize;
        let end = *self.ends.get(number).ok_or_else(|| damaged("it names a text that its dictionary does not have"))?;
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        let mut text = vec![0; (end - start) as usize];
        self.texts.seek(SeekFrom::Start(start))?;
        self.texts.read_exact(&mut text)?;
        Ok(text)
    }
}
