//! `nc-core eval`: measure what a model can do.

use super::{Context, Ended, Failure};

mod base;

/// Options of `nc-core eval`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Evaluate a base model: CORE, bits per byte, samples
    Base(Box<base::Args>),
}

/// Runs the subcommand.
pub fn run(args: Args, context: &Context) -> Result<Ended, Failure> {
    match args.command {
        Command::Base(args) => base::run(*args, context),
    }
}
