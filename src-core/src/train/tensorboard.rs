//! TensorBoard event files with scalars, to watch a run's curves.
//!
//! A file is a sequence of records: length, its checksum, an `Event` message, its checksum
//! (<https://www.tensorflow.org/tutorials/load_data/tfrecord>). Of the messages (`event.proto`, `summary.proto`) a few
//! fields suffice, and protobuf's wire format is simple, so they are encoded here rather than by a code generator.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::metrics::MetricsError;

/// The prefix of every event file's name.
const PREFIX: &str = "events.out.tfevents.";

/// An event file being written.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: File,
}

impl EventWriter {
    /// Starts a new file in `folder`, which is created if needed. With `resume_step`, TensorBoard is told to
    /// discard that step and later ones in earlier files.
    pub fn create(folder: &Path, resume_step: Option<u64>) -> Result<Self, MetricsError> {
        fs::create_dir_all(folder).map_err(MetricsError::io("make", folder))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // TensorBoard reads the files of a folder in the order of their names, and each only until the next one appears.
        let newest = newest_second(folder).map_err(MetricsError::io("read", folder))?;
        let second = now.as_secs().max(newest.map_or(0, |newest| newest.saturating_add(1)));
        let path = folder.join(format!("{PREFIX}{second:010}.{}.{}", host(), std::process::id()));
        let file = File::options().create_new(true).append(true).open(&path).map_err(MetricsError::io("make", &path))?;

        let mut writer = Self { path, file };
        writer.write(&proto::file_version(now.as_secs_f64(), "brain.Event:2"))?;
        if let Some(step) = resume_step {
            writer.write(&proto::session_start(now.as_secs_f64(), step))?;
        }
        Ok(writer)
    }

    /// Adds a value at `step` to the curve of each tag.
    pub fn scalars(&mut self, step: u64, values: &[(&str, f32)]) -> Result<(), MetricsError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.write(&proto::scalars(now.as_secs_f64(), step, values))
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One write per record: a killed run leaves at most a truncated record at the end, which TensorBoard skips.
    fn write(&mut self, event: &[u8]) -> Result<(), MetricsError> {
        self.file.write_all(&record(event)).map_err(MetricsError::io("write", &self.path))
    }
}

/// The timestamp in the name of the newest event file, in seconds.
fn newest_second(folder: &Path) -> std::io::Result<Option<u64>> {
    let mut newest = None;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let second = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('.').next()?.parse().ok());
        newest = newest.max(second);
    }
    Ok(newest)
}

/// This machine's name, restricted to characters of file names.
fn host() -> String {
    let name = host_name().unwrap_or_default();
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).take(64).collect();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

#[cfg(unix)]
fn host_name() -> Option<String> {
    let mut name = [0u8; 256];
    // SAFETY: the buffer is one byte longer than the given length, and the last byte stays 0.
    let result = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) };
    let end = name.iter().position(|&byte| byte == 0)?;
    (result == 0).then(|| String::from_utf8_lossy(&name[..end]).into_owned())
}

#[cfg(not(unix))]
fn host_name() -> Option<String> {
    std::env::var("COMPUTERNAME").ok()
}

/// Frames a message: `u64 length · u32 crc(length) · message · u32 crc(message)`, little-endian.
fn record(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    let mut framed = Vec::with_capacity(message.len() + 16);
    framed.extend_from_slice(&length);
    framed.extend_from_slice(&masked_crc(&length).to_le_bytes());
    framed.extend_from_slice(message);
    framed.extend_from_slice(&masked_crc(message).to_le_bytes());
    framed
}

/// The format's checksum: CRC-32C, rotated and offset, because checksums of data that contains checksums are weak.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The messages, encoded by field numbers.
mod proto {
    const VARINT: u64 = 0;
    const FIXED64: u64 = 1;
    const BYTES: u64 = 2;
    const FIXED32: u64 = 5;

    /// `Event { wall_time, file_version }`, the first of every file.
    pub(super) fn file_version(wall_time: f64, version: &str) -> Vec<u8> {
        let mut event = event(wall_time, 0);
        bytes(&mut event, 3, version.as_bytes());
        event
    }

