//! The formula of `docs/MEMORY.md` against what a training step allocates.

use nc_core::data::loader::Batch;
use nc_core::gpu::{Gpu, Memory};
use nc_core::model::Config;
use nc_core::optim::{OptimizerConfig, Schedule};
use nc_core::train::memory::step_memory;
use nc_core::train::trainer::Trainer;

/// In all within 5 %; every kind that matters within 10 %.
fn check(config: &Config, rows: usize) {
    let gpu = Gpu::open(std::env::var("NC_ADAPTER").ok().as_deref()).unwrap();
    let mut trainer = Trainer::new(&gpu, config, &OptimizerConfig::new(config.n_embd, 1.0), rows).unwrap();
    trainer.model.parameters.initialise(&gpu, config, 1);
    let tokens: Vec<i32> = (0..rows * config.sequence_len).map(|i| (i % config.vocab_size) as i32).collect();
    let batch = Batch { rows, row_len: config.sequence_len, inputs: tokens.clone(), targets: tokens };
    let pending = trainer.step(vec![batch], 0, Schedule::pretraining(10, 0.1).at(0)).unwrap();
    trainer.finish(pending, &vec![1; config.vocab_size]).unwrap();

    let (formula, measured) = (step_memory(config, rows), gpu.memory());
    let close = |what: &str, formula: u64, measured: u64, bar: f64| {
        let ratio = formula as f64 / measured as f64;
        assert!((ratio - 1.0).abs() <= bar, "{config:?} × {rows}: {what}: formula {formula}, measured {measured} ({ratio:.3})");
    };
    close("in all", formula.total(), measured.peak, 0.05);
    for kind in Memory::ALL {
        let bytes = measured.by_kind[kind as usize];
        if 50 * bytes > measured.peak {
            close(kind.name(), formula.of(kind), bytes, 0.1);
        }
    }
}

#[test]
fn a_steps_memory_is_what_the_formula_says() {
    for (depth, seq, vocab, rows) in [(1, 256, 4096, 2), (2, 128, 1000, 8), (4, 512, 4096, 2), (3, 64, 300, 1)] {
        check(&Config::from_depth(depth, 64, 128, seq, vocab, "SSSL").unwrap(), rows);
    }
}

#[test]
fn grouped_queries_take_less_as_the_formula_says() {
    let config =
        Config { sequence_len: 192, vocab_size: 500, n_layer: 3, n_head: 8, n_kv_head: 2, n_embd: 256, window_pattern: "SL".into() };
    check(&config, 4);
}
