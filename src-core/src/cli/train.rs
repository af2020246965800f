//! `nc-core train`: pretrain a base model.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::{Context, Failure, corpus};
use crate::checkpoint::Run;
use crate::data::{self, Split};
use crate::gpu::Gpu;
use crate::kernels::autotune;
use crate::model::Config;
use crate::optim::{Horizon, HorizonOptions};
use crate::tokenizer::{Tokenizer, TrainOptions};
use crate::train::options::RUN_CONFIG_FORMAT;
use crate::train::{Event, Outcome, PretrainOptions, RunConfig, Start, StepReport, pretrain};

/// Options of `nc-core train`, spelled as the reference's.
///
/// Whatever is not given suits the adapter: a real GPU gets a model that takes hours, a CPU one that takes minutes.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the run [default: d and the depth]
    #[arg(long, visible_alias = "run", value_name = "NAME")]
    model_tag: Option<String>,
    /// Go on with a run where its newest whole checkpoint stopped
    #[arg(long, conflicts_with = "from")]
    resume: bool,
    /// Begin with the weights of another run
    #[arg(long, value_name = "RUN")]
    from: Option<String>,
    /// Files or folders of text: .parquet, .jsonl, .txt; the last file is validation [default: downloaded shards, else the sample corpus]
    #[arg(long, value_name = "PATH", num_args = 1..)]
    data: Vec<PathBuf>,
    /// The tokenizer [default: the one of `nc-core tokenizer train`; one is trained if there is none]
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,

    /// Layers; the one dial of the model's size
    #[arg(long, value_name = "N", help_heading = "Model")]
    depth: Option<usize>,
    /// Channels per layer of depth
    #[arg(long, value_name = "N", default_value_t = 64, help_heading = "Model")]
    aspect_ratio: usize,
    /// Channels of an attention head
    #[arg(long, value_name = "N", default_value_t = 128, help_heading = "Model")]
    head_dim: usize,
    /// Tokens of a row: the context
    #[arg(long, value_name = "N", help_heading = "Model")]
    max_seq_len: Option<usize>,
    /// Attention windows of the layers, in turn: S short, L full
    #[arg(long, value_name = "LETTERS", default_value = "SSSL", help_heading = "Model")]
    window_pattern: String,

    /// Optimizer steps
    #[arg(long, value_name = "N", help_heading = "Horizon")]
    num_iterations: Option<u64>,
    /// Train until this many floating-point operations
    #[arg(long, value_name = "N", help_heading = "Horizon")]
    target_flops: Option<f64>,
    /// Train on this many tokens per scaling parameter [default: 12 on a GPU]
    #[arg(long, value_name = "R", help_heading = "Horizon")]
    target_param_data_ratio: Option<f64>,

    /// Rows of a batch; halved by itself when memory runs short
    #[arg(long, value_name = "N", help_heading = "Optimization")]
    device_batch_size: Option<usize>,
    /// Tokens of a step [default: chosen from the horizon on a GPU]
    #[arg(long, value_name = "N", help_heading = "Optimization")]
    total_batch_size: Option<u64>,
    /// Learning rate of the token embedding
    #[arg(long, value_name = "LR", default_value_t = 0.3, help_heading = "Optimization")]
    embedding_lr: f64,
    /// Learning rate of lm_head
    #[arg(long, value_name = "LR", default_value_t = 0.008, help_heading = "Optimization")]
    unembedding_lr: f64,
    /// Learning rate of the matrices
    #[arg(long, value_name = "LR", default_value_t = 0.02, help_heading = "Optimization")]
    matrix_lr: f64,
    /// Learning rate of the lambdas
    #[arg(long, value_name = "LR", default_value_t = 0.5, help_heading = "Optimization")]
    scalar_lr: f64,
    /// Muon's weight decay at depth 12; scaled to the horizon
    #[arg(long, value_name = "WD", default_value_t = 0.28, help_heading = "Optimization")]
    weight_decay: f64,
    /// Steps over which the learning rate rises
    #[arg(long, value_name = "N", default_value_t = 40, help_heading = "Optimization")]
    warmup_steps: u64,
    /// Part of the run over which the learning rate falls
    #[arg(long, value_name = "R", default_value_t = 0.65, help_heading = "Optimization")]
    warmdown_ratio: f64,
    /// What is left of the learning rate at the end
    #[arg(long, value_name = "R", default_value_t = 0.05, help_heading = "Optimization")]
    final_lr_frac: f64,
    /// Seed of the initial weights
    #[arg(long, value_name = "N", default_value_t = 42, help_heading = "Optimization")]
    seed: u64,
    /// Precision of the computation
    #[arg(long, value_enum, default_value_t = DType::F32, help_heading = "Optimization")]
    dtype: DType,

    /// Steps between validations; -1 for none
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Evaluation")]
    eval_every: Option<i64>,
    /// Tokens of a validation
    #[arg(long, value_name = "N", help_heading = "Evaluation")]
    eval_tokens: Option<u64>,
    /// Steps between samples; -1 for none
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Evaluation")]
    sample_every: Option<i64>,
    /// Steps between checkpoints; -1 for one at the end
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Evaluation")]
    save_every: Option<i64>,
    /// Checkpoints that are kept
    #[arg(long, value_name = "N", default_value_t = 2, help_heading = "Evaluation")]
    keep_last: usize,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum DType {
    /// 32-bit floats throughout
    F32,
}

