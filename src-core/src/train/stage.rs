//! What is specific to a stage of training. The loop in [`session`](super::session) is the same for all.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::event::Length;
use super::{LoopOptions, RunConfig, TrainError, Training};
use crate::checkpoint::home::Home;
use crate::data::batch::BatchSource;
use crate::data::loader::Changes;
use crate::gpu::Gpu;
use crate::model::Model;
use crate::optim::StepValues;
use crate::tasks::FileSummary;
use crate::tokenizer::Tokenizer;

/// A stage of training with its data open.
///
/// A run's progress goes from 0 to 1. It depends only on the options, the step, and the state of the loader after
/// that many steps, so that a resumed run has the same progress.
pub(super) trait Stage: Sized {
    /// The stage's own options.
    type Options: Clone;
    /// The state of its loader.
    type State: Clone + Serialize + DeserializeOwned + Send + 'static;
    /// Its loader.
    type Loader: BatchSource<State = Self::State>;

    /// Opens the data, and rejects what can be rejected before a run is created.
    fn open(home: &Home, config: &RunConfig, options: &Self::Options, tokenizer: &Arc<Tokenizer>) -> Result<Self, TrainError>;

    /// The options that it was opened with.
    fn options(&self) -> &Self::Options;

    /// The options that every stage has.
    fn common(&self) -> &LoopOptions;

    /// Makes `options` refer to the same data in another place.
    fn relocate(options: &mut Self::Options, data: &[PathBuf]);

    /// The stage's options, as stored in a run's configuration.
    fn training_of(options: Self::Options) -> Training;

    /// Batches of `rows` rows to train on, from the beginning or from where a checkpoint left off.
    fn training(&self, rows: usize, saved: Option<Self::State>, changes: Changes) -> Result<Self::Loader, TrainError>;

    /// Batches of `rows` rows to validate on, from the beginning.
    fn validation(&self, rows: usize) -> Result<Self::Loader, TrainError>;

    /// Whether there is anything to validate on.
    fn validates(&self) -> bool {
        true
    }

    /// Whether all validation data has been returned.
    fn validated(_loader: &Self::State) -> bool {
        false
    }

    /// What was found in files of conversations.
    fn files(&self) -> Vec<FileSummary> {
        Vec::new()
    }

    /// How long the run is.
    fn length(&self) -> Length;

    /// Progress after `step` steps; 1 is the end.
    fn progress(options: &Self::Options, step: u64, loader: &Self::State) -> f64;

    /// The scheduled values of step `step`, which begins at `progress`.
    fn values(&self, step: u64, progress: f64) -> StepValues;

    /// Steps made with the optimizer's moments before the run.
    fn moment_steps(&self) -> u64 {
        0
    }

    /// The epoch: how many times reading the data has started.
    fn epoch(loader: &Self::State) -> u64;

    /// Rows of data with nothing to learn from.
    fn left_out(_loader: &Self::State) -> u64 {
        0
    }

    /// Steps between samples; none if absent.
    fn sample_every(&self) -> Option<u64> {
        None
    }

    /// Current samples of the model.
    fn samples(&self, _gpu: &Gpu, _model: &Model) -> Result<Vec<String>, TrainError> {
        Ok(Vec::new())
    }
}
