//! The GPU side of training: a step's command streams, recorded once and replayed.

use crate::data::batch::Batch;
use crate::eval::bits_per_byte::BitsPerByte;
use crate::gpu::{DType, Gpu, GpuError, Memory, Numerics, Readback, Recorder, Recording};
use crate::kernels::precision::Precision;
use crate::kernels::{embedding, finite};
use crate::model::{Activations, Config, Gradients, Keep, Model, Parameters};
use crate::optim::{Optimizer, OptimizerConfig, StepValues};

use super::loss_scale::LossScale;

/// A model in training on a GPU.
pub struct Trainer {
    gpu: Gpu,
    /// The model.
    pub model: Model,
    /// Its optimizer.
    pub optimizer: Optimizer,
    acts: Activations,
    grads: Gradients,
    clear: Recording,
    batch: Recording,
    check: Recording,
    update: Recording,
    evaluate: Recording,
    /// In f16.
    loss_scale: Option<LossScale>,
    idle: Vec<Readback>,
    idle_checks: Vec<Readback>,
}

/// How a step computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arithmetic {
    /// What the inputs of products are rounded to.
    pub precision: Precision,
    /// Which kernels may be chosen.
    pub numerics: Numerics,
}

/// A step whose losses are being read back.
pub struct PendingLoss {
    batches: Vec<(Losses, Batch)>,
    check: Check,
    loss_scale: Option<f64>,
}

/// The losses of a batch.
enum Losses {
    Reading(Readback),
    Known(Vec<f32>),
}

/// Whether all gradients of a step are finite.
enum Check {
    Reading(Readback),
    Known(StepOutcome),
}

/// The loss of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepLoss {
    /// Mean over the step's batches of the mean loss of each batch's targets, in nats.
    pub loss: f64,
    /// Bits per byte of the step's targets.
    pub bpb: f64,
    /// In f16: the factor of the loss.
    pub loss_scale: Option<f64>,
    /// Whether it changed the model.
    pub outcome: StepOutcome,
}

/// Whether a step changed the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    /// It did.
    Made,
    /// It did not: a gradient overflowed f16, and the loss scale was halved.
    Skipped,
    /// It did not, and neither does any later one: a gradient is not finite.
    Failed {
        /// The name of the first tensor that is not finite, if there still is one when the step is made again.
        first: Option<String>,
    },
}

impl Trainer {
    /// Allocates everything for batches of `rows` rows of `config.sequence_len` tokens, and records the step. The
    /// parameters are zero until they are written.
    pub fn new(gpu: &Gpu, config: &Config, optimizer: &OptimizerConfig, rows: usize, arithmetic: Arithmetic) -> Result<Self, GpuError> {
        let Arithmetic { precision, numerics } = arithmetic;
        let model = Model::new(gpu, config, Parameters::allocate(gpu, config)?)?.in_precision(precision);
        let optimizer = Optimizer::new(gpu, &model.parameters, optimizer)?;
        let acts = Activations::allocate(gpu, config, rows, config.sequence_len, Keep::ForBackward)?;
        let grads = Gradients::allocate(gpu, config, rows, config.sequence_len)?;
        let record = |commands: &dyn Fn(&mut Recorder)| {
            let mut rec = Recorder::with_numerics(gpu, numerics);
            commands(&mut rec);
            rec.finish()
        };
        let trainer = Self {
            gpu: gpu.clone(),
            clear: record(&|rec| model.record_clear(rec))?,
            batch: record(&|rec| {
                model.record_trunk(rec, &acts);
                model.record_backward(rec, &acts, &grads);
            })?,
            check: record(&|rec| optimizer.record_check(rec))?,
            update: record(&|rec| optimizer.record(rec))?,
            evaluate: record(&|rec| model.record_evaluation(rec, &acts))?,
            loss_scale: (precision == Precision::F16).then(LossScale::default),
            idle: Vec::new(),
            idle_checks: Vec::new(),
            model,
            optimizer,
            acts,
            grads,
        };
        // The autotuner's buffers are not part of a step.
        gpu.forget_peak_memory();
        Ok(trainer)
    }

