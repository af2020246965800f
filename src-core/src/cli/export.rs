//! `nc-core export`: write a model for other programs.

use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::json;

use super::loaded::only_run;
use super::report::bytes;
use super::{Context, Failure};
use crate::checkpoint::{self, Run};
use crate::interchange::export::{self, ExportError, Layout, Options, Origin, SHARD_BYTES};
use crate::tokenizer::Tokenizer;
use crate::train::{RunConfig, Training, run_config, validation};
use crate::weights::Format;

/// Options of `nc-core export`.
#[derive(clap::Args)]
pub struct Args {
    /// The run [default: the only one]
    #[arg(long, value_name = "NAME")]
    run: Option<String>,
    /// The checkpoint's step [default: the newest]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    step: Option<u64>,
    /// The format
    #[arg(long)]
    format: FormatName,
    /// The folder to create
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    /// Number format: f32 is exact, bf16 and f16 take half the space, q8 a quarter, q4 an eighth (q8, q4: safetensors only)
    #[arg(long, default_value = "f32")]
    dtype: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormatName {
    /// Hugging Face's transformers (classic architecture only)
    Hf,
    /// Any program that implements docs/FORMAT.md (every architecture)
    Safetensors,
}

/// Runs the subcommand.
pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let name = match args.run {
        Some(name) => name,
        None => only_run(context)?,
    };
    let (layout, next) = match args.format {
        FormatName::Hf => (Layout::HuggingFace, "in Python, transformers.AutoModelForCausalLM.from_pretrained(FOLDER) loads it"),
        FormatName::Safetensors => (Layout::Safetensors, "docs/FORMAT.md says how to compute with it"),
    };

    let run = Run::open(&context.home, &name)?;
    let RunConfig { model: config, training, .. } = run_config(&run)?;
    // Before the checkpoint's hash is computed, which takes a while for a large one.
    export::check(&config, layout, args.dtype, &args.to)?;
    let mut checkpoint = checkpoint::load_model(&run, args.step)?;
    if !run.tokenizer_path().exists() {
        return Err(ExportError::NoTokenizer { run: name }.into());
    }
    let tokenizer = Tokenizer::from_file(&run.tokenizer_path())?;
    let val_bpb = match training {
        Training::Imported(provenance) => provenance.val_bpb,
        Training::Base(_) | Training::Sft(_) => validation(&run.metrics_path(), checkpoint.step)?,
    };
    let origin = Origin { run: name.clone(), val_bpb };
    let options = Options { layout, format: args.dtype, shard_bytes: SHARD_BYTES };
    let exported = export::export(&mut checkpoint, &config, &tokenizer, &origin, options, &args.to)?;

    let value = json!({
        "run": name, "step": checkpoint.step, "dtype": args.dtype.word(), "folder": exported.folder, "files": exported.files,
        "bytes": exported.bytes,
    });
    let words = format!(
        "wrote step {} of run {name} to {}: {} files, {}\nnext: {next}",
        checkpoint.step,
        exported.folder.display(),
        exported.files.len(),
        bytes(exported.bytes),
    );
    context.finish(&value, &words)
}
