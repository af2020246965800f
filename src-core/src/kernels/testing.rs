//! What the kernels' tests share: one device, random tensors, and the comparison with a twin.

use std::sync::OnceLock;

use crate::gpu::{DType, Gpu, Memory, Recorder, Tensor};
use proptest::test_runner::Config;

use crate::weights::{Format, Matrix, Order};

use super::check::data::error_beside;
pub use super::check::data::{add, random, sizes, wide};

use super::kv_cache::{self, CacheFormat};
use super::weight::Weight;

/// A device with helper methods for tests.
pub struct Bench {
    gpu: Gpu,
}

impl Bench {
    /// The device that all tests of a process share.
    pub fn new() -> Self {
        static GPU: OnceLock<Gpu> = OnceLock::new();
        Self { gpu: GPU.get_or_init(|| Gpu::open(std::env::var("NC_ADAPTER").ok().as_deref()).expect("a GPU")).clone() }
    }

    /// Property tests with this many cases, and no regression files.
    pub fn cases(cases: u32) -> Config {
        Config { cases, failure_persistence: None, ..Config::default() }
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// An f32 tensor that holds `data`.
    pub fn tensor(&self, shape: &[usize], data: &[f32]) -> Tensor {
        self.gpu.upload("test", shape, DType::F32, Memory::Workspace, data).unwrap()
    }

    /// A weight of `rows` rows in `format`, row after row, and the floats that it stands for.
    pub fn weight(&self, values: &[f32], rows: usize, format: Format) -> (Weight, Vec<f32>) {
        let matrix = Matrix::new(values.to_vec(), rows, values.len() / rows, format).unwrap();
        let weight = Weight::holding(&self.gpu, "test", &matrix, Order::Rows).unwrap();
        (weight, matrix.to_f32())
    }

    /// A KV cache in `format` that holds `numbers`, rounded; the last axis of `shape` counts them.
    pub fn cache(&self, shape: &[usize], numbers: &[f32], format: CacheFormat) -> Tensor {
        let mut shape = shape.to_vec();
        shape.last_mut().into_iter().for_each(|last| *last = format.elements(*last));
        let elements = kv_cache::twin::elements(numbers, format);
        self.gpu.upload("test", &shape, format.dtype(), Memory::Workspace, &elements).unwrap()
    }

    /// The numbers in a KV cache in `format`.
    pub fn cached(&self, tensor: &Tensor, format: CacheFormat) -> Vec<f32> {
        kv_cache::twin::numbers(&self.gpu.read::<u32>(tensor).unwrap(), format)
    }

    /// A tensor of token ids.
    pub fn ids(&self, shape: &[usize], data: &[i32]) -> Tensor {
        self.gpu.upload("test", shape, DType::I32, Memory::Workspace, data).unwrap()
    }

    /// An f32 tensor full of NaN, so that unwritten elements show.
    pub fn empty(&self, shape: &[usize]) -> Tensor {
        self.tensor(shape, &vec![f32::NAN; shape.iter().product()])
    }

    /// A u32 for [`Now::halt`](super::step::Now::halt).
    pub fn halt(&self, halt: bool) -> Tensor {
        self.gpu.upload("halt", &[1], DType::U32, Memory::Workspace, &[u32::from(halt)]).unwrap()
    }

    /// Records and runs.
    pub fn run(&self, record: impl FnOnce(&mut Recorder)) {
        let mut rec = Recorder::new(&self.gpu);
        record(&mut rec);
        rec.finish().unwrap().run();
        self.gpu.wait().unwrap();
    }

    /// The tensor's values.
    pub fn values(&self, tensor: &Tensor) -> Vec<f32> {
        self.gpu.read(tensor).unwrap()
    }

    /// Asserts ‖got − want‖ ≤ bar · ‖want‖.
    pub fn close(&self, got: &Tensor, want: &[f64], bar: f64) {
        let got = self.values(got);
        assert_eq!(got.len(), want.len());
        let error = relative_error(&got, want);
        assert!(error <= bar, "relative error {error:.2e} > {bar:.0e}");
    }

    /// Asserts |got − want| ≤ bar · (1 + size) for every element: `size` is that of the terms of a sum, from [`sizes`].
    pub fn close_sum(&self, got: &Tensor, want: &[f64], size: f64, bar: f64) {
        let got = self.values(got);
        assert_eq!(got.len(), want.len());
        let error = got.iter().zip(want).map(|(&got, want)| (f64::from(got) - want).abs() / (1.0 + size));
        // Not a maximum, which would ignore NaN.
        error.for_each(|error| assert!(error <= bar, "error of a sum {error:.2e} > {bar:.0e}"));
    }
}

/// ‖got − want‖ / ‖want‖; infinite for NaN and for a difference from zero.
pub fn relative_error(got: &[f32], want: &[f64]) -> f64 {
    error_beside(got, want, 0.0)
}

/// Asserts that `gradient` is that of `Σ g · forward(x)` with respect to x, by central differences: a check of twins.
pub fn assert_slopes(x: &[f64], g: &[f64], gradient: &[f64], forward: impl Fn(&[f64]) -> Vec<f64>) {
    const STEP: f64 = 1e-5;
    let loss = |x: &[f64]| forward(x).iter().zip(g).map(|(y, g)| y * g).sum::<f64>();
    assert_eq!(x.len(), gradient.len());
    for (i, &gradient) in gradient.iter().enumerate() {
        let mut moved = x.to_vec();
        moved[i] = x[i] + STEP;
        let above = loss(&moved);
        moved[i] = x[i] - STEP;
        let slope = (above - loss(&moved)) / (2.0 * STEP);
        assert!((slope - gradient).abs() <= 1e-7 * (1.0 + slope.abs()), "element {i}: slope {slope}, gradient {gradient}");
    }
}
