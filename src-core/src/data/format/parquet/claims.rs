//! Checks what a parquet file claims about itself before the library trusts it: the library allocates as much memory for a
//! page as its header says, and decompresses kilobytes to gigabytes.
//!
//! The column `text` is read by [`Rows`](super::rows::Rows), which allocates nothing based on claims; [`check_pages`] is for
//! tables of conversations, whose nested columns the library reads.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use parquet::file::metadata::ColumnChunkMetaData;

use super::broken;
use super::header::{Header, kind};
use super::thrift::{FILE_METADATA, walk};
use crate::data::DataError;

/// The longest metadata that is read, in bytes. A shard of a gigabyte has about ten thousand, but writers that store the
/// whole minimum and maximum text of every row group need much more.
const LONGEST_METADATA: u64 = 64 << 20;

/// A page of at most this many bytes may have any compression ratio.
const LARGE_PAGE: u64 = 64 << 20;

/// The largest compression ratio of larger pages, which text never exceeds.
const LARGEST_RATIO: u64 = 1 << 10;

/// The most values of a page, and of a page of a dictionary, each of which takes 32 bytes in memory.
const MOST_VALUES: u64 = 1 << 22;
const LARGEST_DICTIONARY: u64 = 1 << 21;

/// Bytes at the end of a file: the length of the metadata, and the magic bytes.
const TAIL: u64 = 8;

/// Checks the metadata at the file's end.
pub(super) fn check_metadata(path: &Path, file: &mut File) -> Result<(), DataError> {
    let damaged = || broken(path, "its metadata is damaged".into());
    let io = |error: io::Error| if error.kind() == io::ErrorKind::UnexpectedEof { damaged() } else { DataError::io(path)(error) };
    let length = file.metadata().map_err(DataError::io(path))?.len();
    let tail_start = length.checked_sub(TAIL).ok_or_else(damaged)?;
    let mut tail = [0; TAIL as usize];
    file.seek(SeekFrom::Start(tail_start)).map_err(io)?;
    file.read_exact(&mut tail).map_err(io)?;
    let [a, b, c, d, mark @ ..] = tail;
    if &mark != b"PAR1" {
        return Err(broken(path, "it does not end as one".into()));
    }
    let claimed = u64::from(u32::from_le_bytes([a, b, c, d]));
    let start = tail_start.checked_sub(claimed).ok_or_else(damaged)?;
    if claimed > LONGEST_METADATA {
        return Err(broken(path, format!("its metadata is longer than {LONGEST_METADATA} bytes")));
    }
    let mut bytes = vec![0; claimed as usize];
    file.seek(SeekFrom::Start(start)).map_err(io)?;
    file.read_exact(&mut bytes).map_err(io)?;
    walk(&bytes, FILE_METADATA, &mut |_, _| {}).map(drop).map_err(|_| damaged())
}

/// The byte range of a column chunk in its file. The offset of its dictionary is used only if it makes
/// sense: some writers put a zero there.
pub(super) fn range(column: &ColumnChunkMetaData) -> (u64, u64) {
    let data = column.data_page_offset();
    let start = column.dictionary_page_offset().filter(|start| (1..data).contains(start)).unwrap_or(data);
    let size = |number: i64| u64::try_from(number).unwrap_or(0);
    (size(start), size(start).saturating_add(size(column.compressed_size())))
}

