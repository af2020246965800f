//! Weights in 16, 8 and 4 bits: how far a model that has them is from itself in f32, and what is refused.

use nc_core::checkpoint::home::Home;
use nc_core::checkpoint::{Run, load_model};
use nc_core::engine::decoder::{Decoder, Feed};
use nc_core::engine::score;
use nc_core::gpu::Gpu;
use nc_core::kernels::sample::Draw;
use nc_core::model::{Config, Model};
use nc_core::train::{load, run_config};
use nc_core::weights::Format;
use nc_tests::golden::Case;
use nc_tests::script::bytes_tokenizer;
use nc_tests::workshop::Workshop;
use nc_tests::{drawn, golden_models, nc_core, trained};

/// What a format may change: log-probabilities of tokens, absolutely, and bits per byte, as a share.
struct Bar {
    logprob: f32,
    bits: f64,
}

fn bar(format: Format) -> Bar {
    match format {
        Format::F32 => Bar { logprob: 0.0, bits: 0.0 },
        Format::Bf16 | Format::F16 => Bar { logprob: 2e-2, bits: 1e-3 },
        Format::Q8 => Bar { logprob: f32::INFINITY, bits: 2e-3 },
        Format::Q4 => Bar { logprob: f32::INFINITY, bits: 2e-2 },
    }
}

fn gpu() -> Gpu {
    Gpu::open(std::env::var("NC_ADAPTER").ok().as_deref()).unwrap()
}

/// The model of a run with weights in `format`.
fn model(gpu: &Gpu, run: &Run, format: Format) -> Model {
    let config = run_config(run).unwrap().model;
    let parameters = load(gpu, &config, &mut load_model(run, None).unwrap().model, Some(format)).unwrap();
    Model::new(gpu, &config, parameters).unwrap()
}

/// Compares the log-probabilities of `narrow` with those of `wide`; returns a sentence if they are too far apart.
fn compare(what: &str, format: Format, bar: Bar, wide: &[f32], narrow: &[f32]) -> Option<String> {
    let worst = wide.iter().zip(narrow).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let mean = |scores: &[f32]| scores.iter().map(|&score| f64::from(score)).sum::<f64>() / scores.len() as f64;
    let share = mean(narrow) / mean(wide) - 1.0;
    let found = format!("{what}, {format}: log-probabilities differ by up to {worst:.1e}, bits per byte by {:+.3} %", 100.0 * share);
    println!("{found}");
    (worst > bar.logprob || share.abs() > bar.bits).then_some(found)
}

#[test]
fn golden_models_keep_their_log_probabilities_and_their_greedy_tokens() {
    let (gpu, workshop) = (gpu(), Workshop::without_tokenizer(|home| nc_core!(home)));
    let mut far = Vec::new();
    for path in golden_models() {
        let case = Case::open(&path);
        let what = path.file_stem().unwrap().to_string_lossy().into_owned();
        let config: Config = serde_json::from_value(case.meta["config"].clone()).unwrap();
        drawn::install_values(&workshop.home(), &what, &config, &bytes_tokenizer(), |spec| case.floats(&format!("param.{}", spec.name)));
        let run = Run::open(&Home::at(workshop.home()), &what).unwrap();
        let seq = case.shape("batch.0.idx")[1];
        let rows: Vec<Vec<u32>> = case.ids("batch.0.idx").chunks_exact(seq).map(|row| row.iter().map(|&id| id as u32).collect()).collect();
        let scores = |model: &Model| rows.iter().flat_map(|row| score(&gpu, model, row).unwrap()).collect::<Vec<_>>();
        let wide = model(&gpu, &run, Format::F32);
        let of_f32 = scores(&wide);
        for format in Format::ALL {
            let narrow = model(&gpu, &run, format);
            far.extend(compare(&what, format, bar(format), &of_f32, &scores(&narrow)));
            assert_decodes_alike(&gpu, &rows[0][..seq.min(48)], [&wide, &narrow], bar(format).logprob);
        }
    }
    assert!(far.is_empty(), "{}", far.join("\n"));
}

/// Decoding with a cache computes the same: where the two likeliest tokens of the first model differ by more than twice `bar`, the
/// second model has the same one.
fn assert_decodes_alike(gpu: &Gpu, ids: &[u32], models: [&Model; 2], bar: f32) {
    let mut decoders = models.map(|model| Decoder::new(gpu, model, 1, ids.len()).unwrap());
    for &id in ids {
        let [wide, narrow] = decoders.each_mut().map(|decoder| {
            decoder.step(&[Feed::Token(id, Draw::GREEDY)]).unwrap();
            decoder.logits().unwrap()
        });
        let order = |logits: &[f32]| {
            let mut order: Vec<usize> = (0..logits.len()).collect();
            order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
            order
        };
        let best = order(&wide);
        if wide[best[0]] - wide[best[1]] > 2.0 * bar {
            assert_eq!(order(&narrow)[0], best[0]);
        }
    }
}

/// Models that were trained: the one that comes with the app, and the reference's.
#[test]
fn trained_models_keep_their_bits_per_byte() {
    let workshop = Workshop::without_tokenizer(|home| nc_core!(home));
    let gpu = gpu();
    let mut far = Vec::new();
    for name in trained::install(&workshop) {
        let (run, mut ids) = trained::open(&workshop, name, 1024);
        ids.truncate(2 * run_config(&run).unwrap().model.sequence_len);
        let scores = |format| score(&gpu, &model(&gpu, &run, format), &ids).unwrap();
        let wide = scores(Format::F32);
        for format in Format::ALL {
            // The shipped model has seen little text; what is unlikely to it shows more of any rounding.
            let logprob = if name == trained::SHIPPED { f32::INFINITY } else { bar(format).logprob };
            far.extend(compare(name, format, Bar { logprob, ..bar(format) }, &wide, &scores(format)));
        }
        std::fs::remove_dir_all(workshop.run(name)).unwrap();
    }
    assert!(far.is_empty(), "{}", far.join("\n"));
}

#[test]
fn what_a_format_is_not_for_is_a_sentence() {
    let workshop = Workshop::new(|home| nc_core!(home));
    workshop.train("a", &["--num-iterations", "2", "--eval-every", "-1", "--sample-every", "-1"]);
    let said = workshop.refused(&["score", "--run", "a", "--text", "x", "--weights", "q5"]);
    assert!(said.contains("there is no format \"q5\" of weights; there are f32, bf16, f16, q8 and q4"), "{said}");
    for format in ["bf16", "f16", "q8", "q4"] {
        workshop.succeed(&["generate", "--run", "a", "--prompt", "the", "--max-tokens", "3", "--weights", format]);
    }
    let folder = workshop.path("small");
    workshop.succeed(&["export", "--run", "a", "--format", "safetensors", "--dtype", "q4", "--to", &folder]);
    workshop.succeed(&["import", &folder, "--name", "small"]);
    let said = workshop.refused(&["sft", "--run", "small", "--task", "spellingbee", "--num-iterations", "1"]);
    assert!(said.contains("the weights of run small are in q4") && said.contains("cannot be trained"), "{said}");
    let said = workshop.refused(&["generate", "--run", "small", "--prompt", "a", "--max-tokens", "1", "--weights", ""]);
    assert!(said.contains("there is no format"), "{said}");
}
