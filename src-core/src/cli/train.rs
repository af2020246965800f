//! `nc-core train`: pretrain a base model.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::loaded::{check_made_by, only_run, tokenizer_of};
use super::numerics::NumericsArgs;
use super::{Context, Ended, Failure, corpus, interrupt, note, report, spinner};
use crate::checkpoint::Run;
use crate::data::loader::Changes;
use crate::data::{self, DataError, DataSet, Split};
use crate::gpu::Gpu;
use crate::interchange::import::open_tokenizer;
use crate::kernels::precision::Precision;
use crate::model::params::largest_depth_that_fits;
use crate::model::{Architecture, Config, ConfigError};
use crate::optim::{Horizon, HorizonOptions};
use crate::tokenizer::{Tokenizer, TokenizerError, TrainOptions};
use crate::train::{
    self, LoopOptions, Origin, PretrainOptions, Resume, RunConfig, Setting, Source, Start, TrainError, Training, run_config,
};

/// Options of `nc-core train`, with the reference's names.
///
/// Defaults depend on the adapter: a real GPU gets a model that takes hours, a CPU one that takes minutes.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the run [default: d and the depth]
    #[arg(long, visible_alias = "run", value_name = "NAME")]
    model_tag: Option<String>,
    /// Resume a run from its newest intact checkpoint, with its original options; --data then gives
    /// the new place of its data
    #[arg(long, conflicts_with_all = RECORDED)]
    resume: bool,
    /// With --resume: continue although data files have changed; not bit for bit
    #[arg(long, requires = "resume")]
    changed_data: bool,
    /// Start from the newest weights of another run, which also determine the model and the tokenizer
    #[arg(long, value_name = "RUN", conflicts_with_all = ["tokenizer", "depth", "architecture", "aspect_ratio", "head_dim", "max_seq_len", "window_pattern"])]
    from: Option<String>,
    /// Files or folders of text: .parquet, .jsonl, .txt, also .jsonl.gz, .txt.zst; a file named val or test is validation, else the last one [default: downloaded shards, else the sample corpus]
    #[arg(long, value_name = "PATH", num_args = 1..)]
    data: Vec<PathBuf>,
    /// The tokenizer.json, or tokenizer.pkl of nanochat [default: the one of `nc-core tokenizer train`; one is trained if there is none]
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,

    /// Layers: the one dial of the model's size
    #[arg(long, allow_negative_numbers = true, value_name = "N", help_heading = "Model")]
    depth: Option<usize>,
    /// The parts of the model
    #[arg(long, value_enum, value_name = "NAME", default_value_t = Parts::Current, help_heading = "Model")]
    architecture: Parts,
    /// Channels per layer of depth
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value_t = 64, help_heading = "Model")]
    aspect_ratio: usize,
    /// Channels per attention head
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value_t = 128, help_heading = "Model")]
    head_dim: usize,
    /// Tokens per row: the context
    #[arg(long, allow_negative_numbers = true, value_name = "N", help_heading = "Model")]
    max_seq_len: Option<usize>,
    /// Attention windows of the layers, repeated: S short, L full [default: SSSL; L for a classic model]
    #[arg(long, value_name = "LETTERS", help_heading = "Model")]
    window_pattern: Option<String>,

    /// Optimizer steps
    #[arg(long, allow_negative_numbers = true, value_name = "N", help_heading = "Horizon")]
    num_iterations: Option<u64>,
    /// Train until this many floating-point operations
    #[arg(long, allow_negative_numbers = true, value_name = "N", help_heading = "Horizon")]
    target_flops: Option<f64>,
    /// Train on this many tokens per scaling parameter [default: 12 on a GPU]
    #[arg(long, allow_negative_numbers = true, value_name = "R", help_heading = "Horizon")]
    target_param_data_ratio: Option<f64>,

    /// Rows per batch; halved automatically if memory runs out
    #[arg(long, allow_negative_numbers = true, value_name = "N", help_heading = "Optimization")]
    device_batch_size: Option<usize>,
    /// Tokens per step [default: derived from the horizon on a GPU]
    #[arg(long, allow_negative_numbers = true, value_name = "N", help_heading = "Optimization")]
    total_batch_size: Option<u64>,
    /// Learning rate of the token embedding
    #[arg(long, allow_negative_numbers = true, value_name = "LR", default_value_t = 0.3, help_heading = "Optimization")]
    embedding_lr: f64,
    /// Learning rate of lm_head
    #[arg(long, allow_negative_numbers = true, value_name = "LR", default_value_t = 0.008, help_heading = "Optimization")]
    unembedding_lr: f64,
    /// Learning rate of the matrices
    #[arg(long, allow_negative_numbers = true, value_name = "LR", default_value_t = 0.02, help_heading = "Optimization")]
    matrix_lr: f64,
    /// Learning rate of the lambdas
    #[arg(long, allow_negative_numbers = true, value_name = "LR", default_value_t = 0.5, help_heading = "Optimization")]
    scalar_lr: f64,
    /// Muon's weight decay at depth 12; scaled to the horizon
    #[arg(long, allow_negative_numbers = true, value_name = "WD", default_value_t = 0.28, help_heading = "Optimization")]
    weight_decay: f64,
    /// Steps over which the learning rate rises
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value_t = 40, help_heading = "Optimization")]
    warmup_steps: u64,
    /// Fraction of the run over which the learning rate falls
    #[arg(long, allow_negative_numbers = true, value_name = "R", default_value_t = 0.65, help_heading = "Optimization")]
    warmdown_ratio: f64,
    /// Fraction of the learning rate that remains at the end
    #[arg(long, allow_negative_numbers = true, value_name = "R", default_value_t = 0.05, help_heading = "Optimization")]
    final_lr_frac: f64,
    /// Seed of the initial weights
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value_t = 42, help_heading = "Optimization")]
    seed: u64,
    /// What the inputs of products are rounded to: f32, f16 or bf16; everything else stays f32
    #[arg(long, value_name = "FORMAT", default_value_t, help_heading = "Optimization")]
    precision: Precision,
    #[command(flatten)]
    numerics: NumericsArgs,

    /// Steps between validations; -1 for none
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Evaluation")]
    eval_every: Option<i64>,
    /// Tokens per validation
    #[arg(long, allow_negative_numbers = true, value_name = "N", help_heading = "Evaluation")]
    eval_tokens: Option<u64>,
    /// Steps between samples; -1 for none
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Evaluation")]
    sample_every: Option<i64>,
    /// Steps between checkpoints; -1 for only one at the end
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Evaluation")]
    save_every: Option<i64>,
    /// Number of checkpoints to keep
    #[arg(long, value_name = "N", default_value = "2", help_heading = "Evaluation")]
    keep_last: NonZeroUsize,
}

