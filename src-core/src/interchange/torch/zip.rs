//! The subset of the zip format that `torch.save` writes: one folder of stored entries, each with a CRC-32, and a
//! directory at the end of the file, with 64-bit fields if needed.
//!
//! Zip stores most information twice, and readers that trust different copies can see different files. So both are read
//! and must agree, every byte range must be inside the file, and none may overlap another. The CRC is not the
//! one of TensorBoard files: zip uses an older polynomial.
//! Format: <https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Seek, SeekFrom};

use super::error::ZipProblem;
use crate::files::shown::short;

/// The most entries that are read; a model of a hundred layers has about a thousand.
const MOST_ENTRIES: u64 = 1 << 16;
/// The longest directory that is read, in bytes.
const LONGEST_DIRECTORY: u64 = 16 << 20;

/// Bytes of the records without their variable parts.
const LOCAL: usize = 30;
const CENTRAL: usize = 46;
const END: u64 = 22;
const LOCATOR_64: u64 = 20;
const END_64: u64 = 56;

const LOCAL_SIGNATURE: u32 = 0x0403_4b50;
const CENTRAL_SIGNATURE: u32 = 0x0201_4b50;
const END_SIGNATURE: u32 = 0x0605_4b50;
const LOCATOR_64_SIGNATURE: u32 = 0x0706_4b50;
const END_64_SIGNATURE: u32 = 0x0606_4b50;

/// The pickled magic number at the start of files from before torch wrote zip archives.
const LEGACY_MAGIC: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19";

/// Flags of an entry: it is encrypted; its sizes follow its data; its name is UTF-8.
const ENCRYPTED: u16 = 1;
const SIZES_FOLLOW: u16 = 1 << 3;
const UTF8: u16 = 1 << 11;

/// Bytes that are read at a time.
const PIECE: usize = 1 << 18;

/// A failure to read an archive.
#[derive(Debug)]
pub(super) enum ZipError {
    Io(io::Error),
    Problem(ZipProblem),
}

impl From<io::Error> for ZipError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<ZipProblem> for ZipError {
    fn from(problem: ZipProblem) -> Self {
        Self::Problem(problem)
    }
}

/// An archive whose directory has been checked.
#[derive(Debug)]
pub(super) struct Archive<R> {
    reader: R,
    entries: Vec<Entry>,
    /// Names without the folder that all entries are in.
    index: HashMap<String, usize>,
}

/// One file in an archive.
#[derive(Debug)]
struct Entry {
    /// With the folder.
    name: String,
    /// The offsets of its header and of its data.
    header: u64,
    data: u64,
    bytes: u64,
    crc: u32,
    flags: u16,
}

impl<R: Read + Seek> Archive<R> {
    /// Reads and checks the directory and every entry's own header. Reads no data.
    pub(super) fn open(mut reader: R) -> Result<Self, ZipError> {
        let length = reader.seek(SeekFrom::End(0))?;
        check_beginning(&mut reader, length)?;
        let directory = find_directory(&mut reader, length)?;
        let mut entries = read_directory(&mut reader, &directory)?;

        entries.sort_by_key(|entry| entry.header);
        let mut end = 0;
        for entry in &mut entries {
            entry.data = check_local(&mut reader, entry, directory.start)?;
            // `check_local` made sure of the end.
            if entry.header < end {
                return Err(ZipProblem::Place(short(&entry.name)).into());
            }
            end = entry.data + entry.bytes;
        }
        let index = index(&entries)?;
        Ok(Self { reader, entries, index })
    }

    /// The index of the entry with this name in the archive's folder.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// The length of an entry.
    pub(super) fn bytes(&self, entry: usize) -> u64 {
        self.entries[entry].bytes
    }

    /// A whole entry of at most `most` bytes.
    pub(super) fn read(&mut self, entry: usize, most: u64) -> Result<Vec<u8>, ZipError> {
        let Entry { name, bytes, .. } = &self.entries[entry];
        if *bytes > most {
            return Err(ZipProblem::Long { name: short(name), bytes: *bytes, most }.into());
        }
        let mut data = Vec::with_capacity(*bytes as usize);
        let bytes = *bytes;
        self.stream(entry, 0, bytes, |piece| {
            data.extend_from_slice(piece);
            Ok::<_, ZipError>(())
        })?;
        Ok(data)
    }

