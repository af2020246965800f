//! The headers of a column chunk's pages, and what they claim.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use super::thrift::{Fault, PAGE_HEADER, walk};

/// The longest header that is read, in bytes. Some writers store the minimum and maximum text of the page in it.
const LONGEST: u64 = 64 << 20;

/// Types of pages by their numbers in `parquet.thrift`.
pub(super) mod kind {
    pub(in super::super) const DATA: i64 = 0;
    pub(in super::super) const DICTIONARY: i64 = 2;
    pub(in super::super) const DATA_2: i64 = 3;
}

/// Encodings by their numbers in `parquet.thrift`.
pub(super) mod encoding {
    pub(in super::super) const PLAIN: i64 = 0;
    pub(in super::super) const PLAIN_DICTIONARY: i64 = 2;
    pub(in super::super) const RLE: i64 = 3;
    pub(in super::super) const DELTA_LENGTH_BYTE_ARRAY: i64 = 6;
    pub(in super::super) const DELTA_BYTE_ARRAY: i64 = 7;
    pub(in super::super) const RLE_DICTIONARY: i64 = 8;
}

/// The header of a page. No number in it is negative.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The page's type, see [`kind`].
    pub kind: i64,
    /// Bytes of the page in memory, including levels.
    pub unpacked: u64,
    /// Bytes of the page in the file, after the header.
    pub packed: u64,
    /// Values, including nulls; entries of a dictionary.
    pub values: u64,
    /// How the values are written, see [`encoding`].
    pub encoding: i64,
    /// How the definition levels are written; pages of version 2 always use RLE.
    pub level_encoding: i64,
    /// Bytes of the repetition levels of a page of version 2.
    pub repetition_bytes: u64,
    /// Bytes of the definition levels of a page of version 2.
    pub definition_bytes: u64,
    /// Whether the values of a page of version 2 are compressed.
    pub compressed: bool,
    /// Bytes of the header itself.
    pub length: u64,
}

impl Header {
    /// Reads the header at byte `at` of `file`; nothing if there is none of at most `left` bytes, header and page
    /// together.
    pub(super) fn read(file: &mut File, at: u64, left: u64) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(at))?;
        // Most are short, and reading a few bytes too many makes no difference.
        for most in [4 << 10, 1 << 20, LONGEST].map(|most| most.min(left)) {
            file.by_ref().take(most - bytes.len() as u64).read_to_end(&mut bytes)?;
            match Self::parse(&bytes) {
                Ok(header) => return Ok(header.filter(|header| header.packed <= left - header.length)),
                Err(Fault::Ended) => {}
                Err(Fault::Unknown) => break,
            }
        }
        Ok(None)
    }

    fn parse(bytes: &[u8]) -> Result<Option<Self>, Fault> {
        let (mut sizes, mut plain, mut dictionary, mut second) = ([-1; 4], [-1; 5], [-1; 3], [-1; 8]);
        let length = walk(bytes, PAGE_HEADER, &mut |way, number| {
            let (fields, field): (&mut [i64], _) = match *way {
                [field] => (&mut sizes, field),
                [5, field] => (&mut plain, field),
                [7, field] => (&mut dictionary, field),
                [8, field] => (&mut second, field),
                _ => return,
            };
            if let Some(place) = usize::try_from(field).ok().and_then(|field| fields.get_mut(field)) {
                *place = number;
            }
        })?;
        let [_, kind, unpacked, packed] = sizes;
        let (values, encoding, level_encoding) = match kind {
            kind::DATA => (plain[1], plain[2], plain[3]),
            kind::DICTIONARY => (dictionary[1], dictionary[2], 0),
            kind::DATA_2 => (second[1], second[4], encoding::RLE),
            _ => (0, 0, 0),
        };
        let (definition, repetition) = if kind == kind::DATA_2 { (second[5], second[6]) } else { (0, 0) };
        let size = |number: i64| u64::try_from(number).ok();
        let header = || {
            Some(Self {
                kind: size(kind)? as i64,
                unpacked: size(unpacked)?,
                packed: size(packed)?,
                values: size(values)?,
                encoding: size(encoding)? as i64,
                level_encoding: size(level_encoding)? as i64,
                repetition_bytes: size(repetition)?,
                definition_bytes: size(definition)?,
                compressed: second[7] != 0,
                length: length as u64,
            })
        };
        // Levels are part of the page, compressed and decompressed.
        let fits = |header: &Self| {
            let levels = header.repetition_bytes.checked_add(header.definition_bytes);
            levels.is_some_and(|levels| levels <= header.packed && levels <= header.unpacked)
        };
        Ok(header().filter(fits))
    }
}
