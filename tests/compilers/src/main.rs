//! Puts every shader variant through the compilers of real GPU drivers, and compares what they make of it with the table in
//! this folder. `scripts/compilers.sh` brings the compilers and calls this; docs/COMPILERS.md says what is judged and how.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nc_compilers::jobs::{self, Plan};
use nc_compilers::table::Table;
use nc_compilers::{directx, gpus, markdown, targets, worker};

const HELP: &str = "\
Puts every shader variant through the compilers of real GPU drivers: docs/COMPILERS.md

    make test-compilers                         compile everything and compare with tests/compilers/table.txt
    make test-compilers ARGS=--update           the same, and write the table anew
    make test-compilers ARGS=--table            print the chosen rows of the stored table as Markdown
    make test-compilers ARGS=--targets          print what the shaders are to reach, and whether the stored table says so

    --gpus NAME,…    only these: dg2 tgl lnl ampere turing rdna3 rdna2 vega rdna4 m1 adreno dxc fxc
    --kernel TEXT    only variants whose key holds TEXT
    --assembly DIR   keep the assembly of each
    --fxc            Microsoft's FXC too, under Wine (slow the first time)
";

/// What the command line says.
#[derive(Default)]
struct Options {
    worker: Option<String>,
    place: PathBuf,
    judges: Option<Vec<String>>,
    filter: String,
    assembly: Option<PathBuf>,
    fxc: bool,
    update: bool,
    table: bool,
    targets: bool,
}

fn main() -> ExitCode {
    match options(std::env::args().skip(1)).and_then(|options| run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("compilers: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--worker" => options.worker = Some(value()?),
            "--place" => options.place = value()?.into(),
            "--gpus" => options.judges = Some(value()?.split(',').map(str::to_owned).collect()),
            "--kernel" => options.filter = value()?,
            "--assembly" => options.assembly = Some(value()?.into()),
            "--fxc" => options.fxc = true,
            "--update" => options.update = true,
            "--table" => options.table = true,
            "--targets" => options.targets = true,
            _ => return Err(format!("there is no {argument}\n\n{HELP}")),
        }
    }
    Ok(options)
}

/// Whether all is well.
fn run(options: &Options) -> Result<bool, String> {
    let cache = options.place.join("results");
    if let Some(worker) = &options.worker {
        match (worker.as_str(), gpus::find(worker)) {
            ("dxc", _) => directx::dxc(&options.place.join("libdxcompiler.so"), &options.filter, &cache)?,
            ("fxc", _) => directx::fxc(&options.place.join("fxc"), &options.filter, &cache)?,
            (_, Some(gpu)) => worker::run(gpu, &options.filter, &cache, options.assembly.as_deref())?,
            (_, None) => return Err(format!("there is no compiler {worker}")),
        }
        return Ok(true);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("table.txt");
    let mut table = match std::fs::read_to_string(&path) {
        Ok(text) => Table::parse(&text)?,
        Err(_) if options.update => Table::default(),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    if options.table {
        print!("{}", markdown::table(&table));
        return Ok(true);
    }
    if options.targets {
        print!("{}", targets::report(&table.results));
        return Ok(true);
    }
    judge(options, &mut table, &path)
}

fn judge(options: &Options, table: &mut Table, path: &Path) -> Result<bool, String> {
    let judges = options.judges.clone().unwrap_or_else(|| {
        let all = gpus::GPUS.iter().map(|gpu| gpu.name).chain(["dxc"]).chain(options.fxc.then_some("fxc"));
        all.map(str::to_owned).collect()
    });
    if let Some(unknown) = judges.iter().find(|name| gpus::find(name).is_none() && !["dxc", "fxc"].contains(&name.as_str())) {
        return Err(format!("there is no compiler {unknown}\n\n{HELP}"));
    }
    if let Some(folder) = &options.assembly {
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let version =
        std::fs::read_to_string(options.place.join("version")).map_err(|error| format!("scripts/compilers.sh has not run: {error}"))?;
    let version = version.trim();
    let assembly = options.assembly.as_ref().map(std::path::absolute).transpose().map_err(|error| error.to_string())?;
    let verdict = jobs::run(&Plan { place: options.place.clone(), judges: judges.clone(), filter: options.filter.clone(), assembly });

    let mut well = verdict.failures.is_empty();
    report("refused or broken", &verdict.failures);
    let spills: Vec<String> = verdict
        .results
        .iter()
        .flat_map(|(key, rows)| {
            rows.iter().filter(|(_, stats)| stats.spills > 0).map(move |(gpu, stats)| format!("{gpu}: {key}: {}", stats.spills))
        })
        .collect();
    well &= spills.is_empty();
    report("spilling to memory", &spills);

    let asked: Vec<&str> = judges.iter().map(String::as_str).collect();
    if options.update {
        table.replace(&verdict.results, &asked, &options.filter);
        version.clone_into(&mut table.version);
        std::fs::write(path, table.text()).map_err(|error| format!("{}: {error}", path.display()))?;
        println!("The table is written: {}", path.display());
        return Ok(well);
    }
    if table.version != version {
        println!("The table is of {}, these compilers are {version}: their numbers are not compared.", table.version);
        return Ok(well);
    }
    let comparison = table.compare(&verdict.results, &asked, &options.filter);
    report("worse than in the table", &comparison.losses);
    report("without a counterpart", &comparison.unmatched);
    report("better than in the table: run `make test-compilers ARGS=--update` and commit it", &comparison.gains);
    well &= comparison.losses.is_empty() && comparison.unmatched.is_empty();
    if well {
        let rows = verdict.results.values().map(|rows| rows.len()).sum::<usize>();
        println!("All is well: {rows} programs for GPUs and {} for DirectX, nothing worse than in the table.", verdict.taken);
    } else if !(comparison.losses.is_empty() && comparison.unmatched.is_empty()) {
        println!("If that is meant, run `make test-compilers ARGS=--update` and commit the table.");
    }
    Ok(well)
}

/// Prints what was found, if anything was; long lists are cut.
fn report(what: &str, lines: &[String]) {
    const MOST: usize = 60;
    if !lines.is_empty() {
        println!("\n{} {what}:", lines.len());
        for line in lines.iter().take(MOST) {
            println!("  {line}");
        }
        if lines.len() > MOST {
            println!("  … and {} more", lines.len() - MOST);
        }
    }
}
