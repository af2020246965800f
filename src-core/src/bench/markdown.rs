//! A document as Markdown tables.

use super::document::{Checked, Compared, Document};
use super::work::Bound;

/// The document in Markdown.
pub fn render(document: &Document) -> String {
    let mut lines = Vec::new();
    heading(document, &mut lines);
    roof(document, &mut lines);
    checks(document, &mut lines);
    steps(document, &mut lines);
    kernels(document, &mut lines);
    if !document.skipped.is_empty() {
        lines.extend(["".into(), "## Left out".into(), "".into()]);
        lines.extend(document.skipped.iter().map(|sentence| format!("- {sentence}")));
    }
    lines.join("\n") + "\n"
}

fn heading(document: &Document, lines: &mut Vec<String>) {
    let Document { program, adapter, capabilities, .. } = document;
    let commit = program.commit.map_or(String::new(), |commit| format!(" at {commit}"));
    let build = if program.release { "" } else { ", not built in release" };
    let forced = document.forced.map_or(String::new(), |name| format!(", forced to `{name}`"));
    let memory = adapter.memory.map_or(String::new(), |bytes| format!(", {} MiB", bytes >> 20));
    let subgroups = match capabilities.subgroups {
        None => "no subgroups".to_owned(),
        Some([least, most]) if least == most => format!("subgroups of {least}"),
        Some([least, most]) => format!("subgroups of {least} to {most}"),
    };
    let tiles: Vec<String> = capabilities.matrix_tiles.iter().map(|side| format!("{side}×{side}")).collect();
    let has = |flag: bool, word: &str| if flag { format!(", {word}") } else { String::new() };
    lines.extend([
        format!("# {}", adapter.name),
        "".into(),
        format!("- {} by {}, {}{memory}", adapter.kind, adapter.backend, adapter.driver),
        format!(
            "- {subgroups}, workgroups of {} invocations and {} KiB{}{}{}{forced}",
            capabilities.invocations,
            capabilities.workgroup_memory >> 10,
            has(capabilities.f16, "f16"),
            has(!tiles.is_empty(), &format!("matrix tiles of {}", tiles.join(" and "))),
            has(capabilities.integer_dot, "integer dot products"),
        ),
        format!("- nc-core {}{commit} on {}{build}, {}", program.version, program.system, document.date),
        format!("- {}{:.0} s in all; kernels timed {}", if document.quick { "quick, " } else { "" }, document.seconds, document.clock),
    ]);
    if capabilities.cpu {
        lines.push("- **Software**: this adapter is a program on the CPU".into());
    }
}

fn roof(document: &Document, lines: &mut Vec<String>) {
    let Some(roof) = &document.roof else { return };
    lines.extend(["".into(), "## Roof".into(), "".into(), "| | |".into(), "|---|---|".into()]);
    lines.push(format!("| copy, {} MiB | {} |", roof.buffer_bytes >> 20, giga(roof.copy, "GB/s")));
    lines.push(format!("| read | {} |", giga(roof.read, "GB/s")));
    lines.push(format!("| multiply-adds in f32 | {} |", giga(roof.f32_fma, "GFLOP/s")));
    lines.extend(roof.f16_fma.map(|flops| format!("| multiply-adds in f16 | {} |", giga(flops, "GFLOP/s"))));
    lines.extend(
        roof.matrix.iter().map(|tile| format!("| matrix units, tiles of {}, f16 to f32 | {} |", tile.side, giga(tile.flops, "GFLOP/s"))),
    );
}

fn checks(document: &Document, lines: &mut Vec<String>) {
    let results: usize = document.checks.iter().map(|check| check.comparisons).sum();
    lines.extend(["".into(), "## Checks".into(), "".into()]);
    lines.push(match document.checks_failed {
        0 => format!("All {} kernels agree with their f64 twins, in {results} results.", document.checks.len()),
        failed => format!("**{failed} of {} kernels do not agree with their f64 twins.**", document.checks.len()),
    });
    lines.extend(["".into(), "| kernel | results | | nearest to its bar | error | bar |".into(), "|---|---|---|---|---|---|".into()]);
    for check in &document.checks {
        let word = if check.passed { "ok" } else { "**failed**" };
        let (what, error, bar) = match &check.worst {
            Some(Compared { what, shape, error, bar }) => (format!("{what} of {shape}"), format!("{error:.1e}"), format!("{bar:.0e}")),
            None => Default::default(),
        };
        lines.push(format!("| {} | {} | {word} | {what} | {error} | {bar} |", check.kernel, check.comparisons));
    }
    let failed: Vec<&Checked> = document.checks.iter().filter(|check| !check.passed).collect();
    if !failed.is_empty() {
        lines.push("".into());
    }
    for check in failed {
        lines.extend(check.refused.iter().map(|reason| format!("- {}: {}", check.kernel, reason.replace('\n', " "))));
        lines.extend(check.failures.iter().map(|Compared { what, shape, error, bar }| {
            format!("- {}: {what} of {shape} is off by {error:.2e}, more than {bar:.0e}", check.kernel)
        }));
    }
}

fn steps(document: &Document, lines: &mut Vec<String>) {
    if document.steps.is_empty() {
        return;
    }
    lines.extend(["".into(), "## Steps".into(), "".into()]);
    lines.push("| step | model | batch | context | ms | tokens/s | GFLOP/s | of the roof | bound by |".into());
    lines.push("|---|---|---|---|---|---|---|---|---|".into());
    for step in &document.steps {
        lines.push(format!(
            "| {} | {} | {} | {} | {:.2} | {:.0} | {:.1} | {} | {} |",
            step.step,
            step.model,
            step.batch,
            step.context,
            step.seconds * 1e3,
            step.tokens_per_second,
            step.flops_per_second / 1e9,
            percent(step.share),
            word(step.bound),
        ));
    }
}

fn kernels(document: &Document, lines: &mut Vec<String>) {
    if document.kernels.is_empty() {
        return;
    }
    lines.extend(["".into(), "## Kernels".into(), "".into()]);
    lines.push("| kernel | model | operands | ms | GB/s | GFLOP/s | of the roof | bound by |".into());
    lines.push("|---|---|---|---|---|---|---|---|".into());
    for row in &document.kernels {
        let flops = if row.flops_per_second > 0.0 { format!("{:.1}", row.flops_per_second / 1e9) } else { String::new() };
        lines.push(format!(
            "| {} | {} | {} | {:.3} | {:.1} | {flops} | {} | {} |",
            row.kernel,
            row.model,
            row.shape,
            row.seconds * 1e3,
            row.bytes_per_second / 1e9,
            percent(row.share),
            word(row.bound),
        ));
    }
}

fn giga(value: f64, unit: &str) -> String {
    format!("{:.1} {unit}", value / 1e9)
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

fn word(bound: Bound) -> &'static str {
    match bound {
        Bound::Memory => "memory",
        Bound::Arithmetic => "arithmetic",
    }
}
