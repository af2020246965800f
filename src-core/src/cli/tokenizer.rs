//! `nc-core tokenizer`.

use super::{Context, Failure};

/// Options of `nc-core tokenizer`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs the subcommand.
pub fn run(_args: Args, _context: &Context) -> Result<(), Failure> {
    Err(Failure::internal("not built yet"))
}
