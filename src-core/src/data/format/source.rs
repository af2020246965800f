//! The bytes of a JSON Lines or text file, decompressed if it is compressed with gzip or zstd. The compression is detected by
//! its first bytes, whatever its name is.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::data::DataError;
use crate::files::StandIn;

/// The largest window of zstd, as a power of two: 128 MiB, which no compression level exceeds and the `zstd`
/// program accepts by default. It is the memory that reading needs.
const LARGEST_WINDOW: u32 = 27;

const BUFFER: usize = 1 << 16;

/// A file's bytes, from some offset on.
pub struct Source {
    path: PathBuf,
    bytes: Bytes,
    /// Offset of the next byte, after decompression.
    at: u64,
}

enum Bytes {
    Plain(BufReader<File>),
    Packed(BufReader<Box<dyn Read + Send>>),
}

impl Source {
    /// Opens the file and skips its first `offset` bytes.
    pub fn open(path: &Path, offset: u64) -> Result<Self, DataError> {
        let mut file = File::open(path).map_err(DataError::io(path))?;
        let mut start = Vec::new();
        file.by_ref().take(4).read_to_end(&mut start).map_err(DataError::io(path))?;
        file.rewind().map_err(DataError::io(path))?;
        let bytes = unpacked(file, &start).map_err(DataError::io(path))?;
        let mut source = Self { path: path.to_path_buf(), bytes, at: 0 };
        // The first bytes of a compressed file's content are only known now.
        if let Some(stand_in) = StandIn::of(source.peek()?) {
            return Err(DataError::StandIn { path: path.to_path_buf(), stand_in });
        }
        source.seek(offset)?;
        Ok(source)
    }

    /// Goes to byte `offset`, or to the end of a file that has fewer.
    pub fn seek(&mut self, offset: u64) -> Result<(), DataError> {
        match &mut self.bytes {
            Bytes::Plain(file) => {
                file.seek(SeekFrom::Start(offset)).map_err(DataError::io(&self.path))?;
                self.at = offset;
            }
            Bytes::Packed(_) => {
                let Some(more) = offset.checked_sub(self.at) else {
                    *self = Self::open(&self.path, offset)?;
                    return Ok(());
                };
                io::copy(&mut self.by_ref().take(more), &mut io::sink()).map_err(|error| self.fault(error))?;
            }
        }
        Ok(())
    }

    /// Offset of the next byte, after decompression.
    pub fn offset(&self) -> u64 {
        self.at
    }

    /// Reads a line of at most `most` bytes into `line`, including its end, and returns its length in bytes: 0 at the end
    /// of the file, `most` if it may be longer.
    pub fn read_line(&mut self, most: u64, line: &mut Vec<u8>) -> Result<usize, DataError> {
        line.clear();
        self.by_ref().take(most).read_until(b'\n', line).map_err(|error| self.fault(error))
    }

    /// The buffered bytes; none at the end.
    pub fn peek(&mut self) -> Result<&[u8], DataError> {
        if let Err(error) = self.fill_buf() {
            return Err(self.fault(error));
        }
        Ok(match &self.bytes {
            Bytes::Plain(file) => file.buffer(),
            Bytes::Packed(bytes) => bytes.buffer(),
        })
    }

    /// The meaning of a read error.
    pub fn fault(&self, source: io::Error) -> DataError {
        let path = self.path.clone();
        if matches!(self.bytes, Bytes::Plain(_)) || source.raw_os_error().is_some() {
            return DataError::Io { path, source };
        }
        let said = source.to_string();
        match source.kind() {
            ErrorKind::UnexpectedEof => DataError::Packed { path, reason: "it ends too early".into() },
            // The library has no error kind for this.
            _ if said.contains("too much memory") => DataError::LargeWindow { path },
            _ => DataError::Packed { path, reason: said },
        }
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.bytes {
            Bytes::Plain(file) => file.read(buffer)?,
            Bytes::Packed(bytes) => bytes.read(buffer)?,
        };
        self.at += read as u64;
        Ok(read)
    }
}

impl BufRead for Source {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match &mut self.bytes {
            Bytes::Plain(file) => file.fill_buf(),
            Bytes::Packed(bytes) => bytes.fill_buf(),
        }
    }

    fn consume(&mut self, amount: usize) {
        match &mut self.bytes {
            Bytes::Plain(file) => file.consume(amount),
            Bytes::Packed(bytes) => bytes.consume(amount),
        }
        self.at += amount as u64;
    }
}

