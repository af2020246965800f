//! The optimizer on the GPU against its twin in f64, on the parameters and gradients of the reference's models.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use nc_core::gpu::{Gpu, Recorder};
use nc_core::model::{Config, Parameters};
use nc_core::optim::twin::{Named, Twin};
use nc_core::optim::{Optimizer, OptimizerConfig, StepValues};
use nc_tests::golden_models;
use safetensors::SafeTensors;
use serde::Deserialize;

/// What this test reads of a model case's header.
#[derive(Deserialize)]
struct Meta {
    config: Config,
    optimizer: Rates,
    schedule: Vec<Step>,
}

#[derive(Deserialize)]
struct Rates {
    unembedding_lr: f64,
    embedding_lr: f64,
    matrix_lr: f64,
    scalar_lr: f64,
}

#[derive(Deserialize)]
struct Step {
    lr_multiplier: f64,
    muon_momentum: f64,
    muon_weight_decay: f64,
}

/// A model case: the file's bytes, and what its header says.
fn case(path: &Path) -> (Vec<u8>, Meta) {
    let bytes = fs::read(path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let meta = &header.metadata().as_ref().expect("a golden file has metadata")["meta"];
    let meta = serde_json::from_str(meta).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (bytes, meta)
}

/// The tensors whose names begin with `prefix`, without it.
fn named(file: &SafeTensors<'_>, prefix: &str) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let tensors = file.iter().filter_map(|(name, view)| Some((name.strip_prefix(prefix)?, view)));
    tensors.map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), bytemuck::pod_collect_to_vec(view.data())))).collect()
}

fn wide(values: &BTreeMap<String, (Vec<usize>, Vec<f32>)>) -> Named {
    values.iter().map(|(name, (_, values))| (name.clone(), values.iter().map(|&v| f64::from(v)).collect())).collect()
}

/// The largest relative error of a tensor's update by AdamW: decay and update each round a parameter.
const ADAMW_BAR: f64 = 1e-5;

/// By Muon: Polar Express raises small singular values a thousandfold, and rounding errors with them.
const MUON_BAR: f64 = 1e-4;

/// The gradient of batch 0 is stepped with each of the case's schedule values in turn. The twin starts every step from
/// the parameters that the GPU holds, so that each update is compared by itself.
#[test]
fn golden_optimizer_steps_equal_the_twin() {
    let gpu = Gpu::open(std::env::var("NC_ADAPTER").ok().as_deref()).unwrap();
    for path in golden_models() {
        let (bytes, meta) = case(&path);
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let specs = meta.config.param_specs();
        let (params, grads) = (named(&file, "param."), named(&file, "grad."));
        assert_eq!(params.len(), specs.len(), "{}", path.display());

        let parameters = Parameters::allocate(&gpu, &meta.config).unwrap();
        for (name, (shape, values)) in &params {
            parameters.upload(&gpu, name, shape, values).unwrap();
        }
        let Rates { unembedding_lr, embedding_lr, matrix_lr, scalar_lr } = meta.optimizer;
        let config = OptimizerConfig { n_embd: meta.config.n_embd, lr_scale: 1.0, unembedding_lr, embedding_lr, matrix_lr, scalar_lr };
        let optimizer = Optimizer::new(&gpu, &parameters, &config).unwrap();
        let mut rec = Recorder::new(&gpu);
        optimizer.record(&mut rec);
        let recording = rec.finish().unwrap();

        let mut twin = Twin::new(&specs, &config);
        let mut before = wide(&params);
        for (i, step) in meta.schedule.iter().enumerate() {
            let values =
                StepValues { lr_multiplier: step.lr_multiplier, momentum: step.muon_momentum, weight_decay: step.muon_weight_decay };
            let t = i as u64 + 1;
            for (name, (_, values)) in &grads {
                gpu.write(parameters.grad(name), values);
            }
            // Of the gradient, each step takes another part, so that its momentum has steps of different sizes.
            let scale = 1.0 / t as f64;
            optimizer.set_step(values, scale, t);
            recording.run();

            let mut want = before.clone();
            twin.step(&mut want, &wide(&grads), values, scale, t);
            let mut after = Named::new();
            for spec in &specs {
                let got: Vec<f32> = gpu.read(parameters.get(&spec.name)).unwrap();
                let got: Vec<f64> = got.into_iter().map(f64::from).collect();
                let name = &spec.name;
                let bar = if config.adamw(spec.group).is_some() { ADAMW_BAR } else { MUON_BAR };
                let decay = if config.adamw(spec.group).is_some() {
                    0.0
                } else {
                    config.muon_lr(spec.shape[0], spec.shape[1]) * values.lr_multiplier * values.weight_decay
                };
                let error = update_error(&got, &want[name], &before[name], decay);
                assert!(error <= bar, "{}: step {t} of {name}: {error:.1e}", path.display());
                after.insert(name.clone(), got);
            }
            before = after;
        }
    }
}

