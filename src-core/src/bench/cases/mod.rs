//! Kernels at the sizes of a model: what to record, and its work for the roofline.

mod attention;
mod products;
mod rows;
mod updates;

use crate::gpu::{DType, Gpu, GpuError, Memory, Recorder, Recording, Tensor};
use crate::kernels::cross_entropy;
use crate::model::Config;

use super::work::Work;

/// A kernel, or a pair of kernels that always run together, at one size.
pub struct Case {
    /// The kernel's module and pass.
    pub kernel: &'static str,
    /// The sizes, as text.
    pub shape: String,
    /// Its least work.
    pub work: Work,
    record: Box<dyn Fn(&mut Recorder)>,
}

impl Case {
    fn new(kernel: &'static str, shape: impl Into<String>, work: Work, record: impl Fn(&mut Recorder) + 'static) -> Self {
        Self { kernel, shape: shape.into(), work, record: Box::new(record) }
    }

    /// The kernel recorded once.
    ///
    /// # Errors
    /// If the device rejects the shader or has no memory left.
    pub fn record(&self, gpu: &Gpu) -> Result<Recording, GpuError> {
        let mut rec = Recorder::new(gpu);
        (self.record)(&mut rec);
        rec.finish()
    }
}

/// The sizes of a model in training and in use.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// Its configuration.
    pub config: Config,
    /// B: rows per batch.
    pub batch: usize,
}

impl Sizes {
    /// N: tokens per batch.
    pub fn tokens(&self) -> usize {
        self.batch * self.config.sequence_len
    }

    fn channels(&self) -> usize {
        self.config.n_embd
    }

    /// Elements of the residual stream.
    fn stream(&self) -> usize {
        self.tokens() * self.channels()
    }

    /// Rows of a chunk of logits for these cases.
    fn chunk(&self) -> cross_entropy::Chunk {
        let rows = self.tokens().min(512);
        cross_entropy::Chunk { first: 0, rows, vocab: self.config.vocab_size, cap: self.config.architecture.softcap }
    }
}

/// Creates the cases of some kernels. They are created one group at a time, so that only one group's tensors exist.
pub type Group = fn(&Gpu, &Sizes) -> Result<Vec<Case>, GpuError>;

/// All groups, the most important first.
pub const GROUPS: &[Group] = &[
    products::of_training,
    attention::of_training,
    products::of_decoding,
    attention::of_decoding,
    products::of_the_head,
    rows::of_the_stream,
    rows::of_heads,
    rows::of_tables,
    updates::of_optimizers,
    updates::of_sums,
];

/// An f32 tensor of small pseudo-random numbers.
fn filled(gpu: &Gpu, shape: &[usize]) -> Result<Tensor, GpuError> {
    gpu.upload("case", shape, DType::F32, Memory::Workspace, &filled_values(shape.iter().product()))
}

fn filled_values(len: usize) -> Vec<f32> {
    let scattered = |i: u32| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0;
    (0..len as u32).map(scattered).collect()
}

/// N tensors of one shape.
fn filled_all<const N: usize>(gpu: &Gpu, shape: &[usize]) -> Result<[Tensor; N], GpuError> {
    let tensors = (0..N).map(|_| filled(gpu, shape)).collect::<Result<Vec<_>, _>>()?;
    Ok(tensors.try_into().unwrap_or_else(|_| unreachable!("N tensors")))
}

/// Pseudo-random token ids.
fn ids(rows: usize, vocab: usize) -> Vec<i32> {
    (0..rows as u64).map(|i| ((i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) % vocab as u64) as i32).collect()
}

fn upload_ids(gpu: &Gpu, ids: &[i32]) -> Result<Tensor, GpuError> {
    gpu.upload("ids", &[ids.len()], DType::I32, Memory::Workspace, ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::check;
    use crate::kernels::testing::Bench;

    /// Every case can be recorded and run, and together they cover every kernel that has a check.
    #[test]
    fn every_kernel_has_a_case_that_runs() {
        let gpu = Bench::new().gpu().clone();
        let config = Config::from_depth(2, 64, 128, 64, 300, "SL").unwrap();
        let sizes = Sizes { config, batch: 2 };
        let mut seen = std::collections::BTreeSet::new();
        for group in GROUPS {
            for case in group(&gpu, &sizes).unwrap() {
                case.record(&gpu).unwrap().run();
                gpu.wait().unwrap();
                assert!(case.work.bytes > 0.0 && !case.shape.is_empty(), "{}", case.kernel);
                seen.insert(case.kernel.split(' ').next().unwrap_or_default().to_owned());
            }
        }
        let checked: std::collections::BTreeSet<String> = check::all().iter().map(|check| check.name.to_owned()).collect();
        assert_eq!(seen, checked);
    }
}
