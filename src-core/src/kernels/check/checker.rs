//! Helpers for checks: tensors on the device, and comparisons that are recorded instead of asserted.

use super::Comparison;
use super::data;
use crate::gpu::{DType, Gpu, GpuError, Memory, Recorder, Tensor};
use crate::kernels::kv_cache::{self, CacheFormat};
use crate::kernels::weight::Weight;
use crate::weights::{Format, Matrix, Order};

/// How much larger an error may be here than in the kernels' tests, whose bars were measured on drivers with accurate
/// built-in functions: Vulkan lets exp, sqrt and division be off by several units in the last place.
const SLACK: f64 = 4.0;

/// A device with helper methods, and the comparisons made so far.
pub struct Checker<'a> {
    gpu: &'a Gpu,
    realistic: bool,
    seed: u64,
    shape: String,
    comparisons: Vec<Comparison>,
}

impl<'a> Checker<'a> {
    /// Checks on `gpu`; with `realistic`, also of the shapes of a real model.
    pub fn new(gpu: &'a Gpu, realistic: bool) -> Self {
        Self { gpu, realistic, seed: 1, shape: String::new(), comparisons: Vec::new() }
    }

    /// The device.
    pub fn gpu(&self) -> &'a Gpu {
        self.gpu
    }

    /// The comparisons that were made.
    pub fn finish(self) -> Vec<Comparison> {
        self.comparisons
    }

    /// The small shapes and those at edges, and the realistic one if requested.
    pub fn shapes<T: Clone>(&self, small: &[T], realistic: T) -> Vec<T> {
        small.iter().cloned().chain(self.realistic.then_some(realistic)).collect()
    }

    /// Sets the shape that the next comparisons report.
    pub fn of(&mut self, shape: impl Into<String>) {
        self.shape = shape.into();
    }

    /// N rows of `len` numbers in (−span, span), different each time.
    pub fn random<const N: usize>(&mut self, len: usize, span: f32) -> [Vec<f32>; N] {
        std::array::from_fn(|_| {
            self.seed += 1;
            data::random(self.seed, len, span)
        })
    }

    /// An f32 tensor that holds `data`.
    pub fn tensor(&self, shape: &[usize], data: &[f32]) -> Result<Tensor, GpuError> {
        self.gpu.upload("check", shape, DType::F32, Memory::Workspace, data)
    }

    /// f32 tensors of one shape.
    pub fn tensors<const N: usize>(&self, shape: &[usize], data: [&[f32]; N]) -> Result<[Tensor; N], GpuError> {
        let tensors = data.into_iter().map(|data| self.tensor(shape, data)).collect::<Result<Vec<_>, _>>()?;
        Ok(tensors.try_into().unwrap_or_else(|_| unreachable!("as many tensors as data")))
    }

    /// A weight of `rows` rows in `format`, or in f32 where rows do not fill its blocks, and the numbers that it stands for.
    pub fn weight(&self, values: &[f32], rows: usize, format: Format, order: Order) -> Result<(Weight, Vec<f64>), GpuError> {
        let columns = values.len() / rows;
        let matrix = Matrix::new(values.to_vec(), rows, columns, format).expect("random numbers are in the range of every format");
        let weight = Weight::holding(self.gpu, "check", &matrix, order)?;
        Ok((weight, data::wide(&matrix.to_f32())))
    }

    /// The same, row after row.
    pub fn table(&self, values: &[f32], rows: usize, format: Format) -> Result<(Weight, Vec<f64>), GpuError> {
        self.weight(values, rows, format, Order::Rows)
    }

    /// A KV cache in `format` that holds `numbers`, rounded; its last axis counts them.
    pub fn cache(&self, shape: &[usize], numbers: &[f32], format: CacheFormat) -> Result<Tensor, GpuError> {
        let mut shape = shape.to_vec();
        shape.last_mut().into_iter().for_each(|last| *last = format.elements(*last));
        self.gpu.upload("check", &shape, format.dtype(), Memory::Workspace, &kv_cache::twin::elements(numbers, format))
    }

    /// A tensor of token ids.
    pub fn ids(&self, data: &[i32]) -> Result<Tensor, GpuError> {
        self.gpu.upload("check", &[data.len()], DType::I32, Memory::Workspace, data)
    }

    /// A tensor of 32-bit words.
    pub fn words(&self, data: &[u32]) -> Result<Tensor, GpuError> {
        self.gpu.upload("check", &[data.len()], DType::U32, Memory::Workspace, data)
    }

    /// An f32 tensor full of NaN, so that unwritten elements show.
    pub fn empty(&self, shape: &[usize]) -> Result<Tensor, GpuError> {
        self.tensor(shape, &vec![f32::NAN; shape.iter().product()])
    }

    /// Records and runs.
    pub fn run(&self, record: impl FnOnce(&mut Recorder)) -> Result<(), GpuError> {
        let mut rec = Recorder::new(self.gpu);
        record(&mut rec);
        rec.finish()?.run();
        self.gpu.wait()
    }

    /// Records ‖got − want‖ / ‖want‖ and its `bar`, that of the kernel's tests.
    pub fn close(&mut self, what: &str, got: &Tensor, want: &[f64], bar: f64) -> Result<(), GpuError> {
        self.close_beside(what, got, want, 0.0, bar)
    }

    /// [`close`](Self::close) for results that may vanish: the norm is at least `floor`.
    pub fn close_beside(&mut self, what: &str, got: &Tensor, want: &[f64], floor: f64, bar: f64) -> Result<(), GpuError> {
        let got: Vec<f32> = self.gpu.read(got)?;
        self.compare(what, data::error_beside(&got, want, floor), bar * SLACK);
        Ok(())
    }

    /// Records the largest |got − want| / (1 + size): `size` is that of the terms of a sum, from [`data::sizes`].
    pub fn close_sum(&mut self, what: &str, got: &Tensor, want: &[f64], size: f64, bar: f64) -> Result<(), GpuError> {
        let got: Vec<f32> = self.gpu.read(got)?;
        let errors = got.iter().zip(want).map(|(&got, want)| (f64::from(got) - want).abs() / (1.0 + size));
        // f64::max would ignore NaN.
        let worst = errors.fold(0.0, |worst, error| if error > worst || error.is_nan() { error } else { worst });
        self.compare(what, if worst.is_nan() { f64::INFINITY } else { worst }, bar * SLACK);
        Ok(())
    }

    /// Records how many of `got` differ from `want`; none may.
    pub fn same<T: PartialEq>(&mut self, what: &str, got: &[T], want: &[T]) {
        let differ = got.iter().zip(want).filter(|(got, want)| got != want).count() + got.len().abs_diff(want.len());
        self.compare(what, differ as f64, 0.0);
    }

    /// Records an error and its limit.
    pub fn compare(&mut self, what: &str, error: f64, bar: f64) {
        self.comparisons.push(Comparison { what: what.to_owned(), shape: self.shape.clone(), error, bar });
    }
}
