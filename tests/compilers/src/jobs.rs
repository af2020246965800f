//! The work of all compilers: a process for each, as many at a time as there are processors.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use crate::gpus::{self, GPUS};
use crate::table::Results;
use crate::worker::MARK;

/// Where everything lies, and what is asked.
pub struct Plan {
    /// The folder that `scripts/compilers.sh` filled.
    pub place: PathBuf,
    /// GPUs by name, and `dxc` and `fxc`.
    pub judges: Vec<String>,
    /// Part of the keys of the variants that are asked; empty for all.
    pub filter: String,
    /// A folder for assembly texts.
    pub assembly: Option<PathBuf>,
}

/// What all of them said.
#[derive(Default)]
pub struct Verdict {
    /// Statistics of what was compiled.
    pub results: Results,
    /// What was refused, and what broke.
    pub failures: Vec<String>,
    /// Shaders that Microsoft's compilers took.
    pub taken: usize,
}

/// Runs the plan.
pub fn run(plan: &Plan) -> Verdict {
    // Those that take longest come first: DXC, FXC, then as in the list of GPUs.
    let rank = |name: &String| GPUS.iter().position(|gpu| gpu.name == name.as_str()).map_or(0, |place| place + 1);
    let mut judges = plan.judges.clone();
    judges.sort_by_key(rank);
    let (open, verdict) = (Mutex::new(VecDeque::from(judges)), Mutex::new(Verdict::default()));
    let next = || open.lock().expect("no job panics with it").pop_front();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(judge) = next() {
                    let start = Instant::now();
                    let mut said = Verdict::default();
                    if let Err(reason) = judge_with(plan, &judge, &mut said) {
                        said.failures.push(format!("{judge}: {reason}"));
                    }
                    eprintln!("{judge}: {} in {:.0} s", said.count(), start.elapsed().as_secs_f64());
                    verdict.lock().expect("no job panics with it").take(said);
                }
            });
        }
    });
    verdict.into_inner().expect("no job panics with it")
}

impl Verdict {
    fn take(&mut self, other: Verdict) {
        for (key, rows) in other.results {
            self.results.entry(key).or_default().extend(rows);
        }
        self.failures.extend(other.failures);
        self.taken += other.taken;
    }

    fn count(&self) -> String {
        let compiled = self.taken + self.results.values().map(|rows| rows.len()).sum::<usize>();
        match self.failures.len() {
            0 => format!("{compiled} variants"),
            failures => format!("{compiled} variants, {failures} failures"),
        }
    }
}

/// Runs one compiler's process and reads what it says.
fn judge_with(plan: &Plan, judge: &str, verdict: &mut Verdict) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let cache = plan.place.join("results");
    std::fs::create_dir_all(&cache).map_err(|error| format!("{}: {error}", cache.display()))?;
    let mut command = match gpus::find(judge) {
        Some(gpu) => {
            let mut command = Command::new(plan.place.join("run"));
            command.args([gpu.compiler.shim(), gpu.compiler.driver()]).arg(&program).env(gpu.variable.0, gpu.variable.1);
            command
        }
        None => Command::new(&program),
    };
    let log = cache.join(format!("{judge}.log"));
    let errors = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
    command.env_remove(nc_core::gpu::Forced::VARIABLE);
    command.args(["--worker", judge, "--place"]).arg(&plan.place).args(["--kernel", &plan.filter]);
    if let Some(folder) = &plan.assembly {
        command.arg("--assembly").arg(folder);
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors).spawn().map_err(|error| error.to_string())?;
    let (mut at, mut done) = (String::new(), false);
    for line in BufReader::new(child.stdout.take().expect("it is piped")).lines() {
        let line = line.map_err(|error| error.to_string())?;
        let Some(line) = line.strip_prefix(MARK) else { continue };
        let fields: Vec<&str> = line.splitn(3, '\t').collect();
        match fields[..] {
            ["next", key] => key.clone_into(&mut at),
            ["have", key, stats] => {
                verdict.results.entry(key.to_owned()).or_default().insert(judge.to_owned(), stats.parse()?);
            }
            ["fine", _] => verdict.taken += 1,
            ["fail", key, reason] => verdict.failures.push(format!("{judge}: {key}: {reason}")),
            ["done"] => done = true,
            _ => return Err(format!("a line that is none of ours: {line}")),
        }
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    match (done, at.is_empty()) {
        (true, _) => Ok(()),
        (false, false) => Err(format!("{at}: the compiler broke ({status}); see {}", log.display())),
        (false, true) => {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            Err(format!("it did not start ({status}): {}", said.lines().last().unwrap_or_default()))
        }
    }
}
