//! `nc-core data download`: shards of text, and `nc-core data download python` the interpreter of the sandbox.

mod python;

use std::collections::HashMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::super::{Context, Failure, note};
use crate::data::PUBLIC_SHARDS;
use crate::data::download::{BASE_URL, BUNDLE_BASE_URL, Download, Event, LAST_SHARD, Patience, fetch_bundle, shard_names};

/// Options of `nc-core data download`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    other: Option<Other>,
    #[command(flatten)]
    shards: Shards,
}

/// What can be fetched other than shards.
#[derive(clap::Subcommand)]
enum Other {
    /// Fetch the tasks of CORE, for `nc-core eval base`
    Core(CoreArgs),
    /// Fetch the Python interpreter that runs generated programs in a sandbox, for `nc-core eval chat` (12 MB)
    Python(python::Args),
}

/// Options of `nc-core data download core`.
#[derive(clap::Args)]
struct CoreArgs {
    /// Fetch from a mirror: the URL to which eval_bundle.zip is appended
    #[arg(long, value_name = "URL", default_value = BUNDLE_BASE_URL)]
    base_url: String,
    #[command(flatten)]
    patience: PatienceArgs,
}

/// How long to wait for a server.
#[derive(clap::Args)]
struct PatienceArgs {
    /// Seconds without data before reconnecting
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Tries in a row without progress before giving up on a file
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    tries: u32,
}

impl PatienceArgs {
    fn patience(&self) -> Patience {
        Patience { tries: self.tries, stall: Duration::from_secs(self.timeout), ..Patience::default() }
    }
}

/// Options for shards.
#[derive(clap::Args)]
struct Shards {
    /// Shards to train on, in addition to the validation shard, which is always fetched; -1 for all 6542 (each about 100 MB)
    #[arg(short = 'n', long, value_name = "N", required = true, allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-1..))]
    num_files: Option<i64>,
    /// Target folder [default: data/climbmix under $NC_HOME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Shards to fetch in parallel
    #[arg(short = 'w', long, alias = "num-workers", value_name = "W", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=64))]
    workers: u64,
    /// Fetch from a mirror: the URL to which shard names are appended
    #[arg(long, value_name = "URL", default_value = BASE_URL)]
    base_url: String,
    #[command(flatten)]
    patience: PatienceArgs,
}

/// Runs the subcommand.
pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    // No cleanup is needed: whatever is on disk at any moment can be continued.
    ctrlc::set_handler(|| {
        note("stopped; run the same command again to continue");
        std::process::exit(130);
    })?;
    match args.other {
        Some(Other::Core(args)) => core(args, context),
        Some(Other::Python(args)) => python::run(args, context),
        None => shards(args.shards, context),
    }
}

fn core(args: CoreArgs, context: &Context) -> Result<(), Failure> {
    let progress = Progress::new("files");
    progress.expect(1);
    let patience = args.patience.patience();
    let (folder, present) = fetch_bundle(args.base_url, &context.home.data(), patience, &|name, event| progress.show(name, event))?;
    let value = serde_json::json!({ "folder": folder, "present": present });
    let was = if present { "was there" } else { "was fetched" };
    context.finish(&value, &format!("the bundle of CORE is in {} and {was}\nnext: nc-core eval base", folder.display()))
}

fn shards(args: Shards, context: &Context) -> Result<(), Failure> {
    let train = args.num_files.and_then(|count| u32::try_from(count).ok()).unwrap_or(LAST_SHARD);
    let folder = args.out.unwrap_or_else(|| context.home.data().join(PUBLIC_SHARDS));
    let download = Download {
        base_url: args.base_url,
        names: shard_names(train),
        folder: folder.clone(),
        workers: usize::try_from(args.workers).unwrap_or(1),
        patience: args.patience.patience(),
    };
    let progress = Progress::new("shards");
    progress.expect(download.names.len());
    let summary = download.run(&|name, event| progress.show(name, event))?;
    let value = serde_json::json!({
        "folder": folder, "fetched": summary.fetched, "present": summary.present, "bytes": summary.bytes,
    });
    let words = format!(
        "{} shards are in {} ({} fetched, {} were there)\nnext: nc-core tokenizer train --data {}",
        summary.fetched + summary.present,
        folder.display(),
        summary.fetched,
        summary.present,
        folder.display()
    );
    context.finish(&value, &words)
}

