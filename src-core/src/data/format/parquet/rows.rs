//! The rows of a text column in one row group: page by page, and within a page text by text, so that memory holds
//! one text, whatever the size of pages, plus what [`Stream`] and [`Dictionary`] need.

use std::fs::File;
use std::io::{self, Cursor, ErrorKind, Read, Seek, SeekFrom};

use parquet::basic::Compression;
use parquet::file::metadata::ColumnChunkMetaData;

use super::delta;
use super::dictionary::Dictionary;
use super::header::{Header, encoding, kind};
use super::hybrid::{Hybrid, damaged};
use super::stream::Stream;
use super::text::{Fault, read_bytes, read_length, read_text};

/// The most texts of a page that stores all lengths first, so that they are held in memory.
const MOST_LENGTHS: u64 = 1 << 24;

/// The most bytes of a page's definition levels: those of a hundred million rows.
const MOST_LEVELS: u64 = 16 << 20;

/// The rows of a column chunk.
pub(super) struct Rows {
    file: File,
    codec: Compression,
    /// Whether rows may be null.
    optional: bool,
    /// Where the current page starts, where the next one does, and where the chunk ends.
    at: u64,
    next: u64,
    end: u64,
    dictionary: Option<Dictionary>,
    page: Option<Page>,
}

/// A page of rows.
struct Page {
    rows: u64,
    levels: Option<Hybrid<Cursor<Vec<u8>>>>,
    texts: Texts,
}

/// The remaining texts of a page.
enum Texts {
    Plain(Stream),
    /// Indices into the dictionary.
    Numbers(Hybrid<Stream>),
    /// Texts whose lengths are all stored first.
    Lengths {
        stream: Stream,
        lengths: std::vec::IntoIter<u32>,
    },
    /// Texts that share a prefix with the previous one: its length, and the length of the rest.
    Prefixes {
        stream: Stream,
        prefixes: std::vec::IntoIter<u32>,
        lengths: std::vec::IntoIter<u32>,
        before: Vec<u8>,
    },
}

impl Rows {
    /// The rows of `column`, which is within `file`.
    pub(super) fn new(file: File, column: &ColumnChunkMetaData) -> Self {
        let (at, end) = super::claims::range(column);
        let optional = column.column_descr().max_def_level() > 0;
        Self { file, codec: column.compression(), optional, at, next: at, end, dictionary: None, page: None }
    }

    /// The offset of the last page, for errors.
    pub(super) fn page_start(&self) -> u64 {
        self.at
    }

    /// The next row, which may be null; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<Option<Vec<u8>>>, Fault> {
        self.open_page()?;
        let Some(page) = &mut self.page else { return Ok(None) };
        let there = page.next_level()?;
        let text = if there { Some(page.texts.next(&mut self.dictionary)?) } else { None };
        self.end_row()?;
        Ok(Some(text))
    }

    /// Skips `rows` rows, or all that there are. Whole pages are skipped without decompressing them.
    pub(super) fn skip(&mut self, mut rows: u64) -> Result<(), Fault> {
        while rows > 0 {
            if self.page.is_none() {
                let Some(header) = self.header()? else { break };
                if header.is_data() && header.values <= rows {
                    rows -= header.values;
                    self.next += header.length + header.packed;
                    continue;
                }
            }
            self.open_page()?;
            let Some(page) = &mut self.page else { break };
            if page.next_level()? {
                page.texts.pass()?;
            }
            self.end_row()?;
            rows -= 1;
        }
        Ok(())
    }

    /// The header of the next page; `None` at the end.
    fn header(&mut self) -> Result<Option<Header>, Fault> {
        self.at = self.next;
        if self.at >= self.end {
            return Ok(None);
        }
        let header = Header::read(&mut self.file, self.at, self.end - self.at)?;
        Ok(Some(header.ok_or_else(|| damaged("it has no header"))?))
    }

    /// Opens the next page with rows, if none is open and there is one; reads dictionaries before it.
    fn open_page(&mut self) -> Result<(), Fault> {
        while self.page.is_none() {
            let Some(header) = self.header()? else { break };
            let body = self.at + header.length;
            self.next = body + header.packed;
            self.file.seek(SeekFrom::Start(body))?;
            if header.kind == kind::DICTIONARY {
                if ![encoding::PLAIN, encoding::PLAIN_DICTIONARY].contains(&header.encoding) {
                    return Err(Fault::encoding(header.encoding));
                }
                let stream = Stream::new(&self.file, self.codec, header.packed, header.unpacked)?;
                self.dictionary = Some(Dictionary::read(stream, header.values)?);
            } else if header.is_data() && header.values > 0 {
                self.page = Some(Page::open(&mut self.file, self.codec, self.optional, &header)?);
            }
        }
        Ok(())
    }

    /// A row of the page was read.
    fn end_row(&mut self) -> Result<(), Fault> {
        if let Some(page) = &mut self.page {
            page.rows -= 1;
            if page.rows == 0
                && let Some(page) = self.page.take()
            {
                page.texts.finish()?;
            }
        }
        Ok(())
    }
}

