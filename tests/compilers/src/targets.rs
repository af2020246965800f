//! What the kernels are to reach, by the compilers' own numbers. Nothing here ran on hardware.

use std::fmt::Write as _;

use crate::gpus::{Compiler, Gpu, find};
use crate::stats::{Nest, Stats};
use crate::table::Results;

/// One thing to reach.
#[derive(Clone)]
struct Target {
    what: String,
    wanted: String,
    measured: String,
    met: bool,
}

/// A line for each target as Markdown: what is asked, what the table says, and whether that is enough.
pub fn report(results: &Results) -> String {
    let mut text = "| what | wanted | by the table | met |\n|---|---|---|---|\n".to_owned();
    for target in
        [products(results), matrices(results), spills(results), waves(results), attention_slots(results), decode_slots(results)].concat()
    {
        let Target { what, wanted, measured, met } = target;
        let _ = writeln!(text, "| {what} | {wanted} | {measured} | {} |", if met { "yes" } else { "**no**" });
    }
    text
}

/// The value that a variant's key gives `name`.
fn value(key: &str, name: &str) -> Option<u32> {
    key.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}

/// The rows of a kernel's entry point with these words in their keys.
fn rows<'a>(results: &'a Results, kernel: &'a str, words: &'a [&'a str], gpu: &'a str) -> impl Iterator<Item = (&'a str, &'a Stats)> {
    results
        .iter()
        .filter(move |(key, _)| key.split(' ').next() == Some(kernel) && words.iter().all(|word| key.split(' ').any(|have| have == *word)))
        .filter_map(move |(key, rows)| Some((key.as_str(), rows.get(gpu)?)))
}

const PRODUCT: [&str; 3] = ["layout=nn", "side=128", "add=nothing"];

/// Products by 128 × 128 tiles: at least 75 % fused multiply-adds in the innermost loop, at most 70,000 cycles on DG2.
fn products(results: &Results) -> Vec<Target> {
    let best = |gpu| rows(results, "matmul_tile/forward", &PRODUCT, gpu).map(|(_, stats)| stats);
    let mut targets: Vec<Target> = ["rdna3", "rdna2", "ampere", "turing"]
        .into_iter()
        .map(|gpu| {
            let share = best(gpu).filter_map(Stats::main_loop).map(|nest| nest.innermost().share()).fold(0.0, f64::max);
            Target {
                what: format!("matmul_tile 128 NN on {gpu}: FMAs among the slots of the innermost loop"),
                wanted: "≥ 75 %".into(),
                measured: format!("{share:.1} %"),
                met: share >= 75.0,
            }
        })
        .collect();
    let cycles = best("dg2").map(|stats| stats.cycles).min().unwrap_or(u64::MAX);
    targets.push(Target {
        what: "matmul_tile 128 NN on dg2: cycles".into(),
        wanted: "≤ 70,000".into(),
        measured: cycles.to_string(),
        met: cycles <= 70_000,
    });
    targets
}

/// Products by matrix units: at most 40 slots of the innermost loop for four of them, loads of the next operands and barriers included, in
/// every tile. An instruction of AMD's is a product of 16 × 16 × 16.
fn matrices(results: &Results) -> Vec<Target> {
    let line = |gpu| {
        let loops = rows(results, "matmul_matrix/forward", &["side=16"], gpu).filter_map(|(_, stats)| stats.main_loop());
        let slots = loops.map(|nest| 4.0 * f64::from(nest.innermost().slots) / f64::from(nest.innermost().fmas)).fold(0.0, f64::max);
        Target {
            what: format!("matmul_matrix on {gpu}: slots for four products of 16 × 16 × 16, in the tile that needs most"),
            wanted: "≤ 40".into(),
            measured: if slots > 0.0 { format!("{slots:.1}") } else { "not told".into() },
            met: slots > 0.0 && slots <= 40.0,
        }
    };
    ["rdna3", "rdna4"].map(line).into()
}

fn spills(results: &Results) -> Vec<Target> {
    let spilling: usize = results.values().map(|rows| rows.values().filter(|stats| stats.spills > 0).count()).sum();
    let programs: usize = results.values().map(|rows| rows.len()).sum();
    vec![Target {
        what: "programs that spill to memory, on all GPUs".into(),
        wanted: "0".into(),
        measured: format!("{spilling} of {programs}"),
        met: spilling == 0,
    }]
}

/// Waves that a SIMD can hold at once; `None` where the driver does not say: Intel's EUs hold 7 or 8 threads always.
fn waves_per_simd(gpu: &Gpu, stats: &Stats) -> Option<f64> {
    let waves = f64::from(stats.waves);
    match gpu.compiler {
        Compiler::Aco => Some(waves),
        Compiler::Nak => Some(waves / 4.0),
        // Four SIMDs of 32 lanes a core.
        Compiler::Agx => Some(waves / 128.0),
        Compiler::Brw | Compiler::Ir3 => None,
    }
}

const ATTENTION: [&str; 3] = ["forward", "backward_queries", "backward_keys"];

fn waves(results: &Results) -> Vec<Target> {
    let mut least: Option<(f64, String)> = None;
    for pass in ATTENTION {
        let kernel = format!("attention_tile/{pass}");
        for (key, rows) in results.iter().filter(|(key, _)| key.split(' ').next() == Some(&kernel)) {
            for (name, stats) in rows {
                let Some(waves) = find(name).and_then(|gpu| waves_per_simd(gpu, stats)) else { continue };
                if least.as_ref().is_none_or(|(least, _)| waves < *least) {
                    least = Some((waves, format!("{name}: {key}")));
                }
            }
        }
    }
    let (waves, place) = least.unwrap_or_default();
    vec![Target {
        what: "attention_tile, all passes, sizes and GPUs that say: waves a SIMD".into(),
        wanted: "≥ 2".into(),
        measured: format!("{waves} ({place})"),
        met: waves >= 2.0,
    }]
}

