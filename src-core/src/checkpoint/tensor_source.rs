//! Sources of the tensors of a checkpoint. They are requested one at a time, so that those of a GPU are read back
//! one at a time and the model is never in memory twice; a source that reads a file streams pieces, so that
//! not even one tensor need be in memory as a whole.

use std::borrow::Cow;
use std::io::{self, Write};

use super::header::TensorSpec;
use super::stored::{EncodeError, Encoder};
use crate::weights::{Format, OutOfRange};

/// Why a source could not provide a tensor.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// Tensors that are fetched one at a time, in order.
pub trait TensorSource {
    /// Names and shapes of all tensors, in the order in which they are fetched.
    fn specs(&self) -> Vec<TensorSpec>;

    /// The elements of tensor `index` of [`specs`](Self::specs), row-major: as many as its shape says.
    fn fetch(&mut self, index: usize) -> Result<Cow<'_, [f32]>, SourceError>;

    /// Streams the same elements to `sink`, in order.
    fn stream(&mut self, index: usize, sink: &mut Sink<'_>) -> Result<(), StreamError> {
        let data = self.fetch(index).map_err(StreamError::Source)?;
        sink(&data).map_err(StreamError::Sink)
    }
}

/// A consumer of the elements of a tensor, piece by piece.
pub type Sink<'a> = dyn FnMut(&[f32]) -> io::Result<()> + 'a;

/// Why streaming a tensor failed.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The source failed.
    #[error(transparent)]
    Source(SourceError),
    /// The consumer failed.
    #[error(transparent)]
    Sink(io::Error),
}

/// A tensor in memory; a slice of them is a [`TensorSource`].
#[derive(Clone, Copy, Debug)]
pub struct TensorRef<'a> {
    /// Unique in its file.
    pub name: &'a str,
    /// Lengths of the axes, outermost first.
    pub shape: &'a [usize],
    /// Elements, row-major.
    pub data: &'a [f32],
}

impl TensorSource for &[TensorRef<'_>] {
    fn specs(&self) -> Vec<TensorSpec> {
        self.iter().map(|tensor| TensorSpec::plain(tensor.name, tensor.shape)).collect()
    }

    fn fetch(&mut self, index: usize) -> Result<Cow<'_, [f32]>, SourceError> {
        Ok(Cow::Borrowed(self[index].data))
    }
}

/// Why a tensor could not be written.
pub(crate) enum WriteError {
    /// The source failed.
    Source(SourceError),
    /// A value is too large for its format.
    Range(OutOfRange),
    /// The file could not be written.
    Io(io::Error),
}

impl From<EncodeError> for WriteError {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::Range(error) => WriteError::Range(error),
            EncodeError::Io(error) => WriteError::Io(error),
        }
    }
}

/// Writes the first `most` elements of tensor `index` of `source` to `out`, in `format`, and returns how many there were.
pub(crate) fn write_tensor(
    out: &mut impl Write,
    source: &mut dyn TensorSource,
    index: usize,
    format: Format,
    most: usize,
) -> Result<usize, WriteError> {
    let mut encoder = Encoder::new(format);
    let mut left = most;
    let mut refused = None;
    let mut sink = |piece: &[f32]| {
        let piece = &piece[..piece.len().min(left)];
        left -= piece.len();
        encoder.push(piece, out).map_err(|error| {
            refused = Some(error);
            io::ErrorKind::Other.into()
        })
    };
    let streamed = source.stream(index, &mut sink);
    if let Some(error) = refused {
        return Err(error.into());
    }
    streamed.map_err(|error| match error {
        StreamError::Source(error) => WriteError::Source(error),
        StreamError::Sink(error) => WriteError::Io(error),
    })?;
    Ok(encoder.finish(out)?)
}
