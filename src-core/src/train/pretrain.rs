//! Pretraining: the loop.
//!
//! In the order of the reference's loop, before each step: validation, samples, a checkpoint; then the step. A step's
//! losses are waited for only after the next step is submitted, so that the GPU never stands still for a log line.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::json;

use crate::checkpoint::home::Home;
use crate::checkpoint::{self, Run, RunLock, Snapshot};
use crate::data::loader::{Batch, Loader, LoaderState};
use crate::data::prefetch::{self, Prefetcher};
use crate::data::{DataSet, Split};
use crate::engine::{GenerateOptions, Generator};
use crate::eval::bits_per_byte::BitsPerByte;
use crate::gpu::{Gpu, GpuError};
use crate::model::params::check_fits;
use crate::optim::{OptimizerConfig, Schedule};
use crate::tokenizer::Tokenizer;

use super::metrics::MetricsLog;
use super::options::RunConfig;
use super::state::TrainState;
use super::tensorboard::EventWriter;
use super::tensors::GpuTensors;
use super::trainer::{PendingLoss, Trainer};
use super::{Event, StepReport, TrainError};

/// What samples begin with.
const PROMPTS: [&str; 4] = ["The capital of", "In the beginning", "It was a", "The people of the United States"];

/// Tokens that a sample is continued by.
const SAMPLE_TOKENS: usize = 24;

/// Decay of the smoothed loss.
const SMOOTHING: f64 = 0.9;

/// Validation batches are kept from one validation to the next up to this many tokens.
const KEPT_EVAL_TOKENS: u64 = 1 << 22;

/// How a run begins.
#[derive(Clone, Debug)]
pub enum Start {
    /// With freshly initialised weights, in a new run.
    Fresh(RunConfig),
    /// With the newest weights of the named run, in a new run.
    From(RunConfig, String),
    /// Where the newest whole checkpoint of the run stopped.
    Resume,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Steps done.
    pub step: u64,
    /// Steps of the run.
    pub num_iterations: u64,
    /// Whether it was interrupted before its last step.
    pub interrupted: bool,
    /// Bits per byte of the last validation, if there was one in this process.
    pub val_bpb: Option<f64>,
    /// The lowest of the run.
    pub min_val_bpb: Option<f64>,
    /// The first of the run, if it was in this process.
    pub first_val_bpb: Option<f64>,
    /// Smoothed loss in nats.
    pub loss: Option<f64>,
    /// Seconds spent in steps.
    pub training_seconds: f64,
    /// Most bytes of GPU memory ever in use.
    pub peak_memory: u64,
}

/// Trains the run `name` until its last step, or until `interrupt` is set: then the step in progress is finished and
/// saved. `tell` hears of everything as it happens.
pub fn pretrain(
    gpu: &Gpu,
    home: &Home,
    name: &str,
    start: Start,
    tokenizer: &Arc<Tokenizer>,
    interrupt: &AtomicBool,
    tell: &mut dyn FnMut(Event),
) -> Result<Outcome, TrainError> {
    let run = match &start {
        Start::Fresh(config) | Start::From(config, _) => {
            config.model.validate()?;
            check_options(config)?;
            check_bindings(gpu, config)?;
            // Everything that can be refused is refused before the run's folder exists.
            DataSet::open(&config.training.data)?;
            Run::create(home, name, &serde_json::to_value(config).unwrap_or_default(), &tokenizer.to_json())?
        }
        Start::Resume => Run::open(home, name)?,
    };
    let outcome = train(gpu, home, &run, &start, tokenizer, interrupt, tell);
    if outcome.is_err() && !matches!(start, Start::Resume) && run.steps().is_ok_and(|steps| steps.is_empty()) {
        // A run that never got anywhere would only stand in the way of the next try.
        let _ = std::fs::remove_dir_all(run.folder());
    }
    outcome
}

fn train(
    gpu: &Gpu,
    home: &Home,
    run: &Run,
    start: &Start,
    tokenizer: &Arc<Tokenizer>,
    interrupt: &AtomicBool,
    tell: &mut dyn FnMut(Event),
) -> Result<Outcome, TrainError> {
    let lock = run.lock()?;
    let config: RunConfig = run_config(run)?;
    let mut session = Session::open(gpu, home, lock, config, start, tokenizer, tell)?;
    let mut outcome = session.run(interrupt, tell)?;
    outcome.peak_memory = gpu.memory().peak;
    Ok(outcome)
}