/// What is chosen for an adapter where the user says nothing.
struct Defaults {
    depth: usize,
    max_seq_len: usize,
    device_batch_size: usize,
    /// `None` follows the horizon.
    total_batch_size: Option<u64>,
    num_iterations: Option<u64>,
    vocab_size: usize,
    eval_every: i64,
    eval_tokens: u64,
    sample_every: i64,
    save_every: i64,
}

impl Defaults {
    fn for_adapter(kind: wgpu::DeviceType) -> Self {
        match kind {
            // Minutes on two cores of software Vulkan.
            wgpu::DeviceType::Cpu => Self {
                depth: 2,
                max_seq_len: 256,
                device_batch_size: 8,
                total_batch_size: Some(4096),
                num_iterations: Some(400),
                vocab_size: 4096,
                eval_every: 100,
                eval_tokens: 32 * 1024,
                sample_every: 200,
                save_every: 100,
            },
            wgpu::DeviceType::DiscreteGpu => Self {
                depth: 12,
                max_seq_len: 2048,
                device_batch_size: 32,
                total_batch_size: None,
                num_iterations: None,
                vocab_size: 32_768,
                eval_every: 250,
                eval_tokens: 20 * 524_288,
                sample_every: 2000,
                save_every: 500,
            },
            _ => Self {
                depth: 6,
                max_seq_len: 1024,
                device_batch_size: 8,
                total_batch_size: None,
                num_iterations: None,
                vocab_size: 32_768,
                eval_every: 250,
                eval_tokens: 524_288,
                sample_every: 1000,
                save_every: 250,
            },
        }
    }
}

/// Runs the subcommand.
pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let interrupt = Arc::new(AtomicBool::new(false));
    let flag = interrupt.clone();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            // The second time, whoever asks does not want to wait.
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step; once more to stop at once");
    })?;

    let (name, start, tokenizer, gpu) = if args.resume { resume(&args, context)? } else { fresh(args, context)? };
    autotune::enable(&context.home.cache());
    let mut tell = |event: Event| report(&event, context.json);
    let outcome = pretrain(&gpu, &context.home, &name, start, &Arc::new(tokenizer), &interrupt, &mut tell)?;
    finish(&name, &outcome, context);
    Ok(())
}

type Plan = (String, Start, Tokenizer, Gpu);

fn resume(args: &Args, context: &Context) -> Result<Plan, Failure> {
    let name = match (&args.model_tag, args.depth) {
        (Some(name), _) => name.clone(),
        (None, Some(depth)) => format!("d{depth}"),
        (None, None) => super::loaded::only_run(context)?,
    };
    let run = Run::open(&context.home, &name)?;
    let tokenizer = Tokenizer::from_file(&run.tokenizer_path())?;
    Ok((name, Start::Resume, tokenizer, Gpu::open(context.adapter.as_deref())?))
}

