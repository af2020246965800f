//! The training loop, the same for every stage.
//!
//! As in the reference's loop, before each step: validation, samples, a checkpoint; then the step. The loop waits for a step's
//! losses only after the next step is submitted, so that the GPU is never idle for a log line.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::json;
use serde_json::value::to_raw_value;

use super::TrainError;
use super::checks::accumulation;
use super::event::{Event, Length, StepReport};
use super::fit::trainer_that_fits;
use super::metrics::MetricsLog;
use super::origin::Origin;
use super::outcome::{Outcome, Setting};
use super::run_config::RunConfig;
use super::stage::Stage;
use super::state::{Saved, SmoothLoss, TrainState};
use super::tensorboard::EventWriter;
use super::tensors::GpuTensors;
use super::trainer::{PendingLoss, StepOutcome, Trainer};
use crate::checkpoint::{self, RunLock, Snapshot};
use crate::data::batch::{Batch, BatchSource};
use crate::data::loader::Changes;
use crate::data::prefetch::{self, Prefetcher};
use crate::eval::bits_per_byte::BitsPerByte;
use crate::gpu::{Gpu, Numerics};

/// Validation batches of up to this many tokens are kept from one validation to the next.
const KEPT_EVAL_TOKENS: u64 = 1 << 22;

/// A run in progress.
pub(super) struct Session<'a, S: Stage> {
    gpu: &'a Gpu,
    lock: &'a RunLock,
    config: RunConfig,
    stage: S,
    trainer: Trainer,
    accumulation: usize,
    token_bytes: Vec<u32>,
    batches: Prefetcher<S::State>,
    /// The loader's state after the last batch that was trained on.
    loader: S::State,
    validation: Vec<Batch>,
    metrics: MetricsLog,
    events: EventWriter,
    first_step: u64,
    step: u64,
    /// Progress at the first step.
    first_progress: f64,
    /// The step of the newest checkpoint.
    saved_step: Option<u64>,
    smooth_loss: SmoothLoss,
    val_bpb: Option<f64>,
    first_val_bpb: Option<f64>,
    min_val_bpb: Option<f64>,
    training_seconds: f64,
    seconds_before: f64,
    /// The step that was submitted last, until it is waited for.
    pending: Option<Submitted>,
}

/// A step in flight.
struct Submitted {
    step: u64,
    epoch: u64,
    lr_multiplier: f64,
    /// Progress after the step.
    progress: f64,
    begun: Instant,
    losses: PendingLoss,
}

/// What a session starts from.
pub(super) struct Begin<L> {
    /// A checkpoint of the run.
    pub saved: Option<Saved<L>>,
    /// What to do if the data has changed since the checkpoint.
    pub changes: Changes,
    /// If there is no checkpoint yet: that of another run.
    pub origin: Option<Box<Origin>>,
}

