//! nanochat's `.pt` files as imported tensors.

use std::path::Path;

use super::ImportError;
use super::assembled::ForeignTensors;
use crate::checkpoint::{Sink, StreamError, TensorSpec};
use crate::files::shown::short;
use crate::interchange::torch::{TorchDtype, TorchError, TorchFile, TorchTensor};
use crate::weights::Format;

/// The types of weights.
const FLOATS: [TorchDtype; 3] = [TorchDtype::F32, TorchDtype::BF16, TorchDtype::F16];

impl ForeignTensors for TorchFile {
    fn path(&self) -> &Path {
        TorchFile::path(self)
    }

    fn specs(&self) -> Vec<TensorSpec> {
        let format = |dtype| match dtype {
            TorchDtype::BF16 => Format::Bf16,
            TorchDtype::F16 => Format::F16,
            _ => Format::F32,
        };
        let spec = |tensor: &TorchTensor| TensorSpec { format: format(tensor.dtype), ..TensorSpec::plain(&tensor.name, &tensor.shape[..]) };
        self.tensors().iter().map(spec).collect()
    }

    fn stream(&mut self, index: usize, sink: &mut Sink<'_>) -> Result<(), StreamError> {
        TorchFile::stream(self, index, sink).map_err(|error| match error {
            TorchError::Sink(error) => StreamError::Sink(error),
            error => StreamError::Source(Box::new(error)),
        })
    }
}

/// Opens a checkpoint's weights. A tensor without floats is rejected now, not in the middle of writing.
pub(super) fn open(path: &Path) -> Result<Box<dyn ForeignTensors>, ImportError> {
    let file = TorchFile::open(path)?;
    if let Some(tensor) = file.tensors().iter().find(|tensor| !FLOATS.contains(&tensor.dtype)) {
        let (name, dtype) = (short(&tensor.name), tensor.dtype);
        return Err(ImportError::refused(
            path,
            format!("holds tensor {name} in {dtype}; weights are in {}, {} or {}", FLOATS[0], FLOATS[1], FLOATS[2]),
        ));
    }
    Ok(Box::new(file))
}
