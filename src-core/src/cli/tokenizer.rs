//! `nc-core tokenizer`: trains a vocabulary, evaluates it, and uses it by hand.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::{Context, Failure, corpus, spinner};
use crate::checkpoint::Run;
use crate::data::{self, Split};
use crate::interchange::import::open_tokenizer;
use crate::tokenizer::{Comparison, SAMPLES, Tokenizer, TrainOptions};

mod show;

/// `eval` stops reading the validation split after this many characters: the numbers no longer change.
const EVAL_CHARS: usize = 10_000_000;

/// Options of `nc-core tokenizer`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a byte-level BPE vocabulary on text
    Train(TrainArgs),
    /// Compare bytes per token with GPT-2's and GPT-4's tokenizers
    Eval(EvalArgs),
    /// Print the token ids of a text
    Encode(EncodeArgs),
    /// Print the text of token ids
    Decode(DecodeArgs),
    /// Show a conversation token by token, with its loss mask
    Show(show::Args),
}

#[derive(clap::Args)]
struct TrainArgs {
    /// Files or folders of text: .parquet, .jsonl, .txt, also .jsonl.gz, .txt.zst; a file named val or test is validation, else the last one [default: the sample corpus]
    #[arg(long, value_name = "PATH", num_args = 1..)]
    data: Vec<PathBuf>,
    /// Vocabulary size, including special tokens
    #[arg(long, value_name = "N", default_value_t = TrainOptions::default().vocab_size)]
    vocab_size: usize,
    /// Stop reading after this many characters
    #[arg(long, value_name = "N", default_value_t = TrainOptions::default().max_chars, value_parser = clap::value_parser!(u64).range(1..))]
    max_chars: u64,
    /// Read at most this many characters of a document
    #[arg(long, value_name = "N", default_value_t = TrainOptions::default().doc_cap as u64, value_parser = clap::value_parser!(u64).range(1..))]
    doc_cap: u64,
    /// Save to this file [default: the shared tokenizer, which new runs copy]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Which tokenizer to use; by default the shared one.
#[derive(clap::Args)]
struct Which {
    /// Use this run's tokenizer
    #[arg(long, value_name = "NAME", conflicts_with = "file")]
    run: Option<String>,
    /// Use this tokenizer.json, or tokenizer.pkl of nanochat
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(clap::Args)]
struct EvalArgs {
    /// Files or folders whose last file is the validation text [default: the sample corpus]
    #[arg(long, value_name = "PATH", num_args = 1..)]
    data: Vec<PathBuf>,
    #[command(flatten)]
    which: Which,
}

#[derive(clap::Args)]
struct EncodeArgs {
    /// The text [default: stdin]
    text: Option<String>,
    #[command(flatten)]
    which: Which,
}

#[derive(clap::Args)]
struct DecodeArgs {
    /// The ids [default: stdin, separated by spaces, commas or brackets]
    ids: Vec<u32>,
    #[command(flatten)]
    which: Which,
}

/// Runs the subcommand.
pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    match args.command {
        Command::Train(args) => train(args, context),
        Command::Eval(args) => eval(args, context),
        Command::Encode(args) => encode(args, context),
        Command::Decode(args) => decode(args, context),
        Command::Show(args) => show::run(args, context),
    }
}

fn train(args: TrainArgs, context: &Context) -> Result<(), Failure> {
    let path = args.out.unwrap_or_else(|| context.home.tokenizer());
    if path.is_dir() {
        return Err(Failure::input(format!("{} is a folder; name a file to save the tokenizer to", path.display())));
    }
    let options = TrainOptions {
        vocab_size: args.vocab_size,
        max_chars: args.max_chars,
        doc_cap: usize::try_from(args.doc_cap).unwrap_or(usize::MAX),
    };
    let start = std::time::Instant::now();
    let trained = spinner::train(data::documents(&texts(args.data)?, Split::Train)?, &options)?;
    let seconds = start.elapsed().as_secs_f64();
    trained.tokenizer.save(&path)?;

    let size = trained.tokenizer.vocab_size();
    let read = format!("{} documents, {} characters", trained.documents, trained.chars);
    let value = json!({
        "path": path, "vocab_size": size, "hash": trained.tokenizer.hash(),
        "documents": trained.documents, "chars": trained.chars, "bytes": trained.bytes, "seconds": seconds,
    });
    let which = if path == context.home.tokenizer() { String::new() } else { format!(" --file {}", path.display()) };
    let words = format!(
        "trained a vocabulary of {size} on {read} in {seconds:.1} s\nwrote {}\nnext: nc-core tokenizer eval{which}",
        path.display()
    );
    context.finish(&value, &words)
}

