//! A model on the GPU, with its tokenizer.

use std::time::Instant;

use nc_core::checkpoint::home::Home;
use nc_core::checkpoint::{self, MODEL_FILE, Run};
use nc_core::gpu::Gpu;
use nc_core::model::{Config, Model};
use nc_core::tokenizer::Tokenizer;
use nc_core::train;
use nc_core::weights::Format;
use serde::Deserialize;

use super::memory::{self, Own};
use crate::error::{AppError, AppResult, ErrorCode};

/// A model that can answer.
pub struct Loaded {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub gpu: Gpu,
    /// Its weights.
    pub model: Model,
    /// What it reads and writes with.
    pub tokenizer: Tokenizer,
    /// The format that they are in.
    pub format: Format,
    /// Bytes of GPU memory that it took.
    pub memory_bytes: u64,
    /// Milliseconds that loading took.
    pub load_ms: f64,
}

/// All that is asked of `config.json`: an import says nothing of training.
#[derive(Deserialize)]
struct Described {
    model: Config,
}

impl Loaded {
    /// Loads the newest checkpoint of the run `name` onto a GPU that has `memory` bytes, where it says. Its weights get the
    /// format `choice`, or the one that fits.
    pub fn open(home: &Home, gpu: &Gpu, name: &str, memory: Option<u64>, choice: Option<Format>) -> AppResult<Self> {
        let begun = Instant::now();
        let run = Run::open(home, name)?;
        let damaged = |detail: String| AppError { detail, ..AppError::new(ErrorCode::Damaged, "This model's config.json cannot be used.") };
        let Described { model: config } = serde_json::from_value(run.config().clone()).map_err(|error| damaged(error.to_string()))?;
        config.validate().map_err(|error| damaged(error.to_string()))?;
        // By the header alone: to check the whole file takes time that a refusal need not.
        let newest = run.steps()?.last().map(|&step| run.checkpoint_path(step).join(MODEL_FILE));
        let own = Own::at(&config, newest.as_deref());
        let format = memory::in_use(&config, own, choice, memory);
        memory::check(&config, own, format, memory, &gpu.info().name)?;
        let tokenizer = Tokenizer::from_file(&run.tokenizer_path())?;
        if tokenizer.vocab_size() != config.vocab_size {
            let message = format!(
                "This model has {} tokens and its tokenizer {}: they do not belong together.",
                config.vocab_size,
                tokenizer.vocab_size()
            );
            return Err(AppError::new(ErrorCode::Damaged, message));
        }
        let mut saved = checkpoint::load_model(&run, None)?;
        let before = gpu.memory().current;
        let parameters = train::load(gpu, &config, &mut saved.model, (format != own.format).then_some(format))?;
        let model = Model::new(gpu, &config, parameters)?;
        Ok(Self {
            name: name.to_owned(),
            gpu: gpu.clone(),
            model,
            tokenizer,
            format,
            memory_bytes: gpu.memory().current.saturating_sub(before),
            load_ms: begun.elapsed().as_secs_f64() * 1e3,
        })
    }
}
