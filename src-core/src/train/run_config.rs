//! `config.json` of a run: its stage, its model, and how it is trained.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::TrainError;
use super::checks::check_options;
use super::options::{LoopOptions, PretrainOptions, SftOptions};
use crate::checkpoint::Run;
use crate::interchange::import::Provenance;
use crate::model::Config;

/// The version of `config.json` that this program writes.
pub const RUN_CONFIG_FORMAT: u32 = 1;

/// `config.json` of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct RunConfig {
    /// The model.
    pub model: Config,
    /// The stage and its options.
    pub training: Training,
    /// The weights that it starts from; freshly initialised ones if absent.
    pub from: Option<Source>,
}

/// The options of a run, by its stage.
#[derive(Clone, Debug, PartialEq)]
pub enum Training {
    /// Training on text.
    Base(PretrainOptions),
    /// Training on conversations.
    Sft(SftOptions),
    /// None: the weights were imported, and there is no training to continue.
    Imported(Provenance),
}

impl Training {
    /// The options that every stage of training here has.
    pub fn common(&self) -> Option<&LoopOptions> {
        match self {
            Self::Base(options) => Some(&options.common),
            Self::Sft(options) => Some(&options.common),
            Self::Imported(_) => None,
        }
    }

    /// Whether the run starts with the optimizer's moments of its source run, not only with its weights.
    pub fn carries_moments(&self) -> bool {
        matches!(self, Self::Sft(options) if options.moment_steps > 0)
    }
}

/// A checkpoint of another run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The run.
    pub run: String,
    /// The checkpoint's step.
    pub step: u64,
}

/// The configuration in a run's `config.json`.
pub fn run_config(run: &Run) -> Result<RunConfig, TrainError> {
    let refused = |reason: String| TrainError::RunConfig { run: run.name().to_owned(), reason };
    let config: RunConfig = serde_json::from_value(run.config().clone()).map_err(|error| refused(error.to_string()))?;
    config.model.validate()?;
    check_options(&config)?;
    Ok(config)
}

/// The file as it is stored. The options in `training` depend on the stage next to it; older files
/// name no stage.
#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    #[serde(default)]
    stage: Stage,
    model: Config,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    training: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    imported: Option<Provenance>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<Source>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Stage {
    #[default]
    Base,
    Sft,
    Imported,
}

impl TryFrom<Stored> for RunConfig {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        let Stored { format, stage, model, training, imported, from } = stored;
        if format != RUN_CONFIG_FORMAT {
            return Err(format!("it has format {format}, which this version does not know"));
        }
        let training = match stage {
            Stage::Base => serde_json::from_value(training).map(Training::Base),
            Stage::Sft => serde_json::from_value(training).map(Training::Sft),
            Stage::Imported => Ok(Training::Imported(imported.ok_or("it does not say what was imported")?)),
        };
        Ok(Self { model, training: training.map_err(|error| error.to_string())?, from })
    }
}

impl From<RunConfig> for Stored {
    fn from(config: RunConfig) -> Self {
        // Options are numbers, flags and names: they always have a JSON form.
        let (stage, training, imported) = match config.training {
            Training::Base(options) => (Stage::Base, serde_json::to_value(options).unwrap_or_default(), None),
            Training::Sft(options) => (Stage::Sft, serde_json::to_value(options).unwrap_or_default(), None),
            Training::Imported(provenance) => (Stage::Imported, Value::Null, Some(provenance)),
        };
        Self { format: RUN_CONFIG_FORMAT, stage, model: config.model, training, imported, from: config.from }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of the first version, which had only one stage and all options on one level.
    const FIRST: &str = r#"{
        "format": 1,
        "model": {"sequence_len": 32, "vocab_size": 300, "n_layer": 1, "n_head": 2, "n_kv_head": 2, "n_embd": 32, "window_pattern": "SSSL"},
        "training": {"data": ["/text.txt"], "seed": 42, "num_iterations": 10, "device_batch_size": 2, "total_batch_size": 128,
            "lr_scale": 0.015625, "embedding_lr": 0.3, "unembedding_lr": 0.008, "matrix_lr": 0.02, "scalar_lr": 0.5,
            "weight_decay": 0.1, "warmup_steps": 3, "warmdown_ratio": 0.65, "final_lr_frac": 0.05, "eval_every": 4,
            "eval_tokens": 256, "sample_every": null, "save_every": 2, "keep_last": 2},
        "from": {"run": "first", "step": 20}
    }"#;

    #[test]
    fn a_file_without_a_stage_is_that_of_a_base_run() {
        let config: RunConfig = serde_json::from_str(FIRST).unwrap();
        let Training::Base(options) = &config.training else { panic!("{config:?}") };
        assert_eq!((options.num_iterations, options.warmup_steps, options.sample_every), (10, 3, None));
        assert_eq!((options.common.eval_every, options.common.matrix_lr), (Some(4), 0.02));
        assert_eq!(config.from, Some(Source { run: "first".into(), step: 20 }));
        // It is written with its stage, the options still on one level, and read back the same.
        let written = serde_json::to_value(&config).unwrap();
        assert_eq!((written["stage"].as_str(), written["training"]["total_batch_size"].as_u64()), (Some("base"), Some(128)));
        assert_eq!(serde_json::from_value::<RunConfig>(written).unwrap(), config);
    }

    #[test]
    fn an_imported_run_says_where_it_comes_from_and_nothing_of_training() {
        let file = r#"{"format": 1, "stage": "imported",
            "model": {"sequence_len": 32, "vocab_size": 300, "n_layer": 1, "n_head": 2, "n_kv_head": 2, "n_embd": 32, "window_pattern": "L"},
            "imported": {"kind": "nanochat", "files": ["model_000010.pt"], "step": 10, "val_bpb": 1.25}}"#;
        let config: RunConfig = serde_json::from_str(file).unwrap();
        let Training::Imported(provenance) = &config.training else { panic!("{config:?}") };
        assert_eq!((provenance.step, provenance.val_bpb, config.training.common()), (Some(10), Some(1.25), None));
        let written = serde_json::to_value(&config).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(file).unwrap());
        assert!(serde_json::from_str::<RunConfig>(&file.replace("\"imported\": {", "\"other\": {")).is_err());
    }

    #[test]
    fn what_this_version_does_not_know_is_refused_by_name() {
        let refused = |from: &str, to: &str| serde_json::from_str::<RunConfig>(&FIRST.replace(from, to)).unwrap_err().to_string();
        assert!(refused("\"format\": 1", "\"format\": 2").contains("format 2"));
        assert!(refused("\"format\": 1", "\"format\": 1, \"stage\": \"later\"").contains("later"));
        assert!(refused("\"seed\": 42, ", "").contains("seed"));
    }
}
