//! The stored table as Markdown: a row for each kernel and chosen sizes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::gpus::GPUS;
use crate::stats::{Nest, Stats};
use crate::table::Table;

/// The GPUs that the printed table shows.
const SHOWN: [&str; 6] = ["rdna3", "rdna2", "vega", "ampere", "dg2", "m1"];

/// The chosen rows: of each shader's entry point one variant, of the usual sizes the one with the longest main loop on RDNA 3.
pub fn table(table: &Table) -> String {
    let mut text = format!("Made with {}.\n\n", table.version);
    let _ = write!(text, "| variant |");
    for name in SHOWN {
        let title = GPUS.iter().find(|gpu| gpu.name == name).map_or(name, |gpu| gpu.title);
        let _ = write!(text, " {title} |");
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(SHOWN.len()));
    for (key, rows) in chosen(table) {
        let _ = write!(text, "| {} |", key.replace('|', "\\|"));
        for name in SHOWN {
            let _ = write!(text, " {} |", rows.get(name).map(cell).unwrap_or_default());
        }
        text.push('\n');
    }
    text
}

/// Registers, spills where there are some, instructions, cycles, waves, and the share of fused multiply-adds.
fn cell(stats: &Stats) -> String {
    let mut text = format!("{} · {}", stats.registers, stats.instructions);
    if stats.cycles > 0 {
        let _ = write!(text, " · {}", stats.cycles);
    }
    if stats.waves > 0 {
        let _ = write!(text, " · {}", stats.waves);
    }
    if let Some(inner) = stats.main_loop().map(Nest::innermost).filter(|inner| inner.fmas >= 8) {
        let _ = write!(text, " · {:.0} %", inner.share());
    }
    if stats.spills > 0 {
        let _ = write!(text, " · **{} spills**", stats.spills);
    }
    text
}

fn chosen(table: &Table) -> BTreeMap<&str, &BTreeMap<String, Stats>> {
    let mut best: BTreeMap<&str, (&str, &BTreeMap<String, Stats>)> = BTreeMap::new();
    let weight = |rows: &BTreeMap<String, Stats>| {
        let stats = rows.get("rdna3").or_else(|| rows.values().next());
        stats.map(|stats| (stats.main_loop().map_or(0, |nest| nest.work.fmas), stats.instructions))
    };
    // Heads of 128 channels and plain products are what models have most.
    let usual = |key: &str| {
        key.split(' ').filter(|word| ["head_dim=128", "cached=false", "shared=false", "layout=nn", "add=nothing"].contains(word)).count()
    };
    for (key, rows) in &table.results {
        let kernel = key.split(' ').next().unwrap_or(key);
        let entry = best.entry(kernel).or_insert((key, rows));
        if (usual(key), weight(rows)) > (usual(entry.0), weight(entry.1)) {
            *entry = (key, rows);
        }
    }
    best.into_values().collect()
}
