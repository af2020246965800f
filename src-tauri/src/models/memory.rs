//! Whether a model fits: what chatting with it takes, by the formula of `docs/MEMORY.md`, beside what the GPU has.

use nc_core::model::{Cache, Config};

use crate::error::{AppError, AppResult, ErrorCode};
use crate::types::Fit;

/// Tokens of a pass of prefill.
const PREFILL: u64 = 256;

/// GPU memory that chatting with a model takes, in bytes: weights, rotary tables, the cache of one sequence, a pass.
pub fn inference_memory(config: &Config) -> u64 {
    let [channels, heads, kv_heads, head, context, vocab] =
        [config.n_embd, config.n_head, config.n_kv_head, config.head_dim(), config.sequence_len, config.padded_vocab()].map(|n| n as u64);
    let weights = config.param_counts().total as u64 + context * head;
    let pass = PREFILL * (11 * channels + (heads + 2 * kv_heads) * head + 2) + 2 * vocab;
    4 * (weights + pass) + Cache::bytes_per_row(config, config.sequence_len)
}

/// Refuses what the GPU cannot hold, before anything is put there: a processor that does a GPU's work shares its memory
/// with everything else, and a system that runs out of it ends programs, not requests.
pub fn check(needed: u64, memory: Option<u64>, gpu: &str) -> AppResult<()> {
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    match memory {
        Some(memory) if needed > memory => Err(AppError::new(
            ErrorCode::OutOfMemory,
            format!(
                "Answering with this model takes {:.1} GB of memory, and {gpu} has {:.1} GB: choose a smaller model, or another GPU.",
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
