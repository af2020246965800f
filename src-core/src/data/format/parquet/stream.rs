//! The bytes of a page as they are decompressed.
//!
//! Pages may be up to 2 GiB, and common tools write large ones: DuckDB puts up to 100 MB of text into one,
//! and pyarrow a thousand documents however long they are. Pages with zstd, gzip, brotli or no compression are
//! decompressed as they are read, so that they take no more memory than the current text. Snappy and LZ4 can
//! only be decompressed as a whole; their compression ratio is limited, so a page that claims a larger one
//! is rejected before memory is allocated.

use std::fs::File;
use std::io::{self, BufReader, Cursor, ErrorKind, Read};

use parquet::basic::Compression;

use super::hybrid::damaged;

/// The largest compression ratios of Snappy (64 bytes from a copy of 3) and LZ4, rounded up.
const SNAPPY_RATIO: u64 = 22;
const LZ4_RATIO: u64 = 256;

/// The magic bytes of LZ4 frames.
const LZ4_FRAME: [u8; 4] = [0x04, 0x22, 0x4D, 0x18];

/// The bytes of a page, or of its compressed part.
pub(super) struct Stream {
    bytes: BufReader<Box<dyn Read + Send>>,
    /// Remaining bytes according to the page's header.
    left: u64,
}

impl Stream {
    /// The next `packed` bytes of `file`, which claim to be `unpacked` bytes when decompressed. No other reader may move
    /// the file's cursor until all of them are read.
    pub(super) fn new(file: &File, codec: Compression, packed: u64, unpacked: u64) -> io::Result<Self> {
        let section = file.try_clone()?.take(packed);
        let (bytes, left): (Box<dyn Read + Send>, u64) = match codec {
            Compression::UNCOMPRESSED => (Box::new(section), packed),
            // If every row is null there are no bytes, which no codec can decompress.
            _ if packed == 0 => (Box::new(io::empty()), unpacked),
            Compression::ZSTD(_) => (Box::new(zstd::stream::read::Decoder::new(section)?), unpacked),
            Compression::GZIP(_) => (Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::new(section))), unpacked),
            Compression::BROTLI(_) => (Box::new(brotli::Decompressor::new(section, 1 << 16)), unpacked),
            Compression::SNAPPY => (Box::new(Cursor::new(snappy(section, packed, unpacked)?)), unpacked),
            Compression::LZ4_RAW => (Box::new(Cursor::new(lz4_block(&whole(section)?, unpacked)?)), unpacked),
            Compression::LZ4 => (lz4_hadoop(whole(section)?, unpacked)?, unpacked),
            Compression::LZO => return Err(io::Error::new(ErrorKind::Unsupported, "the codec LZO")),
        };
        Ok(Self { bytes: BufReader::with_capacity(1 << 16, bytes), left })
    }

    /// The next `length` bytes.
    pub(super) fn take_bytes(&mut self, length: u64) -> io::Result<Vec<u8>> {
        if length > self.left {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        // The claim may be false, so memory is allocated as the bytes arrive.
        let mut bytes = Vec::with_capacity(length.min(1 << 16) as usize);
        self.take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 == length { Ok(bytes) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }

    /// Reads to the end, which verifies checksums, and checks that it is where the page claims.
    pub(super) fn finish(mut self) -> io::Result<()> {
        io::copy(&mut self, &mut io::sink())?;
        let more = self.bytes.read(&mut [0])?;
        if self.left > 0 || more > 0 { Err(damaged("it is not as large as it claims")) } else { Ok(()) }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.bytes.read(&mut buffer[..most])?;
        self.left -= read as u64;
        Ok(read)
    }
}

fn whole(mut section: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    section.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Checks that `packed` bytes can decompress to `unpacked`.
fn check(packed: u64, unpacked: u64, ratio: u64) -> io::Result<()> {
    if unpacked > packed.saturating_mul(ratio) { Err(damaged("it claims to be larger than it can be")) } else { Ok(()) }
}

fn snappy(section: impl Read, packed: u64, unpacked: u64) -> io::Result<Vec<u8>> {
    check(packed, unpacked, SNAPPY_RATIO)?;
    let bytes = whole(section)?;
    if snap::raw::decompress_len(&bytes)? as u64 != unpacked {
        return Err(damaged("it is not as large as it claims"));
    }
    Ok(snap::raw::Decoder::new().decompress_vec(&bytes)?)
}

fn lz4_block(bytes: &[u8], unpacked: u64) -> io::Result<Vec<u8>> {
    check(bytes.len() as u64, unpacked, LZ4_RATIO)?;
    lz4_flex::block::decompress(bytes, unpacked as usize).map_err(|_| damaged("it cannot be decompressed"))
}

/// Parquet's codec LZ4 is one of three formats: blocks, each preceded by its two lengths, as Hadoop writes them; an LZ4
/// frame; or a single block.
fn lz4_hadoop(bytes: Vec<u8>, unpacked: u64) -> io::Result<Box<dyn Read + Send>> {
    if let Some(blocks) = hadoop_blocks(&bytes, unpacked) {
        let mut whole = Vec::new();
        for (block, length) in blocks {
            whole.extend(lz4_block(block, length)?);
        }
        return Ok(Box::new(Cursor::new(whole)));
    }
    if bytes.starts_with(&LZ4_FRAME) {
        return Ok(Box::new(lz4_flex::frame::FrameDecoder::new(Cursor::new(bytes))));
    }
    Ok(Box::new(Cursor::new(lz4_block(&bytes, unpacked)?)))
}

/// The blocks that Hadoop writes, each with its decompressed length, if `bytes` have that format.
fn hadoop_blocks(mut bytes: &[u8], unpacked: u64) -> Option<Vec<(&[u8], u64)>> {
    let (mut blocks, mut together) = (Vec::new(), 0u64);
    while !bytes.is_empty() {
        let (lengths, rest) = bytes.split_first_chunk::<8>()?;
        let [a, b, c, d, packed @ ..] = *lengths;
        let length = u64::from(u32::from_be_bytes([a, b, c, d]));
        let (block, rest) = rest.split_at_checked(u32::from_be_bytes(packed) as usize)?;
        blocks.push((block, length));
        together = together.checked_add(length)?;
        bytes = rest;
    }
    (together == unpacked).then_some(blocks)
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    /// The stream of a page that holds `packed`.
    fn stream(codec: Compression, packed: &[u8], unpacked: u64) -> io::Result<Stream> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(packed).unwrap();
        file.write_all(b"the next page").unwrap();
        file.rewind().unwrap();
        Stream::new(&file, codec, packed.len() as u64, unpacked)
    }

    fn unpacked(codec: Compression, packed: &[u8], length: u64) -> io::Result<Vec<u8>> {
        let mut stream = stream(codec, packed, length)?;
        let bytes = stream.take_bytes(length)?;
        stream.finish().map(|()| bytes)
    }

    fn text() -> Vec<u8> {
        (0..20_000u32).flat_map(|number| (number % 977).to_string().into_bytes()).collect()
    }

    /// Every codec, with what it makes of `text`.
    fn codecs(text: &[u8]) -> Vec<(&'static str, Compression, Vec<u8>)> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text).unwrap();
        let mut brotli = brotli::CompressorWriter::new(Vec::new(), 4096, 3, 20);
        brotli.write_all(text).unwrap();
        let mut frame = lz4_flex::frame::FrameEncoder::new(Vec::new());
        frame.write_all(text).unwrap();
        let block = lz4_flex::block::compress;
        let hadoop = |part: &[u8]| {
            let packed = block(part);
            [&(part.len() as u32).to_be_bytes()[..], &(packed.len() as u32).to_be_bytes(), &packed].concat()
        };
        let halves = text.split_at(text.len() / 2);
        vec![
            ("none", Compression::UNCOMPRESSED, text.to_vec()),
            ("zstd", Compression::ZSTD(Default::default()), zstd::stream::encode_all(text, 3).unwrap()),
            ("gzip", Compression::GZIP(Default::default()), gzip.finish().unwrap()),
            ("brotli", Compression::BROTLI(Default::default()), brotli.into_inner()),
            ("snappy", Compression::SNAPPY, snap::raw::Encoder::new().compress_vec(text).unwrap()),
            ("lz4 raw", Compression::LZ4_RAW, block(text)),
            ("lz4 of hadoop", Compression::LZ4, [hadoop(halves.0), hadoop(halves.1)].concat()),
            ("lz4 frame", Compression::LZ4, frame.finish().unwrap()),
            ("lz4 block", Compression::LZ4, block(text)),
        ]
    }

    #[test]
    fn every_codec_is_unpacked() {
        let text = text();
        for (name, codec, packed) in codecs(&text) {
            assert!(unpacked(codec, &packed, text.len() as u64).unwrap() == text, "{name}");
        }
        assert!(unpacked(Compression::SNAPPY, &[], 0).unwrap().is_empty());
        assert!(unpacked(Compression::GZIP(Default::default()), &[], 0).unwrap().is_empty());
    }

    #[test]
    fn a_false_claim_is_refused_at_the_latest_at_the_end() {
        let text = text();
        for (name, codec, packed) in codecs(&text) {
            let length = text.len() as u64;
            for claim in [length - 1, length + 1, 2 << 30] {
                if codec != Compression::UNCOMPRESSED {
                    let read = stream(codec, &packed, claim).and_then(Stream::finish);
                    assert!(read.is_err(), "{name} of {length} bytes that claims {claim}");
                }
            }
            let cut = stream(codec, &packed[..packed.len() / 2], length).and_then(|mut stream| stream.take_bytes(length));
            assert!(cut.is_err(), "{name} cut in half");
        }
    }
}
