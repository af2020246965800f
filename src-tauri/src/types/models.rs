//! Models and GPUs.

use nc_core::weights::Format;
use serde::Serialize;

use super::Millis;
use crate::error::AppError;

/// What a model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// It continues text.
    Base,
    /// It was fine-tuned to answer.
    Chat,
    /// It comes from elsewhere.
    Imported,
}

/// Whether a model fits the chosen GPU's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// It does.
    Fits,
    /// It takes most of it.
    Tight,
    /// It does not.
    TooLarge,
    /// The GPU does not say how much memory it has.
    Unknown,
}

/// What chatting with a model takes while its weights are in a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FormatFit {
    /// The format.
    pub format: Format,
    /// GPU memory that chatting then takes.
    pub memory_bytes: u64,
    /// Whether that fits.
    pub fit: Fit,
}

/// A model on disk.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelInfo {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: ModelKind,
    /// Whether it can chat, as far as is known.
    pub chat: bool,
    /// Why it cannot be loaded.
    pub problem: Option<AppError>,
    /// Parameters.
    pub parameters: u64,
    /// Layers.
    pub depth: u64,
    /// Channels.
    pub n_embd: u64,
    /// Heads of queries.
    pub n_head: u64,
    /// Heads of keys and values.
    pub n_kv_head: u64,
    /// Tokens of context.
    pub context: u64,
    /// Tokens of the vocabulary.
    pub vocab_size: u64,
    /// The format of its weights on disk.
    pub precision: Format,
    /// Length of its weights.
    pub file_bytes: u64,
    /// The format that its weights have while it answers.
    pub weights: Format,
    /// The one that the person chose; without one, the app chooses what fits.
    pub weights_choice: Option<Format>,
    /// All that can be chosen, widest first.
    pub formats: Vec<FormatFit>,
    /// GPU memory that chatting with it takes.
    pub memory_bytes: u64,
    /// Whether that fits.
    pub fit: Fit,
    /// Steps that it was trained for.
    pub step: Option<u64>,
    /// Bits per byte of its last validation.
    pub val_bpb: Option<f64>,
    /// When its newest checkpoint was written.
    pub updated_at: Millis,
    /// The checkpoint that its training began with.
    pub from: Option<From>,
    /// What it was imported from.
    pub source: Option<String>,
    /// What it was trained on: names of files or tasks.
    pub data: Vec<String>,
    /// Whether it is being trained now.
    pub training: bool,
    /// Whether it came with the app.
    pub shipped: bool,
}

/// A checkpoint of another run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct From {
    /// The run.
    pub run: String,
    /// Its step.
    pub step: u64,
}

/// How loading stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Loading {
    /// There is no model on the GPU.
    #[default]
    None,
    /// One is on its way there.
    #[serde(rename = "loading")]
    Begun,
    /// One is there.
    Loaded,
    /// One could not be loaded.
    Failed,
}

/// Which model is loaded.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LoadState {
    /// How loading stands.
    pub state: Loading,
    /// The model.
    pub model: Option<String>,
    /// The GPU that it is on.
    pub gpu: Option<String>,
    /// The format of its weights there.
    pub weights: Option<Format>,
    /// Bytes that it takes there.
    pub memory_bytes: u64,
    /// What loading took.
    pub load_ms: Option<f64>,
    /// Why it failed.
    pub error: Option<AppError>,
}

/// What kind of GPU it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GpuKind {
    /// A card with its own memory.
    Discrete,
    /// A part of the processor.
    Integrated,
    /// That of a virtual machine.
    Virtual,
    /// The processor itself.
    Software,
    /// Something else.
    Other,
}

/// A GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GpuInfo {
    /// Its place in the list, best first.
    pub index: u64,
    /// Its name.
    pub name: String,
    /// What kind it is.
    pub kind: GpuKind,
    /// The interface that it is used through.
    pub backend: String,
    /// Its driver.
    pub driver: String,
    /// Whether it computes in 16-bit floats.
    pub f16: bool,
    /// Its memory, where it is known.
    pub memory_bytes: Option<u64>,
    /// Whether it is the one that is used.
    pub chosen: bool,
}

/// What an import would make.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImportPlan {
    /// A name for it.
    pub name: String,
    /// What kind of file it is.
    pub format: String,
    /// Parameters.
    pub parameters: u64,
    /// Layers.
    pub depth: u64,
    /// Tokens of context.
    pub context: u64,
    /// Tokens of the vocabulary.
    pub vocab_size: u64,
    /// Length of its weights.
    pub file_bytes: u64,
    /// The format of its weights on disk.
    pub precision: Format,
    /// The format that they would have while it answers.
    pub weights: Format,
    /// All that could be chosen, widest first.
    pub formats: Vec<FormatFit>,
    /// GPU memory that chatting with it would take.
    pub memory_bytes: u64,
    /// Whether that fits.
    pub fit: Fit,
    /// What the person should know before.
    pub warnings: Vec<String>,
}

/// How an import gets on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ImportEvent {
    /// So much is done.
    Progress {
        /// What is being done.
        stage: String,
        /// Bytes done.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
}

/// The small model that comes with the app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShippedModel {
    /// The name that it gets.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Parameters.
    pub parameters: u64,
    /// Whether it is among the models already.
    pub installed: bool,
    /// What to expect of it.
    pub note: String,
}
