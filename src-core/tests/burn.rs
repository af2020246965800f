//! The Burn twin: first shown to be the reference's model by the golden cases, then used to check the hand-written
//! forward and backward passes on configurations that no golden case covers, and shown to be the same model on the GPU.
//!
//! An error is the largest difference of any element, relative to the largest element of the tensor that is right. The
//! lambdas count as one tensor there: each of their gradients is one sum over the whole residual stream, whose terms may
//! cancel. With one or two layers that of backout cancels completely, since its x_mid is the last layer's x and a norm
//! follows.

use std::path::{Path, PathBuf};

use nc_core::burn_twin::{DType, Device, Evaluation, NamedTensors, Trainer, Twin, TwinError, bench_step, random, share_device};
use nc_core::gpu::{Gpu, GpuError, Recorder};
use nc_core::kernels::embedding::{self, Segments};
use nc_core::model::{Activations, Architecture, Config, Gradients, Keep, Model, Parameters};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::SafeTensors;

const LOGITS_BAR: f64 = 1e-5;
const LOSS_BAR: f64 = 1e-5;
const GRADIENT_BAR: f64 = 1e-4;

/// Random configurations that the kernels are checked on.
const CASES: u64 = 24;

/// The largest element, or infinity if one is NaN.
fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |most, value| if value.is_nan() { f64::INFINITY } else { most.max(value.abs()) })
}

/// Lines for what differs from `want` by more than its bound; empty if all is well.
fn differences(got: &Evaluation, want: &Evaluation) -> Vec<String> {
    let mut lines = Vec::new();
    let mut compare = |what: &str, got: &[f32], want: &[f32], size: f64, bar: f64| {
        assert_eq!(got.len(), want.len(), "{what}");
        let error = largest(got.iter().zip(want).map(|(&got, &want)| f64::from(got) - f64::from(want))) / size;
        if error > bar || error.is_nan() {
            lines.push(format!("{what}: {error:.1e}, the bar is {bar:.0e}"));
        }
    };
    let size = |values: &[f32]| largest(values.iter().map(|&value| f64::from(value)));
    compare("logits", &got.logits, &want.logits, size(&want.logits), LOGITS_BAR);
    compare("losses", &got.losses, &want.losses, size(&want.losses), LOSS_BAR);
    compare("mean loss", &[got.loss], &[want.loss], size(&[want.loss]), LOSS_BAR);
    assert!(got.gradients.keys().eq(want.gradients.keys()), "the two have gradients of other parameters");
    let lambdas = want.gradients.values().filter(|(shape, _)| shape.len() == 1);
    let lambda_size = largest(lambdas.map(|(_, gradient)| size(gradient)));
    for (name, (shape, gradient)) in &want.gradients {
        assert_eq!(got.gradients[name].0, *shape, "{name}");
        let size = if shape.len() == 1 { lambda_size } else { size(gradient) };
        compare(name, &got.gradients[name].1, gradient, size, GRADIENT_BAR);
    }
    lines
}

/// Files with model cases: in the repository, and in the folder that `NC_GOLDEN_DIR` names.
fn golden_cases() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let other = std::env::var_os("NC_GOLDEN_DIR").filter(|value| !value.is_empty()).map(PathBuf::from);
    let in_folder = |folder: PathBuf| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    std::iter::once(own).chain(other).flat_map(in_folder).filter(|path| path.extension().is_some_and(|e| e == "safetensors")).collect()
}

#[test]
fn the_twin_is_the_reference_model() {
    let cases = golden_cases();
    assert!(!cases.is_empty());
    for path in cases {
        let bytes = std::fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let meta: serde_json::Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["meta"]).unwrap();
        let config: Config = serde_json::from_value(meta["config"].clone()).unwrap();

        let floats = |name: &str| -> Vec<f32> { bytemuck::pod_collect_to_vec(file.tensor(name).unwrap().data()) };
        let ids = |name: &str| -> Vec<i32> { bytemuck::pod_collect_to_vec(file.tensor(name).unwrap().data()) };
        let named = |prefix: &str| -> NamedTensors {
            let of_prefix = file.names().into_iter().filter_map(|name| Some((name, name.strip_prefix(prefix)?)));
            of_prefix.map(|(name, short)| (short.to_owned(), (file.tensor(name).unwrap().shape().to_vec(), floats(name)))).collect()
        };
        let want =
            Evaluation { logits: floats("logits"), losses: floats("loss_per_token"), loss: floats("loss")[0], gradients: named("grad.") };

        let seq = file.tensor("batch.0.idx").unwrap().shape()[1];
        for dtype in [DType::F32, DType::F64] {
            let twin = Twin::new(&config, &named("param."), seq, &Device::flex(), dtype).unwrap();
            let got = twin.evaluate(&ids("batch.0.idx"), &ids("batch.0.targets")).unwrap();
            assert_eq!(differences(&got, &want), [""; 0], "{} in {dtype:?}", path.display());
        }
    }
}

