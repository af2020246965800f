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
use crate::checkpoint::{self, Checkpoint, CheckpointError, Run, RunLock, Snapshot};
use crate::data::loader::{Batch, Loader, LoaderState};
use crate::data::prefetch::{self, Prefetcher};
use crate::data::{DataSet, Split};
use crate::engine::{GenerateOptions, Generator};
use crate::eval::bits_per_byte::BitsPerByte;
use crate::gpu::{DType, Gpu, GpuError};
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

/// The most tokens of a step, whose batches are in memory together, and the most steps: past them counts would overflow
/// long before anybody saw the end.
const MOST_STEP_TOKENS: u64 = 1 << 28;
const MOST_STEPS: u64 = 1 << 32;

/// How a run begins.
#[derive(Clone, Debug)]
pub enum Start {
    /// A new run.
    Fresh(Box<RunConfig>),
    /// Where the newest whole checkpoint of the run stopped; from the beginning if it never got to save one.
    Resume,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The step that this process began with. Equal to `num_iterations` where the run was complete already.
    pub first_step: u64,
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
        Start::Fresh(config) => {
            // Everything that can be refused is refused before the run's folder exists.
            check(gpu, config)?;
            DataSet::open(&config.training.data)?;
            Run::create(home, name, &serde_json::to_value(config).unwrap_or_default(), &tokenizer.to_json())?
        }
        Start::Resume => Run::open(home, name)?,
    };
    let lock = run.lock()?;
    let mut trained = false;
    let outcome = train(gpu, home, &lock, &start, tokenizer, interrupt, &mut |event| {
        trained |= matches!(event, Event::Step(_) | Event::Saved { .. });
        tell(event);
    });
    if outcome.is_err() && !trained && matches!(start, Start::Fresh(_)) {
        // A run that never got anywhere would only stand in the way of the next try. Nobody else can have taken it up
        // meanwhile: it is still locked.
        let _ = std::fs::remove_dir_all(run.folder());
    }
    outcome
}

fn train(
    gpu: &Gpu,
    home: &Home,
    lock: &RunLock,
    start: &Start,
    tokenizer: &Arc<Tokenizer>,
    interrupt: &AtomicBool,
    tell: &mut dyn FnMut(Event),
) -> Result<Outcome, TrainError> {
    let config = run_config(lock.run())?;
    if tokenizer.vocab_size() != config.model.vocab_size {
        return Err(TrainError::OtherVocabulary { model: config.model.vocab_size, tokenizer: tokenizer.vocab_size() });
    }
    let saved = match start {
        Start::Fresh(_) => None,
        Start::Resume => Saved::newest(lock.run(), tell)?,
    };
    if let Some(saved) = saved.as_ref().filter(|saved| saved.checkpoint.step >= config.training.num_iterations) {
        return Ok(saved.outcome(&config));
    }
    let mut session = Session::open(gpu, home, lock, config, saved, start, tokenizer, tell)?;
    let mut outcome = session.run(interrupt, tell)?;
    outcome.peak_memory = gpu.memory().peak;
    Ok(outcome)
}

/// A checkpoint to go on from.
struct Saved {
    checkpoint: Checkpoint,
    state: TrainState,
}

