//! The classic architecture is the `nanochat` model type of Hugging Face's transformers: the same log-probabilities and
//! the same greedy text, with a cache and without, for every such folder in `tests/golden` and in `NC_GOLDEN_DIR`.

use std::fs;
use std::path::{Path, PathBuf};

use nc_core::engine;
use nc_core::engine::decoder::{Decoder, Feed};
use nc_core::gpu::{Gpu, Recorder};
use nc_core::kernels::sample::Draw;
use nc_core::model::{Activations, Architecture, Config, Keep, Model, Parameters};
use nc_core::weights::Format;
use nc_tests::golden_dirs;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use serde_json::Value;

/// Between log-probabilities.
const BAR: f64 = 1e-4;

/// What transformers computed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    ids: Vec<u32>,
    /// Of each id after the first.
    logprobs: Vec<f64>,
    greedy_prompt: Vec<u32>,
    greedy: Vec<u32>,
}

fn json(path: &Path) -> Option<Value> {
    fs::read(path).ok().map(|bytes| serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// Folders with a model of the type and with what is expected of it.
fn folders() -> Vec<PathBuf> {
    let folders = golden_dirs().into_iter().flat_map(|dir| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()));
    let is_one = |folder: &PathBuf| {
        let config = json(&folder.join("config.json"));
        config.is_some_and(|config| config["model_type"] == "nanochat") && folder.join("expect.json").exists()
    };
    let mut found: Vec<PathBuf> = folders.filter(is_one).collect();
    found.sort();
    found
}

/// The configuration that a `config.json` of transformers stands for.
fn config(of: &Value) -> Config {
    let number = |name: &str| of[name].as_f64().unwrap_or_else(|| panic!("the file lacks {name}"));
    let size = |name: &str| number(name) as usize;
    let config = Config {
        sequence_len: size("max_position_embeddings"),
        vocab_size: size("vocab_size"),
        n_layer: size("num_hidden_layers"),
        n_head: size("num_attention_heads"),
        n_kv_head: size("num_key_value_heads"),
        n_embd: size("hidden_size"),
        window_pattern: "L".into(),
        architecture: Architecture {
            norm_eps: number("rms_norm_eps") as f32,
            rope_base: of["rope_parameters"]["rope_theta"].as_f64().unwrap(),
            softcap: number("final_logit_softcapping") as f32,
            ..Architecture::CLASSIC
        },
    };
    config.validate().unwrap();
    assert!(config.architecture.is_classic());
    config
}

/// The name that transformers gives one of our parameters.
fn theirs(name: &str) -> String {
    const PARTS: [(&str, &str); 8] = [
        ("transformer.wte", "model.embed_tokens"),
        ("transformer.h.", "model.layers."),
        ("attn.c_q", "self_attn.q_proj"),
        ("attn.c_k", "self_attn.k_proj"),
        ("attn.c_v", "self_attn.v_proj"),
        ("attn.c_proj", "self_attn.o_proj"),
        ("mlp.c_fc", "mlp.fc1"),
        ("mlp.c_proj", "mlp.fc2"),
    ];
    PARTS.iter().fold(name.to_owned(), |name, (ours, theirs)| name.replace(ours, theirs))
}

fn model(gpu: &Gpu, folder: &Path) -> Model {
    let config = config(&json(&folder.join("config.json")).unwrap());
    let bytes = fs::read(folder.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let parameters = Parameters::frozen(gpu, &config, Format::F32).unwrap();
    assert_eq!(parameters.iter().len(), file.len(), "every tensor has its place");
    for parameter in parameters.iter() {
        let tensor = file.tensor(&theirs(&parameter.spec.name)).unwrap();
        assert_eq!((tensor.dtype(), &tensor.shape()[1..]), (Dtype::F32, &parameter.spec.shape[1..]), "{}", parameter.spec.name);
        // Tables have rows for tokens that are none.
        let mut values: Vec<f32> = bytemuck::pod_collect_to_vec(tensor.data());
        values.resize(parameter.spec.len(), 0.0);
        parameters.upload(gpu, &parameter.spec.name, &parameter.spec.shape, &values).unwrap();
    }
    Model::new(gpu, &config, parameters).unwrap()
}

fn most_likely(logits: &[f32]) -> u32 {
    (0..logits.len() as u32).max_by(|&a, &b| logits[a as usize].total_cmp(&logits[b as usize])).unwrap()
}

fn log_probability(logits: &[f32], id: u32) -> f64 {
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
    f64::from(logits[id as usize]) - sum.ln()
}

/// The largest difference.
fn furthest(got: impl Iterator<Item = f64>, want: &[f64]) -> f64 {
    got.zip(want)
        .map(|(got, want)| (got - want).abs())
        .fold(0.0, |most, error| if error.is_nan() { f64::INFINITY } else { most.max(error) })
}

/// Greedy tokens after `prompt` by passes over the whole text, without a cache.
fn greedy_uncached(gpu: &Gpu, model: &Model, prompt: &[u32], count: usize) -> Vec<u32> {
    let mut text: Vec<i32> = prompt.iter().map(|&id| id as i32).collect();
    let acts = Activations::allocate(gpu, &model.config, 1, prompt.len() + count, Keep::Nothing).unwrap();
    let mut rec = Recorder::new(gpu);
    model.record_trunk(&mut rec, &acts);
    let all = model.record_logits(&mut rec, &acts, 0, prompt.len() + count);
    let recording = rec.finish().unwrap();
    for _ in 0..count {
        // What comes after a token does not change it.
        let mut ids = text.clone();
        ids.resize(prompt.len() + count, 0);
        gpu.write(&acts.ids, &ids);
        recording.run();
        let logits: Vec<f32> = gpu.read(&all).unwrap();
        let last = &logits[(text.len() - 1) * model.config.padded_vocab()..][..model.config.vocab_size];
        text.push(most_likely(last) as i32);
    }
    text[prompt.len()..].iter().map(|&id| id as u32).collect()
}

#[test]
fn the_models_of_transformers_are_classic_ones() {
    let gpu = Gpu::open(std::env::var("NC_ADAPTER").ok().as_deref()).unwrap();
    let folders = folders();
    assert!(!folders.is_empty(), "there is no golden model of transformers");
    for folder in folders {
        let expect: Expect = serde_json::from_value(json(&folder.join("expect.json")).unwrap()).unwrap();
        let Expect { ids, logprobs, greedy_prompt, greedy } = expect;
        assert!(logprobs.len() + 1 == ids.len() && !greedy.is_empty() && greedy_prompt.len() > 1, "{}", folder.display());
        let model = model(&gpu, &folder);
        let vocab = model.config.vocab_size;

        let scored = engine::score(&gpu, &model, &ids).unwrap();
        assert_eq!(scored.len(), logprobs.len());
        let uncached = furthest(scored.into_iter().map(f64::from), &logprobs);

        // A token at a time, and from the middle of what a prefill brought in.
        let mut cached = 0.0f64;
        for start in [0, 5, ids.len() / 2] {
            let mut decoder = Decoder::new(&gpu, &model, 1, usize::MAX).unwrap();
            decoder.prefill(0, &ids[..start]).unwrap();
            let next = ids[start..].windows(2).map(|pair| {
                decoder.step(&[Feed::Token(pair[0], Draw::GREEDY)]).unwrap();
                log_probability(&decoder.logits().unwrap()[..vocab], pair[1])
            });
            cached = cached.max(furthest(next, &logprobs[start..]));
        }
        println!("{}: log-probabilities are off by {uncached:.1e}, with a cache by {cached:.1e}", folder.display());
        assert!(uncached <= BAR && cached <= BAR, "{}: {uncached:e} and {cached:e}", folder.display());

        let mut decoder = Decoder::new(&gpu, &model, 1, usize::MAX).unwrap();
        let (last, before) = greedy_prompt.split_last().unwrap();
        decoder.prefill(0, before).unwrap();
        let mut next = *last;
        let drawn = greedy.iter().map(|_| {
            next = decoder.step(&[Feed::Token(next, Draw::GREEDY)]).unwrap()[0].unwrap();
            next
        });
        assert_eq!(drawn.collect::<Vec<_>>(), greedy, "{}", folder.display());
        assert_eq!(greedy_uncached(&gpu, &model, &greedy_prompt, greedy.len()), greedy, "{}", folder.display());
    }
}
