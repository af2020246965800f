//! nanochat's own checkpoints: `STAGE_checkpoints/TAG/model_NNNNNN.pt` with `meta_NNNNNN.json` in a base folder, and the
//! tokenizer in `tokenizer/` next to the stages. Published models have the same files in one flat folder; experiments have
//! them in `TAG/STAGE/`.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::assembled::{Assembled, ForeignTensors, Reading};
use super::spelling::{self, Spelling};
use super::stage::Stage;
use super::{Choice, Found, ImportError, Kind, Options, Provenance, Weights, architecture, json, run_name, shown_name};
use crate::files::json::from_value;
use crate::model::{Architecture, Config};

/// The parts of `meta_NNNNNN.json` that define the model. The rest is about its training.
#[derive(Deserialize)]
struct Meta {
    model_config: Map<String, Value>,
    #[serde(default)]
    val_bpb: Option<f64>,
}

/// The checkpoints of one model and stage.
pub(super) struct Model {
    /// The folder with the model's name.
    pub home: PathBuf,
    /// The folder of the checkpoints: the same, or a subfolder.
    pub folder: PathBuf,
    pub stage: Option<Stage>,
}

impl Model {
    fn tag(&self) -> String {
        shown_name(&self.home)
    }
}

/// Whether a folder contains stages.
pub(super) fn is_base(folder: &Path) -> bool {
    Stage::ALL.iter().any(|stage| folder.join(stage.folder()).is_dir())
}

/// Whether a folder contains checkpoints of one model.
pub(super) fn is_model(folder: &Path) -> bool {
    steps(folder).is_ok_and(|steps| !steps.is_empty())
}

/// Whether a folder contains folders of models.
pub(super) fn is_stage(folder: &Path) -> bool {
    models_in(folder, None).is_ok_and(|models| !models.is_empty())
}

/// The step in the name of a file `model_NNNNNN.pt`.
pub(super) fn step_of(file: &Path) -> Option<u64> {
    let digits = file.file_name()?.to_str()?.strip_prefix("model_")?.strip_suffix(".pt")?;
    digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Opens the model of a base folder.
pub(super) fn open_base(base: &Path, options: &Options) -> Result<Found, ImportError> {
    let there: Vec<Stage> = Stage::ALL.into_iter().filter(|stage| is_stage(&base.join(stage.folder()))).collect();
    let (stage, note) = Stage::choose(base, &there, options)?;
    Ok(open_in(&base.join(stage.folder()), Some(stage), options)?.with_choice(Choice::Stage, note))
}

/// Opens a model in a folder of models.
pub(super) fn open_stage(folder: &Path, options: &Options) -> Result<Found, ImportError> {
    let stage = Stage::of_models(folder);
    if let Some(asked) = options.source.filter(|asked| stage != Some(*asked)) {
        return Err(ImportError::refused(folder, format!("is not the folder of the stage {asked}: give its base folder instead")));
    }
    open_in(folder, stage, options)
}

fn open_in(folder: &Path, stage: Option<Stage>, options: &Options) -> Result<Found, ImportError> {
    open_one(folder, models_in(folder, stage).map_err(ImportError::io(folder))?, options)
}

/// Opens the model that the options name among those of one stage, or the one that the reference would take.
pub(super) fn open_one(folder: &Path, models: Vec<Model>, options: &Options) -> Result<Found, ImportError> {
    let names = models.iter().map(Model::tag).collect::<Vec<_>>().join(", ");
    let model = match &options.model_tag {
        Some(tag) => models.iter().find(|model| model.tag() == *tag).ok_or_else(|| format!("has no model {tag:?}; it has {names}")),
        None => largest(&models).ok_or_else(|| "holds no model".to_owned()),
    };
    let model = model.map_err(|problem| ImportError::refused(folder, problem))?;
    let chosen = models.len() > 1 && options.model_tag.is_none();
    let note = chosen.then(|| format!("there are the models {names}: this is {}", model.tag()));
    Ok(open_at(model, options.step, options)?.with_choice(Choice::Model, note))
}

/// The models in a folder of models, sorted by name.
fn models_in(folder: &Path, stage: Option<Stage>) -> std::io::Result<Vec<Model>> {
    let homes = folders_in(folder)?.into_iter().filter(|home| is_model(home));
    Ok(homes.map(|home| Model { folder: home.clone(), home, stage }).collect())
}

/// The folders directly in a folder, sorted by name.
pub(super) fn folders_in(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        found.push(entry?.path());
    }
    found.retain(|path| path.is_dir());
    found.sort();
    Ok(found)
}