/// Checks the headers of a column chunk's pages, which are contiguous. The chunk is within the file.
pub(super) fn check_pages(path: &Path, file: &mut File, column: &ColumnChunkMetaData) -> Result<(), DataError> {
    let refused = |at: u64, problem: &str| broken(path, format!("its page at byte {at} {problem}"));
    let (mut at, end) = range(column);
    while at < end {
        let page = Header::read(file, at, end - at).map_err(DataError::io(path))?.ok_or_else(|| refused(at, "is damaged"))?;
        let most = if page.kind == kind::DICTIONARY { LARGEST_DICTIONARY } else { MOST_VALUES };
        let thin = page.unpacked > LARGE_PAGE && page.unpacked / LARGEST_RATIO > page.packed;
        if thin || page.values > most {
            let problem = format!("is larger than pages are: {} bytes and {} values", page.unpacked, page.values);
            return Err(refused(at, &problem));
        }
        at += page.length + page.packed;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use parquet::schema::parser::parse_message_type;
    use parquet::schema::types::SchemaDescriptor;

    use super::*;

    /// The header of a page: its type, its sizes, and a header of its type with a number of values.
    fn header(kind: i64, unpacked: i64, packed: i64, values: i64) -> Vec<u8> {
        let number = |number: i64| {
            let mut left = ((number << 1) ^ (number >> 63)) as u64;
            let mut bytes = Vec::new();
            while left >= 0x80 {
                bytes.push(left as u8 | 0x80);
                left >>= 7;
            }
            bytes.push(left as u8);
            bytes
        };
        let field = if kind == 2 { 0x4C } else { 0x2C };
        // The encoding of the values, and of a page of rows that of its levels.
        let encodings = if kind == 2 { vec![0x15, 0] } else { vec![0x15, 0, 0x15, 6, 0x15, 6] };
        let sizes = [vec![0x15], number(kind), vec![0x15], number(unpacked), vec![0x15], number(packed)].concat();
        [sizes, vec![field, 0x15], number(values), encodings, vec![0, 0]].concat()
    }

    fn checked(chunk: &[u8]) -> Result<(), String> {
        let schema = parse_message_type("message shard { required binary text (STRING); }").unwrap();
        let column = SchemaDescriptor::new(Arc::new(schema)).column(0);
        let builder = ColumnChunkMetaData::builder(column).set_data_page_offset(3).set_total_compressed_size(chunk.len() as i64);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[b"...", chunk, b"..."].concat()).unwrap();
        check_pages(Path::new("shard.parquet"), &mut file, &builder.build().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn pages_lie_one_after_the_other_and_are_of_some_size() {
        let dictionary = [header(2, 9, 7, 2), vec![1; 7]].concat();
        let page = [header(0, 1 << 20, 300, 1000), vec![2; 300]].concat();
        assert_eq!(checked(&[dictionary.clone(), page.clone(), page.clone()].concat()), Ok(()));
        assert_eq!(checked(&[]), Ok(()));
        let larger = i64::from(i32::MAX);
        for (what, bad, words) in [
            ("two gibibytes", header(0, larger, 0, 1), "larger than pages are: 2147483647 bytes"),
            ("two billion values", header(0, 8, 0, larger), "and 2147483647 values"),
            ("a dictionary of as many", header(2, 8, 0, larger), "and 2147483647 values"),
            ("a size below zero", header(0, -1, 0, 1), "is damaged"),
            ("a length below zero", header(0, 1, -1, 1), "is damaged"),
            ("a dictionary below zero", header(2, 1, 1, -1), "is damaged"),
            ("a length past the end", header(0, 1, 1, 1), "is damaged"),
            ("a length past counting", header(0, 1, i64::MAX, 1), "is damaged"),
            ("half a header", page[..5].to_vec(), "is damaged"),
            ("no header", vec![0xEE; 100], "is damaged"),
        ] {
            let said = checked(&[dictionary.clone(), page.clone(), bad].concat()).expect_err(what);
            let place = format!("its page at byte {} ", 3 + dictionary.len() + page.len());
            assert!(said.contains(&place) && said.contains(words), "{what}: {said}");
        }
    }

    #[test]
    fn a_header_may_be_long_but_not_without_end() {
        // An unknown field of text.
        let with = |length: u32| {
            let text = [
                &[0x08, 80][..],
                &[0, 7, 14, 21, 28].map(|shift| (length >> shift) as u8 | if shift < 28 { 0x80 } else { 0 }),
                &vec![b'x'; length as usize],
            ];
            let mut bytes = header(0, 1, 0, 1);
            bytes.splice(bytes.len() - 1..bytes.len() - 1, text.concat());
            bytes
        };
        assert_eq!(checked(&with(100_000)), Ok(()));
        assert_eq!(checked(&with(1_900_000)), Ok(()));
        assert!(checked(&with(68_000_000)).unwrap_err().contains("its page at byte 3 is damaged"));
    }
}
