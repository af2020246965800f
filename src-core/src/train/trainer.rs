//! The GPU side of training: a step's command streams, recorded once and replayed.

use crate::data::batch::Batch;
use crate::eval::bits_per_byte::BitsPerByte;
use crate::gpu::{Gpu, GpuError, Numerics, Readback, Recorder, Recording};
use crate::kernels::embedding;
use crate::model::{Activations, Config, Gradients, Keep, Model, Parameters};
use crate::optim::{Optimizer, OptimizerConfig, StepValues};

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
    update: Recording,
    evaluate: Recording,
    idle: Vec<Readback>,
}

/// A step whose losses are being read back.
pub struct PendingLoss {
    batches: Vec<(Readback, Batch)>,
}

/// The loss of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepLoss {
    /// Mean over the step's batches of the mean loss of each batch's targets, in nats.
    pub loss: f64,
    /// Bits per byte of the step's targets.
    pub bpb: f64,
}

impl Trainer {
    /// Allocates everything for batches of `rows` rows of `config.sequence_len` tokens, and records the step. The
    /// parameters are zero until they are written.
    pub fn new(gpu: &Gpu, config: &Config, optimizer: &OptimizerConfig, rows: usize) -> Result<Self, GpuError> {
        Self::with_numerics(gpu, config, optimizer, rows, Numerics::Exact)
    }