/// A configuration with its batch.
#[derive(Debug)]
struct Case {
    seed: u64,
    config: Config,
    batch: usize,
    seq: usize,
}

impl Case {
    /// Case number `seed`. Every third has rows longer than the short window of 128 tokens; the others are short, and
    /// wider.
    fn random(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let beyond_window = seed % 3 == 2;
        let pick = |rng: &mut ChaCha8Rng, from: &[usize]| from[rng.random_range(0..from.len())];
        let config = loop {
            let head_dim = pick(&mut rng, &[8, 16, 24, 32, 40, 64]);
            let n_kv_head = rng.random_range(1..=3);
            let n_head = n_kv_head * rng.random_range(1..=3);
            let config = Config {
                sequence_len: if beyond_window { 300 } else { rng.random_range(40..=64) },
                vocab_size: rng.random_range(33..=200),
                n_layer: rng.random_range(1..=4),
                n_head,
                n_kv_head,
                n_embd: n_head * head_dim,
                window_pattern: ["S", "SL", "SSL", "L"][rng.random_range(0..if beyond_window { 3 } else { 4 })].into(),
                architecture: architecture(seed, &mut rng),
            };
            let windowed = config.n_layer > 1 || !beyond_window;
            // Where the gradient of backout's lambda cancels, another lambda is the scale of its error.
            let parts = &config.architecture;
            let measured = config.n_layer > 2 || !parts.backout || parts.lambdas || parts.smear;
            if config.n_embd <= 192 && !config.vocab_size.is_multiple_of(64) && windowed && measured && config.validate().is_ok() {
                break config;
            }
        };
        let seq = if beyond_window { rng.random_range(140..=300) } else { rng.random_range(2..=40) };
        Self { seed, config, batch: rng.random_range(1..=3), seq }
    }

    /// Token ids, and targets of which about one in eight is −1. The last of a row is not: it is the only one that depends on
    /// every token.
    fn tokens(&self) -> (Vec<i32>, Vec<i32>) {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed ^ 0x70ce);
        let vocab = self.config.vocab_size as i32;
        let n = self.batch * self.seq;
        let inputs = (0..n).map(|_| rng.random_range(0..vocab)).collect();
        let ends_row = |i: usize| (i + 1).is_multiple_of(self.seq);
        let mut target = |i| if !ends_row(i) && rng.random_ratio(1, 8) { -1 } else { rng.random_range(0..vocab) };
        let targets = (0..n).map(&mut target).collect();
        (inputs, targets)
    }
}

/// The architecture of case number `seed`: alternately the current one, the classic one, and twice one of random parts.
fn architecture(seed: u64, rng: &mut ChaCha8Rng) -> Architecture {
    match seed % 4 {
        0 => Architecture::CURRENT,
        1 => Architecture::CLASSIC,
        _ => Architecture {
            smear: rng.random(),
            value_embeds: rng.random(),
            lambdas: rng.random(),
            backout: rng.random(),
            qk_gain: rng.random_range(0.8..1.5),
            rope_base: rng.random_range(1e3..1e6),
            norm_eps: rng.random_range(1e-7..1e-5),
            softcap: rng.random_range(10.0..30.0),
        },
    }
}

/// The same as [`Twin::evaluate`], with our kernels.
fn evaluate_with_kernels(gpu: &Gpu, case: &Case, values: &NamedTensors, ids: &[i32], targets: &[i32]) -> Result<Evaluation, GpuError> {
    let (config, n) = (&case.config, ids.len());
    let parameters = Parameters::allocate(gpu, config)?;
    for (name, (_, values)) in values {
        gpu.write(parameters.get(name), values);
    }
    let model = Model::new(gpu, config, parameters)?;
    let acts = Activations::allocate(gpu, config, case.batch, case.seq, Keep::ForBackward)?;
    let grads = Gradients::allocate(gpu, config, case.batch, case.seq)?;
    gpu.write(&acts.ids, ids);
    gpu.write(&acts.targets, targets);
    let Segments { order, starts } = embedding::segments(ids, config.padded_vocab());
    gpu.write(&grads.order, &order);
    gpu.write(&grads.starts, &starts);
    let count = targets.iter().filter(|&&target| target >= 0).count();
    gpu.write(&grads.weight, &[1.0 / count as f32]);

    let mut rec = Recorder::new(gpu);
    model.record_clear(&mut rec);
    model.record_trunk(&mut rec, &acts);
    model.record_backward(&mut rec, &acts, &grads);
    rec.finish()?.run();
    let losses: Vec<f32> = gpu.read(&acts.losses)?;
    let mut gradients = NamedTensors::new();
    for spec in config.param_specs() {
        let gradient = gpu.read(model.parameters.grad(&spec.name))?;
        gradients.insert(spec.name, (spec.shape, gradient));
    }

    let mut logits = Vec::with_capacity(n * config.vocab_size);
    for first in (0..n).step_by(model.logits_rows(&acts)) {
        let rows = model.logits_rows(&acts).min(n - first);
        let mut rec = Recorder::new(gpu);
        let padded = model.record_logits(&mut rec, &acts, first, rows);
        rec.finish()?.run();
        for row in gpu.read::<f32>(&padded)?.chunks(config.padded_vocab()) {
            logits.extend_from_slice(&row[..config.vocab_size]);
        }
    }
    let loss = losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / count as f64;
    Ok(Evaluation { logits, losses, loss: loss as f32, gradients })
}