fn fresh(args: Args, context: &Context) -> Result<Plan, Failure> {
    let gpu = Gpu::open(context.adapter.as_deref())?;
    let defaults = Defaults::for_adapter(gpu.info().device_type);
    let from = args.from.as_deref().map(|name| Run::open(&context.home, name)).transpose()?;
    let data = if args.data.is_empty() { default_data(context)? } else { args.data };
    let tokenizer = match (&from, &args.tokenizer) {
        (Some(run), _) => Tokenizer::from_file(&run.tokenizer_path())?,
        (None, Some(file)) => Tokenizer::from_file(file)?,
        (None, None) => shared_tokenizer(context, &data, defaults.vocab_size)?,
    };

    let seq = args.max_seq_len.unwrap_or(defaults.max_seq_len);
    let depth = args.depth.unwrap_or(defaults.depth);
    let at_depth = |depth| Config::from_depth(depth, args.aspect_ratio, args.head_dim, seq, tokenizer.vocab_size(), &args.window_pattern);
    let model = match &from {
        Some(run) => crate::train::pretrain::run_config(run)?.model,
        None => at_depth(depth)?,
    };
    let given = args.num_iterations.is_some() || args.target_flops.is_some() || args.target_param_data_ratio.is_some();
    if [args.target_flops, args.target_param_data_ratio].iter().flatten().any(|value| !(value.is_finite() && *value > 0.0)) {
        return Err(Failure::input("--target-flops and --target-param-data-ratio must be numbers above 0"));
    }
    let horizon = Horizon::plan(
        &model,
        &at_depth(12)?,
        &HorizonOptions {
            num_iterations: args.num_iterations.or(defaults.num_iterations.filter(|_| !given)),
            target_flops: args.target_flops,
            target_param_data_ratio: args.target_param_data_ratio.unwrap_or(12.0),
            total_batch_size: args.total_batch_size.or(defaults.total_batch_size),
            weight_decay: args.weight_decay,
        },
    );
    // A batch larger than a step would leave nothing to accumulate: shrink the default, but never what was asked for.
    let step_rows = (horizon.total_batch_size as usize / seq.max(1)).max(1);
    let device_batch_size = args.device_batch_size.unwrap_or_else(|| defaults.device_batch_size.min(step_rows));
    let every = |given: Option<i64>, default: i64| u64::try_from(given.unwrap_or(default)).ok().filter(|&every| every > 0);
    let training = PretrainOptions {
        data,
        seed: args.seed,
        num_iterations: horizon.num_iterations,
        device_batch_size,
        total_batch_size: horizon.total_batch_size,
        lr_scale: horizon.lr_scale,
        embedding_lr: args.embedding_lr,
        unembedding_lr: args.unembedding_lr,
        matrix_lr: args.matrix_lr,
        scalar_lr: args.scalar_lr,
        weight_decay: horizon.weight_decay,
        warmup_steps: args.warmup_steps,
        warmdown_ratio: args.warmdown_ratio,
        final_lr_frac: args.final_lr_frac,
        eval_every: every(args.eval_every, defaults.eval_every),
        eval_tokens: args.eval_tokens.unwrap_or(defaults.eval_tokens),
        sample_every: every(args.sample_every, defaults.sample_every),
        save_every: every(args.save_every, defaults.save_every),
        keep_last: Some(args.keep_last.max(1)),
    };
    let name = args.model_tag.unwrap_or_else(|| format!("d{}", model.n_layer));
    let config = RunConfig { format: RUN_CONFIG_FORMAT, model, training };
    let start = match args.from {
        Some(source) => Start::From(config, source),
        None => Start::Fresh(config),
    };
    Ok((name, start, tokenizer, gpu))
}

/// The downloaded shards if there are any, else the sample corpus.
fn default_data(context: &Context) -> Result<Vec<PathBuf>, Failure> {
    let shards = context.home.data();
    let downloaded = std::fs::read_dir(&shards)
        .is_ok_and(|mut files| files.any(|file| file.is_ok_and(|file| file.path().extension().is_some_and(|ending| ending == "parquet"))));
    Ok(vec![if downloaded { shards } else { corpus::shipped()? }])
}

/// The tokenizer that runs share; trained now if nobody has.
fn shared_tokenizer(context: &Context, data: &[PathBuf], vocab_size: usize) -> Result<Tokenizer, Failure> {
    let path = context.home.root().join("tokenizer.json");
    if path.exists() {
        return Ok(Tokenizer::from_file(&path)?);
    }
    eprintln!("there is no tokenizer yet: training one of {vocab_size} ids (`nc-core tokenizer train` makes others)");
    let options = TrainOptions { vocab_size, progress: true, ..TrainOptions::default() };
    let trained = Tokenizer::train(data::documents(data, Split::Train)?, &options)?;
    trained.tokenizer.save(&path)?;
    eprintln!("wrote {}", path.display());
    Ok(trained.tokenizer)
}

