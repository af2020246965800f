//! Runs whose weights were drawn, not trained: for what is about the weights' way in and out. The rows that pad the
//! vocabulary are drawn like the others, so that whoever reads them where they do not count is found out.

use std::num::NonZeroUsize;
use std::path::Path;

use nc_core::checkpoint::home::Home;
use nc_core::checkpoint::{Run, RunError, RunLock, Snapshot, TensorRef, load_model, save};
use nc_core::gpu::{Gpu, Recorder};
use nc_core::model::{Activations, Architecture, Config, Group, Keep, Model, ParamSpec, Parameters};
use nc_core::tokenizer::Tokenizer;
use nc_core::train::{load, run_config};
use nc_core::weights::Format;

use crate::script::TRAINING;

/// The only step of a drawn run.
pub const STEP: u64 = 1;

/// Writes a run of `config`. Weights are such that logits spread over the softcap's range.
pub fn install(home: &Path, name: &str, config: &Config, tokenizer: &Tokenizer) {
    assert_eq!(config.vocab_size, tokenizer.vocab_size());
    let mut seed = 1u64;
    let mut draw = |middle: f32, spread: f32| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        middle + spread * ((seed >> 40) as f32 / (1u64 << 23) as f32 - 1.0)
    };
    let by_width = (3.0 / config.n_embd as f32).sqrt();
    install_values(home, name, config, tokenizer, |spec| {
        let (middle, spread) = match spec.group {
            Group::Wte | Group::ValueEmbeds => (0.0, 1.0),
            Group::Matrix => (0.0, by_width),
            Group::LmHead => (0.0, 4.0 * by_width),
            Group::ResidLambdas => (1.0, 0.2),
            Group::X0Lambdas => (0.2, 0.1),
            Group::Smear => (0.4, 0.3),
        };
        (0..spec.len()).map(|_| draw(middle, spread)).collect()
    });
}

/// The same with the values that `values` gives each parameter, in the order of their specs.
pub fn install_values(home: &Path, name: &str, config: &Config, tokenizer: &Tokenizer, values: impl FnMut(&ParamSpec) -> Vec<f32>) {
    let mut training: serde_json::Value = TRAINING.parse().unwrap();
    training["total_batch_size"] = config.sequence_len.into();
    let json = serde_json::json!({ "format": 1, "model": config, "training": training });
    let run = Run::create(&Home::at(home), name, &json, &tokenizer.to_json()).unwrap();
    let specs = config.param_specs();
    let tensors: Vec<Vec<f32>> = specs.iter().map(values).collect();
    let refs: Vec<TensorRef<'_>> =
        specs.iter().zip(&tensors).map(|(spec, data)| TensorRef { name: &spec.name, shape: &spec.shape, data }).collect();
    let snapshot = Snapshot { step: STEP, model: &mut refs.as_slice(), optimizer: None, state: serde_json::value::RawValue::NULL };
    save(&lock(&run), snapshot, NonZeroUsize::new(1)).unwrap();
}

/// Locks a run that nothing uses. A process that another test is starting right now has a copy of every open file until it becomes
/// another program, also of a lock that was just released.
fn lock(run: &Run) -> RunLock {
    loop {
        match run.lock() {
            Err(RunError::Busy { pid: None, .. }) => std::thread::yield_now(),
            locked => return locked.unwrap(),
        }
    }
}

/// A model of two layers, the first with a window of 512 tokens, whose ring buffer goes round after 768.
pub fn windowed(gpu: &Gpu, n_embd: usize, architecture: Architecture, format: Format) -> Model {
    let config = Config {
        sequence_len: 1500,
        vocab_size: 64,
        n_layer: 2,
        n_head: 2,
        n_kv_head: 1,
        n_embd,
        window_pattern: "SL".into(),
        architecture,
    };
    let parameters = Parameters::frozen(gpu, &config, format).unwrap();
    for (i, spec) in config.param_specs().into_iter().enumerate() {
        let values: Vec<f32> = (0..spec.len()).map(|j| ((i * 7919 + j * 104_729) % 1009) as f32 / 2018.0 - 0.25).collect();
        parameters.upload(gpu, &spec.name, &spec.shape, &values).unwrap();
    }
    Model::new(gpu, &config, parameters).unwrap()
}

/// Logits of a run's newest checkpoint after each of `ids`, `[T, V]`, on the tests' adapter.
pub fn logits(home: &Path, run: &str, ids: &[u32]) -> Vec<Vec<f32>> {
    let run = Run::open(&Home::at(home), run).unwrap();
    let config = run_config(&run).unwrap().model;
    let gpu = Gpu::open(std::env::var("NC_ADAPTER").ok().as_deref()).unwrap();
    let parameters = load(&gpu, &config, &mut load_model(&run, None).unwrap().model, None).unwrap();
    let model = Model::new(&gpu, &config, parameters).unwrap();
    let acts = Activations::allocate(&gpu, &config, 1, ids.len(), Keep::Nothing).unwrap();
    gpu.write(&acts.ids, &ids.iter().map(|&id| id as i32).collect::<Vec<_>>());
    let mut rec = Recorder::new(&gpu);
    model.record_trunk(&mut rec, &acts);
    rec.finish().unwrap().run();

    let (rows, padded) = (model.logits_rows(&acts), config.padded_vocab());
    let mut all = Vec::new();
    for first in (0..ids.len()).step_by(rows) {
        let mut rec = Recorder::new(&gpu);
        let logits = model.record_logits(&mut rec, &acts, first, rows.min(ids.len() - first));
        rec.finish().unwrap().run();
        all.extend(gpu.read(&logits).unwrap().chunks_exact(padded).map(|row| row[..config.vocab_size].to_vec()));
    }
    all.truncate(ids.len());
    all
}
