//! `nc-core eval`: measure what a model can do.

use super::{Context, Ended, Failure};

mod base;
mod chat;
mod progress;

/// How many times its context a model reads: the reference's tables of positions reach so far.
const REACH: usize = 10;

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
    /// Evaluate a model for chats: ARC, MMLU, GSM8K, HumanEval, SpellingBee
    Chat(Box<chat::Args>),
}

/// Runs the subcommand.
pub fn run(args: Args, context: &Context) -> Result<Ended, Failure> {
    match args.command {
        Command::Base(args) => base::run(*args, context),
        Command::Chat(args) => chat::run(*args, context),
    }
}
