//! Pretraining: training on text.

use std::path::PathBuf;
use std::sync::Arc;

use super::event::Length;
use super::stage::Stage;
use super::{LoopOptions, PretrainOptions, RunConfig, TrainError, Training, samples};
use crate::checkpoint::home::Home;
use crate::data::loader::{Changes, Loader, LoaderState};
use crate::data::{DataSet, Digests, Fingerprint, Split};
use crate::gpu::Gpu;
use crate::model::Model;
use crate::optim::{Schedule, StepValues};
use crate::tokenizer::Tokenizer;

/// The stage of pretraining.
pub(super) struct Pretraining {
    options: PretrainOptions,
    data: DataSet,
    fingerprint: Fingerprint,
    tokenizer: Arc<Tokenizer>,
    sequence_len: usize,
    schedule: Schedule,
}

impl Stage for Pretraining {
    type Options = PretrainOptions;
    type State = LoaderState;
    type Loader = Loader<Arc<Tokenizer>>;

    fn open(home: &Home, config: &RunConfig, options: &PretrainOptions, tokenizer: &Arc<Tokenizer>) -> Result<Self, TrainError> {
        let schedule = Schedule {
            num_iterations: options.num_iterations,
            warmup_steps: options.warmup_steps,
            warmdown_ratio: options.common.warmdown_ratio,
            final_lr_frac: options.common.final_lr_frac,
            weight_decay: options.weight_decay,
        };
        let data = DataSet::open(&options.data)?;
        Ok(Self {
            fingerprint: data.fingerprint(&mut Digests::open(&home.cache()))?,
            data,
            options: options.clone(),
            tokenizer: tokenizer.clone(),
            sequence_len: config.model.sequence_len,
            schedule,
        })
    }

    fn options(&self) -> &PretrainOptions {
        &self.options
    }

    fn common(&self) -> &LoopOptions {
        &self.options.common
    }

    fn relocate(options: &mut PretrainOptions, data: &[PathBuf]) {
        options.data = data.to_vec();
    }

    fn training_of(options: PretrainOptions) -> Training {
        Training::Base(options)
    }

    fn training(&self, rows: usize, saved: Option<LoaderState>, changes: Changes) -> Result<Self::Loader, TrainError> {
        let (data, fingerprint, tokenizer) = (self.data.clone(), self.fingerprint.clone(), self.tokenizer.clone());
        Ok(match saved {
            Some(state) => Loader::resume(data, fingerprint, tokenizer, state, changes, rows, self.sequence_len)?,
            None => Loader::new(data, fingerprint, Split::Train, tokenizer, rows, self.sequence_len),
        })
    }

    fn validation(&self, rows: usize) -> Result<Self::Loader, TrainError> {
        let (data, fingerprint, tokenizer) = (self.data.clone(), self.fingerprint.clone(), self.tokenizer.clone());
        Ok(Loader::new(data, fingerprint, Split::Val, tokenizer, rows, self.sequence_len))
    }

    fn length(&self) -> Length {
        Length::Steps(self.options.num_iterations)
    }

    fn progress(options: &PretrainOptions, step: u64, _loader: &LoaderState) -> f64 {
        step as f64 / options.num_iterations as f64
    }

    fn values(&self, step: u64, _progress: f64) -> StepValues {
        self.schedule.at(step)
    }

    fn epoch(loader: &LoaderState) -> u64 {
        loader.epoch
    }

    fn sample_every(&self) -> Option<u64> {
        self.options.sample_every
    }

    fn samples(&self, gpu: &Gpu, model: &Model) -> Result<Vec<String>, TrainError> {
        samples::continuations(gpu, model, &self.tokenizer)
    }
}
