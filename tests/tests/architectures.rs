//! Every combination of the parts that a model may have, from all to none: the passes compute the model that the
//! configuration says, forward, backward and with a cache.

use std::collections::BTreeMap;

use nc_core::engine::decoder::{Decoder, Feed};
use nc_core::gpu::{Gpu, Recorder};
use nc_core::kernels::embedding;
use nc_core::kernels::sample::Draw;
use nc_core::model::{Activations, Architecture, Config, Gradients, Keep, Model, Parameters};
use nc_core::weights::Format;
use nc_tests::architectures;
use nc_tests::golden::Report;
use nc_tests::twin::{self, Values, noise};

const ROWS: usize = 2;
const SEQ: usize = 24;

/// Grouped queries, and three layers, so that the middle one is not the last.
fn config(architecture: Architecture) -> Config {
    Config { sequence_len: 40, vocab_size: 50, n_layer: 3, n_head: 4, n_kv_head: 2, n_embd: 32, window_pattern: "L".into(), architecture }
}

fn gpu() -> Gpu {
    Gpu::open(std::env::var("NC_ADAPTER").ok().as_deref()).unwrap()
}

fn tokens() -> Vec<i32> {
    noise("tokens", ROWS * SEQ).map(|x| (25.0 + 25.0 * x) as i32).collect()
}

/// The next tokens of a row; nothing after the last, nor after every seventh.
fn targets(ids: &[i32]) -> Vec<i32> {
    (0..ids.len()).map(|n| if (n + 1) % SEQ == 0 || n % 7 == 6 { -1 } else { ids[n + 1] }).collect()
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&value| value as f32).collect()
}

fn model(gpu: &Gpu, config: &Config, values: &Values, trained: bool) -> Model {
    let parameters = if trained { Parameters::allocate(gpu, config) } else { Parameters::frozen(gpu, config, Format::F32) }.unwrap();
    assert!(parameters.iter().map(|parameter| &parameter.spec.name).all(|name| values.contains_key(name)));
    assert_eq!(parameters.iter().len(), values.len(), "every value has its parameter");
    for parameter in parameters.iter() {
        let values = narrow(&values[&parameter.spec.name]);
        parameters.upload(gpu, &parameter.spec.name, &parameter.spec.shape, &values).unwrap();
    }
    Model::new(gpu, config, parameters).unwrap()
}

/// Softcapped logits of every token, padding included, after a pass that keeps what `keep` says.
fn logits(gpu: &Gpu, model: &Model, ids: &[i32], keep: Keep) -> Vec<f32> {
    let acts = Activations::allocate(gpu, &model.config, ROWS, SEQ, keep).unwrap();
    gpu.write(&acts.ids, ids);
    let mut rec = Recorder::new(gpu);
    model.record_trunk(&mut rec, &acts);
    let logits = model.record_logits(&mut rec, &acts, 0, ids.len());
    rec.finish().unwrap().run();
    gpu.read(&logits).unwrap()
}

/// The gradient of the mean loss with respect to every parameter.
fn gradients(gpu: &Gpu, model: &Model, ids: &[i32], targets: &[i32]) -> BTreeMap<String, Vec<f32>> {
    let config = &model.config;
    let acts = Activations::allocate(gpu, config, ROWS, SEQ, Keep::ForBackward).unwrap();
    let grads = Gradients::allocate(gpu, config, ROWS, SEQ).unwrap();
    let segments = embedding::segments(ids, config.padded_vocab());
    gpu.write(&acts.ids, ids);
    gpu.write(&acts.targets, targets);
    gpu.write(&grads.order, &segments.order);
    gpu.write(&grads.starts, &segments.starts);
    gpu.write(&grads.weight, &[1.0 / targets.iter().filter(|&&target| target >= 0).count() as f32]);
    let mut rec = Recorder::new(gpu);
    model.record_clear(&mut rec);
    model.record_trunk(&mut rec, &acts);
    model.record_backward(&mut rec, &acts, &grads);
    let recording = rec.finish().unwrap();
    // Twice, as a training step may: a pass must not find what the one before left.
    recording.run();
    recording.run();
    gpu.wait().unwrap();
    model.parameters.iter().map(|parameter| (parameter.spec.name.clone(), gpu.read(parameter.grad.as_ref().unwrap()).unwrap())).collect()
}

