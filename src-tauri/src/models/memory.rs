//! Whether a model fits, and with its weights in which format: what chatting with it takes, by the formula of
//! `docs/MEMORY.md`, beside what the GPU has.

use std::collections::HashMap;
use std::path::Path;

use nc_core::checkpoint::{TensorFile, TensorSpec};
use nc_core::model::{Cache, CacheFormat, Config, ParamSpec};
use nc_core::weights::{Format, Order, Storage};

use crate::error::{AppError, AppResult, ErrorCode};
use crate::types::{Fit, FormatFit};

/// Tokens of a pass of prefill.
const PREFILL: u64 = 256;

/// What is tried in turn where a format does not fit. Not f16: it takes what bf16 takes, and holds a smaller range.
const NARROWING: [Format; 4] = [Format::F32, Format::Bf16, Format::Q8, Format::Q4];

/// How a file keeps a model's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// Their format: the narrowest that loses none of them. nanochat's checkpoints have tables in 16 bits and all else in 32.
    pub format: Format,
    /// What they take in memory as they are.
    pub bytes: u64,
}

impl Own {
    /// What the header of a file says. Tensors of other models make no difference: loading refuses them.
    pub fn of(config: &Config, tensors: &[TensorSpec]) -> Self {
        let formats: HashMap<&str, Format> = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.format)).collect();
        let specs: Vec<_> =
            config.param_specs().into_iter().map(|spec| (formats.get(spec.name.as_str()).copied().unwrap_or_default(), spec)).collect();
        // The order of formats is from wide to narrow.
        let holds_all = |format: &Format| specs.iter().all(|(own, spec)| *own >= spec.format(*format));
        let bytes = |(own, spec): &(Format, ParamSpec)| {
            let (rows, columns) = (spec.shape[0], spec.len() / spec.shape[0]);
            Storage { format: spec.format(*own), order: Order::Rows }.bytes(rows, columns)
        };
        Self { format: Format::ALL.into_iter().rev().find(holds_all).unwrap_or_default(), bytes: specs.iter().map(bytes).sum() }
    }

    /// The file at `path`, if there is one that can be read; else as training would write it.
    pub fn at(config: &Config, path: Option<&Path>) -> Self {
        let file = path.and_then(|path| TensorFile::open(path).ok());
        Self::of(config, &file.map(|file| file.specs().cloned().collect::<Vec<_>>()).unwrap_or_default())
    }
}

/// GPU memory that chatting with a model takes, in bytes, with its weights in `format`: those, rotary tables, the cache of one
/// sequence, a pass.
pub fn inference_memory(config: &Config, own: Own, format: Format) -> u64 {
    let [channels, heads, kv_heads, head, context, vocab] =
        [config.n_embd, config.n_head, config.n_kv_head, config.head_dim(), config.sequence_len, config.padded_vocab()].map(|n| n as u64);
    let weights = if format == own.format { own.bytes } else { config.weight_bytes(format).stored };
    let rotary = context * head;
    let pass = PREFILL * (11 * channels + (heads + 2 * kv_heads) * head + 2) + 2 * vocab;
    weights + 4 * (rotary + pass) + Cache::bytes_per_row(config, config.sequence_len, CacheFormat::F32)
}

/// The formats that the weights of a file can be kept in, with what each takes. More bits than the file has would add nothing.
pub fn formats(config: &Config, own: Own, memory: Option<u64>) -> Vec<FormatFit> {
    let with = |format| {
        let memory_bytes = inference_memory(config, own, format);
        FormatFit { format, memory_bytes, fit: fit(memory_bytes, memory) }
    };
    Format::ALL.into_iter().filter(|&format| format >= own.format).map(with).collect()
}

/// The format for the memory that there is: the file's own if it fits with room to spare, else the widest with fewer bits that
/// does, else the smallest. Where nobody knows the memory, the file's own.
pub fn choose(config: &Config, own: Own, memory: Option<u64>) -> Format {
    let tried: Vec<Format> = std::iter::once(own.format).chain(NARROWING.into_iter().filter(|&format| format > own.format)).collect();
    let needed = |format: &Format| inference_memory(config, own, *format);
    let roomy = |format: &&Format| matches!(fit(needed(format), memory), Fit::Fits | Fit::Unknown);
    // By bytes: where rows do not fill blocks, fewer bits may take more of them.
    *tried.iter().find(roomy).or_else(|| tried.iter().min_by_key(|format| needed(format))).unwrap_or(&own.format)
}

/// The format that is used: what the person chose, or else what fits. A choice from a time when the file had more bits is none.
pub fn in_use(config: &Config, own: Own, choice: Option<Format>, memory: Option<u64>) -> Format {
    choice.filter(|&choice| choice >= own.format).unwrap_or_else(|| choose(config, own, memory))
}

/// Refuses what the GPU cannot hold, before anything is put there: a processor that does a GPU's work shares its memory
/// with everything else, and a system that runs out of it ends programs, not requests.
pub fn check(config: &Config, own: Own, format: Format, memory: Option<u64>, gpu: &str) -> AppResult<()> {
    let needed = inference_memory(config, own, format);
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    let fewer = if format == Format::Q4 { "" } else { "fewer bits, " };
    match memory {
        Some(memory) if needed > memory => Err(AppError::new(
            ErrorCode::OutOfMemory,
            format!(
                "With its weights in {format}, answering with this model takes {:.1} GB of memory, and {gpu} has {:.1} GB: choose {fewer}a \
                 smaller model, or another GPU.",
                gigabytes(needed),
                gigabytes(memory)
            ),
        )),
        _ => Ok(()),
    }
}

/// Whether `needed` bytes fit a GPU with `memory` bytes, some of which the desktop has.
pub fn fit(needed: u64, memory: Option<u64>) -> Fit {
    match memory {
        None => Fit::Unknown,
        Some(memory) if needed <= memory / 10 * 7 => Fit::Fits,
        Some(memory) if needed <= memory / 20 * 19 => Fit::Tight,
        Some(_) => Fit::TooLarge,
    }
}