/// The model that the reference chooses among several: the deepest by its name `dN`, else the most recent.
fn largest(models: &[Model]) -> Option<&Model> {
    let depth = |model: &Model| -> Option<u64> {
        let digits: String = model.tag().strip_prefix('d')?.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    let deepest = models.iter().filter_map(|model| Some((depth(model)?, model))).max_by_key(|(depth, _)| *depth).map(|(_, model)| model);
    let changed = |model: &&Model| fs::metadata(&model.folder).and_then(|data| data.modified()).ok();
    deepest.or_else(|| models.iter().max_by_key(changed))
}

/// Opens a model's folder.
pub(super) fn open_model(folder: &Path, options: &Options) -> Result<Found, ImportError> {
    refuse_choice(options, "the folder of one model")?;
    let parent = folder.parent().filter(|parent| parent.file_name().is_some());
    let (home, stage) = match (parent, Stage::in_experiment(folder)) {
        (Some(home), stage @ Some(_)) => (home, stage),
        _ => (folder, parent.and_then(Stage::of_models)),
    };
    let model = Model { home: home.to_path_buf(), folder: folder.to_path_buf(), stage };
    open_at(&model, options.step, options)
}

/// Opens a checkpoint by its file.
pub(super) fn open_file(file: &Path, step: u64, options: &Options) -> Result<Found, ImportError> {
    refuse_choice(options, "one checkpoint")?;
    if options.step.is_some_and(|asked| asked != step) {
        return Err(ImportError::NotApplicable { option: "step", kind: "one checkpoint" });
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    open_model(folder, &Options { step: Some(step), ..options.clone() })
}

fn refuse_choice(options: &Options, kind: &'static str) -> Result<(), ImportError> {
    match (options.source, &options.model_tag) {
        (Some(_), _) => Err(ImportError::NotApplicable { option: "source", kind }),
        (_, Some(_)) => Err(ImportError::NotApplicable { option: "model_tag", kind }),
        _ => Ok(()),
    }
}

/// Steps of a model's checkpoints, ascending.
fn steps(folder: &Path) -> std::io::Result<Vec<u64>> {
    let mut steps = Vec::new();
    for entry in fs::read_dir(folder)? {
        steps.extend(step_of(&entry?.path()));
    }
    steps.sort_unstable();
    Ok(steps)
}

fn open_at(model: &Model, step: Option<u64>, options: &Options) -> Result<Found, ImportError> {
    let (folder, stage) = (&model.folder, model.stage);
    let steps = steps(folder).map_err(ImportError::io(folder))?;
    let newest = *steps.last().ok_or_else(|| ImportError::refused(folder, "holds no checkpoint model_NNNNNN.pt"))?;
    let step = step.unwrap_or(newest);
    if !steps.contains(&step) {
        let have = steps.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        return Err(ImportError::refused(folder, format!("has no checkpoint of step {step}; it has {have}")));
    }
    let (weights_path, meta_path) = (folder.join(format!("model_{step:06}.pt")), folder.join(format!("meta_{step:06}.json")));
    let meta: Meta = json::read(&meta_path)?;
    let mut notes = Vec::new();
    if has_optimizer(folder, step) {
        notes.push("the optimizer's shards (optim_*.pt) are ignored: training begins with fresh moments".to_owned());
    }

    let tensors: Box<dyn ForeignTensors> = super::torch_file::open(&weights_path)?;
    let specs = tensors.specs();
    let names: Vec<String> = specs.iter().map(|spec| our_name(&spec.name)).collect();
    let parts = architecture::of(names.iter().map(String::as_str)).map_err(|problem| ImportError::refused(&weights_path, problem))?;
    let config = config_of(&meta, parts, &meta_path)?;
    architecture::check_windows(&config).map_err(|problem| ImportError::refused(&meta_path, problem))?;
    let filled: &[(&str, f32)] = if config.architecture.lambdas { &architecture::FILLED } else { &[] };
    let reading = Reading { rename: &|name| Some(our_name(name)), filled, shared: &[] };
    let weights = Assembled::new(&config, tensors, &reading)?;
    for name in weights.filled() {
        notes.push(format!("{name} was filled in: older checkpoints do not have it"));
    }
    notes.extend(padding_note(&weights));

    let spelling = match &options.tokenizer {
        Some(given) => Some(Spelling::open(given)?),
        None => spelling::near(folder)?,
    };
    if let Some(spelling) = &spelling {
        spelling.fit(&config)?;
    }
    let tag = run_name::name_after(&model.home);
    let provenance = Provenance { kind: Kind::Nanochat, files: vec![shown_name(&weights_path)], step: Some(step), val_bpb: meta.val_bpb };
    Ok(Found {
        model: config,
        tokenizer: spelling.map(|spelling| spelling.tokenizer),
        name: match stage {
            None | Some(Stage::Base) => tag,
            Some(stage) => format!("{tag}-{stage}"),
        },
        notes,
        choices: Vec::new(),
        weights: Weights::Foreign(weights, provenance),
    })
}

/// A note about rows of zeros, if there are any.
pub(super) fn padding_note(weights: &Assembled) -> Vec<String> {
    let note = || "the vocabulary's tables were padded with rows of zeros, which no token uses".to_owned();
    weights.is_padded().then(note).into_iter().collect()
}

/// A compiled model's tensors have a prefix.
fn our_name(name: &str) -> String {
    name.strip_prefix("_orig_mod.").unwrap_or(name).to_owned()
}

fn has_optimizer(folder: &Path, step: u64) -> bool {
    let prefix = format!("optim_{step:06}");
    fs::read_dir(folder).is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)))
}

