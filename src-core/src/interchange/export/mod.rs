//! Exports a model for other programs: a folder that Hugging Face's transformers loads, or the same weights under nanochat's
//! names with everything that is needed to use them (`docs/FORMAT.md`).
//!
//! The folder appears whole or not at all, like checkpoints. Weights are streamed, so that a model of any size
//! needs no more memory than a small one.

mod config;
mod error;
mod folder;
mod names;
mod weights;

use std::path::{Path, PathBuf};

use crate::checkpoint::{ModelCheckpoint, TensorSpec};
use crate::files::durable::free_bytes;
use crate::model::Config;
use crate::tokenizer::{CHAT_TEMPLATE, Tokenizer};
use crate::weights::Format;

pub use error::ExportError;
use folder::Target;
use weights::{Outgoing, Plan};

/// The largest file of weights in a folder for Hugging Face's libraries, in bytes, unless one tensor alone is larger.
pub const SHARD_BYTES: u64 = 5_000_000_000;

/// Space that is required in addition to the weights: for the other files, of which the tokenizer's is the largest.
const SLACK: u64 = 64 << 10;

/// The layout of an exported folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The model type `nanochat` of transformers; the classic architecture with full attention only.
    HuggingFace,
    /// nanochat's tensor names and our configuration: any architecture.
    Safetensors,
}

/// How to export.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The layout.
    pub layout: Layout,
    /// The format of the numbers; in blocks, only the weights' numbers.
    pub format: Format,
    /// Most bytes of tensors in a file: [`SHARD_BYTES`]. `Safetensors` has one file, whatever its size.
    pub shard_bytes: u64,
}

/// The origin of exported weights, for the record.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// The run.
    pub run: String,
    /// Validation bits per byte at the checkpoint's step, if measured.
    pub val_bpb: Option<f64>,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The folder.
    pub folder: PathBuf,
    /// Names of its files, sorted.
    pub files: Vec<String>,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// Rejects what [`export`] would reject before it reads any weights: a model that the format cannot represent, and a folder
/// that already exists.
pub fn check(config: &Config, layout: Layout, format: Format, to: &Path) -> Result<(), ExportError> {
    if layout == Layout::HuggingFace {
        if format.has_blocks() {
            return Err(ExportError::Blocks { format });
        }
        check_classic(config)?;
    }
    Target::prepare(to).map(drop)
}

/// Writes `checkpoint`, a model of `config`, into the folder `to`, which must be empty or not exist.
///
/// # Errors
/// If the format cannot represent the model, the checkpoint is of another config, `to` already exists, the disk is
/// full, or a number does not fit its type. Then nothing is written.
pub fn export(
    checkpoint: &mut ModelCheckpoint,
    config: &Config,
    tokenizer: &Tokenizer,
    origin: &Origin,
    options: Options,
    to: &Path,
) -> Result<Exported, ExportError> {
    check(config, options.layout, options.format, to)?;
    if tokenizer.vocab_size() != config.vocab_size {
        return Err(ExportError::Tokenizer { model: config.vocab_size, tokenizer: tokenizer.vocab_size() });
    }
    let specs = config.param_specs();
    let shapes: Vec<(&str, &[usize])> = specs.iter().map(|spec| (spec.name.as_str(), spec.shape.as_slice())).collect();
    checkpoint.model.expect(&shapes)?;

    let plan = match options.layout {
        Layout::HuggingFace => Plan::new(names::hugging_face(config, &specs, options.format)?, options.shard_bytes)?,
        Layout::Safetensors => {
            let blocks = options.format.has_blocks();
            let same = specs.into_iter().map(|spec| {
                let format = if blocks { spec.format(options.format) } else { options.format };
                Outgoing { source: spec.name.clone(), spec: TensorSpec { format, ..TensorSpec::plain(spec.name, spec.shape) } }
            });
            Plan::new(same.collect(), u64::MAX)?
        }
    };
    let texts = texts(checkpoint.step, config, tokenizer, origin, options, &plan)?;

    let target = Target::prepare(to)?;
    let needed = plan.bytes().saturating_add(texts.iter().map(|(_, text)| text.len() as u64).sum()).saturating_add(SLACK);
    if let Some(free) = free_bytes(target.parent()).filter(|&free| free < needed) {
        return Err(ExportError::NoRoom { folder: target.place().to_owned(), needed, free: Some(free) });
    }
    let mut write = || {
        let folder = target.begin()?;
        plan.write(&mut checkpoint.model, folder.path())?;
        for (name, text) in &texts {
            folder.add(name, text)?;
        }
        folder.finish()
    };
    let bytes = write().map_err(|error| error.for_want_of_room(target.place(), needed))?;
    let mut files: Vec<String> = plan.files().chain(texts.iter().map(|(name, _)| *name)).map(str::to_owned).collect();
    files.sort_unstable();
    Ok(Exported { folder: target.place().to_owned(), files, bytes })
}

/// Names and contents of all files but the weights.
fn texts(
    step: u64,
    config: &Config,
    tokenizer: &Tokenizer,
    origin: &Origin,
    options: Options,
    plan: &Plan,
) -> Result<Vec<(&'static str, String)>, ExportError> {
    let ids = config::Ids::of(tokenizer);
    let mut texts = vec![("tokenizer.json", tokenizer.to_json())];
    let mut json = |name, value: serde_json::Value| texts.push((name, format!("{value:#}\n")));
    json("tokenizer_config.json", config::tokenizer(config, &ids));
    match options.layout {
        Layout::HuggingFace => {
            json("config.json", config::hugging_face(config, &ids, options.format));
            json("generation_config.json", config::generation(&ids));
        }
        Layout::Safetensors => {
            json("config.json", config::ours(config, &ids, options.format, tokenizer, origin, step)?);
        }
    }
    if let Some(index) = plan.index() {
        json(weights::INDEX_FILE, index);
    }
    if tokenizer.chat_tokens().is_ok() {
        texts.push(("chat_template.jinja", CHAT_TEMPLATE.to_owned()));
    }
    Ok(texts)
}

/// Rejects what the model type `nanochat` of transformers would compute differently.
fn check_classic(config: &Config) -> Result<(), ExportError> {
    if !config.architecture.is_classic() {
        return Err(ExportError::NotClassic);
    }
    // The query in the last row sees a window and itself.
    match config.window_sizes().into_iter().find(|window| window + 1 < config.sequence_len) {
        Some(window) => Err(ExportError::Windows { window, sequence_len: config.sequence_len }),
        None => Ok(()),
    }
}