impl<'a, S: Stage> Session<'a, S> {
    /// Allocates and fills everything: from a checkpoint of the run, else from that of another, else with initial weights.
    pub fn open(
        setting: Setting<'a>,
        lock: &'a RunLock,
        config: RunConfig,
        stage: S,
        begin: Begin<S::State>,
        tell: &mut dyn FnMut(Event),
    ) -> Result<Self, TrainError> {
        let Begin { saved, changes, origin } = begin;
        let Setting { gpu, tokenizer, .. } = setting;
        let run = lock.run();
        let (checkpoint, saved) = saved.map(|saved| (saved.checkpoint, saved.state)).unzip();
        let saved_step = checkpoint.as_ref().map(|checkpoint| checkpoint.step);
        let step = saved_step.unwrap_or(0);
        let rows = saved.as_ref().map_or(stage.common().device_batch_size, |state| state.device_batch_size);
        gpu.fix_choices(saved.as_ref().map(|state| state.kernels.clone()).unwrap_or_default());
        let mut trainer = trainer_that_fits(gpu, &config.model, stage.common(), rows, saved.is_some(), tell)?;

        match (checkpoint, origin) {
            (Some(mut checkpoint), _) => {
                GpuTensors::of_model(gpu, &trainer.model.parameters).restore(&mut checkpoint.model)?;
                let moments = checkpoint.optimizer.as_mut().ok_or_else(|| TrainError::NoMoments { run: run.name().to_owned() })?;
                GpuTensors::of_optimizer(gpu, &trainer.optimizer).restore(moments)?;
            }
            (None, Some(mut origin)) => origin.restore(gpu, &trainer)?,
            (None, None) => trainer.model.parameters.initialise(gpu, &config.model, stage.common().seed),
        }

        if let Some(scale) = saved.as_ref().and_then(|state| state.loss_scale) {
            trainer.resume_loss_scale(scale);
        }
        let (smooth_loss, min_val_bpb, seconds) =
            saved.as_ref().map_or_else(Default::default, |state| (state.smooth_loss, state.min_val_bpb, state.training_seconds));
        let source = stage.training(trainer.rows(), saved.map(|state| state.loader), changes)?;
        let loader = source.state();
        // Later steps that an earlier process logged must be removed.
        let drawn = run.tensorboard_path().exists();
        Ok(Self {
            gpu,
            metrics: MetricsLog::open(&run.metrics_path(), Some(step))?,
            events: EventWriter::create(&run.tensorboard_path(), drawn.then_some(step))?,
            lock,
            accumulation: accumulation(&config.model, stage.common(), trainer.rows())?,
            trainer,
            token_bytes: tokenizer.token_bytes(),
            first_progress: S::progress(stage.options(), step, &loader),
            loader,
            batches: Prefetcher::start(source, prefetch::AHEAD)?,
            validation: Vec::new(),
            first_step: step,
            step,
            saved_step,
            smooth_loss,
            val_bpb: None,
            first_val_bpb: None,
            min_val_bpb,
            training_seconds: seconds,
            seconds_before: seconds,
            pending: None,
            stage,
            config,
        })
    }

    /// Trains until the end of the run, or until `interrupt` is set: then the step in progress is finished and saved.
    ///
    /// # Errors
    /// The first one ends the run. What was trained until then is saved if it is useful.
    pub fn run(&mut self, interrupt: &AtomicBool, tell: &mut dyn FnMut(Event)) -> Result<Outcome, TrainError> {
        let outcome = self.train(interrupt, tell);
        if let Err(error) = &outcome
            && leaves_good_weights(error)
            && let Err(second) = self.rescue(tell)
        {
            tracing::warn!("what was trained since the last checkpoint is lost: {second}");
        }
        outcome
    }

    /// Saves the steps that were made since the last checkpoint.
    fn rescue(&mut self, tell: &mut dyn FnMut(Event)) -> Result<(), TrainError> {
        if let Some(done) = self.pending.take() {
            self.log(done, None, tell)?;
        }
        if self.step > self.saved_step.unwrap_or(0) { self.save(tell) } else { Ok(()) }
    }

