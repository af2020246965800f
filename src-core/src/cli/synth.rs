//! `nc-core data synth`: generates conversations about the model itself.

use std::path::PathBuf;

use serde_json::json;

use super::{Context, Failure};
use crate::data::synth::{CONVERSATIONS, Recipe, write};

mod endpoint;

/// The default number of conversations.
const COUNT: u32 = 5000;
/// The most conversations at once: they are held in memory.
const MOST: i64 = 1_000_000;

/// Options of `nc-core data synth`.
#[derive(clap::Args)]
pub struct Args {
    /// Recipe of facts and templates, in TOML [default: the built-in one, about the model itself]
    #[arg(long, value_name = "FILE")]
    facts: Option<PathBuf>,
    /// File to write, one conversation per line [default: data/conversations/RECIPE.jsonl under $NC_HOME]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How many conversations to write [default: 5000; 200 with --endpoint]
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=MOST))]
    count: Option<u32>,
    /// Seed of the draws: the same seed writes the same file
    #[arg(long, value_name = "N", default_value_t = 42, allow_negative_numbers = true)]
    seed: u64,
    /// What the model calls itself; short for --set name=NAME
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Set a fact of the recipe; may be given several times
    #[arg(long, value_name = "FACT=TEXT", value_parser = fact)]
    set: Vec<(String, String)>,
    #[command(flatten)]
    server: endpoint::Server,
}

/// Parses `FACT=TEXT`.
fn fact(text: &str) -> Result<(String, String), String> {
    match text.split_once('=').map(|(name, value)| (name.trim(), value.trim())) {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as FACT=TEXT, such as name=Robin".to_owned()),
    }
}

/// Runs the subcommand.
pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let mut recipe = match &args.facts {
        Some(path) => Recipe::open(path)?,
        None => Recipe::identity()?,
    };
    for (name, value) in args.name.iter().map(|name| ("name", name.as_str())).chain(args.set.iter().map(|(n, v)| (n.as_str(), v.as_str())))
    {
        if value.trim().is_empty() {
            return Err(Failure::input(format!("the fact {name:?} is to be set to nothing; give it a text")));
        }
        recipe.set(name, value)?;
    }
    let stem = args.facts.as_deref().and_then(|path| path.file_stem()).unwrap_or("identity".as_ref());
    let in_home = || context.home.data().join(CONVERSATIONS).join(format!("{}.jsonl", stem.display()));
    let path = args.out.clone().unwrap_or_else(in_home);
    if path.is_dir() {
        return Err(Failure::input(format!("{} is a folder; name a file to write to", path.display())));
    }
    if args.server.is_wanted() {
        return endpoint::run(&args.server, &recipe, &path, args.count, args.seed, context);
    }
    let count = args.count.unwrap_or(COUNT) as usize;
    let conversations = recipe.conversations(count, args.seed)?;
    write(&path, &conversations)?;
    let written = conversations.len();
    let fewer = if written < count { format!("; the recipe has no more than these, {count} were asked for") } else { String::new() };
    let value = json!({ "path": path, "conversations": written, "asked": count, "seed": args.seed });
    context.finish(&value, &format!("wrote {written} distinct conversations to {}{fewer}\n{}", path.display(), next(&path)))
}

/// What to do with the file.
fn next(path: &std::path::Path) -> String {
    format!("next: nc-core sft --task {}", path.display())
}
