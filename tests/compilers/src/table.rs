//! The table of what compilers make of each variant, kept in the repository beside this crate: a line for a variant's
//! key, and below it a line for each GPU, indented.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::gpus::GPUS;
use crate::stats::Stats;

/// Results by the variant's key, then by the GPU's name.
pub type Results = BTreeMap<String, BTreeMap<String, Stats>>;

/// The stored table.
#[derive(Debug, Default)]
pub struct Table {
    /// The version of the compilers that it was made with; numbers of another one cannot be compared.
    pub version: String,
    /// Its rows.
    pub results: Results,
}

/// How a run compares with the table.
#[derive(Debug, Default)]
pub struct Comparison {
    /// What got worse: the run fails.
    pub losses: Vec<String>,
    /// What got better, where nothing of that variant on that GPU got worse: the table wants to be written anew.
    pub gains: Vec<String>,
    /// Variants without a row, and rows without a variant: the run fails, else the table would say nothing one day.
    pub unmatched: Vec<String>,
}

const HEAD: &str = "# What the compilers of real GPU drivers make of every shader variant: docs/COMPILERS.md. Written by
# `make test-compilers ARGS=--update`. Columns: GPU, lanes of a subgroup, registers, spills, bytes of workgroup memory,
# instructions, the compiler's estimate of cycles, waves, and FMAs/slots of each loop that has any.
";
const VERSION: &str = "# compilers: ";

impl Table {
    /// Reads a stored table.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut table, mut key) = (Table::default(), None);
        for (number, line) in text.lines().enumerate() {
            let wrong = |reason: &str| format!("table.txt, line {}: {reason}", number + 1);
            if let Some(version) = line.strip_prefix(VERSION) {
                table.version = version.to_owned();
            } else if line.starts_with('#') || line.is_empty() {
            } else if let Some(row) = line.strip_prefix('\t') {
                let key: &String = key.as_ref().ok_or_else(|| wrong("a GPU before any variant"))?;
                let (gpu, stats) = row.split_once(' ').ok_or_else(|| wrong("a GPU without numbers"))?;
                let stats = stats.parse().map_err(|error: String| wrong(&error))?;
                table.results.entry(key.clone()).or_default().insert(gpu.to_owned(), stats);
            } else {
                key = Some(line.to_owned());
            }
        }
        Ok(table)
    }

    /// The text that [`parse`](Self::parse) reads.
    pub fn text(&self) -> String {
        let mut text = format!("{HEAD}{VERSION}{}\n", self.version);
        for (key, rows) in &self.results {
            let _ = writeln!(text, "{key}");
            for gpu in &GPUS {
                if let Some(stats) = rows.get(gpu.name) {
                    let _ = writeln!(text, "\t{} {stats}", gpu.name);
                }
            }
        }
        text
    }

    /// Compares `now` with the table, of the GPUs that were asked and the variants whose key holds `filter`.
    pub fn compare(&self, now: &Results, asked: &[&str], filter: &str) -> Comparison {
        let mut comparison = Comparison::default();
        for (key, rows) in now {
            for (gpu, stats) in rows {
                let Some(before) = self.results.get(key).and_then(|rows| rows.get(gpu)) else {
                    comparison.unmatched.push(format!("{gpu}: {key}: not in the table"));
                    continue;
                };
                let (losses, gains) = (stats.losses(before), stats.gains(before));
                let line = |words: &[String]| format!("{gpu}: {key}: {}", words.join(", "));
                if !losses.is_empty() {
                    let but = if gains.is_empty() { String::new() } else { format!("; better: {}", gains.join(", ")) };
                    comparison.losses.push(line(&losses) + &but);
                } else if !gains.is_empty() {
                    comparison.gains.push(line(&gains));
                }
            }
        }
        for (key, rows) in self.results.iter().filter(|(key, _)| key.contains(filter)) {
            for gpu in rows.keys().filter(|gpu| asked.contains(&gpu.as_str())) {
                if !now.get(key).is_some_and(|rows| rows.contains_key(gpu)) {
                    comparison.unmatched.push(format!("{gpu}: {key}: in the table, but no such variant was compiled"));
                }
            }
        }
        comparison
    }

    /// Takes `now` in place of what the table said of the GPUs that were asked and the variants whose key holds `filter`.
    pub fn replace(&mut self, now: &Results, asked: &[&str], filter: &str) {
        for (key, rows) in self.results.iter_mut().filter(|(key, _)| key.contains(filter)) {
            debug_assert!(!key.is_empty());
            rows.retain(|gpu, _| !asked.contains(&gpu.as_str()));
        }
        for (key, rows) in now {
            self.results.entry(key.clone()).or_default().extend(rows.iter().map(|(gpu, stats)| (gpu.clone(), stats.clone())));
        }
        self.results.retain(|_, rows| !rows.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(rows: &[(&str, &str, u32)]) -> Results {
        let mut results = Results::new();
        for &(key, gpu, registers) in rows {
            results.entry(key.to_owned()).or_default().insert(gpu.to_owned(), Stats { registers, ..Stats::default() });
        }
        results
    }

    #[test]
    fn what_is_written_can_be_read() {
        let table = Table { version: "Mesa 1".into(), results: results(&[("norm/forward add=none", "dg2", 4), ("x/y", "rdna3", 5)]) };
        let read = Table::parse(&table.text()).unwrap();
        assert_eq!((read.version, read.results), (table.version, table.results));
        assert!(Table::parse("\tdg2 1").is_err());
    }

    #[test]
    fn losses_gains_and_missing_rows_are_told_apart() {
        let table =
            Table { version: String::new(), results: results(&[("a", "dg2", 4), ("b", "dg2", 4), ("c", "dg2", 4), ("c", "m1", 4)]) };
        let now = results(&[("a", "dg2", 5), ("b", "dg2", 3), ("d", "dg2", 1)]);
        let found = table.compare(&now, &["dg2"], "");
        assert_eq!(found.losses, ["dg2: a: 4 → 5 registers"]);
        assert_eq!(found.gains, ["dg2: b: 4 → 3 registers"]);
        assert_eq!(found.unmatched.len(), 2, "{:?}", found.unmatched);
    }

    #[test]
    fn an_update_leaves_what_was_not_asked() {
        let mut table = Table { version: String::new(), results: results(&[("a", "dg2", 4), ("a", "m1", 4), ("b", "dg2", 4)]) };
        table.replace(&results(&[("a", "dg2", 5)]), &["dg2"], "");
        assert_eq!(table.results, results(&[("a", "dg2", 5), ("a", "m1", 4)]));
    }
}
