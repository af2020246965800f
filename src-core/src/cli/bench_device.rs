//! `nc-core bench device`: checks and measures an adapter, into two files for an issue.

use std::path::PathBuf;
use std::time::Duration;

use super::{Context, Failure, note};
use crate::bench::document::today;
use crate::bench::files::Files;
use crate::bench::{DeviceBench, Options, markdown};
use crate::gpu::Gpu;

/// Options of `nc-core bench device`.
#[derive(clap::Args)]
pub struct DeviceArgs {
    /// Folder for the two files, which are named after the adapter and the date
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    to: PathBuf,
    /// Overwrite files of the same names
    #[arg(long)]
    force: bool,
    /// Only small checks and a small model, and no tuning
    #[arg(long)]
    quick: bool,
    /// Seconds after which the rest is left out; checks always run [default: 300, with --quick 60]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    budget: Option<u32>,
}

/// Runs the subcommand.
pub fn run(args: &DeviceArgs, context: &Context) -> Result<(), Failure> {
    let gpu = Gpu::open(context.adapter.as_deref())?;
    let date = today();
    let files = Files::prepare(&args.to, &gpu.info().name, &date, args.force)?;
    let seconds = args.budget.unwrap_or(if args.quick { 60 } else { 300 });
    let options =
        Options { quick: args.quick, budget: Duration::from_secs(seconds.into()), autotune: (!args.quick).then(|| context.home.cache()) };
    let document = DeviceBench::new(&gpu, &options, &date, &mut note).run();
    let value = serde_json::to_value(&document)?;
    let text = markdown::render(&document);
    files.write(&format!("{value:#}\n"), &text)?;
    let wrote = format!("wrote {} and {}\nnext: open an issue and attach both", files.json.display(), files.markdown.display());
    context.finish(&value, &format!("{text}\n{wrote}"))?;
    match document.checks_failed {
        0 => Ok(()),
        failed => Err(Failure::device(format!("{failed} kernels do not agree with their twins on {}; see `Checks`", gpu.info().name))),
    }
}