/// At depth 2, backout only scales the stream, and its parameter is held.
#[test]
fn what_is_held_stays_and_all_else_moves() {
    let gpu = Gpu::open(std::env::var("NC_ADAPTER").ok().as_deref()).unwrap();
    let config = Config::from_depth(2, 64, 128, 64, 100, "L").unwrap();
    let specs = config.param_specs();
    assert!(specs.iter().any(|spec| spec.held));
    let rates = OptimizerConfig::new(config.n_embd, 1.0);
    let parameters = Parameters::allocate(&gpu, &config).unwrap();
    let optimizer = Optimizer::new(&gpu, &parameters, &rates).unwrap();
    let mut rec = Recorder::new(&gpu);
    optimizer.record(&mut rec);
    let mut twin = Twin::new(&specs, &rates);
    let values =
        |of: &dyn Fn(usize) -> f64| -> Named { specs.iter().map(|spec| (spec.name.clone(), (0..spec.len()).map(of).collect())).collect() };
    let (before, grads) = (values(&|_| 0.5), values(&|i| 0.01 + (i % 7) as f64 / 100.0));
    for (name, grad) in &grads {
        let narrow = |values: &[f64]| values.iter().map(|&value| value as f32).collect::<Vec<_>>();
        gpu.write(parameters.get(name), &narrow(&before[name]));
        gpu.write(parameters.grad(name), &narrow(grad));
    }
    let step = StepValues { lr_multiplier: 1.0, momentum: 0.85, weight_decay: 0.1 };
    optimizer.set_step(step, 1.0, 1);
    rec.finish().unwrap().run();
    let mut after = before.clone();
    twin.step(&mut after, &grads, step, 1.0, 1);
    for spec in &specs {
        let moved = gpu.read::<f32>(parameters.get(&spec.name)).unwrap().iter().any(|&value| value != 0.5);
        assert_eq!((moved, after[&spec.name] != before[&spec.name]), (!spec.held, !spec.held), "{}", spec.name);
    }
}

/// ‖(got − was) − (want − was)‖ / ‖want − was‖, without what a parameter in f32 cannot hold.
///
/// Where Muon's direction is zero but for rounding, so is the product whose sign decides on the decay: one element in
/// five hundred may be off by its decay.
fn update_error(got: &[f64], want: &[f64], was: &[f64], decay: f64) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let moved = norm(&mut want.iter().zip(was).map(|(want, was)| want - was));
    let rounding = norm(&mut was.iter().copied()) * f64::from(f32::EPSILON) / 2.0;
    let usual = moved / (want.len() as f64).sqrt();
    let mut left = 1 + want.len() / 500;
    let difference = norm(&mut got.iter().zip(want).zip(was).map(|((got, want), was)| {
        let (off, decay) = ((got - want).abs(), decay * was.abs());
        let undecided = off > 1e-4 * usual && (off - decay).abs() <= 0.05 * decay && left > 0;
        left -= usize::from(undecided);
        if undecided { 0.0 } else { off }
    }));
    assert!(difference.is_finite() && moved > 0.0);
    (difference - rounding).max(0.0) / moved
}
