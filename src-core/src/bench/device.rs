//! The sequence of a measurement: checks, the roof, then steps and kernels of a small model and of a larger one, within the
//! time budget.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::engine::EngineError;
use crate::gpu::{Gpu, GpuError};
use crate::kernels::check;
use crate::model::{CacheFormat, Config, ConfigError, Model, Parameters};
use crate::train::memory::step_memory;
use crate::train::trainer::Arithmetic;
use crate::weights::Format;

use super::cases::{GROUPS, Sizes};
use super::clock::{gpu_seconds, median};
use super::document::{Checked, Document, KernelRow, StepRow};
use super::peak::{self, MatrixRoof, Roof};
use super::steps::{Decoding, Training, prefill_seconds, prompt};
use super::work::Work;

/// What to do, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// Small checks, a small model only, no tuning.
    pub quick: bool,
    /// When this is used up, the rest is left out.
    pub budget: Duration,
    /// The folder of the autotuner's choices; `None` uses the built-in ones.
    pub autotune: Option<PathBuf>,
}

/// A measurement in progress.
pub struct DeviceBench<'a> {
    gpu: &'a Gpu,
    options: &'a Options,
    start: Instant,
    say: &'a mut dyn FnMut(&str),
    document: Document,
}

/// A model that is measured.
struct Measured {
    name: &'static str,
    sizes: Sizes,
    prompt: usize,
    decoded: usize,
}

/// Batch sizes of decoding.
const BATCHES: [usize; 3] = [1, 8, 32];

/// A kernel that would take longer than this number of seconds, at a quarter of the roof, is left out.
const LONGEST_CALL: f64 = 0.25;

impl<'a> DeviceBench<'a> {
    /// A measurement of `gpu` on the day `date`; `say` receives a line at the beginning of each part.
    pub fn new(gpu: &'a Gpu, options: &'a Options, date: &str, say: &'a mut dyn FnMut(&str)) -> Self {
        Self { gpu, options, start: Instant::now(), say, document: Document::new(gpu, date, options.quick) }
    }

    /// Runs everything. Failures of the device are recorded in the document: they are just what is of interest.
    pub fn run(mut self) -> Document {
        self.check();
        match self.roof() {
            Ok(roof) => {
                self.document.roof = Some(roof.clone());
                self.measure(&roof);
            }
            Err(error) => self.skip(format!("the roof, and with it all that is measured: {error}")),
        }
        self.document.seconds = self.start.elapsed().as_secs_f64();
        self.document
    }

    fn left(&self) -> f64 {
        self.options.budget.saturating_sub(self.start.elapsed()).as_secs_f64()
    }

    fn skip(&mut self, sentence: String) {
        // Drivers' messages may have many lines.
        let sentence = sentence.split_whitespace().collect::<Vec<_>>().join(" ");
        (self.say)(&format!("left out: {sentence}"));
        self.document.skipped.push(sentence);
    }

    /// Compares every kernel with its twin, before the autotuner may choose among them.
    fn check(&mut self) {
        let checks = check::all();
        let count = checks.len();
        let mut shortened = false;
        for (index, check) in checks.into_iter().enumerate() {
            (self.say)(&format!("check {} of {count}: {}", index + 1, check.name));
            // Checks always run; after a third of the time, without the shapes of real models, whose twins are slow.
            let realistic = !self.options.quick && self.left() > self.options.budget.as_secs_f64() * 2.0 / 3.0;
            shortened |= !realistic && !self.options.quick;
            let checked = Checked::from(check.name, check.run(self.gpu, realistic));
            if !checked.passed {
                (self.say)(&format!("{} FAILED", check.name));
                self.document.checks_failed += 1;
            }
            self.document.checks.push(checked);
        }
        if shortened {
            self.skip("the realistic shapes of some checks, for lack of time".into());
        }
        if let Some(folder) = &self.options.autotune {
            self.gpu.autotune_in(folder);
        }
    }