/// The configuration in a run's `config.json`.
pub fn run_config(run: &Run) -> Result<RunConfig, TrainError> {
    let refused = |reason: String| TrainError::RunConfig { run: run.name().to_owned(), reason };
    let config: RunConfig = serde_json::from_value(run.config().clone()).map_err(|error| refused(error.to_string()))?;
    if config.format != super::options::RUN_CONFIG_FORMAT {
        return Err(refused(format!("it has format {}, which this version does not know", config.format)));
    }
    config.model.validate()?;
    check_options(&config)?;
    Ok(config)
}

fn check_options(config: &RunConfig) -> Result<(), TrainError> {
    let options = &config.training;
    let at_least_one = |option, value: u64| {
        if value == 0 { Err(TrainError::BadOption { option, value: "0".into(), must: "at least 1" }) } else { Ok(()) }
    };
    at_least_one("--device-batch-size", options.device_batch_size as u64)?;
    at_least_one("--total-batch-size", options.total_batch_size)?;
    at_least_one("--num-iterations", options.num_iterations)?;
    for (option, value) in [
        ("--embedding-lr", options.embedding_lr),
        ("--unembedding-lr", options.unembedding_lr),
        ("--matrix-lr", options.matrix_lr),
        ("--scalar-lr", options.scalar_lr),
        ("--weight-decay", options.weight_decay),
        ("--final-lr-frac", options.final_lr_frac),
    ] {
        if !(value.is_finite() && value >= 0.0) {
            return Err(TrainError::BadOption { option, value: value.to_string(), must: "a number, 0 or more" });
        }
    }
    if !(0.0..=1.0).contains(&options.warmdown_ratio) {
        return Err(TrainError::BadOption {
            option: "--warmdown-ratio",
            value: options.warmdown_ratio.to_string(),
            must: "between 0 and 1",
        });
    }
    accumulation(config, options.device_batch_size).map(drop)
}

/// Batches of `rows` rows that make up a step.
fn accumulation(config: &RunConfig, rows: usize) -> Result<usize, TrainError> {
    let (total, seq) = (config.training.total_batch_size, config.model.sequence_len);
    match (rows as u64).checked_mul(seq as u64) {
        Some(tokens) if total.is_multiple_of(tokens) => Ok((total / tokens) as usize),
        _ => Err(TrainError::Indivisible { total, batch: rows, seq }),
    }
}

/// Refuses a model with a parameter that the adapter cannot bind, before anything is allocated.
fn check_bindings(gpu: &Gpu, config: &RunConfig) -> Result<(), TrainError> {
    let model = &config.model;
    let aspect_ratio = model.n_embd.div_ceil(model.n_layer);
    Ok(check_fits(model, aspect_ratio, model.head_dim(), gpu.binding_limit(), &gpu.info().name)?)
}

/// A run in progress.
struct Session<'a> {
    gpu: &'a Gpu,
    lock: RunLock,
    config: RunConfig,
    schedule: Schedule,
    trainer: Trainer,
    accumulation: usize,
    tokenizer: &'a Arc<Tokenizer>,
    token_bytes: Vec<u32>,
    batches: Prefetcher,
    loader: Option<LoaderState>,
    data: DataSet,
    validation: Vec<Batch>,
    metrics: MetricsLog,
    events: EventWriter,
    first_step: u64,
    step: u64,
    smooth_loss: f64,
    val_bpb: Option<f64>,
    first_val_bpb: Option<f64>,
    min_val_bpb: Option<f64>,
    training_seconds: f64,
    seconds_before: f64,
}

/// A step on its way.
struct Submitted {
    step: u64,
    epoch: u64,
    begun: Instant,
    losses: PendingLoss,
}

