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

/// What f16 and bf16 may change of a log-probability.
const BARS: [f64; 2] = [2e-2; 2];

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

/// What three decoders say, with a cache of each format, of one text.
struct Comparison<'a> {
    what: &'a str,
    decoders: [Decoder<'a>; 3],
    bars: [f64; 2],
    /// The furthest that a log-probability with f16 and bf16 was from that with f32.
    worst: [f64; 2],
    /// The sum of the log-probabilities of what came next, by each.
    scores: [f64; 3],
}

impl<'a> Comparison<'a> {
    fn new(what: &'a str, gpu: &Gpu, model: &'a Model, bars: [f64; 2]) -> Self {
        let decoders = CacheFormat::ALL.map(|format| Decoder::with_cache(gpu, model, 1, usize::MAX, format).unwrap());
        Self { what, decoders, bars, worst: [0.0; 2], scores: [0.0; 3] }
    }

    fn prefill(&mut self, ids: &[u32]) {
        let reused = self.decoders.each_mut().map(|decoder| decoder.prefill(0, ids).unwrap());
        assert_eq!(reused, [reused[0]; 3]);
    }

    /// Feeds a token, after which `next` comes.
    fn step(&mut self, id: u32, next: u32) {
        let said = self.decoders.each_mut().map(|decoder| {
            decoder.step(&[Feed::Token(id, Draw::GREEDY)]).unwrap();
            logprobs(&decoder.logits().unwrap())
        });
        for (score, said) in self.scores.iter_mut().zip(&said) {
            *score += said[next as usize];
        }
        let [exact, narrow @ ..] = said;
        let [second, first] = likeliest(&exact);
        for ((worst, bar), narrow) in self.worst.iter_mut().zip(self.bars).zip(narrow) {
            let apart = exact.iter().zip(&narrow).map(|(a, b)| (a - b).abs());
            *worst = apart.fold(*worst, |worst, apart| if apart > worst || apart.is_nan() { apart } else { worst });
            if exact[first] - exact[second] > 2.0 * bar {
                assert_eq!(likeliest(&narrow)[1], first, "{} after {} tokens", self.what, self.decoders[0].held(0).len());
            }
        }
    }

    /// Asserts that nothing was too far apart, and that the formats were not all the same one.
    fn finish(self) {
        let [exact, narrow @ ..] = self.scores;
        let bits = narrow.map(|narrow| narrow / exact - 1.0);
        let found = format!(
            "{}: with f16 and bf16 log-probabilities differ by up to {:.1e} and {:.1e}, bits per byte by {:+.4} and {:+.4} %",
            self.what,
            self.worst[0],
            self.worst[1],
            100.0 * bits[0],
            100.0 * bits[1]
        );
        println!("{found}");
        let near = |(worst, bar): (f64, f64)| worst > 0.0 && worst <= bar;
        assert!(self.worst.into_iter().zip(self.bars).all(near) && bits.into_iter().all(|bits| bits.abs() <= 1e-3), "{found}");
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
        let mut comparison = Comparison::new(&what, &gpu, &model, BARS);
        // By steps alone, and after a prefill of many tokens.
        for start in [0, seq / 2] {
            comparison.prefill(&[]);
            comparison.prefill(&ids[..start]);
            ids[start..].windows(2).for_each(|pair| comparison.step(pair[0], pair[1]));
        }
        comparison.finish();
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
        // The shipped model has seen little text; what is unlikely to it shows more of any rounding.
        let bars = if name == trained::SHIPPED { [2e-2, 0.1] } else { BARS };
        let mut comparison = Comparison::new(name, &gpu, &model, bars);
        for text in ids.chunks_exact(config.sequence_len) {
            comparison.prefill(&text[..text.len() / 3]);
            text[text.len() / 3..].windows(2).for_each(|pair| comparison.step(pair[0], pair[1]));
        }
        comparison.finish();
    }
}

/// A window that has gone round its ring, prefill of every kind, and going back.
#[test]
fn a_ring_holds_16_bits_too() {
    let gpu = gpu();
    let model = windowed(&gpu, 32, Architecture::CURRENT, Format::F32);
    let ids: Vec<u32> = (0..1400).map(|t| ((t * t + t / 7) % model.config.vocab_size) as u32).collect();
    let mut comparison = Comparison::new("a ring", &gpu, &model, BARS);
    for t in [3, 300, 1000, 1001, 1390, 1385, 700, 1399] {
        comparison.prefill(&ids[..t]);
        comparison.step(ids[t], ids[0]);
    }
    comparison.finish();
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