    fn train(&mut self, interrupt: &AtomicBool, tell: &mut dyn FnMut(Event)) -> Result<Outcome, TrainError> {
        tell(Event::Start {
            step: self.step,
            length: self.stage.length(),
            parameters: self.config.model.param_counts().total,
            flops_per_token: self.config.model.flops_per_token(),
            device_batch_size: self.trainer.rows(),
            accumulation: self.accumulation,
            memory: self.gpu.memory().current,
            adapter: self.gpu.info().name.clone(),
        });
        if !self.stage.validates() && self.stage.common().eval_every.is_some() {
            tell(Event::NoValidation);
        }
        let finished = loop {
            let at_end = self.progress() >= 1.0;
            // After the last step there is nothing to stop: only the last validation and saving remain.
            let stop = !at_end && interrupt.load(Ordering::Relaxed);
            let due = |every: Option<u64>| every.is_some_and(|every| at_end || self.step.is_multiple_of(every.max(1)));
            let (eval, sample, save) = {
                let options = self.stage.common();
                let unsaved = self.saved_step != Some(self.step);
                (
                    !stop && self.stage.validates() && due(options.eval_every),
                    !stop && self.step > 0 && due(self.stage.sample_every()),
                    unsaved && (at_end || stop || (self.step > 0 && due(options.save_every))),
                )
            };
            if eval || sample || save || at_end || stop {
                if let Some(done) = self.pending.take() {
                    self.log(done, None, tell)?;
                }
                if eval && !self.validate(&|| !at_end && interrupt.load(Ordering::Relaxed), tell)? {
                    continue;
                }
                if sample {
                    for text in self.stage.samples(self.gpu, &self.trainer.model)? {
                        tell(Event::Sample { step: self.step, text });
                    }
                }
                if save {
                    self.save(tell)?;
                }
                if at_end || stop {
                    break at_end;
                }
            }

            let begun = Instant::now();
            let submitted = self.submit(begun)?;
            if let Some(done) = self.pending.replace(submitted) {
                self.log(done, Some(begun), tell)?;
            }
        };
        Ok(Outcome {
            first_step: self.first_step,
            step: self.step,
            num_iterations: match self.stage.length() {
                Length::Steps(steps) => Some(steps),
                Length::Epoch { .. } => finished.then_some(self.step),
            },
            interrupted: !finished,
            val_bpb: self.val_bpb,
            min_val_bpb: self.min_val_bpb,
            first_val_bpb: self.first_val_bpb,
            loss: self.smooth_loss.after(self.step),
            left_out: S::left_out(&self.loader),
            training_seconds: self.training_seconds,
            peak_memory: self.gpu.memory().peak,
        })
    }

    fn progress(&self) -> f64 {
        S::progress(self.stage.options(), self.step, &self.loader)
    }

    /// Submits the next step to the GPU.
    fn submit(&mut self, begun: Instant) -> Result<Submitted, TrainError> {
        let step = self.step;
        tracing::debug!(step, "a step begins");
        let values = self.stage.values(step, self.progress());
        let mut batches = Vec::with_capacity(self.accumulation);
        let mut loader = None;
        for _ in 0..self.accumulation {
            let next = self.batches.next_batch()?;
            batches.push(next.batch);
            loader = Some(next.state);
        }
        let losses = self.trainer.step(batches, self.stage.moment_steps() + step, values)?;
        // Only now: if a batch of the step is missing, a checkpoint must repeat all of them.
        if let Some(state) = loader {
            self.loader = state;
        }
        self.step += 1;
        let (epoch, progress) = (S::epoch(&self.loader), self.progress());
        Ok(Submitted { step, epoch, lr_multiplier: values.lr_multiplier, progress, begun, losses })
    }