impl<'a> Session<'a> {
    fn open(
        gpu: &'a Gpu,
        home: &Home,
        lock: RunLock,
        config: RunConfig,
        start: &Start,
        tokenizer: &'a Arc<Tokenizer>,
        tell: &mut dyn FnMut(Event),
    ) -> Result<Self, TrainError> {
        let run = lock.run().clone();
        let resumed = match start {
            Start::Resume => {
                let (checkpoint, rejected) = checkpoint::load_latest_good(&run)?;
                if !rejected.is_empty() {
                    tell(Event::Rejected { reasons: rejected.iter().map(ToString::to_string).collect() });
                }
                Some(checkpoint)
            }
            _ => None,
        };
        let saved: Option<TrainState> = match &resumed {
            Some(checkpoint) => Some(
                serde_json::from_value(checkpoint.state.clone())
                    .map_err(|error| TrainError::State { step: checkpoint.step, reason: error.to_string() })?,
            ),
            None => None,
        };

        let step = resumed.as_ref().map_or(0, |checkpoint| checkpoint.step);
        let rows = saved.as_ref().map_or(config.training.device_batch_size, |state| state.device_batch_size);
        let trainer = trainer_that_fits(gpu, &config, rows, saved.is_some(), tell)?;
        let accumulation = accumulation(&config, trainer.rows())?;

        let weights = GpuTensors { gpu, tensors: named_parameters(&trainer) };
        match (resumed, start) {
            (Some(mut checkpoint), _) => {
                weights.restore(&mut checkpoint.model)?;
                GpuTensors { gpu, tensors: named_state(&trainer) }.restore(&mut checkpoint.optimizer)?;
            }
            (None, Start::From(_, source)) => {
                let mut source = checkpoint::load_model(&Run::open(home, source)?, None)?;
                weights.restore(&mut source.model)?;
            }
            _ => {
                trainer.model.parameters.initialise(gpu, &config.model, config.training.seed);
            }
        }

        let data = DataSet::open(&config.training.data)?;
        let (rows, seq) = (trainer.rows(), config.model.sequence_len);
        let shared = tokenizer.clone();
        let loader = match &saved {
            Some(state) => Loader::resume(data.clone(), shared, state.loader.clone(), rows, seq)?,
            None => Loader::new(data.clone(), Split::Train, shared, rows, seq),
        };
        let options = &config.training;
        let schedule = Schedule {
            num_iterations: options.num_iterations,
            warmup_steps: options.warmup_steps,
            warmdown_ratio: options.warmdown_ratio,
            final_lr_frac: options.final_lr_frac,
            weight_decay: options.weight_decay,
        };
        Ok(Self {
            gpu,
            metrics: MetricsLog::open(&run.metrics_path(), Some(step))?,
            events: EventWriter::create(&run.tensorboard_path(), saved.as_ref().map(|_| step))?,
            lock,
            schedule,
            trainer,
            accumulation,
            tokenizer,
            token_bytes: tokenizer.token_bytes(),
            batches: Prefetcher::start(loader, prefetch::AHEAD)?,
            loader: saved.as_ref().map(|state| state.loader.clone()),
            data,
            validation: Vec::new(),
            first_step: step,
            step,
            smooth_loss: saved.as_ref().map_or(0.0, |state| state.smooth_loss),
            val_bpb: None,
            first_val_bpb: None,
            min_val_bpb: saved.as_ref().and_then(|state| state.min_val_bpb),
            training_seconds: saved.as_ref().map_or(0.0, |state| state.training_seconds),
            seconds_before: saved.as_ref().map_or(0.0, |state| state.training_seconds),
            config,
        })
    }

    fn run(&mut self, interrupt: &AtomicBool, tell: &mut dyn FnMut(Event)) -> Result<Outcome, TrainError> {
        let last = self.config.training.num_iterations;
        tell(Event::Start {
            step: self.step,
            num_iterations: last,
            parameters: self.config.model.param_counts().total,
            flops_per_token: self.config.model.flops_per_token(),
            device_batch_size: self.trainer.rows(),
            accumulation: self.accumulation,
            memory: self.gpu.memory().current,
            adapter: self.gpu.info().name.clone(),
        });
        let mut pending: Option<Submitted> = None;
        loop {
            let at_end = self.step >= last;
            let stop = interrupt.load(Ordering::Relaxed);
            let due = |every: Option<u64>| every.is_some_and(|every| at_end || self.step.is_multiple_of(every.max(1)));
            let (eval, sample, save) = {
                let options = &self.config.training;
                let moved = self.step > self.first_step;
                (
                    !stop && due(options.eval_every),
                    !stop && self.step > 0 && due(options.sample_every),
                    moved && (at_end || stop || due(options.save_every)),
                )
            };
            if eval || sample || save || at_end || stop {
                if let Some(done) = pending.take() {
                    self.log(done, None, tell)?;
                }
                if eval {
                    self.validate(tell)?;
                }
                if sample {
                    self.sample(tell)?;
                }
                if save {
                    self.save(tell)?;
                }
                if at_end || stop {
                    break;
                }
            }

            let begun = Instant::now();
            let mut batches = Vec::with_capacity(self.accumulation);
            for _ in 0..self.accumulation {
                let next = self.batches.next_batch()?;
                batches.push(next.batch);
                self.loader = Some(next.state);
            }
            let epoch = self.loader.as_ref().map_or(1, |state| state.epoch);
            let losses = self.trainer.step(batches, self.step, self.schedule.at(self.step))?;
            let submitted = Submitted { step: self.step, epoch, begun, losses };
            if let Some(done) = pending.replace(submitted) {
                self.log(done, Some(begun), tell)?;
            }
            self.step += 1;
        }
        Ok(Outcome {
            step: self.step,
            num_iterations: last,
            interrupted: self.step < last,
            val_bpb: self.val_bpb,
            min_val_bpb: self.min_val_bpb,
            first_val_bpb: self.first_val_bpb,
            loss: (self.step > 0).then(|| self.debiased(self.step - 1)),
            training_seconds: self.training_seconds,
            peak_memory: 0,
        })
    }