    /// Rows per batch.
    pub fn rows(&self) -> usize {
        self.acts.batch
    }

    /// In f16: the loss scale of the next step.
    pub fn loss_scale(&self) -> Option<LossScale> {
        self.loss_scale
    }

    /// Continues with the loss scale of a checkpoint; in other precisions there is none.
    pub fn resume_loss_scale(&mut self, scale: LossScale) {
        self.loss_scale = self.loss_scale.and(Some(scale));
    }

    /// Submits one optimizer step over `batches`, and returns without waiting for it, except in f16, where the gradients decide on
    /// the update.
    ///
    /// The loss is the mean over each batch's targets, then over batches, as in the reference; a batch without targets
    /// counts as one whose loss is 0. `step` is the number of steps already made with the optimizer's moments, including those
    /// that were left out.
    pub fn step(&mut self, batches: Vec<Batch>, step: u64, values: StepValues) -> Result<PendingLoss, GpuError> {
        let mut pending = Vec::with_capacity(batches.len());
        let factor = self.loss_scale.map(|scale| scale.factor());
        let count = batches.len();
        self.clear.run();
        for batch in batches {
            self.run_batch(&batch, count, factor);
            let mut readback = self.readback()?;
            readback.start(&[&self.acts.losses]);
            pending.push((Losses::Reading(readback), batch));
        }
        let mut check = self.check_readback()?;
        self.check.run_and_read(&mut check, &[self.optimizer.halt()]);
        let check = match self.loss_scale {
            None => {
                self.update(step + 1, values, 1.0);
                Check::Reading(check)
            }
            Some(mut scale) => {
                let halted = self.is_set(check)?;
                let outcome = if halted {
                    self.after_overflow(&mut scale, &mut pending)?
                } else {
                    // AdamW counts the updates, not the steps.
                    self.update((step + 1).saturating_sub(scale.skipped()).max(1), values, scale.factor().recip());
                    scale.made();
                    StepOutcome::Made
                };
                self.loss_scale = Some(scale);
                Check::Known(outcome)
            }
        };
        self.gpu.check()?;
        Ok(PendingLoss { batches: pending, check, loss_scale: factor })
    }

    /// Submits the passes over one of `count` batches of a step; `factor` is that of the loss, if there is one.
    fn run_batch(&self, batch: &Batch, count: usize, factor: Option<f64>) {
        let targets = (batch.targets_that_count().max(1) * count) as f64;
        self.upload(&batch.inputs, &batch.targets);
        let segments = embedding::segments(&batch.inputs, self.model.config.padded_vocab());
        self.gpu.write(&self.grads.order, &segments.order);
        self.gpu.write(&self.grads.starts, &segments.starts);
        self.gpu.write(&self.grads.weight, &[(factor.unwrap_or(1.0) / targets) as f32]);
        self.batch.run();
    }

    /// Submits the update. The batches' losses are already divided by their number.
    fn update(&self, t: u64, values: StepValues, gradient_scale: f64) {
        self.optimizer.set_step(values, gradient_scale, t);
        self.update.run();
    }

    /// What becomes of a step whose gradients are not finite. If its losses are, a smaller scale may help.
    fn after_overflow(&mut self, scale: &mut LossScale, batches: &mut [(Losses, Batch)]) -> Result<StepOutcome, GpuError> {
        let mut finite = true;
        for (losses, _) in batches.iter_mut() {
            if let Losses::Reading(readback) = losses {
                let values: Vec<f32> = readback.wait()?;
                finite &= values.iter().all(|loss| loss.is_finite());
                if let Losses::Reading(readback) = std::mem::replace(losses, Losses::Known(values)) {
                    self.idle.push(readback);
                }
            }
        }
        let factor = scale.factor();
        if finite && scale.overflowed() {
            self.optimizer.go_on();
            return Ok(StepOutcome::Skipped);
        }
        let batches: Vec<Batch> = batches.iter().map(|(_, batch)| batch.clone()).collect();
        Ok(StepOutcome::Failed { first: self.first_not_finite(&batches, Some(factor))? })
    }

