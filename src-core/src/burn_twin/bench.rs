//! The benchmark's baseline: training steps of the twin on burn-wgpu.
//!
//! Burn gets favourable conditions: our adapter and our device with its raised limits, its own fused linear layers, static
//! batches, and no readback but the loss. The optimizer is Burn's: Muon on the blocks' matrices (momentum and
//! five quintic Newton-Schulz steps, without the second moments and the cautious decay that our Muon has), AdamW on
//! everything else. So a step of Burn does slightly less work than one of ours. Burn's fusion and autotuning are off:
//! with them, the first step takes minutes on a software adapter.

use std::collections::BTreeMap;
use std::time::Instant;

use burn::optim::{AdamW, AdamWConfig, AdamWState, Muon, MuonConfig, MuonState, Optimizer};
use burn::tensor::wgpu::{WgpuSetup, wgpu};
use burn::tensor::{DType, Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::gpu::Gpu;
use crate::model::{Config, Group};

use super::{NamedTensors, Twin, TwinError, random};

/// Steps before the clock starts: the first compiles every kernel, the second is the first with optimizer state.
const WARM_UP: usize = 2;

const ADAMW_LR: f64 = 1e-3;
const MUON_LR: f64 = 0.02;

/// Makes Burn compute on `gpu`'s own wgpu device. Call it once per device and clone the result: Burn keeps a runtime
/// for every registration.
pub fn share_device(gpu: &Gpu) -> Result<Device, TwinError> {
    // Burn only keeps the instance alive, so one without any backend suffices.
    let descriptor =
        wgpu::InstanceDescriptor { backends: wgpu::Backends::empty(), ..wgpu::InstanceDescriptor::new_without_display_handle() };
    let setup = WgpuSetup {
        instance: wgpu::Instance::new(descriptor),
        adapter: gpu.adapter().clone(),
        device: gpu.device().clone(),
        queue: gpu.queue().clone(),
        backend: gpu.info().backend,
    };
    Ok(Device::wgpu_options().setup(setup).init()?)
}

/// A twin in training.
pub struct Trainer {
    twin: Twin,
    adamw: AdamW,
    muon: Muon,
    groups: BTreeMap<String, Group>,
    adamw_states: BTreeMap<String, AdamWState<2>>,
    muon_states: BTreeMap<String, MuonState<2>>,
}

impl Trainer {
    /// Prepares training of the model of `config` in float32, from `parameters`, on rows of `seq` tokens.
    pub fn new(config: &Config, parameters: &NamedTensors, seq: usize, device: &Device) -> Result<Self, TwinError> {
        Ok(Self {
            twin: Twin::new(config, parameters, seq, device, DType::F32)?,
            adamw: AdamWConfig::new().with_beta_1(0.8).with_beta_2(0.95).with_epsilon(1e-10).build(),
            muon: MuonConfig::new().build(),
            groups: config.param_specs().into_iter().map(|spec| (spec.name, spec.group)).collect(),
            adamw_states: BTreeMap::new(),
            muon_states: BTreeMap::new(),
        })
    }

    /// One step: forward, backward, optimizer. Returns the mean loss before the step, once the step is complete.
    pub fn step(&mut self, ids: &[i32], targets: &[i32]) -> Result<f32, TwinError> {
        let (loss, mut gradients) = self.twin.loss_and_gradients(ids, targets)?;
        for (name, weight) in &mut self.twin.weights {
            let gradient = weight.grad_remove(&mut gradients).ok_or_else(|| TwinError::NoGradient(name.clone()))?;
            let current = weight.clone().inner();
            let updated = match self.groups[name] {
                Group::Matrix => optimize(&self.muon, MUON_LR, name, current, gradient, &mut self.muon_states),
                _ => optimize(&self.adamw, ADAMW_LR, name, current, gradient, &mut self.adamw_states),
            };
            *weight = updated.autodiff().require_grad();
        }
        let device = loss.device();
        let loss = loss.try_into_vec_as::<f32>()?[0];
        device.sync()?;
        Ok(loss)
    }
}

/// Updates one parameter by one step of `rule`.
fn optimize<O: Optimizer>(
    rule: &O,
    lr: f64,
    name: &str,
    weight: Tensor<2>,
    gradient: Tensor<2>,
    states: &mut BTreeMap<String, O::State<2>>,
) -> Tensor<2> {
    let (updated, state) = rule.step(lr, weight, gradient, states.remove(name));
    states.extend(state.map(|state| (name.to_owned(), state)));
    updated
}

/// Seconds per training step of the twin on `gpu`: the median of `steps` steps (at least one) over batches of
/// `batch` rows of `seq` tokens, after a warm-up.
///
/// ```no_run
/// use nc_core::{burn_twin, gpu::Gpu, model::Config};
///
/// let gpu = Gpu::open(None)?;
/// let config = Config::from_depth(4, 64, 128, 512, 4096, "L")?;
/// let (batch, seq) = (4, 512);
/// let seconds = burn_twin::bench_step(&gpu, &config, batch, seq, 5)?;
/// println!("Burn: {:.0} ms a step, {:.0} tokens/s", 1e3 * seconds, (batch * seq) as f64 / seconds);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn bench_step(gpu: &Gpu, config: &Config, batch: usize, seq: usize, steps: usize) -> Result<f64, TwinError> {
    let mut trainer = Trainer::new(config, &random(config, 0), seq, &share_device(gpu)?)?;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut tokens = || -> Vec<i32> { (0..batch * seq).map(|_| rng.random_range(0..config.vocab_size as i32)).collect() };
    let (ids, targets) = (tokens(), tokens());
    for _ in 0..WARM_UP {
        trainer.step(&ids, &targets)?;
    }
    let mut seconds = Vec::with_capacity(steps.max(1));
    for _ in 0..steps.max(1) {
        let start = Instant::now();
        trainer.step(&ids, &targets)?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    gpu.check()?;
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[seconds.len() / 2])
}