    /// Waits for a step's losses and reports them. `next` is when the step after it began, if one did: then that is
    /// where this one's time ends, whether the driver works while we wait (GPUs) or within the submission (lavapipe).
    fn log(&mut self, submitted: Submitted, next: Option<Instant>, tell: &mut dyn FnMut(Event)) -> Result<(), TrainError> {
        let Submitted { step, epoch, begun, losses } = submitted;
        let done = self.trainer.finish(losses, &self.token_bytes)?;
        let seconds = next.unwrap_or_else(Instant::now).duration_since(begun).as_secs_f64();
        self.training_seconds += seconds;
        if !done.loss.is_finite() {
            return Err(TrainError::Diverged { step, loss: done.loss });
        }
        self.smooth_loss = SMOOTHING * self.smooth_loss + (1.0 - SMOOTHING) * done.loss;
        let options = &self.config.training;
        let tokens_per_second = options.total_batch_size as f64 / seconds;
        let done_here = (step + 1 - self.first_step) as f64;
        let report = StepReport {
            step,
            num_iterations: options.num_iterations,
            loss: done.loss,
            smooth_loss: self.debiased(step),
            bpb: done.bpb,
            lr_multiplier: self.schedule.at(step).lr_multiplier,
            tokens: (step + 1) * options.total_batch_size,
            epoch,
            seconds,
            tokens_per_second,
            flops_per_second: tokens_per_second * self.config.model.flops_per_token() as f64,
            memory: self.gpu.memory().current,
            eta_seconds: (self.training_seconds - self.seconds_before) / done_here * (options.num_iterations - step - 1) as f64,
        };
        self.metrics.append(&report)?;
        self.events.scalars(
            step,
            &[
                ("train/loss", report.loss as f32),
                ("train/bpb", report.bpb as f32),
                ("train/lr_multiplier", report.lr_multiplier as f32),
                ("train/tokens_per_second", report.tokens_per_second as f32),
            ],
        )?;
        tell(Event::Step(report));
        Ok(())
    }

    fn debiased(&self, step: u64) -> f64 {
        self.smooth_loss / (1.0 - SMOOTHING.powf((step + 1) as f64))
    }

    /// Bits per byte over the first batches of the validation split.
    fn validate(&mut self, tell: &mut dyn FnMut(Event)) -> Result<(), TrainError> {
        let (rows, seq) = (self.trainer.rows(), self.config.model.sequence_len);
        let count = (self.config.training.eval_tokens / (rows * seq) as u64).max(1);
        let mut sum = BitsPerByte::default();
        let mut add = |batch: &Batch| -> Result<(), TrainError> {
            let losses = self.trainer.losses(&batch.inputs, &batch.targets)?;
            sum.add(&losses, &batch.targets, &self.token_bytes);
            Ok(())
        };
        if self.validation.is_empty() {
            let encoder = self.tokenizer.clone();
            let loader = Loader::new(self.data.clone(), Split::Val, encoder, rows, seq);
            let mut batches = Prefetcher::start(loader, prefetch::AHEAD)?;
            for _ in 0..count {
                let batch = batches.next_batch()?.batch;
                add(&batch)?;
                if count * (rows * seq) as u64 <= KEPT_EVAL_TOKENS {
                    self.validation.push(batch);
                }
            }
        } else {
            self.validation.iter().try_for_each(add)?;
        }
        let bpb = sum.value();
        let min_bpb = self.min_val_bpb.map_or(bpb, |min| min.min(bpb));
        (self.val_bpb, self.min_val_bpb) = (Some(bpb), Some(min_bpb));
        self.first_val_bpb.get_or_insert(bpb);
        self.metrics.append(&json!({ "step": self.step, "val_bpb": bpb, "min_val_bpb": min_bpb }))?;
        self.events.scalars(self.step, &[("val/bpb", bpb as f32)])?;
        tell(Event::Validation { step: self.step, bpb, min_bpb });
        Ok(())
    }