    fn roof(&mut self) -> Result<Roof, GpuError> {
        (self.say)("roof: memory");
        // Larger than the caches of most adapters, but not all of a small one's memory.
        let wanted = if self.options.quick || self.gpu.capabilities().cpu { 64 << 20 } else { 256 << 20 };
        let wanted = self.gpu.adapter_memory().map_or(wanted, |memory| wanted.min(memory / 8));
        let (copy, read, buffer_bytes) = peak::memory(self.gpu, wanted)?;
        (self.say)("roof: arithmetic");
        let f32_fma = peak::fma(self.gpu, false)?;
        let f16_fma = if self.gpu.capabilities().f16 { Some(peak::fma(self.gpu, true)?) } else { None };
        let matrix = match self.matrix_units() {
            Ok(matrix) => matrix,
            Err(error) => {
                self.skip(format!("matrix units: {error}"));
                Vec::new()
            }
        };
        Ok(Roof { copy, read, buffer_bytes, f32_fma, f16_fma, matrix })
    }

    fn matrix_units(&mut self) -> Result<Vec<MatrixRoof>, GpuError> {
        let capabilities = self.gpu.capabilities();
        if capabilities.matrices.sides().next().is_none() || !capabilities.f16 || capabilities.subgroups.is_none() {
            return Ok(Vec::new());
        }
        (self.say)("roof: matrix units");
        capabilities.matrices.sides().map(|side| Ok(MatrixRoof { side, flops: peak::matrix(self.gpu, side)? })).collect()
    }

    fn measure(&mut self, roof: &Roof) {
        let quick = self.options.quick;
        let mut models = vec![measured("d4", 4, if quick { (1, 256, 4096) } else { (4, 512, 4096) }, quick)];
        if !quick {
            models.push(measured("d12", 12, (1, 2048, 32_768), quick));
        }
        // Operations per second of the previous training step, which predict the time of the next.
        let mut rate = None;
        for model in models {
            let model = match model {
                Ok(model) => model,
                Err(error) => {
                    self.skip(error.to_string());
                    continue;
                }
            };
            match self.train(&model, roof, rate) {
                Ok(measured) => rate = measured.or(rate),
                Err(error) => self.skip(format!("a training step of {}: {error}", model.name)),
            }
            if let Err(error) = self.infer(&model, roof, rate) {
                self.skip(format!("the rest of prefill and decoding with {}: {error}", model.name));
            }
            self.kernels(&model, roof);
        }
    }

    fn kernels(&mut self, model: &Measured, roof: &Roof) {
        let repeats = if self.options.quick { 3 } else { 7 };
        let mut slow = Vec::new();
        for (index, group) in GROUPS.iter().enumerate() {
            if self.left() <= 0.0 {
                self.skip(format!("{} of {} groups of kernels at {}, for lack of time", GROUPS.len() - index, GROUPS.len(), model.name));
                break;
            }
            (self.say)(&format!("kernels of {}, group {} of {}", model.name, index + 1, GROUPS.len()));
            let cases = match group(self.gpu, &model.sizes) {
                Ok(cases) => cases,
                Err(error) => {
                    self.skip(format!("a group of kernels at {}: {error}", model.name));
                    continue;
                }
            };
            for case in cases {
                if 4.0 * case.work.seconds(roof) > LONGEST_CALL {
                    slow.push(format!("{} {}", case.kernel, case.shape));
                    continue;
                }
                match case.record(self.gpu).and_then(|recording| gpu_seconds(self.gpu, &recording, repeats).map(median)) {
                    Ok(seconds) => self.document.kernels.push(KernelRow {
                        model: model.name,
                        kernel: case.kernel,
                        shape: case.shape,
                        seconds,
                        bytes_per_second: case.work.bytes / seconds,
                        flops_per_second: case.work.flops / seconds,
                        bound: case.work.bound(roof),
                        share: case.work.seconds(roof) / seconds,
                    }),
                    Err(error) => self.skip(format!("{} at {}: {error}", case.kernel, model.name)),
                }
            }
        }
        if !slow.is_empty() {
            self.skip(format!("kernels at {} that would take too long here: {}", model.name, slow.join(", ")));
        }
    }

