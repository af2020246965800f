//! From a run's folder to its outcome: creates or opens the run, locks it, and starts the loop of its stage.

use std::path::PathBuf;

use super::TrainError;
use super::checks::check;
use super::event::Event;
use super::origin::Origin;
use super::outcome::{Outcome, Setting};
use super::pretrain::Pretraining;
use super::run_config::{RunConfig, Training, run_config};
use super::session::{Begin, Session};
use super::sft::FineTuning;
use super::stage::Stage;
use super::state::Saved;
use crate::checkpoint::{Run, RunLock};
use crate::data::loader::Changes;
use crate::tokenizer::Tokenizer;

/// How a run begins.
#[derive(Debug)]
pub enum Start {
    /// A new run.
    Fresh {
        /// The content of its `config.json`.
        config: Box<RunConfig>,
        /// The opened checkpoint of `config.from`.
        origin: Option<Box<Origin>>,
    },
    /// From the newest complete checkpoint of the run; from the beginning if there is none.
    Resume(Resume),
}

/// Changes since the run began.
#[derive(Clone, Debug, Default)]
pub struct Resume {
    /// The new place of its data, if it has moved: the same files for a base run, a folder of them for one on
    /// conversations. The run remembers it.
    pub data: Vec<PathBuf>,
    /// What to do if the data has changed.
    pub changes: Changes,
}

/// Trains the run `name` until its last step, or until it is interrupted. `tell` receives all events as they happen.
pub fn train(setting: Setting<'_>, name: &str, start: Start, tell: &mut dyn FnMut(Event)) -> Result<Outcome, TrainError> {
    match start {
        Start::Fresh { config, origin } => match config.training.clone() {
            Training::Base(options) => begin::<Pretraining>(setting, name, *config, &options, origin, tell),
            Training::Sft(options) => begin::<FineTuning>(setting, name, *config, &options, origin, tell),
            Training::Imported(_) => Err(TrainError::Imported { run: name.to_owned() }),
        },
        Start::Resume(how) => {
            let lock = Run::open(setting.home, name)?.lock()?;
            let config = run_config(lock.run())?;
            match config.training.clone() {
                Training::Base(options) => resume::<Pretraining>(setting, &lock, config, options, &how, tell),
                Training::Sft(options) => resume::<FineTuning>(setting, &lock, config, options, &how, tell),
                Training::Imported(_) => Err(TrainError::Imported { run: name.to_owned() }),
            }
        }
    }
}

/// Creates a run and trains it.
fn begin<S: Stage>(
    setting: Setting<'_>,
    name: &str,
    mut config: RunConfig,
    options: &S::Options,
    origin: Option<Box<Origin>>,
    tell: &mut dyn FnMut(Event),
) -> Result<Outcome, TrainError> {
    // Everything that can be rejected is rejected before the run's folder exists.
    check(setting.gpu, &config)?;
    check_vocabulary(&config, setting.tokenizer)?;
    let stage = S::open(setting.home, &config, options, setting.tokenizer)?;
    let files = stage.files();
    files.iter().for_each(|file| tell(Event::Conversations(file.clone())));
    if let Training::Sft(options) = &mut config.training {
        options.files = files;
    }
    let stored = serde_json::to_value(&config).unwrap_or_default();
    let run = Run::create(setting.home, name, &stored, &setting.tokenizer.to_json())?;
    let lock = run.lock()?;

    let mut trained = false;
    let mut listen = |event| {
        trained |= matches!(event, Event::Step(_) | Event::Saved { .. });
        tell(event);
    };
    let outcome = Session::open(setting, &lock, config, stage, Begin { saved: None, changes: Changes::Refuse, origin }, &mut listen)
        .and_then(|mut session| session.run(setting.interrupt, &mut listen));
    if outcome.is_err() && !trained {
        // A run without progress would only block the next try. No other process can have started using it
        // meanwhile: it is still locked.
        let _ = std::fs::remove_dir_all(run.folder());
    }
    outcome
}

/// Resumes a run.
fn resume<S: Stage>(
    setting: Setting<'_>,
    lock: &RunLock,
    mut config: RunConfig,
    mut options: S::Options,
    how: &Resume,
    tell: &mut dyn FnMut(Event),
) -> Result<Outcome, TrainError> {
    check_vocabulary(&config, setting.tokenizer)?;
    let saved: Option<Saved<S::State>> = Saved::newest(lock.run(), tell)?;
    if let Some(saved) = saved.as_ref().filter(|saved| S::progress(&options, saved.checkpoint.step, &saved.state.loader) >= 1.0) {
        return Ok(complete::<S>(saved));
    }
    let origin = match (&saved, &config.from) {
        (None, Some(source)) => {
            Some(Box::new(Origin::open(&Run::open(setting.home, &source.run)?, Some(source.step), config.training.carries_moments())?))
        }
        _ => None,
    };
    if !how.data.is_empty() {
        S::relocate(&mut options, &how.data);
        config.training = S::training_of(options.clone());
    }
    let stage = S::open(setting.home, &config, &options, setting.tokenizer)?;
    let stored = serde_json::to_value(&config).unwrap_or_default();
    let mut session = Session::open(setting, lock, config, stage, Begin { saved, changes: how.changes, origin }, tell)?;
    if !how.data.is_empty() {
        // Only if the data is right: the next resume will look there.
        lock.replace_config(&stored)?;
    }
    session.run(setting.interrupt, tell)
}

/// The outcome of a run that is already complete.
fn complete<S: Stage>(saved: &Saved<S::State>) -> Outcome {
    let step = saved.checkpoint.step;
    Outcome {
        first_step: step,
        step,
        num_iterations: Some(step),
        interrupted: false,
        val_bpb: None,
        min_val_bpb: saved.state.min_val_bpb,
        first_val_bpb: None,
        loss: saved.state.smooth_loss.after(step),
        left_out: S::left_out(&saved.state.loader),
        training_seconds: saved.state.training_seconds,
        peak_memory: 0,
    }
}

fn check_vocabulary(config: &RunConfig, tokenizer: &Tokenizer) -> Result<(), TrainError> {
    let (model, tokenizer) = (config.model.vocab_size, tokenizer.vocab_size());
    if model == tokenizer { Ok(()) } else { Err(TrainError::OtherVocabulary { model, tokenizer }) }
}