impl Saved {
    /// The newest whole one of `run`; none if there never was one. Tells which newer ones are not whole.
    fn newest(run: &Run, tell: &mut dyn FnMut(Event)) -> Result<Option<Self>, TrainError> {
        let (checkpoint, rejected) = match checkpoint::load_latest_good(run) {
            Ok(found) => found,
            Err(CheckpointError::Empty { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if !rejected.is_empty() {
            tell(Event::Rejected { reasons: rejected.iter().map(ToString::to_string).collect() });
        }
        let state = serde_json::from_value(checkpoint.state.clone())
            .map_err(|error| TrainError::State { step: checkpoint.step, reason: error.to_string() })?;
        Ok(Some(Self { checkpoint, state }))
    }

    /// The outcome of a run that has nothing left to train.
    fn outcome(&self, config: &RunConfig) -> Outcome {
        let step = self.checkpoint.step;
        Outcome {
            first_step: step,
            step,
            num_iterations: config.training.num_iterations,
            interrupted: false,
            val_bpb: None,
            min_val_bpb: self.state.min_val_bpb,
            first_val_bpb: None,
            loss: step.checked_sub(1).map(|last| debiased(self.state.smooth_loss, last)),
            training_seconds: self.state.training_seconds,
            peak_memory: 0,
        }
    }
}

/// Checks that `config` can be trained on `gpu`, before anything is allocated or written.
pub fn check(gpu: &Gpu, config: &RunConfig) -> Result<(), TrainError> {
    config.model.validate()?;
    check_options(config)?;
    check_bindings(gpu, config)
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
    if options.total_batch_size > MOST_STEP_TOKENS {
        let value = options.total_batch_size.to_string();
        return Err(TrainError::BadOption { option: "--total-batch-size", value, must: "at most 268435456 tokens" });
    }
    if options.num_iterations > MOST_STEPS {
        let value = options.num_iterations.to_string();
        return Err(TrainError::BadOption { option: "--num-iterations", value, must: "at most 4294967296" });
    }
    for (option, value) in [
        ("--embedding-lr", options.embedding_lr),
        ("--unembedding-lr", options.unembedding_lr),
        ("--matrix-lr", options.matrix_lr),
        ("--scalar-lr", options.scalar_lr),
        ("--weight-decay", options.weight_decay),
        ("--final-lr-frac", options.final_lr_frac),
    ] {
        // Far below where f32 ends, and far above where anything is learnt.
        if !(0.0..=1e9).contains(&value) {
            return Err(TrainError::BadOption { option, value: value.to_string(), must: "a number from 0 to 1e9" });
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

/// Refuses a model with a parameter, or a row of it, that the adapter cannot bind.
fn check_bindings(gpu: &Gpu, config: &RunConfig) -> Result<(), TrainError> {
    let (model, limit, adapter) = (&config.model, gpu.binding_limit(), &gpu.info().name);
    check_fits(model, model.n_embd.div_ceil(model.n_layer), model.head_dim(), limit, adapter)?;
    // The widest activation of a token is the MLP's, of 4·C floats.
    let token = 4 * model.n_embd as u64 * DType::F32.bytes();
    let (seq, bytes) = (model.sequence_len, model.sequence_len as u64 * token);
    if bytes > limit {
        return Err(TrainError::RowTooLong { seq, bytes, limit, adapter: adapter.clone(), longest: limit / token });
    }
    Ok(())
}

/// A run in progress.
struct Session<'a> {
    gpu: &'a Gpu,
    lock: &'a RunLock,
    config: RunConfig,
    schedule: Schedule,
    trainer: Trainer,
    accumulation: usize,
    tokenizer: &'a Arc<Tokenizer>,
    token_bytes: Vec<u32>,
    batches: Prefetcher,
    /// Where reading stands after the last batch that was trained on.
    loader: LoaderState,
    data: DataSet,
    validation: Vec<Batch>,
    metrics: MetricsLog,
    events: EventWriter,
    first_step: u64,
    step: u64,
    /// The step of the newest checkpoint.
    saved_step: Option<u64>,
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
    #[expect(clippy::too_many_arguments, reason = "called once")]
    fn open(
        gpu: &'a Gpu,
        home: &Home,
        lock: &'a RunLock,
        config: RunConfig,
        saved: Option<Saved>,
        start: &Start,
        tokenizer: &'a Arc<Tokenizer>,
        tell: &mut dyn FnMut(Event),
    ) -> Result<Self, TrainError> {
        let run = lock.run();
        let (checkpoint, saved) = saved.map(|saved| (saved.checkpoint, saved.state)).unzip();
        let saved_step = checkpoint.as_ref().map(|checkpoint| checkpoint.step);
        let step = saved_step.unwrap_or(0);
        let rows = saved.as_ref().map_or(config.training.device_batch_size, |state| state.device_batch_size);
        let trainer = trainer_that_fits(gpu, &config, rows, saved.is_some(), tell)?;
        let accumulation = accumulation(&config, trainer.rows())?;

        let weights = GpuTensors { gpu, tensors: named_parameters(&trainer) };
        match (checkpoint, &config.from) {
            (Some(mut checkpoint), _) => {
                weights.restore(&mut checkpoint.model)?;
                GpuTensors { gpu, tensors: named_state(&trainer) }.restore(&mut checkpoint.optimizer)?;
            }
            (None, Some(source)) => {
                let mut source = checkpoint::load_model(&Run::open(home, &source.run)?, Some(source.step))?;
                weights.restore(&mut source.model)?;
            }
            (None, None) => trainer.model.parameters.initialise(gpu, &config.model, config.training.seed),
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
            events: EventWriter::create(&run.tensorboard_path(), matches!(start, Start::Resume).then_some(step))?,
            lock,
            schedule,
            trainer,
            accumulation,
            tokenizer,
            token_bytes: tokenizer.token_bytes(),
            loader: loader.state(),
            batches: Prefetcher::start(loader, prefetch::AHEAD)?,
            data,
            validation: Vec::new(),
            first_step: step,
            step,
            saved_step,
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
            // After the last step there is nothing to stop: what is left of the run is its last validation and saving.
            let stop = !at_end && interrupt.load(Ordering::Relaxed);
            let due = |every: Option<u64>| every.is_some_and(|every| at_end || self.step.is_multiple_of(every.max(1)));
            let (eval, sample, save) = {
                let options = &self.config.training;
                let unsaved = self.saved_step != Some(self.step);
                (
                    !stop && due(options.eval_every),
                    !stop && self.step > 0 && due(options.sample_every),
                    unsaved && (at_end || stop || (self.step > 0 && due(options.save_every))),
                )
            };
            if eval || sample || save || at_end || stop {
                if let Some(done) = pending.take() {
                    self.log(done, None, tell)?;
                }
                if eval && !self.validate(&|| !at_end && interrupt.load(Ordering::Relaxed), tell)? {
                    continue;
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
                self.loader = next.state;
            }
            let epoch = self.loader.epoch;
            let losses = self.trainer.step(batches, self.step, self.schedule.at(self.step))?;
            let submitted = Submitted { step: self.step, epoch, begun, losses };
            if let Some(done) = pending.replace(submitted) {
                self.log(done, Some(begun), tell)?;
            }
            self.step += 1;
        }
        Ok(Outcome {
            first_step: self.first_step,
            step: self.step,
            num_iterations: last,
            interrupted: self.step < last,
            val_bpb: self.val_bpb,
            min_val_bpb: self.min_val_bpb,
            first_val_bpb: self.first_val_bpb,
            loss: self.step.checked_sub(1).map(|last| debiased(self.smooth_loss, last)),
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
            smooth_loss: debiased(self.smooth_loss, step),
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

    /// Bits per byte over the first batches of the validation split. Gives up, and says false, when `stop` does: a
    /// resumed run validates again.
    fn validate(&mut self, stop: &dyn Fn() -> bool, tell: &mut dyn FnMut(Event)) -> Result<bool, TrainError> {
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
            let mut kept = Vec::new();
            for _ in 0..count {
                if stop() {
                    return Ok(false);
                }
                let batch = batches.next_batch()?.batch;
                add(&batch)?;
                if count * (rows * seq) as u64 <= KEPT_EVAL_TOKENS {
                    kept.push(batch);
                }
            }
            self.validation = kept;
        } else {
            for batch in &self.validation {
                if stop() {
                    return Ok(false);
                }
                add(batch)?;
            }
        }
        let bpb = sum.value();
        if bpb.is_nan() {
            return Err(TrainError::Diverged { step: self.step, loss: bpb });
        }
        let min_bpb = self.min_val_bpb.map_or(bpb, |min| min.min(bpb));
        (self.val_bpb, self.min_val_bpb) = (Some(bpb), Some(min_bpb));
        self.first_val_bpb.get_or_insert(bpb);
        self.metrics.append(&json!({ "step": self.step, "val_bpb": bpb, "min_val_bpb": min_bpb }))?;
        self.events.scalars(self.step, &[("val/bpb", bpb as f32)])?;
        tell(Event::Validation { step: self.step, bpb, min_bpb });
        Ok(true)
    }

    /// Greedy continuations of a few prompts.
    fn sample(&mut self, tell: &mut dyn FnMut(Event)) -> Result<(), TrainError> {
        let mut generator = Generator::new(self.gpu, &self.trainer.model);
        for prompt in PROMPTS {
            let mut ids = vec![self.tokenizer.bos()];
            ids.extend(self.tokenizer.encode(prompt));
            let options = GenerateOptions { max_tokens: SAMPLE_TOKENS, temperature: 0.0, ..GenerateOptions::default() };
            let written = match generator.generate(&ids, &options, &mut |_| true) {
                // Training goes on without samples where only they do not fit.
                Err(error) if error.is_out_of_memory() => {
                    tracing::warn!("no samples: {error}");
                    return Ok(());
                }
                written => written?,
            };
            ids.extend(written);
            tell(Event::Sample { step: self.step, text: self.tokenizer.decode(&ids[1..]) });
        }
        Ok(())
    }

    fn save(&mut self, tell: &mut dyn FnMut(Event)) -> Result<(), TrainError> {
        self.gpu.wait()?;
        let state = TrainState {
            device_batch_size: self.trainer.rows(),
            smooth_loss: self.smooth_loss,
            min_val_bpb: self.min_val_bpb.filter(|bpb| bpb.is_finite()),
            training_seconds: self.training_seconds,
            loader: self.loader.clone(),
        };
        let state = serde_json::to_value(state).map_err(|error| TrainError::State { step: self.step, reason: error.to_string() })?;
        self.metrics.sync()?;
        let mut model = GpuTensors { gpu: self.gpu, tensors: named_parameters(&self.trainer) };
        let mut optimizer = GpuTensors { gpu: self.gpu, tensors: named_state(&self.trainer) };
        let snapshot = Snapshot { step: self.step, model: &mut model, optimizer: &mut optimizer, state: &state };
        let path = checkpoint::save(self.lock, snapshot, self.config.training.keep_last.and_then(NonZeroUsize::new))?;
        self.saved_step = Some(self.step);
        tell(Event::Saved { step: self.step, path });
        Ok(())
    }
}

/// The exponential average after `step`, without its pull towards the 0 that it began with.
fn debiased(smooth_loss: f64, step: u64) -> f64 {
    smooth_loss / (1.0 - SMOOTHING.powf((step + 1) as f64))
}

fn named_parameters(trainer: &Trainer) -> Vec<(String, crate::gpu::Tensor)> {
    let parameters = &trainer.model.parameters;
    parameters.iter().map(|parameter| (parameter.spec.name.clone(), parameter.value.clone())).collect()
}

fn named_state(trainer: &Trainer) -> Vec<(String, crate::gpu::Tensor)> {
    trainer.optimizer.state_tensors().into_iter().map(|state| (state.name, state.value)).collect()
}

/// A trainer with batches of `rows` rows, or, where memory is too short for that, of half as many, and so on: an odd
/// number is divided by its smallest divisor, so that the batches of a step stay whole. A resumed run keeps its rows:
/// with others its sums would round differently.
fn trainer_that_fits(
    gpu: &Gpu,
    config: &RunConfig,
    asked: usize,
    resumed: bool,
    tell: &mut dyn FnMut(Event),
) -> Result<Trainer, TrainError> {
    let optimizer = optimizer_config(config);
    let mut rows = asked;
    loop {
        match Trainer::new(gpu, &config.model, &optimizer, rows) {
            Ok(trainer) => {
                if rows < asked {
                    tell(Event::BatchHalved { from: asked, to: rows, accumulation: accumulation(config, rows)? });
                }
                return Ok(trainer);
            }
            Err(GpuError::OutOfMemory { .. } | GpuError::TooLarge { .. }) if !resumed && rows > 1 => {
                rows /= (2..rows).find(|&divisor| rows.is_multiple_of(divisor)).unwrap_or(rows);
                // The driver frees what the failed try held only now.
                gpu.wait()?;
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