/// Shows progress on stderr: on a terminal a bar for each file in transfer and one for all, else a line for each
/// change.
pub(in crate::cli) struct Progress {
    bars: Option<Bars>,
}

struct Bars {
    all: MultiProgress,
    files: ProgressBar,
    transfers: Mutex<HashMap<String, ProgressBar>>,
}

impl Progress {
    /// Bars for files that are called `what`.
    pub fn new(what: &str) -> Self {
        let bars = std::io::stderr().is_terminal().then(|| {
            let all = MultiProgress::new();
            let files = all.add(ProgressBar::new(0).with_style(style(&format!("{{bar:30}} {{pos}}/{{len}} {what}, {{elapsed}} so far"))));
            files.tick();
            Bars { all, files, transfers: Mutex::default() }
        });
        Self { bars }
    }

    /// Adds to the number of files to fetch.
    pub fn expect(&self, files: usize) {
        if let Some(bars) = &self.bars {
            bars.files.inc_length(files as u64);
        }
    }

    /// Shows an event of a file.
    pub fn show(&self, name: &str, event: Event<'_>) {
        match &self.bars {
            Some(bars) => bars.show(name, event),
            None => {
                if let Some(line) = line(event) {
                    note(&format!("{name}: {line}"));
                }
            }
        }
    }
}

impl Bars {
    fn show(&self, name: &str, event: Event<'_>) {
        let mut transfers = self.transfers.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Started { from, total } => {
                let bar = transfers.entry(name.to_owned()).or_insert_with(|| self.all.insert_before(&self.files, ProgressBar::no_length()));
                match total {
                    Some(total) => {
                        bar.set_length(total);
                        bar.set_style(style("{bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta} left  {prefix} {msg}"));
                    }
                    None => bar.set_style(style("{bytes} {binary_bytes_per_sec}  {prefix} {msg}")),
                }
                bar.set_prefix(name.to_owned());
                bar.set_message("");
                // The speed is that of this try, without earlier bytes.
                bar.set_position(from);
                bar.reset_eta();
            }
            Event::Advanced { bytes } => {
                if let Some(bar) = transfers.get(name) {
                    bar.set_position(bytes);
                }
            }
            Event::Waiting { .. } => match (transfers.get(name), line(event)) {
                (Some(bar), Some(line)) => bar.set_message(line),
                // No bytes have arrived yet, so there is no bar. A line that cannot be printed is no reason to stop.
                (None, Some(line)) => drop(self.all.println(format!("{name}: {line}"))),
                (_, None) => {}
            },
            Event::Present | Event::Finished { .. } | Event::Failed { .. } => {
                if let Some(bar) = transfers.remove(name) {
                    bar.finish_and_clear();
                }
                if let Event::Failed { error } = event {
                    drop(self.all.println(format!("{name}: {error}")));
                }
                self.files.inc(1);
            }
        }
    }
}

/// A style from a template of this file; an invalid template falls back to indicatif's default bar.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn line(event: Event<'_>) -> Option<String> {
    match event {
        Event::Present => Some("is there".into()),
        Event::Started { from, total } => {
            let of = total.map(|total| format!(" of {total}")).unwrap_or_default();
            Some(if from == 0 { format!("fetching{of} bytes") } else { format!("going on from byte {from}{of}") })
        }
        Event::Advanced { .. } => None,
        Event::Waiting { reason, wait } => Some(format!("{reason}; trying again in {:.1} s", wait.as_secs_f64())),
        Event::Finished { bytes } => Some(format!("whole, {bytes} bytes")),
        Event::Failed { error } => Some(error.to_string()),
    }
}
