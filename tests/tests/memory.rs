//! What a dry run predicts, against what the device counts while a step runs, and `docs/MEMORY.md` against both.

use std::time::Instant;

use nc_core::data::batch::Batch;
use nc_core::engine::decoder::{Decoder, Feed};
use nc_core::engine::memory::decoder_memory;
use nc_core::gpu::{Forced, Gpu, Memory, MemoryUse, Numerics};
use nc_core::kernels::precision::Precision;
use nc_core::kernels::sample::Draw;
use nc_core::model::{Architecture, Cache, CacheFormat, Config, Model, Parameters};
use nc_core::optim::{OptimizerConfig, StepValues};
use nc_core::train::memory::{StepMemory, step_memory};
use nc_core::train::trainer::{Arithmetic, Trainer};
use nc_core::weights::Format;
use nc_tests::architectures;

/// Depth, heads, key-value heads, channels, tokens of a row, vocabulary, rows. All heads have 32 channels, so that one
/// device compiles its shaders once.
const CASES: [[usize; 7]; 8] = [
    [1, 1, 1, 32, 16, 50, 1],
    [2, 2, 1, 64, 32, 100, 2],
    [1, 4, 4, 128, 64, 300, 1],
    [3, 4, 2, 128, 64, 65, 3],
    [1, 2, 2, 64, 64, 4096, 2],
    [4, 4, 1, 128, 128, 512, 2],
    [2, 8, 8, 256, 32, 700, 1],
    [4, 8, 4, 256, 64, 1024, 7],
];

fn config([n_layer, n_head, n_kv_head, n_embd, sequence_len, vocab_size, _]: [usize; 7]) -> Config {
    Config {
        sequence_len,
        vocab_size,
        n_layer,
        n_head,
        n_kv_head,
        n_embd,
        window_pattern: "SL".into(),
        architecture: Architecture::CURRENT,
    }
}

fn step(gpu: &Gpu, config: &Config, rows: usize, arithmetic: Arithmetic) -> Trainer {
    let mut trainer = Trainer::new(gpu, config, &OptimizerConfig::new(config.n_embd, 1.0), rows, arithmetic).unwrap();
    trainer.model.parameters.initialise(gpu, config, 1);
    let ids: Vec<i32> = (0..rows * config.sequence_len).map(|i| (i * 7 % config.vocab_size) as i32).collect();
    let batch = Batch { rows, row_len: config.sequence_len, inputs: ids.clone(), targets: ids };
    let values = StepValues { lr_multiplier: 1.0, momentum: 0.85, weight_decay: 0.1 };
    let pending = trainer.step(vec![batch], 0, values).unwrap();
    let loss = trainer.finish(pending, &vec![1; config.vocab_size]).unwrap().loss;
    assert!(loss.is_finite() && loss > 0.0, "a loss of {loss}");
    trainer
}

/// To the byte: a dry run makes the same allocations.
#[test]
fn a_steps_peak_is_what_is_predicted() {
    let gpu = Gpu::open(None).unwrap();
    let mut before = 0;
    for case in CASES {
        let (config, rows) = (config(case), case[6]);
        let predicted = step_memory(&gpu, &config, rows, Arithmetic::default()).unwrap();
        // The peak is the device's, so every case must exceed the one before.
        assert!(predicted.total() > before, "{case:?} needs {} bytes, less than the case before it", predicted.total());
        assert_eq!(gpu.memory().current, 0, "something was not freed before {case:?}");

        let trainer = step(&gpu, &config, rows, Arithmetic::default());
        let measured = gpu.memory();
        drop(trainer);
        assert_eq!(predicted.total(), measured.peak, "{case:?}");
        check_kinds(&predicted, &measured, &format!("{case:?}"));
        before = measured.peak;
    }
}

