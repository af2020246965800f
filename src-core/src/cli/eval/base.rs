//! `nc-core eval base`.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use serde_json::{Value, json};

use super::REACH;
use super::progress::{AnswerFile, Progress, write_csv};
use crate::checkpoint::Run;
use crate::cli::loaded::{Loaded, Which, tokenizer_of};
use crate::cli::{Context, Ended, Failure, corpus, interrupt, note, shown};
use crate::data::download::BUNDLE_FOLDER;
use crate::data::loader::Loader;
use crate::data::{DataSet, Digests, Split};
use crate::engine::{GenerateOptions, Overflow, Prompts, Sampling, Scorer, generate_rows};
use crate::eval::bits_per_byte::BitsPerByte;
use crate::eval::core::{self, Bundle, Options, Report, TaskScore};
use crate::eval::{BatchLosses, Checkpoint, Finished};
use crate::model::Model;
use crate::tokenizer::Tokenizer;
use crate::train::{Training, run_config};

/// Tokens of each split for bits per byte, if the run does not say how many it validates on: a fortieth of the reference's.
const SPLIT_TOKENS: u64 = 1 << 19;

/// Prompts that are continued by the likeliest tokens: the reference's.
const PROMPTS: [&str; 7] = [
    "The capital of France is",
    "The chemical symbol of gold is",
    "If yesterday was Friday, then tomorrow will be",
    "The opposite of hot is",
    "The planets of the solar system are:",
    "My favorite color is",
    "If 5*x + 3 = 13, then x is",
];
const PROMPT_TOKENS: usize = 16;

/// Texts without a prompt, and the tokens of each.
const FREE_TEXTS: usize = 8;
const FREE_TOKENS: usize = 128;

/// Options of `nc-core eval base`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// What to evaluate
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST", default_value = "core,bpb,sample")]
    eval: Vec<Part>,
    /// Folder of the bundle of CORE's tasks [default: the one that `nc-core data download core` fetched]
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// Evaluate only these tasks of the bundle
    #[arg(long, value_delimiter = ',', value_name = "LABELS")]
    tasks: Option<Vec<String>>,
    /// Evaluate the tasks whose files are there, if some are missing
    #[arg(long)]
    available: bool,
    /// Items of each task; -1 for all
    #[arg(short = 'x', long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    max_per_task: i64,
    /// Keep only the last N tokens of longer prompts; without it they are read whole, up to ten times the model's context
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    crop: Option<u32>,
    /// Compute every choice whole: slower, and for comparison only
    #[arg(long, hide = true)]
    no_sharing: bool,
    /// Evaluate all tasks again, also those that an interrupted evaluation finished
    #[arg(long)]
    again: bool,
    /// Write the scores of the tasks to this file as comma-separated values
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write the answer to every item to this file, a JSON document a line; evaluates all tasks again
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// Files or folders of text for bits per byte [default: those that the run was trained on]
    #[arg(long, value_name = "PATH")]
    data: Vec<PathBuf>,
    /// Tokens of each split for bits per byte, read again from the beginning if there are fewer [default: as many as the run validates on, else 524,288]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    split_tokens: Option<u64>,
    /// Rows of a batch for bits per byte [default: those of the run's training, else 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    device_batch_size: Option<u16>,
}

/// A part of the evaluation.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The average over the tasks of the bundle
    Core,
    /// Bits per byte on training and validation text
    Bpb,
    /// Continuations of a few prompts
    Sample,
}

/// What the parts of the evaluation work on.
struct Evaluation<'a> {
    args: &'a Args,
    context: &'a Context,
    loaded: &'a Loaded,
    stop: Arc<AtomicBool>,
}

