//! `nc-core info`: adapters, versions and runs, and what one run takes of memory.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::report::bytes;
use super::{Context, Failure};
use crate::checkpoint::{self, Run, RunSummary};
use crate::gpu;
use crate::model::{Cache, CacheFormat};
use crate::train::run_config;
use crate::weights::Format;

/// Options of `nc-core info`.
#[derive(clap::Args)]
pub struct Args {
    /// Describe this run, and the memory that its weights take in each format
    #[arg(long, value_name = "NAME")]
    run: Option<String>,
}

/// Runs the subcommand.
pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    if let Some(name) = args.run {
        return describe(&name, context);
    }
    let adapters = gpu::adapters();
    let runs = Run::list(&context.home)?;
    let value = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "wgpu": "30",
        "home": context.home.root(),
        "adapters": adapters.iter().map(|adapter| json!({
            "index": adapter.index,
            "name": adapter.info.name,
            "kind": format!("{:?}", adapter.info.device_type),
            "backend": format!("{:?}", adapter.info.backend),
            "driver": format!("{} {}", adapter.info.driver, adapter.info.driver_info).trim(),
            "subgroup": adapter.capabilities.subgroups.map(|sizes| [sizes.least, sizes.most]),
            "f16": adapter.capabilities.f16,
            "int64": adapter.capabilities.int64,
            "subgroups": adapter.capabilities.subgroups.is_some(),
            "timestamps": adapter.features.contains(wgpu::Features::TIMESTAMP_QUERY),
            "max_binding_bytes": adapter.limits.max_storage_buffer_binding_size,
            "max_buffer_bytes": adapter.limits.max_buffer_size,
            "workgroup_memory_bytes": adapter.capabilities.workgroup_memory,
            "max_workgroup_invocations": adapter.capabilities.invocations,
            "matrix_tiles": adapter.capabilities.matrices.sides().collect::<Vec<_>>(),
            "integer_dot": adapter.capabilities.integer_dot,
            "shader_compiler": adapter.compiler,
            "refusal": adapter.refusal.as_ref().map(ToString::to_string),
        })).collect::<Vec<_>>(),
        "runs": runs.iter().map(|run| json!({ "name": run.name, "steps": run.steps, "stage": stage(run) })).collect::<Vec<_>>(),
    });

    let mut lines = vec![format!("nc-core {} on wgpu 30; files in {}", env!("CARGO_PKG_VERSION"), context.home.root().display())];
    if adapters.is_empty() {
        lines.push(format!("adapters: none; {}", gpu::GpuError::no_adapter()));
    } else {
        lines.push("adapters, best first (choose with --adapter):".into());
    }
    for adapter in &adapters {
        let capabilities = &adapter.capabilities;
        let has = |flag: bool, name: &str| flag.then(|| name.to_owned());
        let tiles = capabilities.matrices.sides().map(|side| format!("matrix tiles of {side}"));
        let features: Vec<String> = [
            has(capabilities.f16, "f16"),
            has(capabilities.int64, "64-bit integers"),
            has(capabilities.integer_dot, "integer dot products"),
        ]
        .into_iter()
        .chain([has(adapter.features.contains(wgpu::Features::TIMESTAMP_QUERY), "timestamps")])
        .flatten()
        .chain(tiles)
        .collect();
        lines.push(format!("  {} {}", adapter.index, adapter.info.name));
        lines.push(format!(
            "    {:?} by {:?}, {} {}",
            adapter.info.device_type, adapter.info.backend, adapter.info.driver, adapter.info.driver_info
        ));
        lines.push(format!(
            "    {}; {}; binds {} MiB, buffers of {} MiB; workgroups of {} invocations and {} KiB",
            capabilities.subgroups.map_or("no subgroups".to_owned(), |sizes| format!("subgroups of {sizes}")),
            if features.is_empty() { "no optional features".to_owned() } else { features.join(", ") },
            adapter.limits.max_storage_buffer_binding_size >> 20,
            adapter.limits.max_buffer_size >> 20,
            capabilities.invocations,
            capabilities.workgroup_memory >> 10,
        ));
        lines.extend(adapter.compiler.as_ref().map(|compiler| format!("    shaders compiled by {compiler}")));
        lines.extend(adapter.refusal.as_ref().map(|refusal| format!("    not usable: {refusal}")));
    }
    if runs.is_empty() {
        lines.push("runs: none yet\nnext: nc-core train".into());
    } else {
        lines.push("runs:".into());
        lines.extend(runs.iter().map(|run| match run.steps.last() {
            Some(_) if stage(run) == Some("imported") => format!("  {} (imported)", run.name),
            Some(step) => format!("  {} (step {step})", run.name),
            None => format!("  {} (no checkpoint yet)", run.name),
        }));
        lines.push(format!("next: nc-core generate --run {}", runs[0].name));
    }
    context.finish(&value, &lines.join("\n"))
}

/// One run: its model, the format of its weights, and the memory for answering with it.
fn describe(name: &str, context: &Context) -> Result<(), Failure> {
    let run = Run::open(&context.home, name)?;
    let config = run_config(&run)?.model;
    let steps = run.steps().map_err(|error| Failure::input(format!("the checkpoints of run {name} cannot be listed: {error}")))?;
    let saved = if steps.is_empty() { None } else { Some(checkpoint::load_model(&run, None)?) };
    let format = saved.as_ref().map(|saved| saved.model.format());
    let bytes_in = |format: Format| config.weight_bytes(format).stored;
    let cache_in = |format| Cache::bytes_per_row(&config, config.sequence_len, format);
    let value = json!({
        "run": name, "step": saved.as_ref().map(|saved| saved.step), "format": format.map(Format::word), "model": config,
        "parameters": config.param_counts().total,
        "weight_bytes": Format::ALL.map(|format| (format.word(), bytes_in(format))).into_iter().collect::<BTreeMap<_, _>>(),
        "cache_bytes": cache_in(CacheFormat::F32),
    });
    let mut lines = vec![
        match &saved {
            Some(saved) => format!("run {name}, step {}, weights in {}", saved.step, saved.model.format()),
            None => format!("run {name}, no checkpoint yet"),
        },
        format!(
            "  {} layers, {} channels, {} heads ({} for keys and values), vocabulary {}, context {}",
            config.n_layer, config.n_embd, config.n_head, config.n_kv_head, config.vocab_size, config.sequence_len
        ),
        format!("  {:.1} million parameters; GPU memory of the weights by --weights:", config.param_counts().total as f64 / 1e6),
    ];
    lines.extend(Format::ALL.map(|format| format!("    {format:<5} {}", bytes(bytes_in(format)))));
    let [whole, half] = [CacheFormat::F32, CacheFormat::F16].map(|format| bytes(cache_in(format)));
    lines.push(format!("  and {whole} for the KV cache of a whole context, or {half} with --cache f16 or bf16"));
    context.finish(&value, &lines.join("\n"))
}

/// The stage in a run's `config.json`; older ones have none.
fn stage(run: &RunSummary) -> Option<&str> {
    Some(run.config.as_ref().ok()?.get("stage").and_then(Value::as_str).unwrap_or("base"))
}