    /// A training step of one batch. Returns operations per second.
    fn train(&mut self, model: &Measured, roof: &Roof, rate: Option<f64>) -> Result<Option<f64>, GpuError> {
        let Measured { name, sizes, .. } = model;
        let (config, batch, tokens) = (&sizes.config, sizes.batch, sizes.tokens());
        let flops = (config.flops_per_token() * tokens as u64) as f64;
        // Initialising the weights, tuning and the first step take as long as some more steps.
        if !self.affords(&format!("a training step of {name}"), flops, rate, 5.0) {
            return Ok(None);
        }
        let needed = step_memory(self.gpu, config, batch, Arithmetic::default())?.total();
        if self.gpu.adapter_memory().is_some_and(|memory| needed > memory / 10 * 9) {
            self.skip(format!("a training step of {name}: it needs {} MiB of memory", needed >> 20));
            return Ok(None);
        }
        (self.say)(&format!("training step of {name}"));
        let mut training = Training::new(self.gpu, config, batch, Arithmetic::default())?;
        training.step()?;
        let mut seconds = vec![training.step()?];
        while seconds.len() < 7 && seconds[0] < self.left() / 4.0 {
            seconds.push(training.step()?);
        }
        let seconds = median(seconds);
        let work = Work { flops, bytes: 0.0 };
        self.step("train", model, (batch, tokens, config.sequence_len), seconds, work, roof);
        Ok(Some(flops / seconds))
    }

    /// Prefill, and decoding with each number of rows.
    fn infer(&mut self, model: &Measured, roof: &Roof, rate: Option<f64>) -> Result<(), EngineError> {
        let Measured { name, sizes, prompt: length, decoded } = model;
        let config = &sizes.config;
        let flops = config.prefill_flops(*length) as f64;
        if !self.affords(&format!("prefill and decoding with {name}"), flops, rate, 12.0) {
            return Ok(());
        }
        (self.say)(&format!("prefill with {name}"));
        let parameters = Parameters::frozen(self.gpu, config, Format::F32)?;
        parameters.initialise(self.gpu, config, 42);
        let weights = Model::new(self.gpu, config, parameters)?;
        let prompt = prompt(*length, config.vocab_size);
        let seconds = prefill_seconds(self.gpu, &weights, CacheFormat::F32, &prompt, if self.options.quick { 3 } else { 5 })?;
        let read = config.weight_bytes(Format::F32).read as f64;
        self.step("prefill", model, (1, *length, *length), seconds, Work { flops, bytes: read }, roof);
        for rows in BATCHES {
            if self.left() <= 0.0 {
                self.skip(format!("decoding {rows} rows with {name}, for lack of time"));
                continue;
            }
            (self.say)(&format!("decoding {rows} rows with {name}"));
            let mut decoding = Decoding::new(self.gpu, &weights, CacheFormat::F32, rows, &prompt, *decoded, 0.0)?;
            let seconds = decoding.step_seconds(*decoded)?;
            let context = length + decoded / 2;
            let work = Work {
                flops: rows as f64 * config.decode_flops(context) as f64,
                bytes: read + rows as f64 * config.cache_read_bytes(context, CacheFormat::F32) as f64,
            };
            self.step("decode", model, (rows, rows, context), seconds, work, roof);
        }
        Ok(())
    }

    /// Whether there is time for `times` times the `flops` at a known `rate`; records it if not.
    fn affords(&mut self, what: &str, flops: f64, rate: Option<f64>, times: f64) -> bool {
        let left = self.left();
        if left <= 0.0 {
            self.skip(format!("{what}, for lack of time"));
            return false;
        }
        match rate.map(|rate| flops / rate) {
            Some(seconds) if times * seconds > left => {
                self.skip(format!("{what}: one takes about {seconds:.1} s here, and {left:.0} s are left"));
                false
            }
            _ => true,
        }
    }

    fn step(
        &mut self,
        step: &'static str,
        model: &Measured,
        (batch, tokens, context): (usize, usize, usize),
        seconds: f64,
        work: Work,
        roof: &Roof,
    ) {
        self.document.steps.push(StepRow {
            step,
            model: model.name,
            batch,
            tokens,
            context,
            seconds,
            tokens_per_second: tokens as f64 / seconds,
            flops_per_second: work.flops / seconds,
            bound: work.bound(roof),
            share: work.seconds(roof) / seconds,
        });
    }
}

fn measured(name: &'static str, depth: usize, (batch, seq, vocab): (usize, usize, usize), quick: bool) -> Result<Measured, ConfigError> {
    let config = Config::from_depth(depth, 64, 128, seq, vocab, "SSSL")?;
    let (prompt, decoded) = if quick { (64, 8) } else { (256, 64) };
    Ok(Measured { name, sizes: Sizes { config, batch }, prompt, decoded })
}
