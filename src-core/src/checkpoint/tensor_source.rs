//! Sources of the tensors of a checkpoint. They are requested one at a time, so that those of a GPU are read back
//! one at a time and the model is never in memory twice; a source that reads a file streams pieces, so that
//! not even one tensor need be in memory as a whole.

use std::borrow::Cow;
use std::io::{self, Write};

use super::header::TensorSpec;
use super::stored::{EncodeError, Encoder};
use crate::files::shown::short;
use crate::weights::OutOfRange;

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

/// Why tensors could not be written.
pub(crate) enum WriteError {
    /// The source failed, or provided another number of elements than it announced.
    Source { name: String, source: SourceError },
    /// A value is too large for its format.
    Range { name: String, source: OutOfRange },
    /// The file could not be written.
    Io(std::io::Error),
}

/// Writes a safetensors file: `header` as built from `specs`, then each tensor of `source`.
pub(crate) fn write(out: &mut impl Write, header: &[u8], specs: &[TensorSpec], source: &mut dyn TensorSource) -> Result<(), WriteError> {
    out.write_all(header).map_err(WriteError::Io)?;
    for (index, spec) in specs.iter().enumerate() {
        let failed = |source| WriteError::Source { name: short(&spec.name), source };
        let unwritten = |error| match error {
            EncodeError::Range(source) => WriteError::Range { name: short(&spec.name), source },
            EncodeError::Io(error) => WriteError::Io(error),
        };
        let mut encoder = Encoder::new(spec.format);
        let mut refused = None;
        let mut sink = |piece: &[f32]| {
            encoder.push(piece, out).map_err(|error| {
                refused = Some(error);
                io::ErrorKind::Other.into()
            })
        };
        let streamed = source.stream(index, &mut sink);
        if let Some(error) = refused {
            return Err(unwritten(error));
        }
        streamed.map_err(|error| match error {
            StreamError::Source(source) => failed(source),
            StreamError::Sink(error) => WriteError::Io(error),
        })?;
        let elements = encoder.finish(out).map_err(unwritten)?;
        if Some(elements) != spec.elements() {
            return Err(failed(format!("it has {elements} elements, but its shape is {:?}", spec.shape).into()));
        }
    }
    Ok(())
}
