//! `nc-core sft`: fine-tune a model on conversations, so that it answers.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use super::loaded::{check_made_by, only_run, tokenizer_of};
use super::numerics::NumericsArgs;
use super::train::every;
use super::{Context, Ended, Failure, interrupt, report};
use crate::checkpoint::{Run, RunError};
use crate::gpu::{Gpu, Numerics};
use crate::kernels::precision::Precision;
use crate::model::Config;
use crate::optim::Horizon;
use crate::tasks::{HeldOut, NAMES, TaskError, TaskSpec, standard};
use crate::train::{self, LoopOptions, Origin, Resume, RunConfig, Setting, SftOptions, Start, TrainError, Training, run_config};

/// The file under `data/` in the home folder for conversations about the model itself.
const IDENTITY: [&str; 2] = ["conversations", "identity.jsonl"];

/// Options of `nc-core sft`, with the reference's names. Learning rates and batch sizes default to those of
/// the run that it starts from.
#[derive(clap::Args)]
pub struct Args {
    /// The run to start from; with --resume, the run to resume [default: the only one]
    #[arg(long, visible_alias = "from", value_name = "NAME")]
    run: Option<String>,
    /// The checkpoint to start from [default: the newest]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    step: Option<u64>,
    /// Name of the new run [default: that of the run to start from, and -sft]
    #[arg(long, value_name = "NAME")]
    model_tag: Option<String>,
    /// Resume a run from its newest intact checkpoint, with its original options; --data then gives
    /// the folder where its files are now
    #[arg(long, conflicts_with_all = RECORDED)]
    resume: bool,
    /// Also start from the optimizer's moments, not only from the weights; this is the default
    #[arg(long, overrides_with = "no_load_optimizer")]
    load_optimizer: bool,
    /// Start with fresh moments
    #[arg(long, overrides_with = "load_optimizer")]
    no_load_optimizer: bool,

    /// A task to train on, several times for a mixture: a name, or a .jsonl file of conversations; `mmlu:3` is MMLU three times [default: the reference's mixture]
    #[arg(long = "task", value_name = "TASK", help_heading = "Data")]
    tasks: Vec<String>,
    /// A folder with the tasks' data sets; then nothing is fetched
    #[arg(long, value_name = "DIR", help_heading = "Data")]
    data: Option<PathBuf>,
    /// Use only what was fetched before
    #[arg(long, help_heading = "Data")]
    offline: bool,
    /// Skip and count conversations that cannot be represented (tool calls, images, other roles)
    #[arg(long, help_heading = "Data")]
    skip_unsupported: bool,
    /// Seed of the order of conversations
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value_t = 42, help_heading = "Data")]
    seed: u64,

    /// Optimizer steps [default: one epoch, every conversation once]
    #[arg(long, allow_negative_numbers = true, value_name = "N", help_heading = "Optimization")]
    num_iterations: Option<u64>,
    /// Tokens per row: the context
    #[arg(long, allow_negative_numbers = true, value_name = "N", help_heading = "Optimization")]
    max_seq_len: Option<usize>,
    /// Rows per batch; halved automatically if memory runs out
    #[arg(long, allow_negative_numbers = true, value_name = "N", help_heading = "Optimization")]
    device_batch_size: Option<usize>,
    /// Tokens per step
    #[arg(long, allow_negative_numbers = true, value_name = "N", help_heading = "Optimization")]
    total_batch_size: Option<u64>,
    /// Learning rate of the token embedding
    #[arg(long, allow_negative_numbers = true, value_name = "LR", help_heading = "Optimization")]
    embedding_lr: Option<f64>,
    /// Learning rate of lm_head
    #[arg(long, allow_negative_numbers = true, value_name = "LR", help_heading = "Optimization")]
    unembedding_lr: Option<f64>,
    /// Learning rate of the matrices
    #[arg(long, allow_negative_numbers = true, value_name = "LR", help_heading = "Optimization")]
    matrix_lr: Option<f64>,
    /// Learning rate of the lambdas
    #[arg(long, allow_negative_numbers = true, value_name = "LR", help_heading = "Optimization")]
    scalar_lr: Option<f64>,
    /// Factor applied to all learning rates
    #[arg(long, allow_negative_numbers = true, value_name = "R", default_value_t = 0.8, help_heading = "Optimization")]
    init_lr_frac: f64,
    /// Fraction of the run over which the learning rate rises
    #[arg(long, allow_negative_numbers = true, value_name = "R", default_value_t = 0.0, help_heading = "Optimization")]
    warmup_ratio: f64,
    /// Fraction of the run over which the learning rate falls
    #[arg(long, allow_negative_numbers = true, value_name = "R", default_value_t = 0.5, help_heading = "Optimization")]
    warmdown_ratio: f64,
    /// Fraction of the learning rate that remains at the end
    #[arg(long, allow_negative_numbers = true, value_name = "R", default_value_t = 0.0, help_heading = "Optimization")]
    final_lr_frac: f64,

    /// What the inputs of products are rounded to: f32, f16 or bf16 [default: as the run that it starts from]
    #[arg(long, value_name = "FORMAT", help_heading = "Optimization")]
    precision: Option<Precision>,
    #[command(flatten)]
    numerics: NumericsArgs,

    /// Steps between validations; -1 for none
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 200, help_heading = "Evaluation")]
    eval_every: i64,
    /// Steps between samples, answers to a few questions; -1 for none
    #[arg(long, value_name = "N", default_value_t = 200, allow_negative_numbers = true, help_heading = "Evaluation")]
    sample_every: i64,
    /// Tokens per validation, at most all held-out conversations
    #[arg(long, allow_negative_numbers = true, value_name = "N", help_heading = "Evaluation")]
    eval_tokens: Option<u64>,
    /// Steps between checkpoints; -1 for only one at the end
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Evaluation")]
    save_every: Option<i64>,
    /// Number of checkpoints to keep
    #[arg(long, value_name = "N", default_value = "2", help_heading = "Evaluation")]
    keep_last: NonZeroUsize,
}