/// Slots of a tile on DG2 at D = 128 before the kernels were written anew: 16 scores an invocation then and now.
const ATTENTION_BEFORE: [f64; 3] = [15_695.0, 21_018.0, 30_825.0];

fn attention_slots(results: &Results) -> Vec<Target> {
    let words = ["head_dim=128", "cached=false"];
    let line = |(pass, before): (&str, f64)| {
        let kernel = format!("attention_tile/{pass}");
        let slots = rows(results, &kernel, &words, "dg2").filter_map(|(key, stats)| tile_slots(pass, key, stats)).fold(f64::MAX, f64::min);
        let fewer = 100.0 * (1.0 - slots / before);
        Target {
            what: format!("attention_tile {pass} at D = 128 on dg2: slots of a tile"),
            wanted: format!("25 % fewer than {before}"),
            measured: if slots < f64::MAX { format!("{slots:.0}, {fewer:.0} % fewer") } else { "not told".into() },
            met: fewer >= 25.0 && slots < f64::MAX,
        }
    };
    ATTENTION.into_iter().zip(ATTENTION_BEFORE).map(line).collect()
}

/// Slots of one turn of attention's loop over tiles. In it are, in this order, the loops of the products of rows and those
/// of the sums; each of them may have one more loop inside, over what lies in workgroup memory at once.
fn tile_slots(pass: &str, key: &str, stats: &Stats) -> Option<f64> {
    let [rows, tile, slice, head_dim] = ["rows", "tile", "slice", "head_dim"].map(|name| value(key, name).map(f64::from));
    let (rows, tile, head_dim) = (rows?, tile?, head_dim?);
    let (across, down) = (tile / 4.0, rows / 4.0);
    let outs = (head_dim / 4.0 / across).ceil();
    let batch = across.min((down / outs).floor()).max(1.0);
    let mut nest = stats.main_loop()?;
    while let [only] = &nest.inside[..] {
        nest = only;
    }
    let products = if pass == "forward" { 1 } else { 2 };
    let sums = if pass == "backward_keys" { 2 } else { 1 };
    if nest.inside.len() != products + sums {
        return None;
    }
    let own = f64::from(nest.own().slots);
    let inside = nest.inside.iter().enumerate().map(|(i, one)| {
        // 16 scores an invocation, each a sum over D; 4 rows by its share of D for the sums: as many.
        let turns = |body: &Nest| 16.0 * head_dim / f64::from(body.work.fmas);
        match &one.inside[..] {
            [] => turns(one) * f64::from(one.work.slots),
            [inner] => {
                let outer = if i < products { (head_dim / 4.0 / slice.unwrap_or(4.0)).ceil() } else { (across / batch).ceil() };
                outer * f64::from(one.own().slots) + turns(inner) * f64::from(inner.work.slots)
            }
            _ => f64::NAN,
        }
    });
    Some(own + inside.sum::<f64>())
}

/// Decode attention at D = 128: the slots of the loop over the positions that the workgroup takes in a turn. All subgroups of
/// the workgroup issue them, so what a position costs in all is told too.
fn decode_slots(results: &Results) -> Vec<Target> {
    let mut most = [(0.0, ""); 2];
    for gpu in &crate::gpus::GPUS {
        for (key, stats) in rows(results, "attention_decode_row/forward", &["head_dim=128"], gpu.name) {
            let (Some(nest), Some(lanes)) = (stats.main_loop(), value(key, "lanes")) else { continue };
            // Each team takes four positions a turn.
            let positions = f64::from(4 * lanes / value(key, "team").unwrap_or(lanes));
            let slots = f64::from(nest.work.slots) / positions;
            let all = slots * f64::from(lanes.div_ceil(stats.subgroup.max(1)));
            for (most, slots) in most.iter_mut().zip([slots, all]) {
                if slots > most.0 {
                    *most = (slots, gpu.name);
                }
            }
        }
    }
    let [(slots, gpu), (all, on)] = most;
    vec![Target {
        what: "attention_decode_row at D = 128, all GPUs that say: the loop's slots over the positions of its turn".into(),
        wanted: "≤ 60".into(),
        measured: format!("{slots:.1} ({gpu}); by all subgroups of the workgroup together {all:.1} ({on})"),
        met: slots > 0.0 && slots <= 60.0,
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_of_attention_is_counted_with_its_loops() {
        // What Intel's compiler made of the forward pass before it was written anew.
        let stats: Stats = "8 190 691 15616 5598 2031663 0 769/5291(256/849,512/1487)".parse().unwrap();
        assert_eq!(tile_slots("forward", "attention_tile/forward head_dim=128 rows=64 tile=32", &stats), Some(15_695.0));
        // And with loops inside: 4 turns over slices of D, 4 over batches of the tile's rows.
        let stats: Stats = "8 129 0 16384 1312 1 0 196/1107(64/308(64/110),128/319(128/183))".parse().unwrap();
        let slots = tile_slots("forward", "attention_tile/forward head_dim=128 rows=32 slice=8 tile=64", &stats);
        assert_eq!(slots, Some(480.0 + 4.0 * 198.0 + 32.0 * 110.0 + 4.0 * 136.0 + 16.0 * 183.0));
    }

    #[test]
    fn an_empty_table_meets_nothing_but_has_no_spills() {
        let text = report(&Results::new());
        assert_eq!((text.matches("| yes |").count(), text.matches("**no**").count()), (1, 12), "{text}");
    }
}
