//! Import: makes runs of models from elsewhere.
//!
//! A path may contain nanochat's own checkpoints, a folder of Hugging Face's transformers or of our own export,
//! or a run from another machine. [`open`] detects which, and checks everything that can be checked without reading weights:
//! names, shapes, types, the tokenizer. [`Found::write`] then streams the weights, so that the largest model
//! needs no more memory than the smallest. Files are untrusted: nothing in them is executed, and nothing is allocated
//! based on their claims alone.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::checkpoint::{TensorSource, TensorSpec};
use crate::model::Config;
use crate::tokenizer::Tokenizer;

mod architecture;
mod assembled;
mod error;
mod experiment;
#[cfg(feature = "net")]
pub mod hub;
mod hugging_face;
mod json;
mod nanochat;
mod own_run;
mod recognise;
mod run_name;
mod shards;
mod spelling;
mod stage;
mod torch_file;
mod write;

pub use error::ImportError;
pub use recognise::open;
pub use spelling::open_tokenizer;
pub use stage::Stage;
pub use write::Progress;

use assembled::Assembled;
use own_run::OwnRun;

/// What to import if a path contains more than one model.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The checkpoint's step; by default the newest.
    pub step: Option<u64>,
    /// The stage of a nanochat base folder or experiment; by default the last one.
    pub source: Option<Stage>,
    /// The model in a nanochat base folder or experiment; by default the deepest.
    pub model_tag: Option<String>,
    /// A `tokenizer.pkl` or `tokenizer.json` in another place.
    pub tokenizer: Option<PathBuf>,
}

/// The kind of source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A checkpoint of nanochat.
    Nanochat,
    /// A folder of Hugging Face's transformers.
    HuggingFace,
    /// A folder that nc-core exported.
    NcCore,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nanochat => "a checkpoint of nanochat",
            Self::HuggingFace => "a Hugging Face folder",
            Self::NcCore => "an export of nc-core",
        })
    }
}

/// The origin of imported weights, as recorded in the run's `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The kind of source.
    pub kind: Kind,
    /// The names of the weight files.
    pub files: Vec<String>,
    /// The step at which they were saved, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// Their bits per byte on the source's own validation data, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_bpb: Option<f64>,
}

/// Something that a path may contain several of, and that [`Options`] can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// A stage of training.
    Stage,
    /// A model.
    Model,
}

/// A model that was found, checked, and not yet written anywhere.
pub struct Found {
    model: Config,
    tokenizer: Option<Tokenizer>,
    name: String,
    notes: Vec<String>,
    choices: Vec<Choice>,
    weights: Weights,
}

/// The weights of a found model.
enum Weights {
    /// From another program, to be renamed and converted.
    Foreign(Assembled, Provenance),
    /// From a run of nc-core, to be copied with everything else.
    Own(Box<OwnRun>),
}

impl Found {
    /// The model's configuration.
    pub fn model(&self) -> &Config {
        &self.model
    }

    /// Names, shapes and formats of its weights, as they will be on disk.
    pub fn specs(&self) -> Vec<TensorSpec> {
        match &self.weights {
            Weights::Foreign(weights, _) => weights.specs(),
            Weights::Own(run) => run.checkpoint.model.specs().cloned().collect(),
        }
    }

    /// Its tokenizer, if it has one.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref()
    }

    /// The same, with a note on what was chosen, if there was a choice.
    fn with_choice(mut self, choice: Choice, note: Option<String>) -> Self {
        if let Some(note) = note {
            self.choices.push(choice);
            self.notes.insert(0, note);
        }
        self
    }

    /// The same with another name.
    pub fn named(self, name: String) -> Self {
        Self { name, ..self }
    }

    /// A name for the run, from its folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Notes for the user: what was chosen, filled in, or ignored. Each is a sentence.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What was chosen among several, if [`Options`] did not name one.
    pub fn choices(&self) -> &[Choice] {
        &self.choices
    }

    /// The origin of the weights; `None` for a run of nc-core, which keeps its own `config.json`.
    pub fn provenance(&self) -> Option<&Provenance> {
        match &self.weights {
            Weights::Foreign(_, provenance) => Some(provenance),
            Weights::Own(_) => None,
        }
    }

    /// The `config.json` of a run of nc-core.
    pub fn own_config(&self) -> Option<&Value> {
        match &self.weights {
            Weights::Foreign(..) => None,
            Weights::Own(run) => Some(run.config()),
        }
    }

    /// Whether its training can be resumed.
    pub fn resumes(&self) -> bool {
        matches!(&self.weights, Weights::Own(run) if run.checkpoint.optimizer.is_some())
    }

    /// The step that the run's checkpoint will have.
    pub fn step(&self) -> u64 {
        match &self.weights {
            Weights::Foreign(_, provenance) => provenance.step.unwrap_or(0),
            Weights::Own(run) => run.step(),
        }
    }
}

/// The last component of a path, for messages.
fn shown_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