/// Options that a run's `config.json` records: a resumed run already has them.
const RECORDED: [&str; 27] = [
    "step",
    "load_optimizer",
    "no_load_optimizer",
    "tasks",
    "offline",
    "skip_unsupported",
    "seed",
    "num_iterations",
    "max_seq_len",
    "device_batch_size",
    "total_batch_size",
    "embedding_lr",
    "unembedding_lr",
    "matrix_lr",
    "scalar_lr",
    "init_lr_frac",
    "warmup_ratio",
    "warmdown_ratio",
    "final_lr_frac",
    "precision",
    "numerics",
    "eval_every",
    "sample_every",
    "eval_tokens",
    "save_every",
    "keep_last",
    "model_tag",
];

/// Defaults by adapter, if neither the user nor the run to start from sets them.
fn defaults(kind: wgpu::DeviceType) -> Defaults {
    match kind {
        wgpu::DeviceType::Cpu => Defaults { eval_tokens: 32 * 1024, save_every: 100, step_tokens: 4096 },
        wgpu::DeviceType::DiscreteGpu => Defaults { eval_tokens: 40 * 524_288, save_every: 500, step_tokens: 524_288 },
        _ => Defaults { eval_tokens: 524_288, save_every: 250, step_tokens: 65_536 },
    }
}

struct Defaults {
    eval_tokens: u64,
    save_every: i64,
    /// Tokens per step if the run to start from was never trained here.
    step_tokens: u64,
}

/// Defaults if the weights of the run to start from were imported: the learning rates of
/// `nc-core train`, and a step of as many rows as the adapter can be expected to hold.
fn untrained(model: &Config, defaults: &Defaults) -> LoopOptions {
    let rows = 1 << (defaults.step_tokens / model.sequence_len as u64).max(1).ilog2();
    let total_batch_size = rows * model.sequence_len as u64;
    LoopOptions {
        seed: 42,
        device_batch_size: rows.min(32) as usize,
        total_batch_size,
        lr_scale: Horizon::lr_scale_of(total_batch_size),
        embedding_lr: 0.3,
        unembedding_lr: 0.008,
        matrix_lr: 0.02,
        scalar_lr: 0.5,
        warmdown_ratio: 0.5,
        final_lr_frac: 0.0,
        eval_every: None,
        eval_tokens: defaults.eval_tokens,
        save_every: None,
        keep_last: None,
        numerics: Numerics::Exact,
        precision: Precision::F32,
    }
}

/// Runs the subcommand.
pub fn run(args: Args, context: &Context) -> Result<Ended, Failure> {
    let interrupt = interrupt::after_this_step()?;
    let named = match &args.run {
        Some(name) => name.clone(),
        None => only_run(context)?,
    };
    let named = Run::open(&context.home, &named)?;
    let tokenizer = tokenizer_of(&named)?;
    let (name, start, gpu) = if args.resume { resume(&args, &named, context)? } else { fresh(args, &named, context)? };
    let tokenizer = Arc::new(tokenizer);
    gpu.autotune_in(&context.home.cache());
    let setting = Setting { gpu: &gpu, home: &context.home, tokenizer: &tokenizer, interrupt: &interrupt };
    let outcome = train::train(setting, &name, start, &mut |event| report::event(&event, context.json)).map_err(|error| match &error {
        TrainError::Task(TaskError::Conversations(file)) if file.is_unsupported() => {
            Failure::input(format!("{error}; take it out, or leave out all such conversations with --skip-unsupported"))
        }
        _ => error.into(),
    })?;
    let next = if outcome.interrupted { format!("nc-core sft --resume --run {name}") } else { format!("nc-core chat --run {name}") };
    report::finish(&name, &outcome, &next, context)
}

type Plan = (String, Start, Gpu);