    /// Passes `count` bytes of an entry, from its byte `start` on, to `each` in pieces of at most [`PIECE`] bytes, all but
    /// the last of that length. The range must be in the entry. The CRC is only known at the end: on an error, what
    /// was passed on may have been wrong.
    pub(super) fn stream<E: From<ZipError>>(
        &mut self,
        entry: usize,
        start: u64,
        count: u64,
        each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let bytes = self.entries[entry].bytes;
        if start == 0 && count == bytes {
            let crc = self.range(entry, start, count, each)?;
            return Ok(self.check_crc(entry, crc)?);
        }
        // A part of an entry has no CRC.
        let crc = self.range(entry, 0, bytes, |_| Ok::<_, ZipError>(()))?;
        self.check_crc(entry, crc)?;
        self.range(entry, start, count, each).map(drop)
    }

    /// The same without a check; returns the CRC of the range.
    fn range<E: From<ZipError>>(
        &mut self,
        entry: usize,
        start: u64,
        count: u64,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<u32, E> {
        self.reader.seek(SeekFrom::Start(self.entries[entry].data + start)).map_err(ZipError::Io)?;
        let mut buffer = vec![0; count.min(PIECE as u64) as usize];
        let mut hasher = crc32fast::Hasher::new();
        let mut left = count;
        while left > 0 {
            let now = left.min(PIECE as u64);
            let piece = &mut buffer[..now as usize];
            self.reader.read_exact(piece).map_err(ZipError::Io)?;
            hasher.update(piece);
            each(piece)?;
            left -= now;
        }
        Ok(hasher.finalize())
    }

    fn check_crc(&self, entry: usize, crc: u32) -> Result<(), ZipError> {
        let Entry { name, crc: written, .. } = &self.entries[entry];
        if crc == *written { Ok(()) } else { Err(ZipProblem::Crc(short(name)).into()) }
    }
}

fn check_beginning(reader: &mut (impl Read + Seek), length: u64) -> Result<(), ZipError> {
    let mut beginning = [0; LEGACY_MAGIC.len()];
    let known = &mut beginning[..LEGACY_MAGIC.len().min(length as usize)];
    reader.seek(SeekFrom::Start(0))?;
    reader.read_exact(known)?;
    if known == LEGACY_MAGIC {
        return Err(ZipProblem::Legacy.into());
    }
    if !known.starts_with(&LOCAL_SIGNATURE.to_le_bytes()) {
        return Err(ZipProblem::NotZip.into());
    }
    Ok(())
}

/// The position of the directory, from the records after it.
struct Directory {
    start: u64,
    bytes: u64,
    entries: u64,
}

fn find_directory(reader: &mut (impl Read + Seek), length: u64) -> Result<Directory, ZipError> {
    let mut tail = vec![0; (END + LOCATOR_64 + END_64).min(length) as usize];
    let tail_start = length - tail.len() as u64;
    reader.seek(SeekFrom::Start(tail_start))?;
    reader.read_exact(&mut tail)?;
    let split = tail.len().checked_sub(END as usize).ok_or(ZipProblem::End)?;
    let (before, end) = tail.split_at(split);

    let mut end = Fields(end);
    let signature = end.u32()?;
    let (disk, directory_disk, entries_here, entries) = (end.u16()?, end.u16()?, end.u16()?, end.u16()?);
    let (bytes, start, comment) = (end.u32()?, end.u32()?, end.u16()?);
    // Comments are not supported, so the record must be the last bytes of the file.
    if signature != END_SIGNATURE || comment != 0 {
        return Err(ZipProblem::End.into());
    }
    if disk != 0 || directory_disk != 0 || entries_here != entries {
        return Err(ZipProblem::Volumes.into());
    }

    let short_form = Directory { start: start.into(), bytes: bytes.into(), entries: entries.into() };
    let (directory, directory_end) = match find_directory_64(before, tail_start)? {
        None if entries == u16::MAX || bytes == u32::MAX || start == u32::MAX => {
            return Err(ZipProblem::Directory("lacks its 64-bit end").into());
        }
        None => (short_form, length - END),
        Some(long) => {
            let agree = |short: u64, long: u64, full: u64| short == long || short == full;
            if !agree(short_form.start, long.start, u32::MAX.into())
                || !agree(short_form.bytes, long.bytes, u32::MAX.into())
                || !agree(short_form.entries, long.entries, u16::MAX.into())
            {
                return Err(ZipProblem::Directory("has two ends that differ").into());
            }
            (long, length - END - LOCATOR_64 - END_64)
        }
    };
    if directory.start.checked_add(directory.bytes) != Some(directory_end) {
        return Err(ZipProblem::Directory("is not where its end says").into());
    }
    if directory.bytes > LONGEST_DIRECTORY || directory.entries > MOST_ENTRIES {
        return Err(ZipProblem::Directory("is longer than a model's can be").into());
    }
    Ok(directory)
}

/// The 64-bit end record and the locator that points to it, from the bytes before the end record.
fn find_directory_64(before: &[u8], before_start: u64) -> Result<Option<Directory>, ZipProblem> {
    let Some(split) = before.len().checked_sub(LOCATOR_64 as usize) else { return Ok(None) };
    let (record, locator) = before.split_at(split);
    let mut locator = Fields(locator);
    if locator.u32()? != LOCATOR_64_SIGNATURE {
        return Ok(None);
    }
    let (disk, offset, disks) = (locator.u32()?, locator.u64()?, locator.u32()?);
    if disk != 0 || disks > 1 {
        return Err(ZipProblem::Volumes);
    }
    let mut record = Fields(record);
    if record.0.len() as u64 != END_64 || offset != before_start || record.u32()? != END_64_SIGNATURE || record.u64()? != END_64 - 12 {
        return Err(ZipProblem::Directory("has no 64-bit end where it should be"));
    }
    let _versions = record.u32()?;
    let (disk, directory_disk, entries_here, entries) = (record.u32()?, record.u32()?, record.u64()?, record.u64()?);
    if disk != 0 || directory_disk != 0 || entries_here != entries {
        return Err(ZipProblem::Volumes);
    }
    Ok(Some(Directory { bytes: record.u64()?, start: record.u64()?, entries }))
}

/// The entries as the directory lists them; [`Entry::data`] is not known yet.
fn read_directory(reader: &mut (impl Read + Seek), directory: &Directory) -> Result<Vec<Entry>, ZipError> {
    // The directory is inside the file, so this is not larger than the file.
    let mut listed = vec![0; directory.bytes as usize];
    reader.seek(SeekFrom::Start(directory.start))?;
    reader.read_exact(&mut listed)?;
    let mut fields = Fields(&listed);
    let mut entries = Vec::new();
    for _ in 0..directory.entries {
        entries.push(read_entry(&mut fields)?);
    }
    if !fields.0.is_empty() {
        return Err(ZipProblem::Directory("goes on after its last entry").into());
    }
    Ok(entries)
}

fn read_entry(fields: &mut Fields) -> Result<Entry, ZipProblem> {
    let mut fixed = Fields(fields.take(CENTRAL)?);
    if fixed.u32()? != CENTRAL_SIGNATURE {
        return Err(ZipProblem::Directory("has something else where an entry belongs"));
    }
    let _versions = fixed.u32()?;
    let (flags, method) = (fixed.u16()?, fixed.u16()?);
    let _time = fixed.u32()?;
    let (crc, packed, bytes) = (fixed.u32()?, fixed.u32()?, fixed.u32()?);
    let (name, extra, comment) = (fixed.u16()?, fixed.u16()?, fixed.u16()?);
    let (disk, _attributes, _external, header) = (fixed.u16()?, fixed.u16()?, fixed.u32()?, fixed.u32()?);

    let name = fields.take(name.into())?;
    let name = std::str::from_utf8(name).map_err(|_| ZipProblem::Name(short(&String::from_utf8_lossy(name))))?.to_owned();
    let mut sizes = [bytes.into(), packed.into(), header.into()];
    read_zip64(fields.take(extra.into())?, &mut sizes)?;
    fields.take(comment.into())?;

    let [bytes, packed, header] = sizes;
    if disk != 0 {
        return Err(ZipProblem::Volumes);
    }
    if flags & ENCRYPTED != 0 {
        return Err(ZipProblem::Encrypted(short(&name)));
    }
    if flags & !(SIZES_FOLLOW | UTF8) != 0 {
        return Err(ZipProblem::Flags { name: short(&name), flags });
    }
    if method != 0 {
        return Err(ZipProblem::Compressed { name: short(&name), method });
    }
    if packed != bytes {
        return Err(ZipProblem::Local(short(&name)));
    }
    Ok(Entry { name, header, data: 0, bytes, crc, flags })
}

/// Replaces an entry's length, compressed length and offset by the 64-bit ones if they do not fit in 32 bits.
fn read_zip64(extra: &[u8], sizes: &mut [u64; 3]) -> Result<(), ZipProblem> {
    const ZIP64: u16 = 1;
    let mut needed: Vec<&mut u64> = sizes.iter_mut().filter(|size| **size == u64::from(u32::MAX)).collect();
    let mut blocks = Fields(extra);
    while !needed.is_empty() {
        let (kind, length) = (blocks.u16()?, blocks.u16()?);
        let mut block = Fields(blocks.take(length.into())?);
        if kind == ZIP64 {
            for size in needed.drain(..) {
                *size = block.u64()?;
            }
        }
    }
    Ok(())
}

/// Compares an entry's own header with the directory, and returns the offset of its data. The data ends before
/// `limit`, where the directory begins.
fn check_local(reader: &mut (impl Read + Seek), entry: &Entry, limit: u64) -> Result<u64, ZipError> {
    let place = || ZipProblem::Place(short(&entry.name));
    let fixed_end = entry.header.checked_add((LOCAL + entry.name.len()) as u64).filter(|&end| end <= limit).ok_or_else(place)?;
    let mut header = vec![0; LOCAL + entry.name.len()];
    reader.seek(SeekFrom::Start(entry.header))?;
    reader.read_exact(&mut header)?;

    let mut fields = Fields(&header);
    let signature = fields.u32()?;
    let _version = fields.u16()?;
    let (flags, method) = (fields.u16()?, fields.u16()?);
    let _time = fields.u32()?;
    let (crc, packed, bytes) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let (name, extra) = (fields.u16()?, fields.u16()?);

    let brief = u32::try_from(entry.bytes).unwrap_or(u32::MAX);
    let same = (crc, packed, bytes) == (entry.crc, brief, brief);
    // An entry whose sizes follow its data may omit them before it.
    let unknown = flags & SIZES_FOLLOW != 0 && (crc, packed, bytes) == (0, 0, 0);
    let agrees = signature == LOCAL_SIGNATURE && flags == entry.flags && method == 0 && (same || unknown);
    if !agrees || usize::from(name) != entry.name.len() || fields.0 != entry.name.as_bytes() {
        return Err(ZipProblem::Local(short(&entry.name)).into());
    }
    let data = fixed_end + u64::from(extra);
    data.checked_add(entry.bytes).filter(|&end| end <= limit).ok_or_else(place)?;
    Ok(data)
}

/// The entries by their names in the one folder that they are all in.
fn index(entries: &[Entry]) -> Result<HashMap<String, usize>, ZipProblem> {
    let mut folders = HashSet::new();
    let mut index = HashMap::with_capacity(entries.len());
    for (number, Entry { name, .. }) in entries.iter().enumerate() {
        let (folder, file) = name.split_once('/').ok_or_else(|| ZipProblem::Name(short(name)))?;
        folders.insert(folder);
        if folders.len() > 1 {
            return Err(ZipProblem::Name(short(name)));
        }
        if index.insert(file.to_owned(), number).is_some() {
            return Err(ZipProblem::Duplicate(short(name)));
        }
    }
    Ok(index)
}

/// Little-endian fields, taken from the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], ZipProblem> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ZipProblem::Directory("ends within an entry"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ZipProblem> {
        self.take(N)?.try_into().map_err(|_| ZipProblem::Directory("ends within an entry"))
    }

    fn u16(&mut self) -> Result<u16, ZipProblem> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, ZipProblem> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, ZipProblem> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: u64 = u32::MAX as u64;

    #[test]
    fn only_the_fields_that_are_full_are_in_the_64_bit_field() {
        let read = |extra: &[u8], mut sizes: [u64; 3]| read_zip64(extra, &mut sizes).map(|()| sizes).ok();
        let numbers = [5u64 << 40, 6 << 40, 7 << 40].map(u64::to_le_bytes).concat();
        let block = |count: u8| [&[1, 0, 8 * count, 0], &numbers[..8 * usize::from(count)]].concat();
        assert_eq!(read(&block(3), [FULL; 3]), Some([5 << 40, 6 << 40, 7 << 40]));
        assert_eq!(read(&block(1), [3, 3, FULL]), Some([3, 3, 5 << 40]));
        assert_eq!(read(&[b"FB\x02\0ZZ".to_vec(), block(2)].concat(), [FULL, FULL, 9]), Some([5 << 40, 6 << 40, 9]));
        assert_eq!(read(b"FB", [1, 2, 3]), Some([1, 2, 3]));
        assert_eq!(read(&block(1), [FULL, FULL, 3]), None);
        assert_eq!(read(b"", [FULL, 2, 3]), None);
        assert_eq!(read(b"FB\xFF\xFF", [FULL, 2, 3]), None);
    }
}