/// Options that a run's `config.json` records: a resumed run already has them.
const RECORDED: [&str; 28] = [
    "from",
    "tokenizer",
    "architecture",
    "aspect_ratio",
    "head_dim",
    "max_seq_len",
    "window_pattern",
    "num_iterations",
    "target_flops",
    "target_param_data_ratio",
    "device_batch_size",
    "total_batch_size",
    "embedding_lr",
    "unembedding_lr",
    "matrix_lr",
    "scalar_lr",
    "weight_decay",
    "warmup_steps",
    "warmdown_ratio",
    "final_lr_frac",
    "seed",
    "precision",
    "numerics",
    "eval_every",
    "eval_tokens",
    "sample_every",
    "save_every",
    "keep_last",
];

/// The architectures to choose from.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Parts {
    /// nanochat's of July 2026, with smear, value embeddings, lambdas and backout
    Current,
    /// nanochat's of October 2025, without these: for programs that load Hugging Face's `nanochat` models
    Classic,
}

impl Parts {
    fn architecture(self) -> Architecture {
        match self {
            Parts::Current => Architecture::CURRENT,
            Parts::Classic => Architecture::CLASSIC,
        }
    }

    /// The default attention windows.
    fn window_pattern(self) -> &'static str {
        match self {
            Parts::Current => "SSSL",
            Parts::Classic => "L",
        }
    }
}

/// Defaults by adapter.
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
pub fn run(args: Args, context: &Context) -> Result<Ended, Failure> {
    let interrupt = interrupt::after_this_step()?;
    let resumed = args.resume;
    let (name, start, tokenizer, gpu) = if resumed { resume(&args, context)? } else { fresh(args, context)? };
    gpu.autotune_in(&context.home.cache());
    let setting = Setting { gpu: &gpu, home: &context.home, tokenizer: &Arc::new(tokenizer), interrupt: &interrupt };
    let outcome = train::train(setting, &name, start, &mut |event| report::event(&event, context.json))
        .map_err(|error| if resumed { not_resumed(error, &name) } else { error.into() })?;
    let next = if outcome.interrupted {
        format!("nc-core train --resume --run {name}")
    } else {
        format!("nc-core generate --run {name} --prompt \"The\"")
    };
    report::finish(&name, &outcome, &next, context)
}

type Plan = (String, Start, Tokenizer, Gpu);