    /// The same, with kernels of `numerics`.
    pub fn with_numerics(
        gpu: &Gpu,
        config: &Config,
        optimizer: &OptimizerConfig,
        rows: usize,
        numerics: Numerics,
    ) -> Result<Self, GpuError> {
        let model = Model::new(gpu, config, Parameters::allocate(gpu, config)?)?;
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
            update: record(&|rec| optimizer.record(rec))?,
            evaluate: record(&|rec| model.record_evaluation(rec, &acts))?,
            idle: Vec::new(),
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

    /// Submits one optimizer step over `batches` and returns without waiting for it.
    ///
    /// The loss is the mean over each batch's targets, then over batches, as in the reference; a batch without targets
    /// counts as one whose loss is 0. `step` is the number of steps already made with the optimizer's moments.
    pub fn step(&mut self, batches: Vec<Batch>, step: u64, values: StepValues) -> Result<PendingLoss, GpuError> {
        let mut pending = PendingLoss { batches: Vec::with_capacity(batches.len()) };
        let count = batches.len();
        self.clear.run();
        for batch in batches {
            let weight = 1.0 / (batch.targets_that_count().max(1) * count) as f32;
            self.upload(&batch.inputs, &batch.targets);
            let segments = embedding::segments(&batch.inputs, self.model.config.padded_vocab());
            self.gpu.write(&self.grads.order, &segments.order);
            self.gpu.write(&self.grads.starts, &segments.starts);
            self.gpu.write(&self.grads.weight, &[weight]);
            self.batch.run();
            let mut readback = self.readback()?;
            readback.start(&[&self.acts.losses]);
            pending.batches.push((readback, batch));
        }
        // The batches' losses are already divided by their number.
        self.optimizer.set_step(values, 1.0, step + 1);
        self.update.run();
        self.gpu.check()?;
        Ok(pending)
    }

    /// A buffer for the losses of a batch.
    pub(super) fn readback(&mut self) -> Result<Readback, GpuError> {
        match self.idle.pop() {
            Some(readback) => Ok(readback),
            None => Readback::new(&self.gpu, self.acts.losses.bytes()),
        }
    }

    /// Waits for a step's losses.
    pub fn finish(&mut self, pending: PendingLoss, token_bytes: &[u32]) -> Result<StepLoss, GpuError> {
        let count = pending.batches.len();
        let mut loss = 0.0;
        let mut bpb = BitsPerByte::default();
        for (mut readback, batch) in pending.batches {
            let losses: Vec<f32> = readback.wait()?;
            let sum: f64 = losses.iter().map(|&loss| f64::from(loss)).sum();
            loss += sum / (batch.targets_that_count().max(1) * count) as f64;
            bpb.add(&losses, &batch.targets, token_bytes);
            self.idle.push(readback);
        }
        Ok(StepLoss { loss, bpb: bpb.value() })
    }

    /// Losses of a batch in nats, `[N]`, without training on it.
    pub fn losses(&self, inputs: &[i32], targets: &[i32]) -> Result<Vec<f32>, GpuError> {
        self.upload(inputs, targets);
        self.evaluate.run();
        self.gpu.read(&self.acts.losses)
    }

    /// The recordings of a step, in order: for the benchmark.
    pub fn recordings(&self) -> [&Recording; 3] {
        [&self.clear, &self.batch, &self.update]
    }

    fn upload(&self, inputs: &[i32], targets: &[i32]) {
        self.gpu.write(&self.acts.ids, inputs);
        self.gpu.write(&self.acts.targets, targets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::IGNORED;
    use crate::gpu::Forced;
    use crate::kernels::testing::Bench;
    use crate::model::Architecture;

    fn values() -> StepValues {
        StepValues { lr_multiplier: 1.0, momentum: 0.85, weight_decay: 0.0 }
    }

    /// A step of the fast class on another device, with the choices of the first: the same bits.
    #[test]
    fn the_recorded_kernels_of_a_fast_step_bring_its_bits_again() {
        let config = Config {
            sequence_len: 16,
            vocab_size: 1024,
            n_layer: 1,
            n_head: 1,
            n_kv_head: 1,
            n_embd: 32,
            window_pattern: "L".into(),
            architecture: Architecture::CURRENT,
        };
        let inputs: Vec<i32> = (0..16).map(|i| i * 61 % 1024).collect();
        let step = |gpu: &Gpu| {
            let optimizer = OptimizerConfig::new(config.n_embd, 1.0);
            let mut trainer = Trainer::with_numerics(gpu, &config, &optimizer, 1, Numerics::Fast).unwrap();
            trainer.model.parameters.initialise(gpu, &config, 1);
            let batch = Batch { rows: 1, row_len: 16, inputs: inputs.clone(), targets: inputs.clone() };
            let pending = trainer.step(vec![batch], 0, values()).unwrap();
            trainer.finish(pending, &[1; 1024]).unwrap();
            let weights = trainer.model.parameters.iter().map(|parameter| gpu.read::<f32>(parameter.value()).unwrap());
            weights.collect::<Vec<_>>()
        };
        let open = || Gpu::open_as(std::env::var("NC_ADAPTER").ok().as_deref(), Some(Forced::GpuNoSubgroups)).unwrap();

        let gpu = open();
        let fast = step(&gpu);
        let chosen = gpu.fixed_choices();
        assert!(chosen.values().any(|kernel| kernel.starts_with("Split")), "{chosen:?}");
        let other = open();
        other.fix_choices(chosen.clone());
        assert!(step(&other) == fast);
        assert_eq!(other.fixed_choices(), chosen);
    }

    #[test]
    fn a_batch_without_targets_counts_nothing_and_steps_to_no_nan() {
        let bench = Bench::new();
        let gpu = bench.gpu();
        let config = Config {
            sequence_len: 16,
            vocab_size: 50,
            n_layer: 2,
            n_head: 2,
            n_kv_head: 1,
            n_embd: 32,
            window_pattern: "L".into(),
            architecture: Architecture::CURRENT,
        };
        let mut trainer = Trainer::new(gpu, &config, &OptimizerConfig::new(config.n_embd, 1.0), 1).unwrap();
        trainer.model.parameters.initialise(gpu, &config, 1);
        let inputs: Vec<i32> = (0..16).map(|i| i * 7 % 50).collect();
        let batch = |targets: Vec<i32>| Batch { rows: 1, row_len: 16, inputs: inputs.clone(), targets };
        let (some, none) = (batch((0..16).map(|i| if i % 3 == 0 { i } else { IGNORED }).collect()), batch(vec![IGNORED; 16]));
        let mut step = |batches, step| {
            let pending = trainer.step(batches, step, values()).unwrap();
            trainer.finish(pending, &[1; 50]).unwrap()
        };

        // With fresh moments, a zero gradient is divided by its own norm.
        assert_eq!(step(vec![none.clone(), none.clone()], 0), StepLoss { loss: 0.0, bpb: f64::INFINITY });
        let whole = step(vec![some.clone()], 1).loss;
        assert!((whole - 50f64.ln()).abs() < 0.1, "{whole}");
        let half = step(vec![some, none], 2).loss;
        assert!(half > 0.0 && half < 0.6 * whole, "{half} beside {whole}");
        for parameter in trainer.model.parameters.iter() {
            let weights: Vec<f32> = gpu.read(parameter.value()).unwrap();
            assert!(weights.iter().all(|weight| weight.is_finite()), "{}", parameter.spec.name);
        }
    }
}
