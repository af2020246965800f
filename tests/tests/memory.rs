//! The formula of `docs/MEMORY.md` against what the device counts while a step runs.

use nc_core::data::batch::Batch;
use nc_core::engine::decoder::{Decoder, Feed};
use nc_core::engine::memory::decoder_memory;
use nc_core::gpu::{Forced, Gpu, Memory};
use nc_core::kernels::sample::Draw;
use nc_core::model::{Architecture, Config, Model, Parameters};
use nc_core::optim::{OptimizerConfig, StepValues};
use nc_core::train::memory::step_memory;
use nc_core::train::trainer::Trainer;
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

fn step(gpu: &Gpu, config: &Config, rows: usize) -> Trainer {
    let mut trainer = Trainer::new(gpu, config, &OptimizerConfig::new(config.n_embd, 1.0), rows).unwrap();
    trainer.model.parameters.initialise(gpu, config, 1);
    let ids: Vec<i32> = (0..rows * config.sequence_len).map(|i| (i * 7 % config.vocab_size) as i32).collect();
    let batch = Batch { rows, row_len: config.sequence_len, inputs: ids.clone(), targets: ids };
    let values = StepValues { lr_multiplier: 1.0, momentum: 0.85, weight_decay: 0.1 };
    let pending = trainer.step(vec![batch], 0, values).unwrap();
    let loss = trainer.finish(pending, &vec![1; config.vocab_size]).unwrap().loss;
    assert!(loss.is_finite() && loss > 0.0, "a loss of {loss}");
    trainer
}

/// The promise is a tenth in all. The formula leaves out less than a fiftieth, and of every kind less than a tenth.
#[test]
fn a_steps_peak_is_what_the_formula_says() {
    let gpu = Gpu::open(None).unwrap();
    let mut before = 0;
    for case in CASES {
        let (config, rows) = (config(case), case[6]);
        let formula = step_memory(&gpu, &config, rows);
        // The peak is the device's, so every case must exceed the one before.
        assert!(formula.total() > before, "{case:?} needs {} bytes, less than the case before it", formula.total());
        assert_eq!(gpu.memory().current, 0, "something was not freed before {case:?}");

        let trainer = step(&gpu, &config, rows);
        let measured = gpu.memory();
        drop(trainer);
        close(formula.total(), measured.peak, 50, &format!("{case:?} in all"));
        for ((kind, formula), measured) in Memory::ALL.iter().zip(formula.by_kind()).zip(measured.by_kind) {
            close(formula, measured, 10, &format!("{case:?} {}", kind.name()));
        }
        before = measured.peak;
    }
}

/// Whether `formula` is off by less than one part in `parts`.
fn close(formula: u64, measured: u64, parts: u64, what: &str) {
    assert!(formula.abs_diff(measured) * parts < measured, "{what}: {formula} by the formula, {measured} measured");
}

/// What a model lacks takes no memory, and the formula knows what each part took.
#[test]
fn every_combination_of_parts_needs_what_the_formula_says() {
    let gpu = Gpu::open(None).unwrap();
    let with = |architecture| Config { architecture, ..config([3, 4, 2, 128, 64, 300, 2]) };
    let formula = |config: &Config| step_memory(&gpu, config, 2);
    let whole = formula(&with(Architecture::CURRENT));
    for architecture in architectures() {
        let config = with(architecture);
        let formula = formula(&config);
        assert!(formula.total() <= whole.total());
        let trainer = step(&gpu, &config, 2);
        let measured = gpu.memory();
        drop(trainer);
        for ((kind, formula), measured) in Memory::ALL.iter().zip(formula.by_kind()).zip(measured.by_kind) {
            close(formula, measured, 50, &format!("{:?} {}", config.architecture, kind.name()));
        }
    }
}

/// Of decoding, the formula knows every byte: what attention's shares leave to each other is one buffer for all layers, and counted.
#[test]
fn a_decoder_takes_what_its_formula_says() {
    // The adapter's own forms, and those of adapters that split heads into shares.
    for forced in [None].into_iter().chain(Forced::ALL.map(Some)) {
        check_decoders(&Gpu::open_as(None, forced).unwrap());
    }
}

