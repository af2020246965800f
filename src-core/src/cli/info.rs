//! `nc-core info`: adapters, versions and runs.

use serde_json::{Value, json};

use super::{Context, Failure};
use crate::checkpoint::{Run, RunSummary};
use crate::gpu;

/// Options of `nc-core info`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs the subcommand.
pub fn run(_args: Args, context: &Context) -> Result<(), Failure> {
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
        let features: Vec<String> = [has(capabilities.f16, "f16"), has(capabilities.integer_dot, "integer dot products")]
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

/// The stage in a run's `config.json`; older ones have none.
fn stage(run: &RunSummary) -> Option<&str> {
    Some(run.config.as_ref().ok()?.get("stage").and_then(Value::as_str).unwrap_or("base"))
}
