//! The results about an adapter, as they are written. Nothing in them identifies the machine or its user.

use std::time::SystemTime;

use serde::Serialize;

use crate::gpu::{Capabilities, Clock, Forced, Gpu, GpuError};
use crate::kernels::check::Comparison;

use super::peak::Roof;
use super::work::Bound;

/// The version of the document's format: it is incremented when a field changes its meaning.
const FORMAT: u32 = 1;

/// An adapter, checked and measured.
#[derive(Clone, Debug, Serialize)]
pub struct Document {
    /// The version of the format.
    pub format: u32,
    /// The measuring program.
    pub program: Program,
    /// The day, in UTC.
    pub date: String,
    /// Whether it was `--quick`.
    pub quick: bool,
    /// Total seconds.
    pub seconds: f64,
    /// The adapter.
    pub adapter: Adapter,
    /// Its capabilities, or the forced ones.
    pub capabilities: Has,
    /// What capabilities were forced to, if they were.
    pub forced: Option<&'static str>,
    /// How kernels were timed.
    pub clock: &'static str,
    /// Every kernel compared with its twin.
    pub checks: Vec<Checked>,
    /// How many of these failed.
    pub checks_failed: usize,
    /// The roof, unless the device failed before it was known.
    pub roof: Option<Roof>,
    /// Kernels at the sizes of models.
    pub kernels: Vec<KernelRow>,
    /// Whole steps.
    pub steps: Vec<StepRow>,
    /// What was left out, one sentence each.
    pub skipped: Vec<String>,
}

/// The program that measured.
#[derive(Clone, Debug, Serialize)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The commit that it was built from, if set in the build (`NC_COMMIT`).
    pub commit: Option<&'static str>,
    /// Whether it is a release build.
    pub release: bool,
    /// The system that it was built for.
    pub system: String,
}

/// An adapter, as described by its driver.
#[derive(Clone, Debug, Serialize)]
pub struct Adapter {
    /// Its name.
    pub name: String,
    /// Discrete, integrated, on the CPU.
    pub kind: String,
    /// The API.
    pub backend: String,
    /// The driver and its version.
    pub driver: String,
    /// PCI ids of vendor and device, 0 if there are none.
    pub pci: [u32; 2],
    /// Bytes of memory, if it reports them.
    pub memory: Option<u64>,
}

/// [`Capabilities`] in plain values.
#[derive(Clone, Debug, Serialize)]
pub struct Has {
    /// Smallest and largest subgroup size.
    pub subgroups: Option<[u32; 2]>,
    /// Bytes of workgroup memory.
    pub workgroup_memory: u32,
    /// Invocations per workgroup.
    pub invocations: u32,
    /// Whether shaders may use f16.
    pub f16: bool,
    /// Sides of the tiles of matrix units.
    pub matrix_tiles: Vec<u32>,
    /// Whether it has instructions for dot products of packed bytes.
    pub integer_dot: bool,
    /// Whether it runs on the CPU.
    pub cpu: bool,
}

/// A kernel compared with its twin.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// The kernel's module.
    pub kernel: &'static str,
    /// Whether all results passed.
    pub passed: bool,
    /// Results that were compared.
    pub comparisons: usize,
    /// The one closest to its bar, or furthest beyond it.
    pub worst: Option<Compared>,
    /// Those that failed.
    pub failures: Vec<Compared>,
    /// Why it could not be completed.
    pub refused: Option<String>,
}

/// One comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    /// Which result.
    pub what: String,
    /// Its shape.
    pub shape: String,
    /// The error; null if it is not a number.
    pub error: f64,
    /// The largest error that passes.
    pub bar: f64,
}

/// A kernel at one size.
#[derive(Clone, Debug, Serialize)]
pub struct KernelRow {
    /// The model whose size it is.
    pub model: &'static str,
    /// The kernel and its pass.
    pub kernel: &'static str,
    /// Its operands.
    pub shape: String,
    /// Median seconds of a call.
    pub seconds: f64,
    /// Compulsory bytes per second.
    pub bytes_per_second: f64,
    /// Operations per second, 0 if they are not counted.
    pub flops_per_second: f64,
    /// What bounds it.
    pub bound: Bound,
    /// The roof's time divided by the kernel's: 1 is the optimum, unless a cache is faster than memory.
    pub share: f64,
}

