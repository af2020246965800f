//! A weight on the GPU: a matrix in one of the formats of [`weights`](crate::weights), in the order that suits the adapter.
//! Products and embeddings read it through `shaders/shared/weights.wgsl`.

use crate::gpu::{Capabilities, DType, Gpu, GpuError, Memory, Tensor, Value};
use crate::weights::{Format, Matrix, Order, Storage};

/// Groups of four rows of a weight that a lane of a CPU adapter holds.
pub(super) const PANEL_QUADS: u32 = 2;

/// A matrix `[rows, columns]` in GPU memory. Clones share the memory.
#[derive(Clone, Debug)]
pub struct Weight {
    storage: Storage,
    rows: usize,
    columns: usize,
    words: Tensor,
}

/// The order of a weight `[rows, columns]` of a product: panels on CPU adapters, where its sizes allow.
pub fn product_order(capabilities: Capabilities, rows: usize, columns: usize) -> Order {
    match capabilities.cpu_subgroup() {
        Some(lanes) if rows.is_multiple_of(4) && columns.is_multiple_of(4) => Order::Panels((4 * PANEL_QUADS * lanes) as usize),
        _ => Order::Rows,
    }
}

impl Weight {
    /// A tensor of floats `[rows, …]` as a weight.
    pub fn plain(values: &Tensor) -> Self {
        let rows = values.shape()[0];
        Self { storage: Storage::PLAIN, rows, columns: values.len() / rows, words: values.clone() }
    }

    /// Memory for a weight of zeros.
    ///
    /// # Errors
    /// If it exceeds the adapter's binding limit, or memory runs out.
    pub fn zeros(gpu: &Gpu, label: &str, storage: Storage, rows: usize, columns: usize) -> Result<Self, GpuError> {
        let words = gpu.zeros(label, &storage.shape(rows, columns), Self::dtype(storage.format), Memory::Weights)?;
        Ok(Self { storage, rows, columns, words })
    }

    /// A weight that holds `matrix`, in its format and this order.
    ///
    /// # Errors
    /// As [`zeros`](Self::zeros).
    pub fn holding(gpu: &Gpu, label: &str, matrix: &Matrix, order: Order) -> Result<Self, GpuError> {
        let weight = Self::zeros(gpu, label, Storage { format: matrix.format(), order }, matrix.rows, matrix.columns)?;
        weight.write(gpu, matrix);
        Ok(weight)
    }

    /// A weight in `words`, which has the shape of `storage`.
    pub(crate) fn in_words(words: Tensor, storage: Storage, rows: usize, columns: usize) -> Self {
        assert_eq!(words.shape(), storage.shape(rows, columns), "a weight [{rows}, {columns}], {storage:?}");
        Self { storage, rows, columns, words }
    }

    /// The element type of its buffer: what bindings declare.
    pub(crate) fn dtype(format: Format) -> DType {
        if format == Format::F32 { DType::F32 } else { DType::U32 }
    }

    /// Replaces its values. `matrix` has its format.
    pub fn write(&self, gpu: &Gpu, matrix: &Matrix) {
        assert_eq!([matrix.rows, matrix.columns], [self.rows, self.columns]);
        gpu.write(&self.words, self.storage.arrange(matrix).as_ref());
    }

    /// Its format and order.
    pub fn storage(&self) -> Storage {
        self.storage
    }

    /// Its format.
    pub fn format(&self) -> Format {
        self.storage.format
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Weights of a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Its buffer.
    pub fn words(&self) -> &Tensor {
        &self.words
    }

    /// `parts` as one weight along their rows, if they are contiguous in the same memory.
    pub fn joined(parts: &[&Weight]) -> Option<Weight> {
        let first = parts.first()?;
        let alike = parts.iter().all(|part| part.storage == first.storage && part.columns == first.columns);
        let whole = |part: &&&Weight| match part.storage.order {
            Order::Rows => true,
            Order::Panels(panel) => part.rows.is_multiple_of(panel),
        };
        if !alike || !parts[..parts.len() - 1].iter().all(|part| whole(&part)) {
            return None;
        }
        let words = Tensor::joined(&parts.iter().map(|part| &part.words).collect::<Vec<_>>())?;
        Some(Weight { rows: parts.iter().map(|part| part.rows).sum(), words, ..(*first).clone() })
    }
}

/// The value `format` of templates that read a weight.
pub(super) fn in_format(format: Format) -> (&'static str, Value) {
    ("format", format.word().into())
}
