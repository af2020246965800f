//! `nc-core data`: fetch the public shards, say what a data set holds, and make conversations.

use std::path::PathBuf;

use serde::Serialize;

use super::{Context, Failure, corpus, synth};
use crate::data::{DataSet, Split, Tally};

#[cfg(feature = "net")]
pub(super) mod download;

/// Options of `nc-core data`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Fetch shards of karpathy/climbmix-400b-shuffle; goes on where it was stopped
    #[cfg(feature = "net")]
    Download(download::Args),
    /// Count the files, bytes and documents of each split
    Info(InfoArgs),
    /// Write conversations about the model itself, from facts and templates
    Synth(Box<synth::Args>),
}

/// Options of `nc-core data info`.
#[derive(clap::Args)]
struct InfoArgs {
    /// Files (.parquet, .jsonl, .txt) or folders of them [default: the downloaded shards, else the sample corpus]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// Runs the subcommand.
pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    match args.command {
        #[cfg(feature = "net")]
        Command::Download(args) => download::run(args, context),
        Command::Info(args) => info(args, context),
        Command::Synth(args) => synth::run(*args, context),
    }
}

/// What `nc-core data info --json` prints.
#[derive(Serialize)]
struct Info {
    files: Vec<FileInfo>,
    train: Tally,
    val: Tally,
}

#[derive(Serialize)]
struct FileInfo {
    path: PathBuf,
    bytes: u64,
    documents: u64,
}

fn info(args: InfoArgs, context: &Context) -> Result<(), Failure> {
    let paths = if args.paths.is_empty() { vec![corpus::downloaded_or_shipped(context)?] } else { args.paths };
    let set = DataSet::open(&paths)?;
    let documents = set.count_documents()?;
    let files = set.files().iter().zip(&documents).map(|(file, documents)| FileInfo {
        path: file.path.clone(),
        bytes: file.bytes,
        documents: *documents,
    });
    let info = Info { files: files.collect(), train: set.tally(Split::Train, &documents), val: set.tally(Split::Val, &documents) };
    let describe = |tally: &Tally| format!("{} documents in {}, {} bytes", tally.documents, files_in_words(tally.files), tally.bytes);
    let one = if set.files().len() == 1 { " (held out of the one file)" } else { "" };
    let names = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    let words = format!("{names}\ntraining:   {}\nvalidation: {}{one}", describe(&info.train), describe(&info.val));
    context.finish(&serde_json::json!(info), &words)
}

fn files_in_words(files: usize) -> String {
    format!("{files} file{}", if files == 1 { "" } else { "s" })
}
