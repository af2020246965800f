//! Training: one loop for every stage, its metrics, and exact resume.

mod checks;
mod error;
mod event;
mod fit;
mod loss_scale;
pub mod memory;
pub mod metrics;
pub mod options;
mod origin;
mod outcome;
mod pretrain;
mod run;
mod run_config;
mod samples;
mod session;
mod sft;
mod stage;
mod state;
pub mod tensorboard;
mod tensors;
pub mod trainer;

pub use checks::check;
pub use error::TrainError;
pub use event::{Event, Length, StepReport};
pub use metrics::validation;
pub use options::{LoopOptions, PretrainOptions, SftOptions};
pub use origin::Origin;
pub use outcome::{Outcome, Setting};
pub use run::{Resume, Start, train};
pub use run_config::{RUN_CONFIG_FORMAT, RunConfig, Source, Training, run_config};
pub use tensors::load;
