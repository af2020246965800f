//! nanochat's own checkpoints: `STAGE_checkpoints/TAG/model_NNNNNN.pt` with `meta_NNNNNN.json` below a base folder, and the
//! tokenizer in `tokenizer/` beside the stages. Published models have the same files flat in one folder.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::assembled::{Assembled, ForeignTensors, Reading};
use super::spelling::{self, Spelling};
use super::{Found, ImportError, Kind, Options, Provenance, Weights, architecture, json, run_name, shown_name};
use crate::files::json::from_value;
use crate::model::{Architecture, Config};

/// A stage of training whose checkpoints nanochat keeps apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Pretraining.
    Base,
    /// What came between pretraining and fine-tuning until January 2026.
    Mid,
    /// Fine-tuning on conversations.
    Sft,
    /// Reinforcement learning.
    Rl,
}

impl Stage {
    /// All of them, the last one first.
    const ALL: [Self; 4] = [Self::Rl, Self::Sft, Self::Mid, Self::Base];

    fn folder(self) -> &'static str {
        match self {
            Self::Base => "base_checkpoints",
            Self::Mid => "mid_checkpoints",
            Self::Sft => "chatsft_checkpoints",
            Self::Rl => "chatrl_checkpoints",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Base => "base",
            Self::Mid => "mid",
            Self::Sft => "sft",
            Self::Rl => "rl",
        })
    }
}

impl FromStr for Stage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|stage| stage.to_string() == text).ok_or_else(|| "it is one of base, mid, sft, rl".to_owned())
    }
}

/// `meta_NNNNNN.json`, as far as a model needs it. All else is how it was trained.
#[derive(Deserialize)]
struct Meta {
    model_config: Map<String, Value>,
    #[serde(default)]
    val_bpb: Option<f64>,
}

/// The folder of a model.
struct Place {
    folder: PathBuf,
    stage: Option<Stage>,
}

/// Whether a folder holds stages.
pub(super) fn is_base(folder: &Path) -> bool {
    Stage::ALL.iter().any(|stage| folder.join(stage.folder()).is_dir())
}

/// Whether a folder holds checkpoints of one model.
pub(super) fn is_model(folder: &Path) -> bool {
    steps(folder).is_ok_and(|steps| !steps.is_empty())
}

/// Whether a folder holds folders of models.
pub(super) fn is_stage(folder: &Path) -> bool {
    tags(folder).is_ok_and(|tags| !tags.is_empty())
}

/// The step in the name of a file `model_NNNNNN.pt`.
pub(super) fn step_of(file: &Path) -> Option<u64> {
    let digits = file.file_name()?.to_str()?.strip_prefix("model_")?.strip_suffix(".pt")?;
    digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Opens the model of a base folder.
pub(super) fn open_base(base: &Path, options: &Options) -> Result<Found, ImportError> {
    let there: Vec<Stage> = Stage::ALL.into_iter().filter(|stage| is_stage(&base.join(stage.folder()))).collect();
    let stage = match options.source {
        Some(stage) if there.contains(&stage) => stage,
        Some(stage) => {
            return Err(ImportError::refused(base, format!("has no checkpoint of the stage {stage}; it has {}", list(&there))));
        }
        None => *there.first().ok_or_else(|| ImportError::refused(base, "has folders of checkpoints, but no checkpoint in them"))?,
    };
    let mut found = open_in(&base.join(stage.folder()), Some(stage), options)?;
    if there.len() > 1 && options.source.is_none() {
        found.notes.insert(0, format!("there are {}: this is the {stage} one; --source chooses", list(&there)));
    }
    Ok(found)
}

fn list(stages: &[Stage]) -> String {
    if stages.is_empty() { "none".to_owned() } else { stages.iter().map(Stage::to_string).collect::<Vec<_>>().join(", ") }
}

/// Opens a model in a folder of models.
pub(super) fn open_stage(folder: &Path, options: &Options) -> Result<Found, ImportError> {
    let stage = Stage::ALL.into_iter().find(|stage| folder.ends_with(stage.folder()));
    if let Some(asked) = options.source.filter(|asked| stage != Some(*asked)) {
        return Err(ImportError::refused(folder, format!("is not the folder of the stage {asked}: give its base folder instead")));
    }
    open_in(folder, stage, options)
}

fn open_in(folder: &Path, stage: Option<Stage>, options: &Options) -> Result<Found, ImportError> {
    let tags = tags(folder).map_err(ImportError::io(folder))?;
    let tag = match &options.model_tag {
        Some(tag) if tags.contains(tag) => tag.clone(),
        Some(tag) => return Err(ImportError::refused(folder, format!("has no model {tag:?}; it has {}", tags.join(", ")))),
        None => largest(folder, &tags).ok_or_else(|| ImportError::refused(folder, "holds no model"))?,
    };
    let mut found = open_folder(Place { folder: folder.join(&tag), stage }, options.step, options)?;
    if tags.len() > 1 && options.model_tag.is_none() {
        found.notes.insert(0, format!("there are the models {}: this is {tag}; --model-tag chooses", tags.join(", ")));
    }
    Ok(found)
}

/// Folders of models, sorted by name.
fn tags(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut tags = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && is_model(&path) {
            tags.push(shown_name(&path));
        }
    }
    tags.sort();
    Ok(tags)
}