fn resume(args: &Args, context: &Context) -> Result<Plan, Failure> {
    let name = match (&args.model_tag, args.depth) {
        (Some(name), _) => name.clone(),
        (None, Some(depth)) => format!("d{depth}"),
        (None, None) => only_run(context)?,
    };
    let run = Run::open(&context.home, &name)?;
    check_made_by("train", &run)?;
    let tokenizer = tokenizer_of(&run)?;
    let data = args.data.iter().map(std::path::absolute).collect::<Result<_, _>>()?;
    let how = Resume { data, changes: if args.changed_data { Changes::Accept } else { Changes::Refuse } };
    Ok((name, Start::Resume(how), tokenizer, Gpu::open(context.adapter.as_deref())?))
}

/// Advice if the data of a run has changed or moved.
fn not_resumed(error: TrainError, name: &str) -> Failure {
    match &error {
        TrainError::Data(DataError::NotFound { path }) => Failure::input(format!(
            "{} does not exist: the run's data was moved or removed; say where it is now with `nc-core train --resume --run {name} --data PATH`",
            path.display()
        )),
        TrainError::Data(DataError::OtherData { .. }) => Failure::input(format!(
            "{error}; give the data that it was trained on (--data PATH), continue with this one anyway, though not bit for bit, with `nc-core train --resume --run {name} --changed-data`, or begin a new run with its weights: `nc-core train --from {name} --data PATH`"
        )),
        _ => error.into(),
    }
}

fn fresh(args: Args, context: &Context) -> Result<Plan, Failure> {
    let gpu = Gpu::open(context.adapter.as_deref())?;
    let defaults = Defaults::for_adapter(gpu.info().device_type);
    let source = args.from.as_deref().map(|name| Run::open(&context.home, name)).transpose()?;
    let data = if args.data.is_empty() { vec![corpus::downloaded_or_shipped(context)?] } else { args.data.clone() };
    // A run may be resumed from another folder.
    let data = data.iter().map(std::path::absolute).collect::<Result<Vec<_>, _>>()?;
    let set = DataSet::open(&data)?;
    corpus::tell_what_is_left_out(&set);
    note(&format!("validation: {}", corpus::validation(&set)));
    let shared = context.home.tokenizer();
    let tokenizer = match (&source, &args.tokenizer) {
        (Some(run), _) => Some(tokenizer_of(run)?),
        (None, Some(file)) => Some(open_tokenizer(file)?),
        (None, None) => shared.exists().then(|| Tokenizer::from_file(&shared)).transpose()?,
    };

    let vocab_size = tokenizer.as_ref().map_or(defaults.vocab_size, Tokenizer::vocab_size);
    let (config, origin) = match &source {
        Some(run) => {
            let origin = Origin::open(run, None, false)?;
            let model = run_config(run)?.model;
            let reference = at_reference_depth(&model, model.n_embd.div_ceil(model.n_layer), model.head_dim());
            (plan(&args, &defaults, model, &reference, Some(origin.source().clone()), data.clone())?, Some(Box::new(origin)))
        }
        None => {
            let model = model(&args, &defaults, vocab_size, &gpu)?;
            let reference = at_reference_depth(&model, args.aspect_ratio, args.head_dim);
            (plan(&args, &defaults, model, &reference, None, data.clone())?, None)
        }
    };
    let name = args.model_tag.unwrap_or_else(|| format!("d{}", config.model.n_layer));
    // Everything that can be rejected is rejected before a tokenizer is trained, which may take minutes.
    Run::check_vacant(&context.home, &name)?;
    train::check(&gpu, &config)?;
    let tokenizer = match tokenizer {
        Some(tokenizer) => tokenizer,
        None => train_tokenizer(&shared, &data, vocab_size)?,
    };
    Ok((name, Start::Fresh { config: Box::new(config), origin }, tokenizer, gpu))
}

/// The model of the options.
fn model(args: &Args, defaults: &Defaults, vocab_size: usize, gpu: &Gpu) -> Result<Config, Failure> {
    let (seq, aspect_ratio, head_dim) = (args.max_seq_len.unwrap_or(defaults.max_seq_len), args.aspect_ratio, args.head_dim);
    let depth = args.depth.unwrap_or(defaults.depth);
    let windows = args.window_pattern.as_deref().unwrap_or(args.architecture.window_pattern());
    let architecture = || args.architecture.architecture();
    let at_depth = |depth| Config::from_depth_with(architecture(), depth, aspect_ratio, head_dim, seq, vocab_size, windows);
    at_depth(depth).map_err(|error| {
        let smallest = if matches!(error, ConfigError::TooLarge { .. }) { at_depth(1).ok() } else { None };
        let fits = smallest.and_then(|config| largest_depth_that_fits(gpu.binding_limit(), &config, aspect_ratio, head_dim));
        match fits {
            Some(fits) => Failure::input(format!("{error}; the largest depth that fits {} is {fits}: use --depth {fits}", gpu.info().name)),
            None => error.into(),
        }
    })
}

