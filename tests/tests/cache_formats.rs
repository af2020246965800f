//! A KV cache in 16 bits: how far what a model says with it is from what it says with one in 32, and what is refused.

use nc_core::checkpoint::load_model;
use nc_core::engine::decoder::{Decoder, Feed};
use nc_core::gpu::Gpu;
use nc_core::kernels::sample::Draw;
use nc_core::model::{Architecture, CacheFormat, Config, Model, Parameters};
use nc_core::train::{load, run_config};
use nc_core::weights::Format;
use nc_tests::drawn::windowed;
use nc_tests::golden::Case;
use nc_tests::workshop::Workshop;
use nc_tests::{golden_models, nc_core, trained};

/// What 16 bits may change of a log-probability.
const BAR: f64 = 2e-2;

fn gpu() -> Gpu {
    Gpu::open(std::env::var("NC_ADAPTER").ok().as_deref()).unwrap()
}

/// Log-probabilities of all tokens.
fn logprobs(logits: &[f32]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - most).exp()).sum();
    logits.iter().map(|&logit| f64::from(logit - most) - sum.ln()).collect()
}

/// The two likeliest tokens, the likeliest last.
fn likeliest(logprobs: &[f64]) -> [usize; 2] {
    let mut order: Vec<usize> = (0..logprobs.len()).collect();
    order.sort_by(|&a, &b| logprobs[a].total_cmp(&logprobs[b]));
    [order[order.len() - 2], order[order.len() - 1]]
}

/// Log-probabilities of tokens, those of every format compared with those of f32.
struct Comparison<'a> {
    what: &'a str,
    decoders: [Decoder<'a>; 3],
    worst: [f64; 3],
    bar: f64,
}

impl<'a> Comparison<'a> {
    fn new(what: &'a str, gpu: &Gpu, model: &'a Model, bar: f64) -> Self {
        let decoders = CacheFormat::ALL.map(|format| Decoder::with_cache(gpu, model, 1, usize::MAX, format).unwrap());
        Self { what, decoders, worst: [0.0; 3], bar }
    }

    fn prefill(&mut self, ids: &[u32]) {
        let reused = self.decoders.each_mut().map(|decoder| decoder.prefill(0, ids).unwrap());
        assert_eq!(reused, [reused[0]; 3]);
    }

    fn step(&mut self, id: u32) {
        let [exact, narrow @ ..] = self.decoders.each_mut().map(|decoder| {
            decoder.step(&[Feed::Token(id, Draw::GREEDY)]).unwrap();
            logprobs(&decoder.logits().unwrap())
        });
        let [second, first] = likeliest(&exact);
        for (worst, narrow) in self.worst[1..].iter_mut().zip(narrow) {
            let apart = exact.iter().zip(&narrow).map(|(a, b)| (a - b).abs());
            *worst = apart.fold(*worst, |worst, apart| if apart > worst || apart.is_nan() { apart } else { worst });
            if exact[first] - exact[second] > 2.0 * self.bar {
                assert_eq!(likeliest(&narrow)[1], first, "{} after {} tokens", self.what, self.decoders[0].held(0).len());
            }
        }
    }
}

impl Drop for Comparison<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let [_, f16, bf16] = self.worst;
        println!("{}: log-probabilities differ by up to {f16:.1e} with f16 and {bf16:.1e} with bf16", self.what);
        assert!(f16 <= self.bar && bf16 <= self.bar && f16 > 0.0 && bf16 > 0.0, "{}: {f16:.1e} and {bf16:.1e}", self.what);
    }
}

#[test]
fn golden_models_keep_their_log_probabilities_and_their_greedy_tokens() {
    let gpu = gpu();
    for path in golden_models() {
        let case = Case::open(&path);
        let config: Config = serde_json::from_value(case.meta["config"].clone()).unwrap();
        let parameters = Parameters::frozen(&gpu, &config, Format::F32).unwrap();
        for name in case.names("param.") {
            let tensor = format!("param.{name}");
            parameters.upload(&gpu, &name, &case.shape(&tensor), &case.floats(&tensor)).unwrap();
        }
        let model = Model::new(&gpu, &config, parameters).unwrap();
        let seq = case.shape("batch.0.idx")[1];
        let ids: Vec<u32> = case.ids("batch.0.idx")[..seq].iter().map(|&id| id as u32).collect();
        let what = path.file_stem().unwrap().to_string_lossy();
        let mut comparison = Comparison::new(&what, &gpu, &model, BAR);
        // By steps alone, and after a prefill of many tokens.
        for start in [0, seq / 2] {
            comparison.prefill(&[]);
            comparison.prefill(&ids[..start]);
            ids[start..].iter().for_each(|&id| comparison.step(id));
        }
    }
}

#[test]
fn trained_models_keep_their_log_probabilities_and_their_greedy_tokens() {
    let (gpu, workshop) = (gpu(), Workshop::without_tokenizer(|home| nc_core!(home)));
    for name in trained::install(&workshop) {
        let (run, ids) = trained::open(&workshop, name, 1024);
        let config = run_config(&run).unwrap().model;
        let parameters = load(&gpu, &config, &mut load_model(&run, None).unwrap().model, None).unwrap();
        let model = Model::new(&gpu, &config, parameters).unwrap();
        let mut comparison = Comparison::new(name, &gpu, &model, BAR);
        for text in ids.chunks_exact(config.sequence_len) {
            comparison.prefill(&text[..100]);
            text[100..].iter().for_each(|&id| comparison.step(id));
        }
    }
}

/// A window that has gone round its ring, prefill of every kind, and going back.
#[test]
fn a_ring_holds_16_bits_too() {
    let gpu = gpu();
    let model = windowed(&gpu, 32, Architecture::CURRENT, Format::F32);
    let ids: Vec<u32> = (0..1400).map(|t| ((t * t + t / 7) % model.config.vocab_size) as u32).collect();
    let mut comparison = Comparison::new("a ring", &gpu, &model, BAR);
    for t in [3, 300, 1000, 1001, 1390, 1385, 700, 1399] {
        comparison.prefill(&ids[..t]);
        comparison.step(ids[t]);
    }
}

#[test]
fn a_cache_is_in_the_format_that_is_asked_for() {
    let workshop = Workshop::new(|home| nc_core!(home));
    workshop.train("a", &["--num-iterations", "2", "--eval-every", "-1", "--sample-every", "-1"]);
    let generate = ["generate", "--run", "a", "--prompt", "the", "--max-tokens", "8", "--temperature", "0", "--json", "--cache"];
    let ids = |format: &str, more: &[&str]| -> serde_json::Value {
        let output = workshop.succeed(&[&generate[..], &[format], more].concat());
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["ids"].clone()
    };
    for format in CacheFormat::ALL {
        // A draft model has a cache of the same format, and changes nothing.
        assert_eq!(ids(format.word(), &[]), ids(format.word(), &["--draft", "a"]));
    }
    for command in [&["generate", "--run", "a"][..], &["chat", "--run", "a"], &["bench", "infer"]] {
        for format in ["q8", "F16", ""] {
            let said = workshop.refused(&[command, &["--cache", format]].concat());
            let sentence = format!("there is no format {format:?} of a KV cache; there are f32, f16 and bf16");
            assert!(said.contains(&sentence), "{said}");
        }
    }
    let said = workshop.refused(&["score", "--run", "a", "--text", "x", "--cache", "f16"]);
    assert!(said.contains("--cache"), "{said}");
}