    /// Waits for a step's losses and reports them. `next` is when the next step began, if one did: then that is
    /// the end of this one's time, whether the driver works while we wait (GPUs) or within the submission (lavapipe).
    fn log(&mut self, submitted: Submitted, next: Option<Instant>, tell: &mut dyn FnMut(Event)) -> Result<(), TrainError> {
        let Submitted { step, epoch, lr_multiplier, progress, begun, losses } = submitted;
        let done = self.trainer.finish(losses, &self.token_bytes)?;
        let seconds = next.unwrap_or_else(Instant::now).duration_since(begun).as_secs_f64();
        self.training_seconds += seconds;
        let skipped = match done.outcome {
            StepOutcome::Made => false,
            StepOutcome::Skipped => true,
            StepOutcome::Failed { first } => return Err(TrainError::Diverged { step, loss: done.loss, first }),
        };
        if !done.loss.is_finite() {
            return Err(TrainError::Diverged { step, loss: done.loss, first: None });
        }
        self.smooth_loss.add(done.loss);
        let batch = self.stage.common().total_batch_size;
        let tokens_per_second = batch as f64 / seconds;
        let report = StepReport {
            step,
            length: self.stage.length(),
            progress,
            loss: done.loss,
            smooth_loss: self.smooth_loss.after(step + 1).unwrap_or(done.loss),
            bpb: done.bpb,
            lr_multiplier,
            tokens: (step + 1) * batch,
            epoch,
            seconds,
            tokens_per_second,
            flops_per_second: tokens_per_second * self.config.model.flops_per_token() as f64,
            memory: self.gpu.memory().current,
            loss_scale: done.loss_scale,
            skipped,
            eta_seconds: (self.training_seconds - self.seconds_before) / (progress - self.first_progress) * (1.0 - progress),
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
        if let Some(scale) = report.loss_scale {
            self.events.scalars(step, &[("train/loss_scale", scale as f32)])?;
        }
        tell(Event::Step(report));
        Ok(())
    }

    /// Bits per byte over the first batches of the validation split. Returns false if `stop` ended it: a
    /// resumed run validates again.
    fn validate(&mut self, stop: &dyn Fn() -> bool, tell: &mut dyn FnMut(Event)) -> Result<bool, TrainError> {
        let (rows, seq) = (self.trainer.rows(), self.config.model.sequence_len);
        let count = (self.stage.common().eval_tokens / (rows * seq) as u64).max(1);
        tracing::debug!(step = self.step, "validation begins");
        let mut sum = BitsPerByte::default();
        let mut add = |batch: &Batch| -> Result<(), TrainError> {
            let losses = self.trainer.losses(&batch.inputs, &batch.targets)?;
            sum.add(&losses, &batch.targets, &self.token_bytes);
            Ok(())
        };
        if self.validation.is_empty() {
            let mut batches = Prefetcher::start(self.stage.validation(rows)?, prefetch::AHEAD)?;
            let mut kept = Vec::new();
            for _ in 0..count {
                if stop() {
                    return Ok(false);
                }
                let next = batches.next_batch()?;
                add(&next.batch)?;
                if count * (rows * seq) as u64 <= KEPT_EVAL_TOKENS {
                    kept.push(next.batch);
                }
                if S::validated(&next.state) {
                    break;
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
            return Err(TrainError::Diverged { step: self.step, loss: bpb, first: None });
        }
        let min_bpb = self.min_val_bpb.map_or(bpb, |min| min.min(bpb));
        (self.val_bpb, self.min_val_bpb) = (Some(bpb), Some(min_bpb));
        self.first_val_bpb.get_or_insert(bpb);
        self.metrics.append(&json!({ "step": self.step, "val_bpb": bpb, "min_val_bpb": min_bpb }))?;
        self.events.scalars(self.step, &[("val/bpb", bpb as f32)])?;
        tell(Event::Validation { step: self.step, bpb, min_bpb });
        Ok(true)
    }

    fn save(&mut self, tell: &mut dyn FnMut(Event)) -> Result<(), TrainError> {
        self.gpu.wait()?;
        let state = TrainState {
            device_batch_size: self.trainer.rows(),
            smooth_loss: self.smooth_loss,
            min_val_bpb: self.min_val_bpb.filter(|bpb| bpb.is_finite()),
            training_seconds: self.training_seconds,
            loader: self.loader.clone(),
            kernels: match self.stage.common().numerics {
                Numerics::Exact => Default::default(),
                Numerics::Fast => self.gpu.fixed_choices(),
            },
            loss_scale: self.trainer.loss_scale(),
        };
        let state = to_raw_value(&state).map_err(|error| TrainError::State { step: self.step, reason: error.to_string() })?;
        self.metrics.sync()?;
        let mut model = GpuTensors::of_model(self.gpu, &self.trainer.model.parameters);
        let mut optimizer = GpuTensors::of_optimizer(self.gpu, &self.trainer.optimizer);
        let snapshot = Snapshot { step: self.step, model: &mut model, optimizer: Some(&mut optimizer), state: &state };
        let keep_last = self.stage.common().keep_last.and_then(NonZeroUsize::new);
        let path = checkpoint::save(self.lock, snapshot, keep_last)?;
        self.saved_step = Some(self.step);
        tell(Event::Saved { step: self.step, path });
        Ok(())
    }
}

/// Whether the weights after this error are those of complete steps, and worth saving.
fn leaves_good_weights(error: &TrainError) -> bool {
    !matches!(error, TrainError::Diverged { .. } | TrainError::Gpu(_) | TrainError::Checkpoint(_))
}