fn resume(args: &Args, run: &Run, context: &Context) -> Result<Plan, Failure> {
    let came_of_it = format!("{}-sft", run.name());
    check_made_by("sft", run).map_err(|failure| match context.home.run(&came_of_it).is_dir() {
        true => Failure::input(format!("{failure}; the run that was fine-tuned from it is {came_of_it}")),
        false => failure,
    })?;
    let data = args.data.iter().map(std::path::absolute).collect::<Result<_, _>>()?;
    let how = Resume { data, ..Resume::default() };
    Ok((run.name().to_owned(), Start::Resume(how), Gpu::open(context.adapter.as_deref())?))
}

fn fresh(args: Args, base: &Run, context: &Context) -> Result<Plan, Failure> {
    let name = args.model_tag.clone().unwrap_or_else(|| format!("{}-sft", base.name()));
    Run::check_vacant(&context.home, &name).map_err(|error| match error {
        RunError::Exists { name, folder } => Failure::input(format!(
            "there is a run {name:?} already, in {}: choose another name with --model-tag, or resume it with `nc-core sft --resume --run {name}`",
            folder.display()
        )),
        error => error.into(),
    })?;
    let base_config = run_config(base)?;
    // Imported weights have no moments.
    let imported = matches!(base_config.training, Training::Imported(_));
    let moments = args.load_optimizer || !(args.no_load_optimizer || imported);
    let gpu = Gpu::open(context.adapter.as_deref())?;
    let tasks = tasks(&args.tasks, context)?;
    let origin = Origin::open(base, args.step, moments)?;
    let moment_steps = match &base_config.training {
        _ if !moments => 0,
        Training::Base(_) | Training::Imported(_) => origin.source().step,
        Training::Sft(options) => options.moment_steps + origin.source().step,
    };
    let model = Config { sequence_len: args.max_seq_len.unwrap_or(base_config.model.sequence_len), ..base_config.model.clone() };
    let from = Some(origin.source().clone());
    let defaults = defaults(gpu.info().device_type);
    let base_options = base_config.training.common().cloned().unwrap_or_else(|| untrained(&model, &defaults));
    let training = Training::Sft(SftOptions {
        tasks,
        // A run may be resumed from another folder.
        data: args.data.as_deref().map(std::path::absolute).transpose()?,
        offline: args.offline,
        held_out: HeldOut::default(),
        skip_unsupported: args.skip_unsupported,
        files: Vec::new(),
        moment_steps,
        num_iterations: args.num_iterations,
        sample_every: every(args.sample_every),
        init_lr_frac: args.init_lr_frac,
        warmup_ratio: args.warmup_ratio,
        common: common(&args, &base_options, &defaults),
    });
    let config = RunConfig { model, training, from };
    Ok((name, Start::Fresh { config: Box::new(config), origin: Some(Box::new(origin)) }, gpu))
}

/// The options that every stage has: those of the base run, unless others are given.
fn common(args: &Args, base: &LoopOptions, defaults: &Defaults) -> LoopOptions {
    let total_batch_size = args.total_batch_size.unwrap_or(base.total_batch_size);
    LoopOptions {
        seed: args.seed,
        device_batch_size: args.device_batch_size.unwrap_or(base.device_batch_size),
        total_batch_size,
        // Learning rates scale with the square root of the batch size.
        lr_scale: base.lr_scale * (total_batch_size as f64 / base.total_batch_size as f64).sqrt(),
        embedding_lr: args.embedding_lr.unwrap_or(base.embedding_lr),
        unembedding_lr: args.unembedding_lr.unwrap_or(base.unembedding_lr),
        matrix_lr: args.matrix_lr.unwrap_or(base.matrix_lr),
        scalar_lr: args.scalar_lr.unwrap_or(base.scalar_lr),
        warmdown_ratio: args.warmdown_ratio,
        final_lr_frac: args.final_lr_frac,
        eval_every: every(args.eval_every),
        eval_tokens: args.eval_tokens.unwrap_or(defaults.eval_tokens),
        save_every: every(args.save_every.unwrap_or(defaults.save_every)),
        keep_last: Some(args.keep_last.get()),
        numerics: args.numerics.numerics_or(args.precision, base.numerics),
        precision: args.precision.unwrap_or(base.precision),
    }
}

/// The tasks as stored in `config.json`: checked, and files by their full paths. The default is the reference's
/// mixture, with the conversations about the model itself if they have been generated.
fn tasks(given: &[String], context: &Context) -> Result<Vec<String>, Failure> {
    if given.is_empty() {
        let identity = context.home.data().join(IDENTITY[0]).join(IDENTITY[1]);
        let specs = standard(identity.is_file().then_some(identity.as_path()));
        return Ok(specs.iter().map(ToString::to_string).collect());
    }
    given
        .iter()
        .map(|spec| {
            let mut spec: TaskSpec = spec.parse()?;
            if !NAMES.contains(&spec.name.as_str()) {
                spec.name = std::path::absolute(&spec.name)?.display().to_string();
            }
            Ok(spec.to_string())
        })
        .collect()
}
