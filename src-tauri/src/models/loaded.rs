//! A model on the GPU, with its tokenizer.

use std::time::Instant;

use nc_core::checkpoint::home::Home;
use nc_core::checkpoint::{self, Run};
use nc_core::gpu::Gpu;
use nc_core::model::{Config, Model};
use nc_core::tokenizer::Tokenizer;
use nc_core::train;
use serde::Deserialize;

use super::{inference_memory, memory};
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
    /// Loads the newest checkpoint of the run `name` onto a GPU that has `memory` bytes, where it says.
    pub fn open(home: &Home, gpu: &Gpu, name: &str, memory: Option<u64>) -> AppResult<Self> {
        let begun = Instant::now();
        let run = Run::open(home, name)?;
        let damaged = |detail: String| AppError { detail, ..AppError::new(ErrorCode::Damaged, "This model's config.json cannot be used.") };
        let Described { model: config } = serde_json::from_value(run.config().clone()).map_err(|error| damaged(error.to_string()))?;
        config.validate().map_err(|error| damaged(error.to_string()))?;
        memory::check(inference_memory(&config), memory, &gpu.info().name)?;
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
        let parameters = train::load(gpu, &config, &mut saved.model, None)?;
        let model = Model::new(gpu, &config, parameters)?;
        Ok(Self {
            name: name.to_owned(),
            gpu: gpu.clone(),
            model,
            tokenizer,
            memory_bytes: gpu.memory().current.saturating_sub(before),
            load_ms: begun.elapsed().as_secs_f64() * 1e3,
        })
    }
}
