//! Loads a run's model onto a GPU, for the subcommands that use it.

use super::{Context, Failure};
use crate::checkpoint::{self, Run};
use crate::gpu::Gpu;
use crate::model::Model;
use crate::tokenizer::{Tokenizer, TokenizerError};
use crate::train::{self, RunConfig, TrainError, Training, run_config};
use crate::weights::Format;

/// Which model to load.
#[derive(clap::Args)]
pub struct Which {
    /// The run [default: the only one]
    #[arg(long, value_name = "NAME")]
    run: Option<String>,
    /// The checkpoint's step [default: the newest]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    step: Option<u64>,
    /// Format of the weights in memory: f32, bf16, f16, q8 or q4 [default: that of the checkpoint]
    #[arg(long, value_name = "FORMAT")]
    weights: Option<Format>,
}

impl Which {
    /// The requested format of the weights.
    pub fn weights(&self) -> Option<Format> {
        self.weights
    }
}

/// A loaded model with its tokenizer.
pub struct Loaded {
    pub gpu: Gpu,
    pub name: String,
    pub step: u64,
    /// The SHA-256 of the checkpoint's weights.
    pub sha256: String,
    pub model: Model,
    /// `None` for a run that was imported without one.
    pub tokenizer: Option<Tokenizer>,
}

impl Loaded {
    /// Loads the model that `which` names.
    pub fn open(which: &Which, context: &Context) -> Result<Self, Failure> {
        let name = match &which.run {
            Some(name) => name.clone(),
            None => only_run(context)?,
        };
        Self::read(&name, which.step, which.weights, context, None)
    }

    /// Loads the newest checkpoint of another run onto the same GPU, with weights in the format of `which`.
    pub fn beside(&self, name: &str, which: &Which, context: &Context) -> Result<Self, Failure> {
        Self::read(name, None, which.weights, context, Some(&self.gpu))
    }

    fn read(name: &str, step: Option<u64>, weights: Option<Format>, context: &Context, gpu: Option<&Gpu>) -> Result<Self, Failure> {
        let run = Run::open(&context.home, name)?;
        let config = run_config(&run)?.model;
        let tokenizer = if run.tokenizer_path().exists() { Some(tokenizer_of(&run)?) } else { None };
        if let Some(size) = tokenizer.as_ref().map(Tokenizer::vocab_size).filter(|&size| size != config.vocab_size) {
            return Err(Failure::input(format!(
                "run {name} has a model of {} ids and a tokenizer of {size}; they do not belong together",
                config.vocab_size
            )));
        }
        // The checkpoint records whether the run has a tokenizer.
        let mut saved = checkpoint::load_model(&run, step)?;
        let gpu = gpu.map_or_else(|| Gpu::open(context.adapter.as_deref()), |gpu| Ok(gpu.clone()))?;
        let parameters = train::load(&gpu, &config, &mut saved.model, weights)?;
        let model = Model::new(&gpu, &config, parameters)?;
        Ok(Self { gpu, name: name.to_owned(), step: saved.step, sha256: saved.sha256, model, tokenizer })
    }

    /// The tokenizer, or an error if there is none.
    pub fn tokenizer(&self) -> Result<&Tokenizer, Failure> {
        self.tokenizer.as_ref().ok_or_else(|| no_tokenizer(&self.name))
    }
}

/// The tokenizer of a run; an imported one may have none.
pub fn tokenizer_of(run: &Run) -> Result<Tokenizer, Failure> {
    let imported = || matches!(run_config(run), Ok(RunConfig { training: Training::Imported(_), .. }));
    match Tokenizer::from_file(&run.tokenizer_path()) {
        Err(TokenizerError::Missing { .. }) if imported() => Err(no_tokenizer(run.name())),
        read => Ok(read?),
    }
}

fn no_tokenizer(name: &str) -> Failure {
    Failure::input(format!(
        "run {name} was imported without a tokenizer, so it understands token ids only (`score --ids`, `generate --ids`): import it again with `nc-core import … --tokenizer FILE`"
    ))
}

/// The name of the only run.
pub fn only_run(context: &Context) -> Result<String, Failure> {
    let mut runs = Run::list(&context.home)?;
    match runs.len() {
        1 => Ok(runs.remove(0).name),
        0 => Err(Failure::input("there is no run yet; make one with `nc-core train`")),
        _ => {
            let names: Vec<String> = runs.into_iter().map(|run| run.name).collect();
            Err(Failure::input(format!("say which run with --run NAME: {}", names.join(", "))))
        }
    }
}

/// Rejects resuming a run by another command than the one that made it.
pub fn check_made_by(command: &str, run: &Run) -> Result<(), Failure> {
    let made_by = match run_config(run)?.training {
        Training::Base(_) => "train",
        Training::Sft(_) => "sft",
        Training::Imported(_) => return Err(TrainError::Imported { run: run.name().to_owned() }.into()),
    };
    if made_by == command {
        return Ok(());
    }
    let name = run.name();
    Err(Failure::input(format!("run {name} was made by `nc-core {made_by}`: resume it with `nc-core {made_by} --resume --run {name}`")))
}