/// The bytes of `file`, which begins with `start`. Concatenated compressed parts are one file.
fn unpacked(file: File, start: &[u8]) -> io::Result<Bytes> {
    let bytes: Box<dyn Read + Send> = match start {
        [0x1F, 0x8B, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(BUFFER, file))),
        // A frame, or a skippable frame, which some programs put first.
        [0x28, 0xB5, 0x2F, 0xFD] | [0x50..=0x5F, 0x2A, 0x4D, 0x18] => {
            let mut decoder = zstd::stream::read::Decoder::new(file)?;
            decoder.window_log_max(LARGEST_WINDOW)?;
            Box::new(decoder)
        }
        _ => return Ok(Bytes::Plain(BufReader::with_capacity(BUFFER, file))),
    };
    Ok(Bytes::Packed(BufReader::with_capacity(BUFFER, bytes)))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(bytes, 3).unwrap()
    }

    fn written(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl.gz");
        std::fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    fn rest(path: &Path, offset: u64) -> Result<Vec<u8>, DataError> {
        let mut source = Source::open(path, offset)?;
        let mut bytes = Vec::new();
        source.read_to_end(&mut bytes).map_err(|error| source.fault(error))?;
        Ok(bytes)
    }

    fn text() -> Vec<u8> {
        (0..100_000u32).flat_map(|number| format!("line {number}\n").into_bytes()).collect()
    }

    #[test]
    fn packed_and_plain_files_have_the_same_bytes_at_every_offset() {
        let text = text();
        let (first, second) = text.split_at(text.len() / 3);
        let skipped = [&[0x53, 0x2A, 0x4D, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &zstd(&text)].concat();
        for (name, packed) in [
            ("plain", text.clone()),
            ("gzip", gzip(&text)),
            ("gzip in two parts", [gzip(first), gzip(second)].concat()),
            ("zstd", zstd(&text)),
            ("zstd in three frames", [zstd(first), zstd(b""), zstd(second)].concat()),
            ("zstd behind a frame to skip", skipped),
        ] {
            let (_dir, path) = written(&packed);
            for offset in [0, 1, 65_535, 65_536, 65_537, first.len(), text.len() - 1, text.len(), text.len() + 9] {
                let expected = &text[offset.min(text.len())..];
                assert!(rest(&path, offset as u64).unwrap() == expected, "{name} at {offset}");
                let mut source = Source::open(&path, 70_000).unwrap();
                source.seek(offset as u64).unwrap();
                let mut bytes = Vec::new();
                source.read_to_end(&mut bytes).unwrap();
                assert!(bytes == expected, "{name} from 70000 to {offset}");
            }
        }
    }

    #[test]
    fn a_packed_file_that_was_cut_or_damaged_is_refused() {
        let text = text();
        for (name, packed) in [("gzip", gzip(&text)), ("zstd", zstd(&text))] {
            for length in [5, 20, packed.len() / 2, packed.len() - 1] {
                let (_dir, path) = written(&packed[..length]);
                let said = rest(&path, 0).unwrap_err().to_string();
                assert!(said.contains("a.jsonl.gz") && said.contains("ends too early"), "{name} cut to {length}: {said}");
            }
            let mut damaged = packed.clone();
            damaged[packed.len() / 2..][..40].fill(0xA5);
            let (_dir, path) = written(&damaged);
            assert!(matches!(rest(&path, 0), Err(DataError::Packed { .. })), "{name}");
        }
    }

    #[test]
    fn a_window_that_would_fill_the_memory_is_refused() {
        let packed = |log| {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(log).unwrap();
            encoder.long_distance_matching(true).unwrap();
            encoder.write_all(&text()).unwrap();
            encoder.finish().unwrap()
        };
        let (_dir, path) = written(&packed(27));
        assert!(rest(&path, 0).unwrap() == text());
        let (_dir, path) = written(&packed(28));
        let error = rest(&path, 0).unwrap_err();
        assert!(matches!(error, DataError::LargeWindow { .. }) && error.to_string().contains("smaller window"), "{error}");
    }
}