/// Runs the subcommand.
pub fn run(args: Args, context: &Context) -> Result<Ended, Failure> {
    let wants = |part| args.eval.contains(&part);
    // What is wrong with the bundle or the data is said before the model is loaded.
    let bundle = if wants(Part::Core) { Some(open_bundle(&args, context)?) } else { None };
    let mut loaded = Loaded::open(&args.which, context)?;
    loaded.tokenizer()?;
    let reach = REACH * loaded.model.config.sequence_len;
    if wants(Part::Core) {
        loaded.model = loaded.model.reaching(&loaded.gpu, reach)?;
    }
    let run = Run::open(&context.home, &loaded.name)?;
    let stop = interrupt::after_this("batch")?;
    let evaluation = Evaluation { args: &args, context, loaded: &loaded, stop };
    let mut value = json!({ "run": loaded.name, "step": loaded.step });
    let mut words = Vec::new();

    if wants(Part::Sample) {
        let (samples, text) = evaluation.samples()?;
        value["samples"] = samples;
        words.push(text);
    }
    if wants(Part::Bpb) && !evaluation.stopped() {
        let (bpb, text) = evaluation.bits_per_byte(&run)?;
        value["bits_per_byte"] = bpb;
        words.push(text);
    }
    if let Some((bundle, tasks)) = bundle.filter(|_| !evaluation.stopped()) {
        let Some(report) = evaluation.core(&run, &bundle, &tasks)? else {
            note("stopped; the finished tasks are kept: run the same command again to go on");
            return Ok(Ended::Interrupted);
        };
        write_csv(&args.csv, &report.csv())?;
        words.push(report.table());
        value["core"] = json!(report);
        value["core"]["complete"] = json!(report.is_complete());
    }
    if evaluation.stopped() {
        note("stopped: run the same command again");
        return Ok(Ended::Interrupted);
    }
    context.finish(&value, &words.join("\n\n"))?;
    Ok(Ended::Done)
}

/// The bundle and its tasks that are evaluated.
fn open_bundle(args: &Args, context: &Context) -> Result<(Bundle, Vec<core::TaskFacts>), Failure> {
    let folder = args.bundle.clone().unwrap_or_else(|| context.home.data().join(BUNDLE_FOLDER));
    if args.bundle.is_none() && !folder.is_dir() {
        return Err(Failure::input(
            "the tasks of CORE are not here: run `nc-core data download core`, name a folder with --bundle, or leave CORE out with --eval bpb,sample",
        ));
    }
    let bundle = Bundle::open(&folder)?;
    let tasks = bundle.choose(args.tasks.as_deref(), args.available)?;
    Ok((bundle, tasks))
}

