//! Training on this machine.

use serde::{Deserialize, Serialize};

use super::{Fit, Millis};
use crate::error::AppError;

/// What to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainRequest {
    /// Name of the run.
    pub name: String,
    /// Layers.
    pub depth: u64,
    /// Tokens of context.
    pub context: u64,
    /// Whether to fine-tune it for conversation afterwards.
    pub chat: bool,
    /// What to train on.
    pub data: TrainData,
    /// For how long.
    pub budget: Budget,
    /// Seed of the initial weights.
    pub seed: u64,
}

/// What to train on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum TrainData {
    /// The sample corpus that comes with the app. With braces, so that fields it has not are refused.
    Shipped {},
    /// Files that the person chose.
    Picked {
        /// What stands for them.
        tokens: Vec<String>,
    },
}

/// For how long to train.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Budget {
    /// So many optimizer steps.
    Steps {
        /// How many.
        steps: u64,
    },
    /// So many tokens.
    Tokens {
        /// How many.
        tokens: u64,
    },
    /// So many minutes, by the speed that is measured at the start.
    Minutes {
        /// How many.
        minutes: f64,
    },
}

/// What a request would make.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainPlan {
    /// Parameters.
    pub parameters: u64,
    /// Channels.
    pub n_embd: u64,
    /// Heads.
    pub n_head: u64,
    /// Tokens of the vocabulary.
    pub vocab_size: u64,
    /// Tokens of a step.
    pub tokens_per_step: u64,
    /// Steps, where they are known before.
    pub steps: Option<u64>,
    /// Tokens in all, where they are known before.
    pub tokens: Option<u64>,
    /// GPU memory of a step.
    pub memory_bytes: u64,
    /// Whether that fits.
    pub fit: Fit,
    /// Why it cannot start as asked.
    pub problem: Option<AppError>,
    /// The GPU.
    pub gpu: String,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainState {
    /// Its process is starting.
    Starting,
    /// It trains.
    Running,
    /// It finishes a step, to be gone on with.
    Pausing,
    /// It waits to be gone on with.
    Paused,
    /// It finishes a step, to end.
    Stopping,
    /// It was ended by the person.
    Stopped,
    /// It is complete.
    Finished,
    /// Its process ended by itself.
    Crashed,
    /// It could not go on, and said why.
    Failed,
}

impl TrainState {
    /// Whether a process is at work.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Pausing | Self::Stopping)
    }
}

/// What a run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainPhase {
    /// Data and GPU are being opened.
    Preparing,
    /// A tokenizer is being trained.
    Tokenizer,
    /// A few steps are timed, to fill the minutes that were asked for.
    Measuring,
    /// The base model is being trained.
    Pretraining,
    /// It is being taught to answer.
    FineTuning,
}

/// A training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainRun {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub state: TrainState,
    /// What it is doing.
    pub phase: TrainPhase,
    /// Steps done in this phase.
    pub step: u64,
    /// Steps of this phase, where they are known.
    pub steps: Option<u64>,
    /// Part of this phase that is done.
    pub progress: f64,
    /// Seconds left of this phase.
    pub eta_seconds: Option<f64>,
    /// When it was begun.
    pub started_at: Millis,
    /// What went wrong.
    pub error: Option<AppError>,
    /// The fine-tuned model, when there is one.
    pub chat_model: Option<String>,
}

/// What happens in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TrainEvent {
    /// All that happened so far.
    History {
        /// By phase.
        history: TrainHistory,
    },
    /// How the run stands now.
    Run {
        /// The run.
        run: TrainRun,
    },
    /// A phase trains its first step.
    Started {
        /// The phase.
        phase: TrainPhase,
        /// Parameters of the model.
        parameters: u64,
        /// GPU memory in use.
        memory_bytes: u64,
        /// The GPU.
        gpu: String,
        /// The step.
        step: u64,
        /// Steps of the phase, where they are known.
        steps: Option<u64>,
    },
    /// A step is done.
    Step {
        /// The phase.
        phase: TrainPhase,
        /// What it measured.
        point: StepPoint,
        /// Part of the phase that is done.
        progress: f64,
        /// Seconds left.
        eta_seconds: f64,
    },
    /// Bits per byte on text that it was not trained on.
    Validation {
        /// The phase.
        phase: TrainPhase,
        /// The step before which it was measured.
        step: u64,
        /// Bits per byte.
        bpb: f64,
        /// The lowest so far.
        min_bpb: f64,
    },
    /// Text that the model wrote.
    Sample {
        /// The phase.
        phase: TrainPhase,
        /// The step.
        step: u64,
        /// The text.
        text: String,
    },
    /// A checkpoint was saved.
    Saved {
        /// The phase.
        phase: TrainPhase,
        /// The step.
        step: u64,
    },
    /// Something that the person may want to know.
    Note {
        /// A sentence.
        text: String,
    },
}

/// What a step measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepPoint {
    /// The step.
    pub step: u64,
    /// Loss in nats.
    pub loss: f64,
    /// Its exponential average.
    pub smooth_loss: f64,
    /// Bits per byte.
    pub bpb: f64,
    /// Tokens so far.
    pub tokens: u64,
    /// Tokens a second.
    pub tokens_per_second: f64,
    /// GPU memory in use.
    #[serde(alias = "memory")]
    pub memory_bytes: u64,
    /// Seconds of the step.
    pub seconds: f64,
}

/// The curves of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainHistory {
    /// The run.
    pub name: String,
    /// One for each phase that has trained.
    pub phases: Vec<PhaseHistory>,
}

/// The curves of a phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseHistory {
    /// The phase.
    pub phase: TrainPhase,
    /// Steps, thinned where there are many.
    pub points: Vec<StepPoint>,
    /// Validations.
    pub validations: Vec<ValidationPoint>,
    /// Texts that the model wrote.
    pub samples: Vec<SamplePoint>,
}

/// A validation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValidationPoint {
    /// The step before which it was measured.
    pub step: u64,
    /// Bits per byte.
    pub bpb: f64,
}

/// A text that the model wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SamplePoint {
    /// The step.
    pub step: u64,
    /// The text.
    pub text: String,
}