    /// Makes the passes of a step again, and names the first tensor that is not finite. The weights must be those of that step:
    /// since it failed, nothing has changed them.
    fn first_not_finite(&self, batches: &[Batch], factor: Option<f64>) -> Result<Option<String>, GpuError> {
        let tensors = self.model.named_tensors(&self.acts);
        let found = self.gpu.zeros("found", &[tensors.len()], DType::U32, Memory::Workspace)?;
        let mut rec = Recorder::new(&self.gpu);
        for (slot, (_, tensor)) in tensors.iter().enumerate() {
            finite::forward(&mut rec, tensor, &found, slot);
        }
        let search = rec.finish()?;
        self.clear.run();
        for batch in batches {
            self.run_batch(batch, batches.len(), factor);
            search.run();
            let found: Vec<u32> = self.gpu.read(&found)?;
            if let Some(slot) = found.iter().position(|&found| found != 0) {
                return Ok(Some(tensors[slot].0.clone()));
            }
        }
        Ok(None)
    }

    /// A buffer for the losses of a batch.
    pub(super) fn readback(&mut self) -> Result<Readback, GpuError> {
        match self.idle.pop() {
            Some(readback) => Ok(readback),
            None => Readback::new(&self.gpu, self.acts.losses.bytes()),
        }
    }

    /// A buffer for the outcome of a check.
    pub(super) fn check_readback(&mut self) -> Result<Readback, GpuError> {
        match self.idle_checks.pop() {
            Some(readback) => Ok(readback),
            None => Readback::new(&self.gpu, self.optimizer.halt().bytes()),
        }
    }

    /// Waits for a check: whether it found something.
    fn is_set(&mut self, mut check: Readback) -> Result<bool, GpuError> {
        let found: Vec<u32> = check.wait()?;
        self.idle_checks.push(check);
        Ok(found != [0])
    }

    /// Waits for a step's losses.
    pub fn finish(&mut self, pending: PendingLoss, token_bytes: &[u32]) -> Result<StepLoss, GpuError> {
        let PendingLoss { batches, check, loss_scale } = pending;
        let count = batches.len();
        let mut loss = 0.0;
        let mut bpb = BitsPerByte::default();
        let mut of_step = Vec::with_capacity(count);
        for (losses, batch) in batches {
            let losses = match losses {
                Losses::Known(losses) => losses,
                Losses::Reading(mut readback) => {
                    let losses = readback.wait()?;
                    self.idle.push(readback);
                    losses
                }
            };
            let sum: f64 = losses.iter().map(|&loss| f64::from(loss)).sum();
            loss += sum / (batch.targets_that_count().max(1) * count) as f64;
            bpb.add(&losses, &batch.targets, token_bytes);
            of_step.push(batch);
        }
        let outcome = match check {
            Check::Known(outcome) => outcome,
            Check::Reading(check) => match self.is_set(check)? {
                true => StepOutcome::Failed { first: self.first_not_finite(&of_step, loss_scale)? },
                false => StepOutcome::Made,
            },
        };
        Ok(StepLoss { loss, bpb: bpb.value(), loss_scale, outcome })
    }

    /// Losses of a batch in nats, `[N]`, without training on it.
    pub fn losses(&self, inputs: &[i32], targets: &[i32]) -> Result<Vec<f32>, GpuError> {
        self.upload(inputs, targets);
        self.evaluate.run();
        self.gpu.read(&self.acts.losses)
    }

    /// The recordings of a step, in order: for the benchmark.
    pub fn recordings(&self) -> [&Recording; 4] {
        [&self.clear, &self.batch, &self.check, &self.update]
    }

    fn upload(&self, inputs: &[i32], targets: &[i32]) {
        self.gpu.write(&self.acts.ids, inputs);
        self.gpu.write(&self.acts.targets, targets);
    }
}

#[cfg(test)]
mod tests;