    /// `Event { wall_time, step, session_log: SessionLog { status: START } }`.
    pub(super) fn session_start(wall_time: f64, step: u64) -> Vec<u8> {
        let mut session = Vec::new();
        key(&mut session, 1, VARINT);
        varint(&mut session, 1);
        let mut event = event(wall_time, step);
        bytes(&mut event, 7, &session);
        event
    }

    /// `Event { wall_time, step, summary: Summary { value: [Value { tag, simple_value }] } }`.
    pub(super) fn scalars(wall_time: f64, step: u64, values: &[(&str, f32)]) -> Vec<u8> {
        let mut summary = Vec::new();
        for (tag, scalar) in values {
            let mut value = Vec::new();
            bytes(&mut value, 1, tag.as_bytes());
            key(&mut value, 2, FIXED32);
            value.extend_from_slice(&scalar.to_le_bytes());
            bytes(&mut summary, 1, &value);
        }
        let mut event = event(wall_time, step);
        bytes(&mut event, 5, &summary);
        event
    }

    fn event(wall_time: f64, step: u64) -> Vec<u8> {
        let mut event = Vec::new();
        key(&mut event, 1, FIXED64);
        event.extend_from_slice(&wall_time.to_le_bytes());
        if step > 0 {
            key(&mut event, 2, VARINT);
            varint(&mut event, step);
        }
        event
    }

    fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
        key(out, field, BYTES);
        varint(out, value.len() as u64);
        out.extend_from_slice(value);
    }

    fn key(out: &mut Vec<u8>, field: u64, wire_type: u64) {
        varint(out, field << 3 | wire_type);
    }

    /// A varint: seven bits per byte, lowest first; the top bit means that more follow.
    fn varint(out: &mut Vec<u8>, mut value: u64) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages of a file, after checking every frame.
    fn messages(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let (head, rest) = bytes.split_at(12);
            let length = u64::from_le_bytes(head[..8].try_into().unwrap()) as usize;
            assert_eq!(u32::from_le_bytes(head[8..].try_into().unwrap()), masked_crc(&head[..8]));
            let (message, rest) = rest.split_at(length);
            let (checksum, rest) = rest.split_at(4);
            assert_eq!(u32::from_le_bytes(checksum.try_into().unwrap()), masked_crc(message));
            found.push(message.to_vec());
            bytes = rest;
        }
        found
    }

    #[test]
    fn checksums_are_the_published_ones() {
        // RFC 3720, appendix B.4: 32 bytes of zeros, and of ones.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c::crc32c(&[0xff; 32]), 0x62a8_ab43);
        // The first 12 bytes of every event file that TensorFlow starts: a version event of 24 bytes.
        assert_eq!(record(&[0; 24])[..12], [0x18, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22]);
    }

    #[test]
    fn messages_have_the_wire_format_of_their_fields() {
        assert_eq!(proto::file_version(1.0, "brain.Event:2"), b"\x09\0\0\0\0\0\0\xf0\x3f\x1a\x0dbrain.Event:2");
        assert_eq!(proto::session_start(1.0, 300), b"\x09\0\0\0\0\0\0\xf0\x3f\x10\xac\x02\x3a\x02\x08\x01");
        assert_eq!(
            proto::scalars(1.0, 1, &[("loss", 2.0), ("lr", -0.5)]),
            b"\x09\0\0\0\0\0\0\xf0\x3f\x10\x01\x2a\x18\x0a\x0b\x0a\x04loss\x15\0\0\0\x40\x0a\x09\x0a\x02lr\x15\0\0\0\xbf"
        );
    }

    #[test]
    fn files_start_with_their_version_and_sort_in_the_order_they_were_made() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = EventWriter::create(folder.path(), None).unwrap();
        first.scalars(0, &[("loss", 1.5)]).unwrap();
        let second = EventWriter::create(folder.path(), Some(7)).unwrap();
        assert!(second.path() > first.path());
        for (writer, count) in [(&first, 2), (&second, 2)] {
            let found = messages(&fs::read(writer.path()).unwrap());
            assert_eq!(found.len(), count);
            assert!(found[0].ends_with(b"brain.Event:2"));
        }
    }
}