/// A whole step.
#[derive(Clone, Debug, Serialize)]
pub struct StepRow {
    /// `train`, `prefill` or `decode`.
    pub step: &'static str,
    /// The model.
    pub model: &'static str,
    /// Rows.
    pub batch: usize,
    /// Tokens that a step processes.
    pub tokens: usize,
    /// Tokens of the context: per row in training, of the prompt, or in the cache while decoding.
    pub context: usize,
    /// Median seconds of a step.
    pub seconds: f64,
    /// Tokens per second.
    pub tokens_per_second: f64,
    /// Operations per second, by the usual count.
    pub flops_per_second: f64,
    /// What bounds it.
    pub bound: Bound,
    /// The roof's time divided by the step's.
    pub share: f64,
}

impl Document {
    /// An empty document about `gpu`.
    pub fn new(gpu: &Gpu, date: &str, quick: bool) -> Self {
        Self {
            format: FORMAT,
            program: Program {
                name: "nc-core",
                version: env!("CARGO_PKG_VERSION"),
                commit: option_env!("NC_COMMIT"),
                release: !cfg!(debug_assertions),
                system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            },
            date: date.to_owned(),
            quick,
            seconds: 0.0,
            adapter: Adapter::of(gpu),
            capabilities: Has::of(gpu.capabilities()),
            forced: Forced::from_environment().ok().flatten().map(Forced::name),
            clock: Clock::of(gpu).name(),
            checks: Vec::new(),
            checks_failed: 0,
            roof: None,
            kernels: Vec::new(),
            steps: Vec::new(),
            skipped: Vec::new(),
        }
    }
}

impl Adapter {
    fn of(gpu: &Gpu) -> Self {
        let info = gpu.info();
        Self {
            name: info.name.clone(),
            kind: format!("{:?}", info.device_type),
            backend: format!("{:?}", info.backend),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            pci: [info.vendor, info.device],
            memory: gpu.adapter_memory(),
        }
    }
}

impl Has {
    fn of(capabilities: Capabilities) -> Self {
        let Capabilities { subgroups, workgroup_memory, invocations, f16, matrices, integer_dot, cpu, .. } = capabilities;
        Self {
            subgroups: subgroups.map(|sizes| [sizes.least, sizes.most]),
            workgroup_memory,
            invocations,
            f16,
            matrix_tiles: matrices.sides().collect(),
            integer_dot,
            cpu,
        }
    }
}

impl Checked {
    /// The summary of a check's comparisons, or of its failure.
    pub fn from(kernel: &'static str, outcome: Result<Vec<Comparison>, GpuError>) -> Self {
        let (comparisons, refused) = match outcome {
            Ok(comparisons) => (comparisons, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let failures: Vec<Compared> = comparisons.iter().filter(|one| !one.passed()).map(Compared::from).collect();
        // Results that must be exact are never close to their bar.
        let nearness = |one: &&Comparison| {
            if one.bar > 0.0 {
                one.error / one.bar
            } else if one.passed() {
                0.0
            } else {
                f64::INFINITY
            }
        };
        let worst = comparisons.iter().max_by(|a, b| nearness(a).total_cmp(&nearness(b))).map(Compared::from);
        Self { kernel, passed: refused.is_none() && failures.is_empty(), comparisons: comparisons.len(), worst, failures, refused }
    }
}

impl From<&Comparison> for Compared {
    fn from(one: &Comparison) -> Self {
        Self { what: one.what.clone(), shape: one.shape.clone(), error: one.error, bar: one.bar }
    }
}

/// Today in UTC, as `2026-11-29`.
pub fn today() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    date(since.as_secs() / 86_400)
}

/// The date `days` after 1970-01-01, by cycles of 400 years that begin on a first of March
/// (Hinnant, <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>).
fn date(days: u64) -> String {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    format!("{:04}-{month:02}-{day:02}", year + era * 400 + u64::from(month <= 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates() {
        let days = [(0, "1970-01-01"), (59, "1970-03-01"), (11_016, "2000-02-29"), (11_017, "2000-03-01"), (20_786, "2026-11-29")];
        for (day, name) in days {
            assert_eq!(date(day), name);
        }
    }

    #[test]
    fn a_check_fails_by_one_result_or_by_an_error() {
        let comparison = |error| Comparison { what: "y".into(), shape: "[1]".into(), error, bar: 1e-6 };
        let checked = Checked::from("norm", Ok(vec![comparison(1e-7), comparison(5e-7)]));
        assert!(checked.passed && checked.worst.unwrap().error == 5e-7);
        let checked = Checked::from("norm", Ok(vec![comparison(1e-7), comparison(f64::INFINITY)]));
        assert!(!checked.passed && checked.failures.len() == 1);
        let checked = Checked::from("norm", Err(GpuError::Lost { reason: "unplugged".into() }));
        assert!(!checked.passed && checked.refused.unwrap().contains("unplugged"));
    }
}