fn check_decoders(gpu: &Gpu) {
    // Windows and contexts long enough for heads in shares, and more layers than one of each kind. One prompt needs two passes, and
    // one capacity is more than the context.
    for (case, architecture, rows, capacity, prompt) in [
        ([2, 2, 1, 64, 2048, 100, 0], Architecture::CURRENT, 1, 1948, 0),
        ([6, 4, 4, 128, 2048, 300, 0], Architecture::CURRENT, 1, 2148, 300),
        ([5, 4, 2, 128, 1500, 1000, 0], Architecture::CLASSIC, 3, 1400, 40),
        ([3, 8, 8, 256, 3000, 500, 0], Architecture::CURRENT, 12, 2900, 100),
    ] {
        let config = Config { architecture, ..config(case) };
        let model = Model::new(gpu, &config, Parameters::frozen(gpu, &config).unwrap()).unwrap();
        let before = gpu.memory();
        let mut decoder = Decoder::new(gpu, &model, rows, capacity).unwrap();
        for fresh in (0..9).map(|power| 1 << power).filter(|&fresh| fresh <= prompt).chain([prompt]) {
            decoder.prefill(0, &[]).unwrap();
            decoder.prefill(0, &vec![1; fresh]).unwrap();
        }
        decoder.step(&vec![Feed::Token(1, Draw::GREEDY); rows]).unwrap();
        let taken = gpu.memory();
        let formula = decoder_memory(gpu, &config, rows, capacity, prompt);
        let of = |kind: Memory| taken.by_kind[kind as usize] - before.by_kind[kind as usize];
        for (kind, formula) in [
            (Memory::Activations, formula.activations),
            (Memory::Workspace, formula.workspace),
            (Memory::Staging, formula.staging),
            (Memory::Cache, formula.cache),
        ] {
            assert_eq!(formula, of(kind), "{case:?} {} on {:?}", kind.name(), gpu.capabilities());
        }
        assert_eq!(formula.total(), taken.current - before.current, "{case:?} in all");
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
    let [one, two, three] = [1, 2, 3].map(|rows| step_memory(&gpu, &config, rows));
    assert_eq!(three.activations - two.activations, two.activations - one.activations);
    assert_eq!((one.weights, one.gradients, one.moments), (two.weights, two.gradients, two.moments));
    assert!(two.activations > one.activations && two.workspace > one.workspace);
}

/// The tables of `docs/MEMORY.md` hold what the formula gives, in MiB.
#[test]
fn the_worked_examples_of_the_docs_are_the_formulas() {
    let page = include_str!("../../docs/MEMORY.md");
    let gpu = Gpu::open(None).unwrap();
    let examples =
        [(4, 512, 4096, 1), (4, 512, 4096, 4), (4, 512, 4096, 8), (12, 2048, 32_768, 1), (12, 2048, 32_768, 4), (12, 2048, 32_768, 8)];
    let current = examples.map(|example| (example, "", Architecture::CURRENT));
    let classic = [examples[4], examples[5]].map(|example| (example, " classic", Architecture::CLASSIC));
    let mut missing = Vec::new();
    for ((depth, seq, vocab, rows), word, architecture) in current.into_iter().chain(classic) {
        let config = Config::from_depth_with(architecture, depth, 64, 128, seq, vocab, "SSSL").unwrap();
        let formula = step_memory(&gpu, &config, rows);
        let mebibytes = |bytes: u64| format!("{:.0}", bytes as f64 / f64::from(1 << 20));
        let cells = formula.by_kind().map(mebibytes).join(" | ");
        let row = format!("| {depth}{word} | {rows} | {cells} | {} |", mebibytes(formula.total()));
        missing.extend((!page.contains(&row)).then_some(row));
    }
    assert!(missing.is_empty(), "docs/MEMORY.md has not the rows\n{}", missing.join("\n"));
}