/// In 16 bits packed operands are added, in any shape.
#[test]
fn mixed_precision_needs_what_is_predicted() {
    for precision in [Precision::F16, Precision::Bf16] {
        let gpu = Gpu::open(None).unwrap();
        let (config, rows) = (config(CASES[0]), CASES[0][6]);
        let arithmetic = Arithmetic { precision, numerics: Numerics::Fast };
        let predicted = step_memory(&gpu, &config, rows, arithmetic).unwrap();
        let trainer = step(&gpu, &config, rows, arithmetic);
        check_kinds(&predicted, &gpu.memory(), precision.word());
        drop(trainer);
        assert!(predicted.workspace > step_memory(&gpu, &config, rows, Arithmetic::default()).unwrap().workspace);
    }
}

fn check_kinds(predicted: &StepMemory, measured: &MemoryUse, what: &str) {
    for ((kind, predicted), measured) in Memory::ALL.iter().zip(predicted.by_kind()).zip(measured.by_kind) {
        assert_eq!(predicted, measured, "{what} {}", kind.name());
    }
}

/// What a model lacks takes no memory, and the prediction knows what each part took.
#[test]
fn every_combination_of_parts_needs_what_is_predicted() {
    let gpu = Gpu::open(None).unwrap();
    let with = |architecture| Config { architecture, ..config([3, 4, 2, 128, 64, 300, 2]) };
    let predict = |config: &Config| step_memory(&gpu, config, 2, Arithmetic::default()).unwrap();
    let whole = predict(&with(Architecture::CURRENT));
    for architecture in architectures() {
        let config = with(architecture);
        let predicted = predict(&config);
        assert!(predicted.total() <= whole.total());
        let trainer = step(&gpu, &config, 2, Arithmetic::default());
        let measured = gpu.memory();
        drop(trainer);
        check_kinds(&predicted, &measured, &format!("{:?}", config.architecture));
    }
}

/// Kernels that were measured as fastest are predicted, too, with the operands that they pack.
#[test]
fn the_autotuners_choices_are_predicted() {
    let folder = tempfile::tempdir().unwrap();
    let gpu = Gpu::open(None).unwrap();
    let config = config([1, 4, 4, 256, 256, 300, 0]);
    let predict = || decoder_memory(&gpu, &config, Format::F32, CacheFormat::F32, 1, 256, 256).unwrap();
    let built_in = predict();
    gpu.autotune_in(folder.path());
    assert_eq!(predict(), built_in, "nothing is measured yet");
    let model = Model::new(&gpu, &config, Parameters::frozen(&gpu, &config, Format::F32).unwrap()).unwrap();
    let before = gpu.memory().current;
    let mut decoder = Decoder::new(&gpu, &model, 1, 256).unwrap();
    for fresh in [8, 16, 32, 64, 128, 256] {
        decoder.prefill(0, &[]).unwrap();
        decoder.prefill(0, &vec![1; fresh]).unwrap();
    }
    assert_eq!(predict().total(), gpu.memory().current - before);
}

/// Decoding leaves nothing out either: what attention's shares leave to each other is one buffer for all layers, and counted.
#[test]
fn a_decoder_takes_what_is_predicted() {
    // The adapter's own forms, and those of adapters that split heads into shares.
    for forced in [None].into_iter().chain(Forced::ALL.map(Some)) {
        check_decoders(&Gpu::open_as(None, forced).unwrap());
    }
}