impl Evaluation<'_> {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// A line about what is done: on stdout, or on stderr if stdout is for JSON.
    fn say(&self, words: &str) {
        if self.context.json {
            note(words);
        } else {
            // The stream may be closed: the evaluation continues anyway.
            drop(writeln!(std::io::stdout(), "{words}"));
        }
    }

    fn tokenizer(&self) -> Result<&Tokenizer, Failure> {
        self.loaded.tokenizer()
    }

    fn samples(&self) -> Result<(Value, String), Failure> {
        let (Loaded { gpu, model, .. }, tokenizer) = (self.loaded, self.tokenizer()?);
        let encode = |text: &str| std::iter::once(tokenizer.bos()).chain(tokenizer.encode(text)).collect::<Vec<u32>>();
        let options = |sampling, max_tokens| GenerateOptions {
            max_tokens: Some(max_tokens),
            sampling,
            stop: vec![tokenizer.bos()],
            tools: false,
            overflow: Overflow::Stop,
        };
        let context = model.config.sequence_len;
        // With few ids, or a short context, a prompt may not fit.
        let prompts: Vec<Vec<u32>> = PROMPTS.iter().map(|prompt| encode(prompt)).filter(|prompt| prompt.len() < context).collect();
        let likeliest = generate_rows(gpu, model, tokenizer, Prompts::Own(&prompts), &options(Sampling::greedy(), PROMPT_TOKENS))?;
        let text = |prompt: &[u32], ids: &[u32]| tokenizer.decode(&[&prompt[1..], ids].concat());
        let continued: Vec<String> = prompts.iter().zip(&likeliest).map(|(prompt, row)| text(prompt, &row.ids)).collect();
        let sampling = Sampling { temperature: 1.0, top_k: 0, ..Sampling::default() };
        let start = encode("");
        let free = generate_rows(gpu, model, tokenizer, Prompts::Shared(&start, FREE_TEXTS), &options(sampling, FREE_TOKENS))?;
        let free: Vec<String> = free.iter().map(|row| tokenizer.decode(&row.ids)).collect();
        let lines =
            |texts: &[String]| texts.iter().map(|text| format!("  {}", shown(text).replace('\n', "\n  "))).collect::<Vec<_>>().join("\n");
        let words = format!("likeliest continuations:\n{}\ntexts without a prompt:\n{}", lines(&continued), lines(&free));
        Ok((json!({ "continued": continued, "free": free }), words))
    }

    fn bits_per_byte(&self, run: &Run) -> Result<(Value, String), Failure> {
        let Loaded { gpu, model, .. } = self.loaded;
        let training = run_config(run)?.training;
        let data = match (&training, self.args.data.is_empty()) {
            (_, false) => self.args.data.clone(),
            (Training::Base(options), true) => options.data.clone(),
            (_, true) => vec![corpus::downloaded_or_shipped(self.context)?],
        };
        // What validation during training took, so that the numbers can be compared.
        let base = match &training {
            Training::Base(options) => Some(&options.common),
            _ => None,
        };
        let rows = self.args.device_batch_size.map(usize::from).or(base.map(|options| options.device_batch_size)).unwrap_or(4);
        let tokens = self.args.split_tokens.or(base.map(|options| options.eval_tokens)).unwrap_or(SPLIT_TOKENS);
        let set = DataSet::open(&data)?;
        let fingerprint = set.fingerprint(&mut Digests::open(&self.context.home.cache()))?;
        let losses = BatchLosses::new(gpu, model, rows)?;
        let tokenizer = Arc::new(tokenizer_of(run)?);
        let token_bytes = tokenizer.token_bytes();
        let (mut value, mut words) = (json!({}), Vec::new());
        for (split, name) in [(Split::Train, "train"), (Split::Val, "val")] {
            let mut loader = Loader::new(set.clone(), fingerprint.clone(), split, tokenizer.clone(), rows, model.config.sequence_len);
            let count = (tokens / (rows * model.config.sequence_len) as u64).max(1);
            let (mut sum, mut batches) = (BitsPerByte::default(), 0u64);
            while batches < count && !self.stopped() {
                losses.add(&loader.next_batch()?, &token_bytes, &mut sum)?;
                batches += 1;
            }
            let bpb = sum.value();
            let tokens = batches * (rows * model.config.sequence_len) as u64;
            value[name] = json!({ "bits_per_byte": bpb, "tokens": tokens });
            words.push(format!("{name} bits per byte {bpb:.6} on {tokens} tokens"));
        }
        Ok((value, words.join("\n")))
    }

    fn core(&self, run: &Run, bundle: &Bundle, tasks: &[core::TaskFacts]) -> Result<Option<Report>, Failure> {
        let Loaded { gpu, model, step, sha256, .. } = self.loaded;
        let tokenizer = self.tokenizer()?;
        let weights = self.args.which.weights().map(|format| format.to_string());
        let checkpoint = Checkpoint { step: *step, sha256: sha256.clone(), weights };
        let mut finished = Finished::<TaskScore>::open(&run.folder().join("eval"), "core", checkpoint)?;
        if self.args.again || self.args.answers.is_some() {
            finished.clear();
        }
        let mut answers = AnswerFile::create(&self.args.answers)?;
        let most = usize::try_from(self.args.max_per_task).ok().filter(|&most| most > 0);
        let options = Options { room: self.args.crop.map(|room| room as usize) };
        let mut scorer = scorer(gpu, model, self.args.no_sharing);
        let mut scores = Vec::new();
        for facts in tasks {
            let data = bundle.load(facts, most)?;
            let fingerprint = data.fingerprint(options);
            if let Some(score) = finished.get(&fingerprint) {
                self.say(&format!("{}: accuracy {:.4}, centred {:.4} (finished before)", score.label, score.accuracy, score.centred));
                scores.push(score.clone());
                continue;
            }
            let progress = Progress::new(&facts.label, "items", data.items().len(), &self.stop);
            let given = core::evaluate(&mut scorer, tokenizer, &data, options, &mut |done| progress.done(done))?;
            let seconds = progress.seconds();
            drop(progress);
            let Some(given) = given else { return Ok(None) };
            let score = TaskScore::new(facts, &given, seconds);
            if let Some(file) = &mut answers {
                file.add(given.iter().enumerate().map(|(item, answer)| {
                    json!({ "task": facts.label, "item": item, "correct": answer.correct, "picked": answer.picked, "means": answer.means })
                }))?;
            }
            self.say(&format!(
                "{}: accuracy {:.4}, centred {:.4}, {} items in {:.1} s",
                score.label, score.accuracy, score.centred, score.items, score.seconds
            ));
            finished.keep(fingerprint, score.clone())?;
            scores.push(score);
            if self.stopped() && scores.len() < tasks.len() {
                return Ok(None);
            }
        }
        Ok(Some(Report::new(scores, bundle.tasks().len())))
    }
}

fn scorer<'m>(gpu: &crate::gpu::Gpu, model: &'m Model, no_sharing: bool) -> Scorer<'m> {
    if no_sharing { Scorer::without_sharing(gpu, model) } else { Scorer::new(gpu, model) }
}