/// The run that trains `model` with the options; `reference` is the same kind of model at depth 12.
fn plan(
    args: &Args,
    defaults: &Defaults,
    model: Config,
    reference: &Config,
    from: Option<Source>,
    data: Vec<PathBuf>,
) -> Result<RunConfig, Failure> {
    for (option, value) in [("--target-flops", args.target_flops), ("--target-param-data-ratio", args.target_param_data_ratio)] {
        if let Some(value) = value.filter(|value| !(value.is_finite() && *value > 0.0)) {
            return Err(Failure::input(format!("{option} is {value}; it must be a number above 0")));
        }
    }
    let given = args.num_iterations.is_some() || args.target_flops.is_some() || args.target_param_data_ratio.is_some();
    let horizon = Horizon::plan(
        &model,
        reference,
        &HorizonOptions {
            num_iterations: args.num_iterations.or(defaults.num_iterations.filter(|_| !given)),
            target_flops: args.target_flops,
            target_param_data_ratio: args.target_param_data_ratio.unwrap_or(12.0),
            total_batch_size: args.total_batch_size.or(defaults.total_batch_size),
            weight_decay: args.weight_decay,
        },
    );
    if args.total_batch_size.is_none_or(|given| given > 0) && args.num_iterations.is_none() && horizon.num_iterations == 0 {
        let tokens = horizon.total_batch_size;
        return Err(Failure::input(format!(
            "training would be shorter than one step of {tokens} tokens; raise --target-flops or --target-param-data-ratio, or give --num-iterations"
        )));
    }
    // A batch must not be larger than a step: shrink the default, but never a given value.
    let step_rows = usize::try_from(horizon.total_batch_size).unwrap_or(usize::MAX) / model.sequence_len;
    let device_batch_size = args.device_batch_size.unwrap_or_else(|| defaults.device_batch_size.min(step_rows.max(1)));
    let every = |given: Option<i64>, default: i64| every(given.unwrap_or(default));
    let training = Training::Base(PretrainOptions {
        data,
        num_iterations: horizon.num_iterations,
        weight_decay: horizon.weight_decay,
        warmup_steps: args.warmup_steps,
        sample_every: every(args.sample_every, defaults.sample_every),
        common: LoopOptions {
            seed: args.seed,
            device_batch_size,
            total_batch_size: horizon.total_batch_size,
            lr_scale: horizon.lr_scale,
            embedding_lr: args.embedding_lr,
            unembedding_lr: args.unembedding_lr,
            matrix_lr: args.matrix_lr,
            scalar_lr: args.scalar_lr,
            warmdown_ratio: args.warmdown_ratio,
            final_lr_frac: args.final_lr_frac,
            eval_every: every(args.eval_every, defaults.eval_every),
            eval_tokens: args.eval_tokens.unwrap_or(defaults.eval_tokens),
            save_every: every(args.save_every, defaults.save_every),
            keep_last: Some(args.keep_last.get()),
            numerics: args.numerics.numerics(args.precision),
            precision: args.precision,
        },
    });
    Ok(RunConfig { model, training, from })
}

/// An interval from an option, in steps: anything below 1 means never.
pub(super) fn every(steps: i64) -> Option<u64> {
    u64::try_from(steps).ok().filter(|&steps| steps > 0)
}

/// `model` at depth 12, where the constants of the horizon were tuned. Only counted, never created, so it may exceed what
/// a model may have.
fn at_reference_depth(model: &Config, aspect_ratio: usize, head_dim: usize) -> Config {
    const DEPTH: usize = 12;
    let n_head = (DEPTH * aspect_ratio).div_ceil(head_dim);
    Config { n_layer: DEPTH, n_head, n_kv_head: n_head, n_embd: n_head * head_dim, ..model.clone() }
}

/// Trains the tokenizer that runs share, and saves it.
fn train_tokenizer(path: &Path, data: &[PathBuf], vocab_size: usize) -> Result<Tokenizer, Failure> {
    note(&format!("there is no tokenizer yet: training one of {vocab_size} ids (`nc-core tokenizer train` makes others)"));
    let options = TrainOptions { vocab_size, ..TrainOptions::default() };
    let trained = spinner::train(data::documents(data, Split::Train)?, &options).map_err(|error| match error {
        TokenizerError::VocabularyTooLarge { possible, .. } => Failure::input(format!(
            "the text is too short for a vocabulary of {vocab_size}; make a smaller one first with `nc-core tokenizer train --data … --vocab-size {possible}`, or give more text"
        )),
        error => error.into(),
    })?;
    trained.tokenizer.save(path)?;
    note(&format!("wrote {}", path.display()));
    Ok(trained.tokenizer)
}