fn check_decoders(gpu: &Gpu) {
    // Windows and contexts long enough for heads in shares, and more layers than one of each kind. One prompt needs two passes, and
    // one capacity is more than the context.
    let [f32, f16, bf16] = CacheFormat::ALL;
    for (case, architecture, (format, cache), rows, capacity, prompt) in [
        ([2, 2, 1, 64, 2048, 100, 0], Architecture::CURRENT, (Format::Q8, f16), 1, 1948, 0),
        ([6, 4, 4, 128, 2048, 300, 0], Architecture::CURRENT, (Format::F32, f32), 1, 2148, 300),
        ([5, 4, 2, 128, 1500, 1000, 0], Architecture::CLASSIC, (Format::Q4, f32), 3, 1400, 40),
        ([3, 8, 8, 256, 3000, 500, 0], Architecture::CURRENT, (Format::Bf16, bf16), 12, 2900, 100),
    ] {
        let config = Config { architecture, ..config(case) };
        let model = Model::new(gpu, &config, Parameters::frozen(gpu, &config, format).unwrap()).unwrap();
        let before = gpu.memory();
        let mut decoder = Decoder::with_cache(gpu, &model, rows, capacity, cache).unwrap();
        for fresh in (0..9).map(|power| 1 << power).filter(|&fresh| fresh <= prompt).chain([prompt]) {
            decoder.prefill(0, &[]).unwrap();
            decoder.prefill(0, &vec![1; fresh]).unwrap();
        }
        decoder.step(&vec![Feed::Token(1, Draw::GREEDY); rows]).unwrap();
        let taken = gpu.memory();
        let predicted = decoder_memory(gpu, &config, format, cache, rows, capacity, prompt).unwrap();
        let of = |kind: Memory| taken.by_kind[kind as usize] - before.by_kind[kind as usize];
        for (kind, predicted) in [
            (Memory::Activations, predicted.activations),
            (Memory::Workspace, predicted.workspace),
            (Memory::Staging, predicted.staging),
            (Memory::Cache, predicted.cache),
        ] {
            assert_eq!(predicted, of(kind), "{case:?} {} on {:?}", kind.name(), gpu.capabilities());
        }
        assert_eq!(predicted.total(), taken.current - before.current, "{case:?}");
        assert_eq!(predicted.cache, rows as u64 * Cache::bytes_per_row(&config, capacity, cache), "{case:?}");
        check_ledger(gpu);
    }
}

/// What the ledger counts is what the allocator of wgpu holds, but for what wgpu keeps for itself and for borders between buffers.
fn check_ledger(gpu: &Gpu) {
    gpu.wait().unwrap();
    let Some(report) = gpu.device().generate_allocator_report() else { return };
    let own = || report.allocations.iter().filter(|allocation| !allocation.name.starts_with("(wgpu internal)"));
    let (held, counted) = (own().map(|allocation| allocation.size).sum::<u64>(), gpu.memory().current);
    let borders = 256 * own().count() as u64;
    assert!((counted..counted + borders).contains(&held), "{counted} bytes are counted, and {held} are held");
}

/// Activations grow by the same for every row, and what the parameters need does not grow.
#[test]
fn rows_add_activations_and_workspace_only() {
    let gpu = Gpu::open(None).unwrap();
    let config = config(CASES[1]);
    let [one, two, three] = [1, 2, 3].map(|rows| step_memory(&gpu, &config, rows, Arithmetic::default()).unwrap());
    assert_eq!(three.activations - two.activations, two.activations - one.activations);
    assert_eq!((one.weights, one.gradients, one.moments), (two.weights, two.gradients, two.moments));
    assert!(two.activations > one.activations && two.workspace > one.workspace);
}

/// A prediction takes nothing of the device, whatever the model's size, and leaves nothing behind.
#[test]
fn models_that_no_device_holds_are_predicted() {
    let gpu = Gpu::open(None).unwrap();
    for (depth, seq, vocab, rows) in [(4, 512, 4096, 4), (26, 2048, 65_536, 32), (500, 65_536, 65_536, 1)] {
        let config = Config::from_depth(depth, 64, 128, seq, vocab, "SSSL").unwrap();
        let started = Instant::now();
        let step = step_memory(&gpu, &config, rows, Arithmetic::default()).unwrap();
        let (seconds, started) = (started.elapsed().as_secs_f64(), Instant::now());
        let decoder = decoder_memory(&gpu, &config, Format::F32, CacheFormat::F32, rows, seq, 256).unwrap();
        println!("depth {depth}: a step in {:.1} ms, a decoder in {:.1} ms", 1e3 * seconds, 1e3 * started.elapsed().as_secs_f64());
        // Weights, gradients and moments, of four bytes each.
        assert!(step.total() > 12 * config.param_counts().total as u64, "{depth}: {step:?}");
        assert!(decoder.total() > decoder.cache && decoder.cache == rows as u64 * Cache::bytes_per_row(&config, seq, CacheFormat::F32));
    }
    assert_eq!(gpu.memory(), MemoryUse::default());
    assert!(gpu.pipeline_keys().is_empty());
}

