//! Reads zip archives of stored and deflated files: the directory at the end, and each file with its checksum.
//!
//! Format: <https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>. Archives beyond 4 GiB, encrypted ones and those in parts are
//! refused. What the directory claims is checked before it is used.

use std::io::{self, Read, Seek, SeekFrom, Write};

use flate2::read::DeflateDecoder;

/// Bytes of the records without their variable parts.
const END: usize = 22;
const CENTRAL: usize = 46;
const LOCAL: usize = 30;

/// The longest comment at the end of an archive.
const LONGEST_COMMENT: usize = 0xffff;

/// The most bytes of a directory.
const MOST_DIRECTORY: u32 = 16 << 20;

/// Methods of compression.
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// Bits of an entry's flags: encrypted, in any way.
const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;

/// A file or folder in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path, with `/`. It may be anything, even one that leads out of a folder.
    pub name: String,
    /// Its size when unpacked, as the directory claims.
    pub bytes: u64,
    header: u64,
    packed: u64,
    crc: u32,
    method: u16,
}

impl Entry {
    /// Whether it is a folder.
    pub fn is_folder(&self) -> bool {
        self.name.ends_with('/')
    }
}

fn bad(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The entries of an archive, in the directory's order.
///
/// # Errors
/// If it cannot be read; of the kind `InvalidData` if it is no archive that this reads.
pub fn entries(file: &mut (impl Read + Seek)) -> io::Result<Vec<Entry>> {
    let length = file.seek(SeekFrom::End(0))?;
    let tail = length.min((END + LONGEST_COMMENT) as u64);
    file.seek(SeekFrom::Start(length - tail))?;
    let mut bytes = Vec::new();
    file.take(tail).read_to_end(&mut bytes)?;
    let fits = |&at: &usize| bytes[at..].starts_with(b"PK\x05\x06") && at + END + usize::from(u16_at(&bytes, at + 20)) == bytes.len();
    let end = (0..(bytes.len() + 1).saturating_sub(END)).rev().find(fits).ok_or_else(|| bad("it has no directory: it is not whole"))?;
    let (count, size, start) = (u16_at(&bytes, end + 10), u32_at(&bytes, end + 12), u32_at(&bytes, end + 16));
    if u16_at(&bytes, end + 4) != 0 || u16_at(&bytes, end + 8) != count {
        return Err(bad("it is one of several parts"));
    }
    if count == u16::MAX || start == u32::MAX || size > MOST_DIRECTORY || u64::from(start) + u64::from(size) > length {
        return Err(bad("its directory is too long"));
    }
    let mut directory = Vec::new();
    file.seek(SeekFrom::Start(start.into()))?;
    file.take(size.into()).read_to_end(&mut directory)?;
    let (mut entries, mut rest) = (Vec::new(), &directory[..]);
    for _ in 0..count {
        if rest.len() < CENTRAL || !rest.starts_with(b"PK\x01\x02") {
            return Err(bad("its directory is damaged"));
        }
        let [name, extra, comment] = [28, 30, 32].map(|at| usize::from(u16_at(rest, at)));
        let whole = CENTRAL + name + extra + comment;
        let name = rest.get(CENTRAL..CENTRAL + name).and_then(|name| std::str::from_utf8(name).ok());
        let (Some(name), true) = (name, whole <= rest.len()) else { return Err(bad("its directory is damaged")) };
        let entry = Entry {
            name: name.to_owned(),
            bytes: u32_at(rest, 24).into(),
            header: u32_at(rest, 42).into(),
            packed: u32_at(rest, 20).into(),
            crc: u32_at(rest, 16),
            method: u16_at(rest, 10),
        };
        if u16_at(rest, 8) & ENCRYPTED != 0 {
            return Err(bad("it is encrypted"));
        }
        if ![STORED, DEFLATED].contains(&entry.method) {
            return Err(bad(format!("it is compressed in a way that is not read here (method {})", entry.method)));
        }
        // Unix keeps the kind of a file in the upper half; a symbolic link must not be followed, nor made.
        if rest[5] == 3 && u32_at(rest, 38) >> 28 == 0xa {
            return Err(bad("it holds a symbolic link"));
        }
        entries.push(entry);
        rest = &rest[whole..];
    }
    Ok(entries)
}

/// Unpacks a file into `to`, and checks its length and checksum.
///
/// # Errors
/// As [`entries`], and if `to` cannot be written.
pub fn unpack(file: &mut (impl Read + Seek), entry: &Entry, to: &mut impl Write) -> io::Result<()> {
    let mut local = [0; LOCAL];
    file.seek(SeekFrom::Start(entry.header))?;
    file.read_exact(&mut local).map_err(|_| bad("an entry lies outside of it"))?;
    if !local.starts_with(b"PK\x03\x04") {
        return Err(bad("an entry is not where the directory says"));
    }
    let skipped = u64::from(u16_at(&local, 26)) + u64::from(u16_at(&local, 28));
    file.seek(SeekFrom::Start(entry.header + LOCAL as u64 + skipped))?;
    let packed = file.take(entry.packed);
    let mut content: Box<dyn Read + '_> = if entry.method == DEFLATED { Box::new(DeflateDecoder::new(packed)) } else { Box::new(packed) };
    let (mut hash, mut left, mut piece) = (crc32fast::Hasher::new(), entry.bytes, vec![0; 1 << 16]);
    loop {
        let count = match content.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if count == 0 {
            break;
        }
        left = left.checked_sub(count as u64).ok_or_else(|| bad("an entry is longer than the directory says"))?;
        hash.update(&piece[..count]);
        to.write_all(&piece[..count])?;
    }
    if left > 0 || hash.finalize() != entry.crc {
        return Err(bad("an entry is damaged: its checksum or its length is another"));
    }
    Ok(())
}
