//! Reads one text of a page.

use std::io::{self, ErrorKind, Read};

use super::stream::Stream;
use crate::data::format::LONGEST_DOCUMENT;

/// Why a row cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The file cannot be read, or is invalid. For unsupported features, the kind is
    /// [`ErrorKind::Unsupported`].
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A text longer than any document, with its length in bytes.
    #[error("a text has {0} bytes")]
    TooLong(u64),
}

impl Fault {
    /// The texts have an encoding that is not supported.
    pub(super) fn encoding(number: i64) -> Self {
        io::Error::new(ErrorKind::Unsupported, format!("encoding {number}")).into()
    }
}

/// A text preceded by its length.
pub(super) fn read_text(stream: &mut Stream) -> Result<Vec<u8>, Fault> {
    let length = read_length(stream)?;
    read_bytes(stream, 0, length)
}

/// The `length` bytes of a text after its shared `prefix`.
pub(super) fn read_bytes(stream: &mut Stream, prefix: u32, length: u32) -> Result<Vec<u8>, Fault> {
    let whole = u64::from(prefix) + u64::from(length);
    if whole > LONGEST_DOCUMENT {
        return Err(Fault::TooLong(whole));
    }
    Ok(stream.take_bytes(length.into())?)
}

/// The length in front of a text.
pub(super) fn read_length(stream: &mut Stream) -> io::Result<u32> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    Ok(u32::from_le_bytes(length))
}