/// The formula of `docs/MEMORY.md` for people, in bytes, with its symbols: for as many key-value heads as heads, chunks of logits of
/// 32 MiB, stacks that are not split, and nothing packed.
fn published(config: &Config, rows: usize) -> u64 {
    let parts = &config.architecture;
    let [s, lambda, b] = [parts.smear, parts.lambdas, parts.backout].map(usize::from);
    let (t, l, c, h, k, d) = (config.sequence_len, config.n_layer, config.n_embd, config.n_head, config.n_kv_head, config.head_dim());
    let (v, e) = (config.padded_vocab(), (0..l).filter(|&i| config.has_value_embed(i)).count());
    let n = rows * t;
    let r = ((8 << 20) / v / 64 * 64).clamp(64, n);
    let x = if lambda == 1 { l + s } else { 1 + b };
    let tables = 2 * v * c + e * v * k * d + 2 * lambda * l + 25 * s + b;
    let matrices = l * (10 * c * c + 2 * c * k * d) + e * 12 * k;
    let neurons = 12 * l * c;
    let activations = l * n * (8 * c + 2 * k * d + 2 * h + k + 2) + e * n * k + x * n * c + n * (3 * c + 5 + s) + r * v;
    let partial_sums = (n * k + 24_576 * k).max(n + 51_200);
    let muon = 4 * l * c * c + 8 * l * c * c;
    let workspace = n * ((8 + lambda + b) * c + 2 * k * d + h + 1) + v + 2 + partial_sums + muon;
    let staging = n + 64 * 70 * l;
    // Weights, gradients and moments.
    let parameters = (tables + matrices + t * d) + (tables + matrices) + (2 * tables + matrices + neurons);
    4 * (parameters + activations + workspace + staging) as u64
}

/// The tables of `docs/MEMORY.md` hold what is predicted, in MiB, and its formula gives it within 2 %.
#[test]
fn the_worked_examples_of_the_docs_are_what_is_predicted() {
    let page = include_str!("../../docs/MEMORY.md");
    let gpu = Gpu::open(None).unwrap();
    let examples =
        [(4, 512, 4096, 1), (4, 512, 4096, 4), (4, 512, 4096, 8), (12, 2048, 32_768, 1), (12, 2048, 32_768, 4), (12, 2048, 32_768, 8)];
    let current = examples.map(|example| (example, "", Architecture::CURRENT));
    let classic = [examples[4], examples[5]].map(|example| (example, " classic", Architecture::CLASSIC));
    let mut missing = Vec::new();
    for ((depth, seq, vocab, rows), word, architecture) in current.into_iter().chain(classic) {
        let config = Config::from_depth_with(architecture, depth, 64, 128, seq, vocab, "SSSL").unwrap();
        let predicted = step_memory(&gpu, &config, rows, Arithmetic::default()).unwrap();
        let (published, total) = (published(&config, rows), predicted.total());
        assert!(published.abs_diff(total) * 50 < total, "depth {depth}{word}, {rows} rows: {published} by the formula, not {total}");
        let mebibytes = |bytes: u64| format!("{:.0}", bytes as f64 / f64::from(1 << 20));
        let cells = predicted.by_kind().map(mebibytes).join(" | ");
        let row = format!("| {depth}{word} | {rows} | {cells} | {} |", mebibytes(predicted.total()));
        missing.extend((!page.contains(&row)).then_some(row));
    }
    assert!(missing.is_empty(), "docs/MEMORY.md has not the rows\n{}", missing.join("\n"));
}