/// The model that the reference takes of several: the deepest by its name `dN`, else the one changed last.
fn largest(folder: &Path, tags: &[String]) -> Option<String> {
    let depth = |tag: &str| -> Option<u64> {
        let digits: String = tag.strip_prefix('d')?.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    let deepest = tags.iter().filter_map(|tag| Some((depth(tag)?, tag))).max_by_key(|(depth, _)| *depth).map(|(_, tag)| tag);
    let changed = |tag: &&String| fs::metadata(folder.join(tag)).and_then(|data| data.modified()).ok();
    deepest.or_else(|| tags.iter().max_by_key(changed)).cloned()
}

/// Opens a model's folder.
pub(super) fn open_model(folder: &Path, options: &Options) -> Result<Found, ImportError> {
    refuse_choice(options, "the folder of one model")?;
    let stage = folder.parent().and_then(|parent| Stage::ALL.into_iter().find(|stage| parent.ends_with(stage.folder())));
    open_folder(Place { folder: folder.to_path_buf(), stage }, options.step, options)
}

/// Opens a checkpoint by its file.
pub(super) fn open_file(file: &Path, step: u64, options: &Options) -> Result<Found, ImportError> {
    refuse_choice(options, "one checkpoint")?;
    if options.step.is_some_and(|asked| asked != step) {
        return Err(ImportError::NotApplicable { option: "--step", kind: "one checkpoint" });
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    open_model(folder, &Options { step: Some(step), ..options.clone() })
}

fn refuse_choice(options: &Options, kind: &'static str) -> Result<(), ImportError> {
    match (options.source, &options.model_tag) {
        (Some(_), _) => Err(ImportError::NotApplicable { option: "--source", kind }),
        (_, Some(_)) => Err(ImportError::NotApplicable { option: "--model-tag", kind }),
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

fn open_folder(place: Place, step: Option<u64>, options: &Options) -> Result<Found, ImportError> {
    let Place { folder, stage } = place;
    let steps = steps(&folder).map_err(ImportError::io(&folder))?;
    let newest = *steps.last().ok_or_else(|| ImportError::refused(&folder, "holds no checkpoint model_NNNNNN.pt"))?;
    let step = step.unwrap_or(newest);
    if !steps.contains(&step) {
        let have = steps.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        return Err(ImportError::refused(&folder, format!("has no checkpoint of step {step}; it has {have}")));
    }
    let (weights_path, meta_path) = (folder.join(format!("model_{step:06}.pt")), folder.join(format!("meta_{step:06}.json")));
    let meta: Meta = json::read(&meta_path)?;
    let mut notes = Vec::new();
    if has_optimizer(&folder, step) {
        notes.push("the optimizer's shards (optim_*.pt) were passed over: training begins with fresh moments".to_owned());
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
        None => find_tokenizer(&folder)?,
    };
    if let Some(spelling) = &spelling {
        spelling.fit(&config)?;
    }
    let tag = run_name::name_after(&folder);
    let provenance = Provenance { kind: Kind::Nanochat, files: vec![shown_name(&weights_path)], step: Some(step), val_bpb: meta.val_bpb };
    Ok(Found {
        model: config,
        tokenizer: spelling.map(|spelling| spelling.tokenizer),
        name: match stage {
            None | Some(Stage::Base) => tag,
            Some(stage) => format!("{tag}-{stage}"),
        },
        notes,
        weights: Weights::Foreign(weights, provenance),
    })
}

/// A word on rows of zeros, where there are any.
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

/// The tokenizer beside a model, or in `tokenizer/` there, beside the models, or beside the stages.
fn find_tokenizer(folder: &Path) -> Result<Option<Spelling>, ImportError> {
    if let Some(found) = spelling::beside(folder)? {
        return Ok(Some(found));
    }
    // A relative path has no parents past its beginning.
    let folder = std::path::absolute(folder).map_err(ImportError::io(folder))?;
    for ancestor in folder.ancestors().take(3) {
        if let Some(found) = spelling::beside(&ancestor.join("tokenizer"))? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The configuration that a meta file gives, with the parts that the tensors show.
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
        let tags = tags(root.path()).unwrap();
        assert_eq!(tags, ["d12", "d4", "zzz"]);
        assert_eq!(largest(root.path(), &tags).as_deref(), Some("d12"));
        assert_eq!(steps(&root.path().join("d12")).unwrap(), [5, 100]);
        let other = folders(&["first/model_000001.pt", "second/model_000001.pt"]);
        let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(1000);
        fs::File::open(other.path().join("second")).unwrap().set_modified(long_ago).unwrap();
        assert_eq!(largest(other.path(), &["first".into(), "second".into()]).as_deref(), Some("first"));
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

    #[test]
    fn stages_have_the_names_of_the_option() {
        for stage in Stage::ALL {
            assert_eq!(stage.to_string().parse(), Ok(stage));
        }
        assert!("pretraining".parse::<Stage>().is_err());
    }
}
