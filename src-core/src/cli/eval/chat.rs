//! `nc-core eval chat`.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use serde_json::json;

use super::REACH;
use super::progress::{AnswerFile, Progress, write_csv};
use crate::checkpoint::Run;
use crate::cli::loaded::{Loaded, Which};
use crate::cli::{Context, Ended, Failure, interrupt, note};
use crate::engine::Sampling;
use crate::eval::chat::{self, ChatOptions, ChatReport, ChatScore, ChatTask};
use crate::eval::{Checkpoint, Finished};
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
    #[arg(long, value_name = "T", default_value_t = 0.0, allow_negative_numbers = true)]
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
    /// Evaluate all tasks again, also those that an interrupted evaluation finished
    #[arg(long)]
    again: bool,
    /// Write what the model answered to every question to this file, a JSON document a line; evaluates all tasks again
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// Write the scores to this file as comma-separated values
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
}

/// A task, and its questions.
type Opened = (&'static ChatTask, Box<dyn Task>);

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
    let Loaded { gpu, model, name, step, sha256, .. } = &loaded;
    let weights = args.which.weights().map(|format| format.to_string());
    let checkpoint = Checkpoint { step: *step, sha256: sha256.clone(), weights };
    let mut finished = Finished::open(&Run::open(&context.home, name)?.folder().join("eval"), "chat", checkpoint)?;
    if args.again || args.answers.is_some() {
        finished.clear();
    }
    let mut file = AnswerFile::create(&args.answers)?;
    let mut scores: Vec<ChatScore> = Vec::new();
    for (facts, task) in &opened {
        let fingerprint = chat::fingerprint(task.as_ref(), &options)?;
        if let Some(score) = finished.get(&fingerprint) {
            note(&format!("{} (finished before)", in_words(score)));
            scores.push(score.clone());
            continue;
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(stopped(&scores));
        }
        let all = options.most.map_or(task.len(), |most| most.min(task.len()));
        let progress = Progress::new(facts.label, "questions", all, &stop);
        let answers = chat::evaluate(gpu, model, loaded.tokenizer()?, task.as_ref(), &options, &mut |done| progress.done(done))?;
        let seconds = progress.seconds();
        drop(progress);
        let Some(answers) = answers else { return Ok(stopped(&scores)) };
        if let Some(file) = &mut file {
            let line = |(question, answer): (usize, &chat::ChatAnswer)| json!({ "task": facts.label, "question": question, "right": answer.right, "given": answer.given });
            file.add(answers.iter().enumerate().map(line))?;
        }
        let score = ChatScore::new(facts, &answers, seconds);
        note(&format!("{} in {seconds:.1} s", in_words(&score)));
        finished.keep(fingerprint, score.clone())?;
        scores.push(score);
    }
    let report = ChatReport::new(scores);
    write_csv(&args.csv, &report.csv())?;
    context.finish(&json!({ "run": name, "step": step, "chat": report }), &report.table())?;
    Ok(Ended::Done)
}

fn in_words(score: &ChatScore) -> String {
    format!("{}: {} of {} right ({:.2} %)", score.task, score.right, score.questions, 100.0 * score.accuracy)
}

fn stopped(scores: &[ChatScore]) -> Ended {
    let kept = if scores.is_empty() { "no task was finished" } else { "the finished tasks are kept" };
    note(&format!("stopped; {kept}: run the same command again to go on"));
    Ended::Interrupted
}

/// The tasks with their data.
fn open_tasks(args: &Args, context: &Context) -> Result<Vec<Opened>, Failure> {
    let python = args.python.clone().unwrap_or_else(|| context.home.python().join(FILE));
    let mut wanted = Vec::new();
    match &args.tasks {
        Some(names) => {
            for name in names {
                let known = || chat::ALL.map(|task| task.name).join(", ");
                wanted.push(
                    chat::find(name).ok_or_else(|| Failure::input(format!("there is no chat task {name:?}; there are {}", known())))?,
                );
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
    let open = |task: &'static ChatTask| -> Result<Opened, Failure> {
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
