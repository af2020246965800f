//! `nc-core eval chat`.

use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::json;

use super::REACH;
use crate::cli::loaded::{Loaded, Which};
use crate::cli::{Context, Ended, Failure, interrupt, note};
use crate::engine::Sampling;
use crate::eval::chat::{self, ChatOptions, ChatReport, ChatScore, ChatTask};
use crate::tasks::humaneval::{self, HumanEval};
use crate::tasks::{self, FileRules, Sources, Split, Task, TaskError, TaskSpec};
use crate::tools::python::{FILE, Interpreter, Limits};

/// Options of `nc-core eval chat`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Evaluate only these tasks [default: all; without HumanEval if there is no Python interpreter for it]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    tasks: Option<Vec<String>>,
    /// Questions of each task; -1 for all
    #[arg(short = 'x', long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    max_problems: i64,
    /// A folder with the tasks' data sets; then nothing is fetched
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Fetch nothing: use what was fetched before
    #[arg(long)]
    offline: bool,
    /// The Python interpreter of the sandbox, for HumanEval [default: the one that `nc-core data download python` fetched]
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// Answers to each question of GSM8K, HumanEval and SpellingBee, of which one must be right (pass@k)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    num_samples: u16,
    /// 0 takes the likeliest token each time
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    temperature: f64,
    /// Draw from this many of the likeliest tokens; 0 for all
    #[arg(long, value_name = "K", default_value_t = 50)]
    top_k: usize,
    /// Seed of the draws
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    /// The most tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    max_new_tokens: u32,
    /// Answers that are written together
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch_size: u16,
    /// Write the scores to this file as comma-separated values
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
}

/// Runs the subcommand.
pub fn run(args: Args, context: &Context) -> Result<Ended, Failure> {
    // What is wrong with names or data is said before the model is loaded.
    let opened = open_tasks(&args, context)?;
    let mut loaded = Loaded::open(&args.which, context)?;
    loaded.tokenizer()?.chat_tokens()?;
    let reach = REACH * loaded.model.config.sequence_len;
    loaded.model = loaded.model.reaching(&loaded.gpu, reach)?;
    let stop = interrupt::after_this("batch")?;
    let options = ChatOptions {
        most: usize::try_from(args.max_problems).ok().filter(|&most| most > 0),
        samples: args.num_samples.into(),
        max_tokens: args.max_new_tokens as usize,
        sampling: Sampling { temperature: args.temperature, top_k: args.top_k, seed: args.seed, ..Sampling::greedy() },
        rows: args.batch_size.into(),
    };
    options.sampling.validate(loaded.model.config.vocab_size)?;
    let mut scores = Vec::new();
    for (facts, task) in &opened {
        let start = Instant::now();
        let all = options.most.map_or(task.len(), |most| most.min(task.len()));
        let live = std::io::stderr().is_terminal();
        let mut progress = |done: usize| {
            if live {
                let rate = done as f64 / start.elapsed().as_secs_f64();
                let _ = write!(std::io::stderr(), "\r{}: {done}/{all} questions, {rate:.1} a second ", facts.label);
            }
            if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let answers = chat::evaluate(&loaded.gpu, &loaded.model, loaded.tokenizer()?, task.as_ref(), &options, &mut progress)?;
        if live {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
        let Some(answers) = answers else {
            note(&format!("stopped in {}; its questions are not scored", facts.label));
            return Ok(Ended::Interrupted);
        };
        let score = ChatScore::new(facts, &answers, start.elapsed().as_secs_f64());
        note(&format!("{}: {} of {} right ({:.2} %) in {:.1} s", score.task, score.right, score.questions, 100.0 * score.accuracy, score.seconds));
        scores.push(score);
        if stop.load(Ordering::Relaxed) && scores.len() < opened.len() {
            note("stopped; the tasks above are scored");
            return Ok(Ended::Interrupted);
        }
    }
    let report = ChatReport::new(scores);
    if let Some(path) = &args.csv {
        std::fs::write(path, report.csv()).map_err(|error| Failure::input(format!("cannot write {}: {error}", path.display())))?;
    }
    context.finish(&json!({ "run": loaded.name, "step": loaded.step, "chat": report }), &report.table())?;
    Ok(Ended::Done)
}

/// The tasks with their data.
fn open_tasks(args: &Args, context: &Context) -> Result<Vec<(&'static ChatTask, Box<dyn Task>)>, Failure> {
    let python = args.python.clone().unwrap_or_else(|| context.home.python().join(FILE));
    let mut wanted = Vec::new();
    match &args.tasks {
        Some(names) => {
            for name in names {
                let known = || chat::ALL.map(|task| task.name).join(", ");
                wanted.push(chat::find(name).ok_or_else(|| Failure::input(format!("there is no chat task {name:?}; there are {}", known())))?);
            }
        }
        None => wanted.extend(&chat::ALL),
    }
    if args.tasks.is_none() && args.python.is_none() && !python.exists() {
        note("HumanEval is left out: its programs run in a sandbox, whose Python interpreter `nc-core data download python` fetches");
        wanted.retain(|task| task.name != humaneval::NAME);
    }
    let sources = Sources {
        data: args.data.as_deref().map(std::path::absolute).transpose()?,
        offline: args.offline,
        cache: context.home.cache(),
        files: FileRules::default(),
    };
    let open = |task: &'static ChatTask| -> Result<(&'static ChatTask, Box<dyn Task>), Failure> {
        if task.name != humaneval::NAME {
            return Ok((task, tasks::open(&task.name.parse::<TaskSpec>()?, Split::Test, &sources)?));
        }
        let interpreter = Interpreter::open(&python)?;
        let limits = Limits::default();
        let runner = move |program: &str| {
            let run = interpreter.run(program, &limits).map_err(|error| TaskError::Sandbox { reason: error.to_string() })?;
            Ok(run.outcome.is_finished())
        };
        Ok((task, Box::new(HumanEval::open(&sources)?.judged_by(Box::new(runner)))))
    };
    wanted.into_iter().map(open).collect()
}