/// The configuration of a meta file, with the architecture that follows from the tensors.
fn config_of(meta: &Meta, architecture: Architecture, path: &Path) -> Result<Config, ImportError> {
    const KEYS: [&str; 7] = ["sequence_len", "vocab_size", "n_layer", "n_head", "n_kv_head", "n_embd", "window_pattern"];
    let mut given = meta.model_config.clone();
    if let Some(key) = given.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(ImportError::refused(path, format!("has a model_config with {key:?}, which neither nc-core nor the reference knows")));
    }
    given.entry("window_pattern").or_insert_with(|| "L".into());
    let parsed: Result<Config, _> = from_value(&Value::Object(given));
    let parsed = parsed.map_err(|error| ImportError::refused(path, format!("has a model_config that cannot be read: {error}")))?;
    let config = Config { architecture, ..parsed };
    config.validate().map_err(|source| ImportError::Config { path: path.to_path_buf(), source })?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::json::from_str;

    fn folders(names: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for name in names {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        root
    }

    #[test]
    fn the_deepest_model_and_the_newest_step_are_taken() {
        let root = folders(&[
            "d4/model_000010.pt",
            "d12/model_000005.pt",
            "d12/model_000100.pt",
            "d12/model_x.pt",
            "zzz/model_000001.pt",
            "d99/notes",
        ]);
        let models = models_in(root.path(), None).unwrap();
        assert_eq!(models.iter().map(Model::tag).collect::<Vec<_>>(), ["d12", "d4", "zzz"]);
        assert_eq!(largest(&models).unwrap().tag(), "d12");
        assert_eq!(steps(&root.path().join("d12")).unwrap(), [5, 100]);
        let other = folders(&["first/model_000001.pt", "second/model_000001.pt"]);
        let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(1000);
        fs::File::open(other.path().join("second")).unwrap().set_modified(long_ago).unwrap();
        assert_eq!(largest(&models_in(other.path(), None).unwrap()).unwrap().tag(), "first");
    }

    #[test]
    fn a_meta_file_needs_a_model_that_is_known() {
        let config = |text: &str| {
            let meta: Meta = from_str(text).map_err(|error| error.to_string())?;
            config_of(&meta, Architecture::CLASSIC, Path::new("meta.json")).map_err(|error| error.to_string())
        };
        let good = r#"{"step": 10, "val_bpb": null, "new_key": [1], "model_config":
            {"sequence_len": 256, "vocab_size": 600, "n_layer": 4, "n_head": 2, "n_kv_head": 2, "n_embd": 128}}"#;
        let config_of_good = config(good).unwrap();
        assert_eq!((config_of_good.window_pattern.as_str(), config_of_good.architecture.is_classic()), ("L", true));
        assert!(config(&good.replace("model_config", "config")).unwrap_err().contains("model_config"));
        assert!(config(&good.replace("\"n_head\"", "\"n_hash\"")).unwrap_err().contains("n_hash"));
        assert!(config(&good.replace("128", "-1")).unwrap_err().contains("cannot be read"));
        assert!(config(&good.replace("128", "127")).unwrap_err().contains("not a multiple"));
        assert!(config(&good.replace(": 4", ": 18446744073709551615")).unwrap_err().contains("goes up to"));
    }
}