    /// Greedy continuations of a few prompts.
    fn sample(&mut self, tell: &mut dyn FnMut(Event)) -> Result<(), TrainError> {
        let mut generator = Generator::new(self.gpu, &self.trainer.model);
        for prompt in PROMPTS {
            let mut ids = vec![self.tokenizer.bos()];
            ids.extend(self.tokenizer.encode(prompt));
            let options = GenerateOptions { max_tokens: SAMPLE_TOKENS, temperature: 0.0, ..GenerateOptions::default() };
            let written = generator.generate(&ids, &options, &mut |_| true)?;
            ids.extend(written);
            tell(Event::Sample { step: self.step, text: self.tokenizer.decode(&ids[1..]) });
        }
        Ok(())
    }

    fn save(&mut self, tell: &mut dyn FnMut(Event)) -> Result<(), TrainError> {
        let Some(loader) = self.loader.clone() else { return Ok(()) };
        self.gpu.wait()?;
        let state = TrainState {
            device_batch_size: self.trainer.rows(),
            smooth_loss: self.smooth_loss,
            min_val_bpb: self.min_val_bpb.filter(|bpb| bpb.is_finite()),
            training_seconds: self.training_seconds,
            loader,
        };
        let state = serde_json::to_value(state).map_err(|error| TrainError::State { step: self.step, reason: error.to_string() })?;
        self.metrics.sync()?;
        let mut model = GpuTensors { gpu: self.gpu, tensors: named_parameters(&self.trainer) };
        let mut optimizer = GpuTensors { gpu: self.gpu, tensors: named_state(&self.trainer) };
        let snapshot = Snapshot { step: self.step, model: &mut model, optimizer: &mut optimizer, state: &state };
        let path = checkpoint::save(&self.lock, snapshot, self.config.training.keep_last.and_then(NonZeroUsize::new))?;
        tell(Event::Saved { step: self.step, path });
        Ok(())
    }
}

fn named_parameters(trainer: &Trainer) -> Vec<(String, crate::gpu::Tensor)> {
    let parameters = &trainer.model.parameters;
    parameters.iter().map(|parameter| (parameter.spec.name.clone(), parameter.value.clone())).collect()
}

fn named_state(trainer: &Trainer) -> Vec<(String, crate::gpu::Tensor)> {
    trainer.optimizer.state_tensors().into_iter().map(|state| (state.name, state.value)).collect()
}

/// A trainer with batches of `rows` rows, or, where memory is too short for that, of half as many, and so on. A
/// resumed run keeps its rows: with others its sums would round differently.
fn trainer_that_fits(
    gpu: &Gpu,
    config: &RunConfig,
    mut rows: usize,
    resumed: bool,
    tell: &mut dyn FnMut(Event),
) -> Result<Trainer, TrainError> {
    let optimizer = optimizer_config(config);
    loop {
        match Trainer::new(gpu, &config.model, &optimizer, rows) {
            Ok(trainer) => return Ok(trainer),
            Err(GpuError::OutOfMemory { .. } | GpuError::TooLarge { .. }) if !resumed && rows > 1 && rows.is_multiple_of(2) => {
                let accumulation = accumulation(config, rows / 2)?;
                tell(Event::BatchHalved { from: rows, to: rows / 2, accumulation });
                rows /= 2;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn optimizer_config(config: &RunConfig) -> OptimizerConfig {
    let options = &config.training;
    OptimizerConfig {
        n_embd: config.model.n_embd,
        lr_scale: options.lr_scale,
        unembedding_lr: options.unembedding_lr,
        embedding_lr: options.embedding_lr,
        matrix_lr: options.matrix_lr,
        scalar_lr: options.scalar_lr,
    }
}
