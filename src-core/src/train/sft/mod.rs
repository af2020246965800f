//! Supervised fine-tuning: training on conversations.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::event::Length;
use super::stage::Stage;
use super::{LoopOptions, RunConfig, SftOptions, TrainError, Training, samples};
use crate::checkpoint::home::Home;
use crate::data::Unsupported;
use crate::data::loader::Changes;
use crate::gpu::Gpu;
use crate::model::Model;
use crate::optim::StepValues;
use crate::tasks::{self, FileRules, FileSummary, Mixture, Sources, Split, Task, TaskSpec};
use crate::tokenizer::Tokenizer;

mod loader;
mod schedule;

use loader::{SftLoader, SftState};
use schedule::SftSchedule;

/// The stage of supervised fine-tuning.
pub(super) struct FineTuning {
    options: SftOptions,
    training: Arc<dyn Task>,
    validation: Arc<dyn Task>,
    tokenizer: Arc<Tokenizer>,
    sequence_len: usize,
    schedule: SftSchedule,
}

/// Opens the tasks of `options` and mixes them.
fn open_mixture(home: &Home, options: &SftOptions, split: Split) -> Result<Arc<dyn Task>, TrainError> {
    let specs = options.tasks.iter().map(|spec| spec.parse()).collect::<Result<Vec<TaskSpec>, _>>()?;
    let unsupported = if options.skip_unsupported { Unsupported::Skip } else { Unsupported::Refuse };
    let files = FileRules { held_out: options.held_out, unsupported };
    let sources = Sources { data: options.data.clone(), offline: options.offline, cache: home.cache(), files };
    let mixture: Mixture = tasks::open_mixture(&specs, split, &sources, options.common.seed)?;
    Ok(Arc::new(mixture))
}

impl Stage for FineTuning {
    type Options = SftOptions;
    type State = SftState;
    type Loader = SftLoader<Tokenizer>;

    fn open(home: &Home, config: &RunConfig, options: &SftOptions, tokenizer: &Arc<Tokenizer>) -> Result<Self, TrainError> {
        tokenizer.chat_tokens()?;
        let schedule = SftSchedule {
            init_lr_frac: options.init_lr_frac,
            warmup_ratio: options.warmup_ratio,
            warmdown_ratio: options.common.warmdown_ratio,
            final_lr_frac: options.common.final_lr_frac,
        };
        Ok(Self {
            training: open_mixture(home, options, Split::Train)?,
            validation: open_mixture(home, options, Split::Validation)?,
            options: options.clone(),
            tokenizer: tokenizer.clone(),
            sequence_len: config.model.sequence_len,
            schedule,
        })
    }

    fn options(&self) -> &SftOptions {
        &self.options
    }

    fn common(&self) -> &LoopOptions {
        &self.options.common
    }

    /// `data` is a folder, in which files of conversations that have moved are searched by name.
    fn relocate(options: &mut SftOptions, data: &[PathBuf]) {
        let Some(folder) = data.first() else { return };
        for task in &mut options.tasks {
            let Ok(mut spec) = task.parse::<TaskSpec>() else { continue };
            let found = Path::new(&spec.name).file_name().map(|name| folder.join(name)).filter(|path| path.exists());
            if let Some(found) = found.filter(|_| spec.is_file()) {
                spec.name = found.to_string_lossy().into_owned();
                *task = spec.to_string();
            }
        }
        if options.data.is_some() {
            options.data = Some(folder.clone());
        }
    }

    fn training_of(options: SftOptions) -> Training {
        Training::Sft(options)
    }

    fn training(&self, rows: usize, saved: Option<SftState>, _changes: Changes) -> Result<Self::Loader, TrainError> {
        let (task, tokenizer) = (self.training.clone(), self.tokenizer.clone());
        Ok(match saved {
            Some(state) => SftLoader::resume(task, tokenizer, state, rows, self.sequence_len)?,
            None => SftLoader::endless(task, tokenizer, rows, self.sequence_len),
        })
    }

    fn validation(&self, rows: usize) -> Result<Self::Loader, TrainError> {
        Ok(SftLoader::once(self.validation.clone(), self.tokenizer.clone(), rows, self.sequence_len))
    }

    fn validates(&self) -> bool {
        !self.validation.is_empty()
    }

    fn validated(loader: &SftState) -> bool {
        loader.is_over()
    }

    fn files(&self) -> Vec<FileSummary> {
        self.training.files()
    }

    fn length(&self) -> Length {
        match self.options.num_iterations {
            Some(steps) => Length::Steps(steps),
            None => Length::Epoch { conversations: self.training.len() },
        }
    }

    /// By steps if their number is given, else by packed conversations.
    fn progress(options: &SftOptions, step: u64, loader: &SftState) -> f64 {
        match options.num_iterations {
            Some(steps) => step as f64 / steps as f64,
            None => (loader.consumed as f64 / loader.conversations.max(1) as f64).min(1.0),
        }
    }

    fn values(&self, step: u64, progress: f64) -> StepValues {
        self.schedule.at(step, progress)
    }

    fn moment_steps(&self) -> u64 {
        self.options.moment_steps
    }

    fn epoch(loader: &SftState) -> u64 {
        loader.epoch
    }

    fn left_out(loader: &SftState) -> u64 {
        loader.left_out
    }

    fn sample_every(&self) -> Option<u64> {
        self.options.sample_every
    }

    fn samples(&self, gpu: &Gpu, model: &Model) -> Result<Vec<String>, TrainError> {
        samples::answers(gpu, model, &self.tokenizer)
    }
}
