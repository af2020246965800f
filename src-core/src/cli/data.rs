//! `nc-core data`: fetch the public shards, inspect data sets, and generate conversations.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::{Context, Failure, corpus, synth};
use crate::data::{DataFile, DataSet, FileTally, Format, PassedOver, Split, Tally, ValidationBy};

pub(super) mod download;

/// The most files that are listed.
const MOST_FILES: usize = 20;

/// Options of `nc-core data`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Fetch shards of karpathy/climbmix-400b-shuffle, or with `python` an interpreter; continues where it was stopped
    Download(download::Args),
    /// Read all of the data as training would, and count the files, bytes and documents of each split
    Info(InfoArgs),
    /// Write conversations about the model itself, from facts and templates
    Synth(Box<synth::Args>),
}

/// Options of `nc-core data info`.
#[derive(clap::Args)]
struct InfoArgs {
    /// Files or folders of text: .parquet, .jsonl, .txt, also .jsonl.gz, .txt.zst [default: the downloaded shards, else the sample corpus]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// Runs the subcommand.
pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    match args.command {
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
    validation_by: ValidationBy,
    passed_over: Vec<PassedOver>,
}

#[derive(Serialize)]
struct FileInfo {
    path: PathBuf,
    format: Format,
    bytes: u64,
    #[serde(flatten)]
    tally: FileTally,
}

fn info(args: InfoArgs, context: &Context) -> Result<(), Failure> {
    let paths = if args.paths.is_empty() { vec![corpus::downloaded_or_shipped(context)?] } else { args.paths };
    let set = DataSet::open(&paths)?;
    let counted = set.count()?;
    let file = |(file, tally): (&DataFile, &FileTally)| FileInfo {
        path: file.path.clone(),
        format: file.format,
        bytes: file.bytes,
        tally: *tally,
    };
    let info = Info {
        files: set.files().iter().zip(&counted).map(file).collect(),
        train: set.tally(Split::Train, &counted),
        val: set.tally(Split::Val, &counted),
        validation_by: set.validation_by(),
        passed_over: set.passed_over().to_vec(),
    };
    let describe = |tally: &Tally| {
        format!(
            "{} in {}, {} bytes",
            counted_in_words(tally.documents, "document"),
            counted_in_words(tally.files as u64, "file"),
            tally.bytes
        )
    };
    let mut words = vec![
        paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "),
        format!("training:   {}", describe(&info.train)),
        format!("validation: {}: {}", describe(&info.val), corpus::validation(&set)),
    ];
    words.extend(info.files.iter().take(MOST_FILES).map(|file| file.to_string()));
    if let Some(more) = info.files.len().checked_sub(MOST_FILES + 1) {
        words.push(format!("  and {} more; --json lists them", counted_in_words(more as u64 + 1, "file")));
    }
    if info.val.documents == 0 {
        words.push("there is no document for validation, which training needs: add a second one".to_owned());
    }
    corpus::tell_what_is_left_out(&set);
    context.finish(&serde_json::json!(info), &words.join("\n"))
}

impl fmt::Display for FileInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FileTally { documents, passed_over, longest, .. } = self.tally;
        let name = self.path.file_name().unwrap_or_default().display();
        let documents = counted_in_words(documents, "document");
        write!(f, "  {name}: {documents}, the longest of {longest} bytes; {} bytes on disk", self.bytes)?;
        match passed_over {
            0 => Ok(()),
            1 => write!(f, "; 1 row or line without text was skipped"),
            more => write!(f, "; {more} rows or lines without text were skipped"),
        }
    }
}

fn counted_in_words(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