fn no_failures(report: &Report) {
    assert!(report.failures.is_empty(), "{}", report.failures.join("\n"));
}

#[test]
fn logits_are_those_of_the_model_in_f64() {
    let (gpu, ids) = (gpu(), tokens());
    let mut report = Report::default();
    for architecture in architectures() {
        let config = config(architecture);
        let values = twin::values(&config);
        let want = narrow(&twin::logits(&config, &values, SEQ, &ids));
        let model = model(&gpu, &config, &values, false);
        for keep in [Keep::ForBackward, Keep::Nothing] {
            report.compare(&format!("{keep:?} {:?}", config.architecture), &logits(&gpu, &model, &ids, keep), &want, 1e-5);
        }
    }
    println!("worst error is {:.3} of its bar", report.worst);
    no_failures(&report);
}

/// Each parameter's gradient along a random direction of signs, where a wrong one shows whatever element is wrong, against
/// the difference of losses in f64 a small step to either side.
#[test]
fn gradients_are_differences_of_the_loss() {
    const STEP: f64 = 1e-5;
    const BAR: f64 = 1e-4;
    let (gpu, ids) = (gpu(), tokens());
    let targets = targets(&ids);
    let (mut failures, mut worst) = (Vec::new(), 0.0f64);
    for architecture in architectures() {
        let config = config(architecture);
        let mut values = twin::values(&config);
        let gradients = gradients(&gpu, &model(&gpu, &config, &values, true), &ids, &targets);
        for (name, gradient) in gradients {
            let direction: Vec<f64> = noise(&format!("{name} {:?}", config.architecture), gradient.len()).map(f64::signum).collect();
            let here = values[&name].clone();
            let mut loss = |step: f64| {
                let there = here.iter().zip(&direction).map(|(value, sign)| value + step * sign).collect();
                values.insert(name.clone(), there);
                twin::loss(&config, &values, SEQ, &ids, &targets)
            };
            let want = (loss(STEP) - loss(-STEP)) / (2.0 * STEP);
            values.insert(name.clone(), here);
            let got: f64 = gradient.iter().zip(&direction).map(|(slope, sign)| f64::from(*slope) * sign).sum();
            let size = gradient.iter().map(|slope| f64::from(*slope).powi(2)).sum::<f64>().sqrt();
            let error = (got - want).abs() / size;
            worst = worst.max(error / BAR);
            if error.is_nan() || error > BAR {
                failures.push(format!("{name}: {got} instead of {want}, {error:.1e} of its size, in {:?}", config.architecture));
            }
        }
    }
    println!("worst error is {worst:.3} of its bar");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The same model with every part, each absent one given the values under which it does nothing.
fn with_neutral_parts(config: &Config, values: &Values) -> (Config, Values) {
    let architecture = Architecture { smear: true, value_embeds: true, lambdas: true, backout: true, ..config.architecture.clone() };
    let whole = Config { architecture, ..config.clone() };
    let mut all = values.clone();
    for spec in whole.param_specs() {
        let neutral = match spec.name.as_str() {
            "resid_lambdas" => 1.0,
            // A gate that is open, onto nothing.
            name if name.ends_with("gate.weight") => 0.1,
            _ => 0.0,
        };
        all.entry(spec.name.clone()).or_insert_with(|| vec![neutral; spec.len()]);
    }
    (whole, all)
}

#[test]
fn a_part_that_is_absent_is_one_that_does_nothing() {
    let (gpu, ids) = (gpu(), tokens());
    let targets = targets(&ids);
    let mut report = Report::default();
    for architecture in architectures() {
        let config = config(architecture);
        let values = twin::values(&config);
        let (whole, all) = with_neutral_parts(&config, &values);
        let (lacking, whole) = (model(&gpu, &config, &values, true), model(&gpu, &whole, &all, true));
        let what = |part: &str| format!("{part} of {:?}", config.architecture);
        let [got, want] = [&lacking, &whole].map(|model| logits(&gpu, model, &ids, Keep::ForBackward));
        report.compare(&what("logits"), &got, &want, 1e-6);
        let want = gradients(&gpu, &whole, &ids, &targets);
        for (name, got) in gradients(&gpu, &lacking, &ids, &targets) {
            report.compare(&what(&name), &got, &want[&name], 1e-6);
        }
    }
    println!("worst error is {:.3} of its bar", report.worst);
    no_failures(&report);
}

/// One token at a time, after prefills of a few tokens and of many; for a few sequences and for more than a
/// matrix-vector product serves.
#[test]
fn cached_logits_equal_the_uncached_ones() {
    let (gpu, ids) = (gpu(), tokens());
    let mut report = Report::default();
    for architecture in architectures() {
        let config = config(architecture);
        let (vocab, padded) = (config.vocab_size, config.padded_vocab());
        let model = model(&gpu, &config, &twin::values(&config), false);
        let want = logits(&gpu, &model, &ids, Keep::Nothing);
        for (sequences, starts) in [(ROWS, &[0, 1, 7, 20][..]), (9, &[11])] {
            for &start in starts {
                let mut decoder = Decoder::new(&gpu, &model, sequences, usize::MAX).unwrap();
                let of = |sequence: usize| sequence % ROWS * SEQ;
                let id = |n: usize| ids[n] as u32;
                for sequence in 0..sequences {
                    let prompt: Vec<u32> = (0..start).map(|t| id(of(sequence) + t)).collect();
                    decoder.prefill(sequence, &prompt).unwrap();
                }
                for t in start..start + 4 {
                    let feeds: Vec<Feed> = (0..sequences).map(|sequence| Feed::Token(id(of(sequence) + t), Draw::GREEDY)).collect();
                    decoder.step(&feeds).unwrap();
                    for (sequence, got) in decoder.logits().unwrap().chunks_exact(vocab).enumerate() {
                        let what = format!("sequence {sequence} of {sequences} from {start}, position {t}, {:?}", config.architecture);
                        report.compare(&what, got, &want[(of(sequence) + t) * padded..][..vocab], 1e-5);
                    }
                }
            }
        }
    }
    println!("worst error is {:.3} of its bar", report.worst);
    no_failures(&report);
}

/// A step of the current architecture has the dispatches that it always had, and each part that is absent saves its own.
#[test]
fn a_part_that_is_absent_is_no_dispatch() {
    let gpu = gpu();
    let dispatches = |architecture: Architecture| {
        let config = config(architecture);
        let model = model(&gpu, &config, &twin::values(&config), true);
        let acts = Activations::allocate(&gpu, &config, ROWS, SEQ, Keep::ForBackward).unwrap();
        let grads = Gradients::allocate(&gpu, &config, ROWS, SEQ).unwrap();
        let mut rec = Recorder::new(&gpu);
        model.record_trunk(&mut rec, &acts);
        model.record_backward(&mut rec, &acts, &grads);
        rec.finish().unwrap().dispatches()
    };
    let whole = dispatches(Architecture::CURRENT);
    // Forward and backward: of three layers, two have value embeddings.
    let (smear, value_embeds, lambdas, backout) = (1 + 4, 2 * (1 + 4), 3 * (1 + 3) + 1, 1 + 3);
    assert_eq!(dispatches(Architecture { smear: false, ..Architecture::CURRENT }), whole - smear);
    assert_eq!(dispatches(Architecture { value_embeds: false, ..Architecture::CURRENT }), whole - value_embeds);
    assert_eq!(dispatches(Architecture { lambdas: false, ..Architecture::CURRENT }), whole - lambdas);
    assert_eq!(dispatches(Architecture { backout: false, ..Architecture::CURRENT }), whole - backout);
    assert_eq!(dispatches(Architecture::CLASSIC), whole - smear - value_embeds - lambdas - backout);
}