/// Prints what happens: on stdout, or on stderr where stdout is for JSON.
fn report(event: &Event, json: bool) {
    let say = |words: String| if json { eprintln!("{words}") } else { println!("{words}") };
    match event {
        Event::Start { step, num_iterations, parameters, flops_per_token, device_batch_size, accumulation, memory, adapter } => {
            let times = if *accumulation > 1 { format!(" × {accumulation} batches") } else { String::new() };
            let begin = if *step > 0 { format!("resuming at step {step}") } else { "training".to_owned() };
            say(format!(
                "{begin} on {adapter}: {} parameters, {:.1} MFLOP per token, {num_iterations} steps of {device_batch_size} rows{times}, {} of GPU memory",
                grouped(*parameters as u64),
                *flops_per_token as f64 / 1e6,
                bytes(*memory),
            ));
        }
        Event::BatchHalved { from, to, accumulation } => {
            say(format!("GPU memory is short for batches of {from} rows: going on with {to}, {accumulation} a step"));
        }
        Event::Rejected { reasons } => reasons.iter().for_each(|reason| say(format!("passed over: {reason}"))),
        Event::Step(step) => say(step_line(step)),
        Event::Validation { step, bpb, min_bpb } => {
            say(format!("step {step:05} | validation bits per byte {bpb:.4} (lowest {min_bpb:.4})"));
        }
        Event::Sample { step, text } => say(format!("step {step:05} | {}", text.replace('\n', " "))),
        Event::Saved { step, path } => say(format!("step {step:05} | saved {}", path.display())),
    }
}

fn step_line(step: &StepReport) -> String {
    let StepReport { loss, bpb, lr_multiplier, seconds, tokens_per_second, flops_per_second, memory, eta_seconds, .. } = step;
    format!(
        "step {:05}/{:05} | loss {loss:.4} | bpb {bpb:.4} | lrm {lr_multiplier:.2} | {:.0} ms | {tokens_per_second:.0} tok/s | {:.1} GFLOP/s | {} | eta {}",
        step.step,
        step.num_iterations,
        seconds * 1e3,
        flops_per_second / 1e9,
        bytes(*memory),
        duration(*eta_seconds),
    )
}

fn finish(name: &str, outcome: &Outcome, context: &Context) {
    let value = json!({
        "run": name,
        "path": context.home.run(name),
        "step": outcome.step,
        "num_iterations": outcome.num_iterations,
        "interrupted": outcome.interrupted,
        "loss": outcome.loss,
        "val_bpb": outcome.val_bpb,
        "first_val_bpb": outcome.first_val_bpb,
        "min_val_bpb": outcome.min_val_bpb,
        "training_seconds": outcome.training_seconds,
        "peak_memory": outcome.peak_memory,
    });
    let bpb = match (outcome.first_val_bpb, outcome.val_bpb) {
        (Some(first), Some(last)) if first != last => format!("; validation bits per byte {first:.4} → {last:.4}"),
        (_, Some(last)) => format!("; validation bits per byte {last:.4}"),
        _ => String::new(),
    };
    let next = if outcome.interrupted {
        format!("nc-core train --resume --run {name}")
    } else {
        format!("nc-core generate --run {name} --prompt \"The\"")
    };
    let stopped = if outcome.interrupted { "stopped at" } else { "trained" };
    context.finish(
        &value,
        &format!(
            "{stopped} {} of {} steps in {}{bpb}; at most {} of GPU memory\nwrote {}\nnext: {next}",
            outcome.step,
            outcome.num_iterations,
            duration(outcome.training_seconds),
            bytes(outcome.peak_memory),
            context.home.run(name).display(),
        ),
    );
    if std::io::stdout().is_terminal() && !context.json {
        eprintln!("curves: tensorboard --logdir {}", context.home.run(name).join("tensorboard").display());
    }
}

fn bytes(count: u64) -> String {
    match count {
        0..0x10_0000 => format!("{:.0} KiB", count as f64 / 1024.0),
        0x10_0000..0x4000_0000 => format!("{:.0} MiB", count as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", count as f64 / 1_073_741_824.0),
    }
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if !s.is_finite() => "?".to_owned(),
        s if s < 60.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.1} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
