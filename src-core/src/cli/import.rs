//! `nc-core import`: makes a run of a model from elsewhere.

use std::io::IsTerminal;
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::{Context, Failure};
use crate::checkpoint::Run;
use crate::interchange::import::{self, Choice, Found, Options, Progress, Stage};
use crate::model::Config;
use crate::train::{RunConfig, Training};

/// The prefix of an address on the Hugging Face hub.
const HUB: &str = "hub:";

/// Options of `nc-core import`.
#[derive(clap::Args)]
pub struct Args {
    /// A nanochat base folder, an experiment, a folder of checkpoints or a model_NNNNNN.pt; a Hugging Face folder of the type nanochat; a folder
    /// that nc-core exported; a run of nc-core; or hub:OWNER/NAME[@REVISION]
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Name of the run [default: that of the folder]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The checkpoint's step [default: the newest]
    #[arg(long, value_name = "N")]
    step: Option<u64>,
    /// Which stage of a nanochat base folder or experiment: base, mid, sft or rl [default: the last one that exists]
    #[arg(long, value_name = "STAGE")]
    source: Option<Stage>,
    /// Which model of a nanochat base folder or experiment, such as d20 [default: the deepest]
    #[arg(long, value_name = "TAG")]
    model_tag: Option<String>,
    /// The tokenizer.pkl or tokenizer.json of the model, if it is not next to it
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Use only what was fetched from the hub before
    #[arg(long)]
    offline: bool,
}

/// Runs the subcommand.
pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    if let Some(name) = &args.name {
        // An existing name is rejected before gigabytes are fetched or read.
        check_vacant(name, context)?;
    }
    let options = Options { step: args.step, source: args.source, model_tag: args.model_tag, tokenizer: args.tokenizer };
    let found = match args.path.to_str().and_then(|path| path.strip_prefix(HUB)) {
        Some(repo) => fetched(repo, &options, args.offline, context)?,
        None => import::open(&args.path, &options)?,
    };
    let name = args.name.unwrap_or_else(|| found.name().to_owned());
    check_vacant(&name, context)?;
    let config = match found.own_config() {
        Some(own) => own.clone(),
        None => config_of(&found)?,
    };
    let summary = Summary::of(&found);
    let bar = Bar::new();
    let run = found.write(&context.home, &name, &config, &mut |progress| bar.show(progress));
    bar.clear();
    let run = run?;
    context.finish(&summary.json(&run), &summary.words(&run))
}

fn check_vacant(name: &str, context: &Context) -> Result<(), Failure> {
    Ok(Run::check_vacant(&context.home, name).map_err(import::ImportError::from)?)
}

fn fetched(repo: &str, options: &Options, offline: bool, context: &Context) -> Result<Found, Failure> {
    let fetched = super::hub::fetch_model(repo, options, offline, context)?;
    Ok(import::open(&fetched.folder, options)?.named(fetched.name))
}

/// The `config.json` of a run with imported weights.
fn config_of(found: &Found) -> Result<Value, Failure> {
    let provenance = found.provenance().cloned().ok_or_else(|| Failure::input("the source says nothing of itself"))?;
    let config = RunConfig { model: found.model().clone(), training: Training::Imported(provenance), from: None };
    Ok(serde_json::to_value(config)?)
}

/// What is being imported, for the final message.
struct Summary {
    kind: String,
    model: Config,
    step: u64,
    val_bpb: Option<f64>,
    has_tokenizer: bool,
    chats: bool,
    resumes: bool,
    notes: Vec<String>,
}

impl Summary {
    fn of(found: &Found) -> Self {
        Self {
            kind: found.provenance().map_or_else(|| "a run of nc-core".to_owned(), |provenance| provenance.kind.to_string()),
            model: found.model().clone(),
            step: found.step(),
            val_bpb: found.provenance().and_then(|provenance| provenance.val_bpb),
            has_tokenizer: found.tokenizer().is_some(),
            chats: found.tokenizer().is_some_and(|tokenizer| tokenizer.chat_tokens().is_ok()),
            resumes: found.resumes(),
            notes: found.notes().iter().cloned().chain(found.choices().iter().map(|choice| choose(*choice).to_owned())).collect(),
        }
    }

    fn architecture(&self) -> &'static str {
        if self.model.architecture.is_classic() {
            "classic"
        } else if self.model.architecture.smear {
            "current"
        } else {
            "classic with residual lambdas"
        }
    }

    fn next(&self, run: &Run) -> String {
        let name = run.name();
        match (self.has_tokenizer, self.chats) {
            (true, true) => format!("nc-core chat --run {name}"),
            (true, false) => format!("nc-core generate --run {name} --prompt \"The\""),
            (false, _) => format!("nc-core generate --run {name} --ids FILE"),
        }
    }

    fn json(&self, run: &Run) -> Value {
        json!({
            "run": run.name(), "folder": run.folder(), "kind": self.kind, "step": self.step, "val_bpb": self.val_bpb,
            "architecture": self.architecture(), "parameters": self.model.param_counts().total, "model": self.model,
            "tokenizer": self.has_tokenizer, "resumes": self.resumes, "notes": self.notes, "next": self.next(run),
        })
    }

    fn words(&self, run: &Run) -> String {
        let model = &self.model;
        let mut lines = vec![format!(
            "imported {} as {}: the {} architecture, {} layers of {} channels, {} parameters, a context of {} tokens, a vocabulary of {}",
            self.kind,
            run.name(),
            self.architecture(),
            model.n_layer,
            model.n_embd,
            model.param_counts().total,
            model.sequence_len,
            model.vocab_size
        )];
        let bpb = self.val_bpb.map(|bpb| format!(", {bpb:.4} bits per byte on its own validation data")).unwrap_or_default();
        lines.push(format!("step {}{bpb}; files in {}", self.step, run.folder().display()));
        lines.extend(self.notes.iter().map(|note| format!("note: {note}")));
        if !self.has_tokenizer {
            lines.push(
                "note: there is no tokenizer, so the run understands token ids only (`score --ids`, `generate --ids`); import it again with --tokenizer FILE for text"
                    .to_owned(),
            );
        }
        lines.push(format!("next: {}", self.next(run)));
        lines.join("\n")
    }
}

/// How the user can choose.
fn choose(choice: Choice) -> &'static str {
    match choice {
        Choice::Stage => "--source chooses another stage",
        Choice::Model => "--model-tag chooses another model",
    }
}

/// A progress bar for writing, on a terminal.
struct Bar(Option<ProgressBar>);

impl Bar {
    fn new() -> Self {
        let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta} left");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        Self(std::io::stderr().is_terminal().then(|| ProgressBar::no_length().with_style(style)))
    }

    fn show(&self, progress: Progress) {
        if let Some(bar) = &self.0 {
            bar.set_length(progress.total);
            bar.set_position(progress.done);
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
