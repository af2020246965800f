//! `nc-core data`.

use super::{Context, Failure};

/// Options of `nc-core data`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs the subcommand.
pub fn run(_args: Args, _context: &Context) -> Result<(), Failure> {
    Err(Failure::internal("not built yet"))
}
