//! A typed range of GPU memory with a shape.

use std::sync::Arc;

use super::memory::Entry;

/// Element types that a buffer can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit float.
    F32,
    /// 16-bit float.
    F16,
    /// 32-bit signed integer: token ids, −1 for an ignored target.
    I32,
    /// 32-bit unsigned integer.
    U32,
}

impl DType {
    /// Bytes per element.
    pub fn bytes(self) -> u64 {
        match self {
            DType::F16 => 2,
            DType::F32 | DType::I32 | DType::U32 => 4,
        }
    }
}

/// A tensor in GPU memory, row major and contiguous. Clones share the memory.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub(super) buffer: wgpu::Buffer,
    pub(super) offset: u64,
    shape: Vec<usize>,
    dtype: DType,
    entry: Arc<Entry>,
}

impl Tensor {
    pub(super) fn new(buffer: wgpu::Buffer, shape: &[usize], dtype: DType, entry: Entry) -> Self {
        Self { buffer, offset: 0, shape: shape.to_vec(), dtype, entry: Arc::new(entry) }
    }

    /// Sizes of the axes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        self.len() as u64 * self.dtype.bytes()
    }

    /// The same memory from element `start` on, with another shape. Panics if that is not inside this tensor, or
    /// not aligned to 256 bytes, as bindings require.
    pub fn view(&self, start: usize, shape: &[usize]) -> Tensor {
        let len: usize = shape.iter().product();
        assert!(start + len <= self.len(), "a view of {shape:?} at {start} does not fit {:?}", self.shape);
        let offset = self.offset + start as u64 * self.dtype.bytes();
        assert!(offset.is_multiple_of(256), "a view must be aligned to 256 bytes, not start at byte {offset}");
        Tensor { offset, shape: shape.to_vec(), ..self.clone() }
    }

    /// The same elements under another shape of the same size.
    pub fn reshape(&self, shape: &[usize]) -> Tensor {
        assert_eq!(self.len(), shape.iter().product::<usize>(), "{:?} does not reshape to {shape:?}", self.shape);
        Tensor { shape: shape.to_vec(), ..self.clone() }
    }

    /// `parts` as one tensor along their first axis, if they are contiguous in the same memory.
    pub fn joined(parts: &[&Tensor]) -> Option<Tensor> {
        let first = parts.first()?;
        let mut end = first.offset;
        for part in parts {
            // One entry per buffer, also in a dry run, where all tensors have the same buffer.
            let alike = Arc::ptr_eq(&part.entry, &first.entry) && part.dtype == first.dtype && part.shape[1..] == first.shape[1..];
            if !alike || part.offset != end {
                return None;
            }
            end += part.bytes();
        }
        let mut shape = first.shape.clone();
        shape[0] = parts.iter().map(|part| part.shape[0]).sum();
        Some(Tensor { shape, ..(*first).clone() })
    }

    /// The memory's entry in the ledger, for code that keeps the buffer longer than this tensor.
    pub(super) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    pub(super) fn binding(&self) -> wgpu::BindingResource<'_> {
        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: &self.buffer,
            offset: self.offset,
            size: wgpu::BufferSize::new(self.bytes().next_multiple_of(4)),
        })
    }
}