impl Page {
    /// Opens the page whose header was read; `file` is right after the header.
    fn open(file: &mut File, codec: Compression, optional: bool, header: &Header) -> Result<Self, Fault> {
        let (levels, mut stream) = if header.kind == kind::DATA_2 {
            // The levels come first and are never compressed. A column without lists has no repetition levels.
            file.seek_relative(header.repetition_bytes as i64)?;
            let levels = optional.then(|| read_levels(file, header.definition_bytes)).transpose()?;
            if !optional {
                file.seek_relative(header.definition_bytes as i64)?;
            }
            let levels_bytes = header.repetition_bytes + header.definition_bytes;
            let codec = if header.compressed { codec } else { Compression::UNCOMPRESSED };
            (levels, Stream::new(file, codec, header.packed - levels_bytes, header.unpacked - levels_bytes)?)
        } else {
            let mut stream = Stream::new(file, codec, header.packed, header.unpacked)?;
            let levels = if optional {
                if header.level_encoding != encoding::RLE {
                    return Err(Fault::encoding(header.level_encoding));
                }
                let length = read_length(&mut stream)?;
                Some(read_levels(&mut stream, length.into())?)
            } else {
                None
            };
            (levels, stream)
        };
        let texts = match header.encoding {
            encoding::PLAIN => Texts::Plain(stream),
            encoding::PLAIN_DICTIONARY | encoding::RLE_DICTIONARY => {
                let mut width = [0];
                // Without any text the width may be missing.
                let _ = stream.read(&mut width)?;
                Texts::Numbers(Hybrid::new(stream, width[0].into())?)
            }
            encoding::DELTA_LENGTH_BYTE_ARRAY => {
                let lengths = delta::lengths(&mut stream, header.values.min(MOST_LENGTHS))?.into_iter();
                Texts::Lengths { stream, lengths }
            }
            encoding::DELTA_BYTE_ARRAY => {
                let prefixes = delta::lengths(&mut stream, header.values.min(MOST_LENGTHS))?.into_iter();
                let lengths = delta::lengths(&mut stream, header.values.min(MOST_LENGTHS))?.into_iter();
                Texts::Prefixes { stream, prefixes, lengths, before: Vec::new() }
            }
            other => return Err(Fault::encoding(other)),
        };
        Ok(Self { rows: header.values, levels, texts })
    }

    /// Whether the next row has a text.
    fn next_level(&mut self) -> Result<bool, Fault> {
        match &mut self.levels {
            Some(levels) => match levels.next()? {
                0 => Ok(false),
                1 => Ok(true),
                _ => Err(damaged("it has levels that its column does not have").into()),
            },
            None => Ok(true),
        }
    }
}

impl Texts {
    /// The next text. There has to be one.
    fn next(&mut self, dictionary: &mut Option<Dictionary>) -> Result<Vec<u8>, Fault> {
        let missing = || damaged("it has fewer texts than it claims");
        match self {
            Self::Plain(stream) => read_text(stream),
            Self::Numbers(numbers) => {
                let number = numbers.next()?;
                let dictionary = dictionary.as_mut().ok_or_else(|| damaged("its dictionary is missing"))?;
                Ok(dictionary.get(number)?)
            }
            Self::Lengths { stream, lengths } => read_bytes(stream, 0, lengths.next().ok_or_else(missing)?),
            Self::Prefixes { stream, prefixes, lengths, before } => {
                let prefix = prefixes.next().ok_or_else(missing)?;
                let rest = read_bytes(stream, prefix, lengths.next().ok_or_else(missing)?)?;
                if prefix as usize > before.len() {
                    return Err(damaged("a text that begins as the one before it does not").into());
                }
                before.truncate(prefix as usize);
                before.extend(rest);
                Ok(before.clone())
            }
        }
    }

    /// Skips the next text.
    fn pass(&mut self) -> Result<(), Fault> {
        match self {
            Self::Numbers(numbers) => numbers.next().map(drop).map_err(Fault::Io),
            other => other.next(&mut None).map(drop),
        }
    }

    /// Reads to the end of the page, which verifies checksums.
    fn finish(self) -> Result<(), Fault> {
        let stream = match self {
            Self::Plain(stream) | Self::Lengths { stream, .. } | Self::Prefixes { stream, .. } => stream,
            Self::Numbers(numbers) => numbers.into_inner(),
        };
        Ok(stream.finish()?)
    }
}

impl Header {
    fn is_data(&self) -> bool {
        [kind::DATA, kind::DATA_2].contains(&self.kind)
    }
}

/// Definition levels: 0 or 1 for a text column.
fn read_levels(bytes: &mut impl Read, length: u64) -> Result<Hybrid<Cursor<Vec<u8>>>, Fault> {
    if length > MOST_LEVELS {
        return Err(damaged("it has more levels than pages have").into());
    }
    let mut levels = Vec::new();
    bytes.take(length).read_to_end(&mut levels)?;
    if (levels.len() as u64) < length {
        return Err(io::Error::from(ErrorKind::UnexpectedEof).into());
    }
    Ok(Hybrid::new(Cursor::new(levels), 1)?)
}
