//! The command line: one file per subcommand, thin. A subcommand parses its options, calls the library, and prints
//! what it wrote and what to run next. With `--json` the last line of stdout is one JSON document.

use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::checkpoint::home::Home;

mod advice;
mod bench;
mod bench_device;
mod bench_infer;
mod chat;
mod corpus;
mod data;
mod draft;
mod eval;
mod export;
mod failure;
mod generate;
mod hub;
mod ids;
mod import;
mod info;
mod interrupt;
mod loaded;
mod numerics;
mod report;
mod sampling;
mod score;
mod sft;
mod spinner;
mod synth;
mod tokenizer;
mod train;

pub use failure::Failure;

/// The environment variables that every subcommand respects.
const ENVIRONMENT: &str = "Environment:
  NC_HOME          Folder of runs, data and caches [default: the platform's data folder]
  NC_LOG           What to log on stderr: error, warn, info, debug or trace [default: warn]
  NC_MEMORY_LIMIT  Most bytes of tensors on the GPU, for one that is shared [default: what there is]
  NC_CAPABILITIES  Use the adapter as if it had no more than this: gpu, gpu-varying, gpu-no-subgroups or cpu";

/// The default of `NC_LOG`: for tasks also what is fetched, which can take minutes. Missing drivers are reported
/// by our own message.
const LOGGED: &str = "warn,nc_core::tasks=info,wgpu_hal=error,wgpu_hal::vulkan::instance=off";

/// Crates that are never logged: one logs what is sent and received, including keys and conversations, the other every
/// key that is typed.
const DUMPS: [&str; 2] = ["ureq_proto", "rustyline"];

/// The exit codes of the process.
const EXIT_CODES: &str = "Exit codes:
  0    Done
  1    The program or the device failed
  2    Input, files or the environment need fixing
  75   Training or an evaluation was stopped by a signal before its end, and what is done was saved
  130  Stopped at once";

/// nanochat on any GPU: train, evaluate and sample language models with WGSL compute shaders.
#[derive(Parser)]
#[command(name = "nc-core", version, propagate_version = true, after_help = format!("{ENVIRONMENT}\n\n{EXIT_CODES}"))]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

/// Options that every subcommand takes.
#[derive(clap::Args)]
struct Global {
    /// Print the result as one JSON document on the last line of stdout
    #[arg(long, global = true)]
    json: bool,
    /// GPU to use: part of its name, or its index in `nc-core info`
    #[arg(long, global = true, value_name = "NAME|INDEX")]
    adapter: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Train, inspect and use a tokenizer
    Tokenizer(tokenizer::Args),
    /// Download, inspect and generate training data
    Data(data::Args),
    /// Pretrain a base model
    Train(Box<train::Args>),
    /// Fine-tune a model on conversations
    Sft(Box<sft::Args>),
    /// Make a run of a model from elsewhere: nanochat's, Hugging Face's, or another machine's
    Import(import::Args),
    /// Continue a text
    Generate(generate::Args),
    /// Talk with a fine-tuned model
    Chat(chat::Args),
    /// Print the log-probability of each next token of a text
    Score(score::Args),
    /// Measure what a model can do: CORE, bits per byte, samples
    Eval(eval::Args),
    /// Write a model for other programs
    Export(export::Args),
    /// Check and measure an adapter, kernels, a training step, and inference
    Bench(bench::Args),
    /// Show adapters, limits, runs and versions
    Info(info::Args),
}

/// What a subcommand gets in addition to its own options.
pub struct Context {
    /// Print machine-readable output.
    pub json: bool,
    /// The requested adapter, if any.
    pub adapter: Option<String>,
    /// The home folder of runs, data and caches.
    pub home: Home,
}

impl Context {
    /// Ends a subcommand: prints `value` as the last line with `--json`, and `words` otherwise. Fails if stdout
    /// cannot take the result.
    pub fn finish(&self, value: &serde_json::Value, words: &str) -> Result<(), Failure> {
        if self.json { print(&value.to_string()) } else { print(words) }
    }
}

/// Prints a line on stdout. If the reader has closed it, as `head` does, that is not a failure.
fn print(line: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::input(format!("cannot write to stdout: {error}"))),
        _ => Ok(()),
    }
}

/// A model's text as it may be printed: at a terminal without control characters, which could be escape sequences.
fn shown(text: &str) -> std::borrow::Cow<'_, str> {
    let harmful = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(harmful) && std::io::stdout().is_terminal() { text.replace(harmful, "\u{FFFD}").into() } else { text.into() }
}

/// Prints a message for the user on stderr. If stderr is closed, the work continues.
fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// How a subcommand that trains ended.
pub enum Ended {
    /// Complete.
    Done,
    /// Stopped by a signal.
    Interrupted,
}

impl From<Ended> for ExitCode {
    /// For an interrupted run EX_TEMPFAIL of BSD's sysexits, "try again later": job schedulers and `train && sft` must not take
    /// it for a finished one.
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Done => Self::SUCCESS,
            Ended::Interrupted => Self::from(75),
        }
    }
}

/// Parses the arguments, runs the subcommand and turns its outcome into one of `EXIT_CODES`.
pub fn main() -> ExitCode {
    if std::env::var_os("NODEVICE_SELECT").is_none() {
        // SAFETY: nothing else runs yet. Mesa's device-select layer looks for a desktop to choose a GPU by, and says
        // on stderr that there is none; we choose by ourselves.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
    #[cfg(unix)]
    // SAFETY: nothing else runs yet. Past a limit on file sizes, writing shall fail like on a full disk, not end us.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_env("NC_LOG").unwrap_or_else(|_| LOGGED.into()))
        .without_time()
        .finish()
        .with(tracing_subscriber::filter::filter_fn(|metadata| !DUMPS.iter().any(|dump| metadata.target().starts_with(dump))))
        .init();
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(failure) => {
            note(&format!("error: {failure}"));
            ExitCode::from(failure.code())
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let context = Context { json: cli.global.json, adapter: cli.global.adapter, home: Home::locate()? };
    match cli.command {
        Command::Tokenizer(args) => tokenizer::run(args, &context),
        Command::Data(args) => data::run(args, &context),
        Command::Train(args) => return train::run(*args, &context).map(ExitCode::from),
        Command::Sft(args) => return sft::run(*args, &context).map(ExitCode::from),
        Command::Import(args) => import::run(args, &context),
        Command::Generate(args) => generate::run(args, &context),
        Command::Chat(args) => chat::run(args, &context),
        Command::Score(args) => score::run(args, &context),
        Command::Eval(args) => return eval::run(args, &context).map(ExitCode::from),
        Command::Export(args) => export::run(args, &context),
        Command::Bench(args) => bench::run(args, &context),
        Command::Info(args) => info::run(args, &context),
    }?;
    Ok(ExitCode::SUCCESS)
}
