//! Every number that follows from the depth equals the reference's.

use std::fs;

use nc_core::model::Config;
use nc_core::optim::{Horizon, HorizonOptions, Schedule};
use nc_tests::golden_dirs;
use serde::Deserialize;

/// A field that this test does not know is an error: nothing in the table goes unchecked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(rename = "note")]
    _note: String,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    depth: usize,
    n_embd: usize,
    n_head: usize,
    params: Params,
    flops_per_token: u64,
    window_sizes: Vec<usize>,
    target_tokens: u64,
    total_batch_size: u64,
    num_iterations: u64,
    lr_scale: f64,
    weight_decay: f64,
    decode_flops_2048: u64,
    prefill_flops_1024: u64,
    schedule: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    wte: usize,
    value_embeds: usize,
    lm_head: usize,
    transformer_matrices: usize,
    scalars: usize,
    total: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    step: u64,
    lr_multiplier: f64,
    muon_momentum: f64,
    weight_decay: f64,
}

/// The configuration of a depth at the table's defaults.
fn at_defaults(depth: usize) -> Config {
    Config::from_depth(depth, 64, 128, 2048, 32768, "SSSL").unwrap()
}

fn assert_close(got: f64, want: f64, what: &str) {
    assert!((got - want).abs() <= 1e-12 * want.abs(), "{what}: {got:e}, and the reference has {want:e}");
}

#[test]
fn golden_depths_have_the_reference_numbers() {
    let mut rows = 0;
    for file in golden_dirs().iter().map(|dir| dir.join("depths.json")).filter(|file| file.exists()) {
        let table: Table = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for row in table.rows {
            check(&row);
            rows += 1;
        }
    }
    assert!(rows > 0, "no depths.json was found");
}

fn check(row: &Row) {
    let config = at_defaults(row.depth);
    let at = |what: &str| format!("depth {}: {what}", row.depth);
    assert_eq!((config.n_layer, config.n_embd, config.n_head), (row.depth, row.n_embd, row.n_head));

    let counts = config.param_counts();
    let want = &row.params;
    assert_eq!((counts.wte, counts.value_embeds, counts.lm_head), (want.wte, want.value_embeds, want.lm_head), "{}", at("tables"));
    assert_eq!((counts.transformer_matrices, counts.scalars), (want.transformer_matrices, want.scalars), "{}", at("blocks"));
    assert_eq!(counts.total, want.total, "{}", at("parameters"));

    assert_eq!(config.window_sizes(), row.window_sizes, "{}", at("windows"));
    assert_eq!(config.flops_per_token(), row.flops_per_token, "{}", at("training FLOPs"));
    assert_eq!(config.decode_flops(2048), row.decode_flops_2048, "{}", at("decoding FLOPs"));
    assert_eq!(config.prefill_flops(1024), row.prefill_flops_1024, "{}", at("prefill FLOPs"));

    let horizon = Horizon::plan(&config, &at_defaults(12), &HorizonOptions::default());
    assert_eq!(horizon.target_tokens, row.target_tokens, "{}", at("tokens"));
    assert_eq!(horizon.total_batch_size, row.total_batch_size, "{}", at("batch"));
    assert_eq!(horizon.num_iterations, row.num_iterations, "{}", at("steps"));
    assert_close(horizon.lr_scale, row.lr_scale, &at("learning-rate scale"));
    assert_close(horizon.weight_decay, row.weight_decay, &at("weight decay"));

    let schedule = Schedule::pretraining(horizon.num_iterations, horizon.weight_decay);
    assert!(!row.schedule.is_empty());
    for step in &row.schedule {
        let at = |what: &str| at(&format!("step {}: {what}", step.step));
        let values = schedule.at(step.step);
        assert_close(values.lr_multiplier, step.lr_multiplier, &at("learning rate"));
        assert_close(values.momentum, step.muon_momentum, &at("momentum"));
        assert_close(values.weight_decay, step.weight_decay, &at("weight decay"));
    }
}