fn eval(args: EvalArgs, context: &Context) -> Result<(), Failure> {
    let (tokenizer, path) = open(&args.which, context)?;
    let mut validation = Vec::new();
    let mut chars = 0;
    for document in data::documents(&texts(args.data)?, Split::Val)? {
        let document = document?;
        chars += document.chars().count();
        validation.push(document);
        if chars > EVAL_CHARS {
            break;
        }
    }
    let validation: Vec<&str> = validation.iter().map(String::as_str).collect();
    let samples = SAMPLES.iter().map(|(name, text)| ((*name).to_owned(), vec![*text]));
    let comparison = Comparison::of(&tokenizer, [("validation".to_owned(), validation)].into_iter().chain(samples))?;

    let mut value = serde_json::to_value(&comparison)?;
    value["path"] = json!(path);
    let words = format!("{}\n\ntokenizer: {}\nnext: nc-core train", table(&comparison), path.display());
    context.finish(&value, &words)
}

/// Bytes per token of each contender, and how many fewer tokens ours needs.
fn table(comparison: &Comparison) -> String {
    let mut lines = vec!["bytes per token (more is better), and our tokens against theirs".to_owned()];
    let mut head = format!("{:<12}{:>10}", "", "bytes");
    let mut sizes = format!("{:<12}{:>10}", "vocabulary", "");
    for (at, contender) in comparison.contenders.iter().enumerate() {
        let gap = if at == 0 { "" } else { "         " };
        head.push_str(&format!("{:>10}{gap}", contender.name));
        sizes.push_str(&format!("{:>10}{gap}", contender.vocab_size));
    }
    lines.extend([head, sizes]);
    for row in &comparison.texts {
        let mut line = format!("{:<12}{:>10}", row.text, row.bytes);
        for (at, (ratio, &tokens)) in row.bytes_per_token.iter().zip(&row.tokens).enumerate() {
            line.push_str(&format!("{ratio:>10.3}"));
            if at > 0 {
                let more = 100.0 * (row.tokens[0] as f64 / tokens as f64 - 1.0);
                line.push_str(&format!(" {more:>+7.1}%"));
            }
        }
        lines.push(line);
    }
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

fn encode(args: EncodeArgs, context: &Context) -> Result<(), Failure> {
    let (tokenizer, _) = open(&args.which, context)?;
    let text = match args.text {
        Some(text) => text,
        None => stdin()?,
    };
    let ids = tokenizer.encode(&text);
    let words: Vec<String> = ids.iter().map(u32::to_string).collect();
    context.finish(&json!({ "ids": ids, "tokens": ids.len(), "bytes": text.len() }), &words.join(" "))?;
    hint("nc-core tokenizer decode IDS… for the way back")
}

fn decode(args: DecodeArgs, context: &Context) -> Result<(), Failure> {
    let (tokenizer, _) = open(&args.which, context)?;
    let ids = if args.ids.is_empty() { parse_ids(&stdin()?)? } else { args.ids };
    if let Some(id) = ids.iter().find(|&&id| id as usize >= tokenizer.vocab_size()) {
        let size = tokenizer.vocab_size();
        return Err(Failure::input(format!("there is no id {id}: the vocabulary has {size}, counted from 0")));
    }
    let text = tokenizer.decode(&ids);
    context.finish(&json!({ "text": text, "tokens": ids.len(), "bytes": tokenizer.decode_bytes(&ids).len() }), &text)?;
    hint("nc-core tokenizer encode TEXT for the way back")
}

fn parse_ids(text: &str) -> Result<Vec<u32>, Failure> {
    text.split(|c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']'))
        .filter(|word| !word.is_empty())
        .map(|word| {
            word.parse().map_err(|_| Failure::input("stdin holds something that is not a token id; give numbers with spaces between"))
        })
        .collect()
}

fn stdin() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|_| Failure::input("stdin is not UTF-8 text"))
}

/// Prints what to run next on stderr: stdout has only the result.
fn hint(next: &str) -> Result<(), Failure> {
    if std::io::stdout().is_terminal() {
        super::note(&format!("next: {next}"));
    }
    Ok(())
}

/// The data to read: `data`, or the sample corpus by default.
fn texts(data: Vec<PathBuf>) -> Result<Vec<PathBuf>, Failure> {
    if data.is_empty() { Ok(vec![corpus::shipped()?]) } else { Ok(data) }
}

fn open(which: &Which, context: &Context) -> Result<(Tokenizer, PathBuf), Failure> {
    let path = match (&which.run, &which.file) {
        (Some(run), _) => Run::open(&context.home, run)?.tokenizer_path(),
        (None, Some(file)) => file.clone(),
        (None, None) => context.home.tokenizer(),
    };
    Ok((open_tokenizer(&path)?, path))
}