/// The adapter that `NC_ADAPTER` names, or the best one.
fn open_gpu() -> Gpu {
    Gpu::open(std::env::var("NC_ADAPTER").ok().as_deref()).unwrap()
}

#[test]
fn the_kernels_agree_with_automatic_differentiation() {
    let gpu = open_gpu();
    for case in (0..CASES).map(Case::random) {
        let parameters = random(&case.config, case.seed);
        let (ids, targets) = case.tokens();
        let twin = Twin::new(&case.config, &parameters, case.seq, &Device::flex(), DType::F64).unwrap();
        let want = twin.evaluate(&ids, &targets).unwrap();
        let got = evaluate_with_kernels(&gpu, &case, &parameters, &ids, &targets).unwrap();
        assert_eq!(differences(&got, &want), [""; 0], "{case:?}");
    }
}

/// Small, with everything in it: grouped queries, a value embedding, an ignored target.
fn small() -> (Case, NamedTensors, Vec<i32>, Vec<i32>) {
    let config = Config {
        sequence_len: 24,
        vocab_size: 50,
        n_layer: 2,
        n_head: 4,
        n_kv_head: 2,
        n_embd: 32,
        window_pattern: "L".into(),
        architecture: Architecture::CURRENT,
    };
    let case = Case { seed: 1, config, batch: 2, seq: 24 };
    let (ids, targets) = case.tokens();
    let parameters = random(&case.config, 1);
    (case, parameters, ids, targets)
}

#[test]
fn on_the_gpu_the_twin_is_the_same_model_and_learns() {
    let (case, parameters, ids, targets) = small();
    let want = Twin::new(&case.config, &parameters, case.seq, &Device::flex(), DType::F64).unwrap().evaluate(&ids, &targets).unwrap();
    let gpu = open_gpu();
    let device = share_device(&gpu).unwrap();
    let got = Twin::new(&case.config, &parameters, case.seq, &device, DType::F32).unwrap().evaluate(&ids, &targets).unwrap();
    assert_eq!(differences(&got, &want), [""; 0]);

    let mut trainer = Trainer::new(&case.config, &parameters, case.seq, &device).unwrap();
    let losses: Vec<f32> = (0..6).map(|_| trainer.step(&ids, &targets).unwrap()).collect();
    assert!((losses[0] - want.loss).abs() < 1e-4, "the first loss is {}, not {}", losses[0], want.loss);
    assert!(losses.windows(2).all(|pair| pair[1] < pair[0]), "the loss does not fall: {losses:?}");
    gpu.check().unwrap();

    let seconds = bench_step(&gpu, &case.config, case.batch, case.seq, 3).unwrap();
    assert!(seconds > 0.0 && seconds.is_finite());
}

#[test]
fn what_is_not_a_batch_or_not_its_parameters_is_refused() {
    let (case, mut parameters, ids, targets) = small();
    let build = |parameters: &NamedTensors| Twin::new(&case.config, parameters, case.seq, &Device::flex(), DType::F32);
    let twin = build(&parameters).unwrap();
    let with = |tokens: &[i32], token: i32| [&[token], &tokens[1..]].concat();
    for (ids, targets) in [
        (&ids[1..], &targets[1..]),
        (&ids[..], &targets[1..]),
        (&[][..], &[][..]),
        (&with(&ids, -1), &targets),
        (&with(&ids, 50), &targets),
        (&ids, &with(&targets, -2)),
        (&ids, &with(&targets, 50)),
    ] {
        assert!(matches!(twin.evaluate(ids, targets), Err(TwinError::Batch(_))));
    }
    let (shape, values) = parameters.remove("lm_head.weight").unwrap();
    assert!(matches!(build(&parameters), Err(TwinError::Missing(name)) if name == "lm_head.weight"));
    parameters.insert("lm_head.weight".into(), (vec![shape[1], shape[0]], values));
    assert!(matches!(build(&parameters), Err(TwinError::Shape { want, .. }) if want == shape));
}
