//! Models on disk: the runs that nc-core keeps, as the pages list them.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use nc_core::checkpoint::home::Home;
use nc_core::checkpoint::{MODEL_FILE, Run, RunSummary};
use nc_core::model::Config;
use nc_core::weights::Format;
use serde::Deserialize;
use serde_json::Value;

use crate::error::{AppError, AppResult, ErrorCode};
use crate::store::Choices;
use crate::types::{self, Fit, Millis, ModelInfo, ModelKind, now};

mod assets;
mod gpus;
mod import;
mod loaded;
mod memory;
mod shipped;

pub use assets::Assets;
pub use gpus::Gpus;
pub use import::{Importer, inspect};
pub use loaded::Loaded;
use memory::Own;
pub use memory::fit;
pub use shipped::{install, shipped};

/// The file in a run's folder that says that the model came with the app.
const SHIPPED_MARK: &str = "shipped";

/// What `config.json` says that a list shows.
#[derive(Deserialize)]
struct Described {
    #[serde(default)]
    stage: Option<String>,
    model: Config,
    #[serde(default)]
    training: Value,
    #[serde(default)]
    from: Option<nc_core::train::Source>,
    /// Of an import: what it was made from.
    #[serde(default)]
    imported: Option<Imported>,
}

/// What `config.json` says of an import.
#[derive(Deserialize)]
struct Imported {
    #[serde(default)]
    files: Vec<String>,
    #[serde(default)]
    val_bpb: Option<f64>,
}

/// What a list of models depends on, besides them.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// Memory of the chosen GPU.
    pub memory: Option<u64>,
    /// The runs that are in progress.
    pub training: &'a [String],
    /// The formats that the person chose.
    pub choices: &'a Choices,
}

/// All models, the one that was written last first.
pub fn list(home: &Home, around: Around<'_>) -> AppResult<Vec<ModelInfo>> {
    let mut models: Vec<ModelInfo> = Run::list(home)?.into_iter().map(|run| info(home, run, around)).collect();
    models.sort_by_key(|model| std::cmp::Reverse(model.updated_at));
    Ok(models)
}

/// One model.
pub fn one(home: &Home, name: &str, around: Around<'_>) -> AppResult<ModelInfo> {
    let run = Run::open(home, name)?;
    let steps = run.steps()?;
    Ok(info(home, RunSummary { name: name.to_owned(), steps, config: Ok(run.config().clone()) }, around))
}

fn info(home: &Home, run: RunSummary, around: Around<'_>) -> ModelInfo {
    let folder = home.run(&run.name);
    let in_progress = around.training.contains(&run.name);
    let mut model = ModelInfo { training: in_progress, updated_at: modified(&folder), ..unreadable(&run.name) };
    let described = run.config.and_then(|config| serde_json::from_value::<Described>(config).map_err(|error| error.to_string()));
    let described = described.and_then(|described| described.model.validate().map(|()| described).map_err(|error| error.to_string()));
    let described = match described {
        Ok(described) => described,
        Err(problem) => {
            let message = "This model's description, config.json, cannot be read.";
            model.problem = Some(AppError { detail: problem, ..AppError::new(ErrorCode::Damaged, message) });
            return model;
        }
    };
    describe(&mut model, &described);
    model.shipped = folder.join(SHIPPED_MARK).exists();
    let weights = run.steps.last().map(|step| folder.join("checkpoints").join(format!("{step:06}")).join(MODEL_FILE));
    let own = Own::at(&described.model, weights.as_deref());
    match run.steps.last().zip(weights) {
        Some((&step, weights)) => {
            model.step = Some(step);
            model.file_bytes = fs::metadata(&weights).map_or(0, |data| data.len());
            model.updated_at = modified(&weights);
            model.val_bpb = last_validation(&folder.join("metrics.jsonl")).or(model.val_bpb);
            if !folder.join("tokenizer.json").exists() {
                let message = "This model has no tokenizer, so it can neither read nor write: import it again with one.";
                model.problem = Some(AppError::new(ErrorCode::Unsupported, message));
            }
        }
        None if in_progress => {}
        None => model.problem = Some(AppError::new(ErrorCode::NotFound, "This model has no checkpoint yet: its training was never saved.")),
    }
    model.precision = own.format;
    model.weights_choice = around.choices.get(&model.name).copied();
    model.weights = memory::in_use(&described.model, own, model.weights_choice, around.memory);
    model.formats = memory::formats(&described.model, own, around.memory);
    if let Some(used) = model.formats.iter().find(|each| each.format == model.weights) {
        (model.memory_bytes, model.fit) = (used.memory_bytes, used.fit);
    }
    model
}

/// A model of which nothing is known but its name.
fn unreadable(name: &str) -> ModelInfo {
    ModelInfo {
        name: name.to_owned(),
        kind: ModelKind::Imported,
        chat: false,
        problem: None,
        parameters: 0,
        depth: 0,
        n_embd: 0,
        n_head: 0,
        n_kv_head: 0,
        context: 0,
        vocab_size: 0,
        precision: Format::F32,
        file_bytes: 0,
        weights: Format::F32,
        weights_choice: None,
        formats: Vec::new(),
        memory_bytes: 0,
        fit: Fit::Unknown,
        step: None,
        val_bpb: None,
        updated_at: 0,
        from: None,
        source: None,
        data: Vec::new(),
        training: false,
        shipped: false,
    }
}

fn describe(model: &mut ModelInfo, described: &Described) {
    let config = &described.model;
    model.kind = match described.stage.as_deref() {
        None | Some("base") => ModelKind::Base,
        Some("sft") => ModelKind::Chat,
        Some(_) => ModelKind::Imported,
    };
    // Of an import nobody knows; it may well have learnt to answer.
    model.chat = model.kind != ModelKind::Base;
    model.parameters = config.param_counts().total as u64;
    model.depth = config.n_layer as u64;
    model.n_embd = config.n_embd as u64;
    model.n_head = config.n_head as u64;
    model.n_kv_head = config.n_kv_head as u64;
    model.context = config.sequence_len as u64;
    model.vocab_size = config.vocab_size as u64;
    model.from = described.from.as_ref().map(|from| types::From { run: from.run.clone(), step: from.step });
    if let Some(imported) = &described.imported {
        model.source = Some(imported.files.join(", "));
        model.val_bpb = imported.val_bpb;
    }
    model.data =
        ["data", "tasks"].iter().filter_map(|key| described.training.get(key)?.as_array()).flatten().filter_map(file_name).collect();
}

/// The last part of a path.
fn file_name(path: &Value) -> Option<String> {
    let path = path.as_str()?;
    Some(Path::new(path).file_name().map_or_else(|| path.to_owned(), |name| name.to_string_lossy().into_owned()))
}

fn modified(path: &Path) -> Millis {
    let time = fs::metadata(path).and_then(|data| data.modified()).ok();
    time.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok()).map_or(0, |since| since.as_millis() as Millis)
}

/// Bits per byte of the last validation in `metrics.jsonl`, looked for at its end.
fn last_validation(path: &Path) -> Option<f64> {
    const LOOKED_AT: u64 = 1 << 19;
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOOKED_AT))).ok()?;
    let mut end = Vec::new();
    file.read_to_end(&mut end).ok()?;
    let mut lines = end.rsplit(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    lines.find_map(|line| line.get("val_bpb")?.as_f64())
}

/// Deletes a model for good, unless somebody trains it.
pub fn delete(home: &Home, name: &str) -> AppResult<()> {
    let lock = match Run::open(home, name) {
        Ok(run) => Some(run.lock()?),
        Err(_) if in_the_way(home, name) => None,
        Err(error) => return Err(error.into()),
    };
    // Out of the list in one move, whatever happens while its files are removed.
    let hidden = home.runs().join(format!(".deleted-{name}-{}", now()));
    fs::rename(home.run(name), &hidden)?;
    drop(lock);
    fs::remove_dir_all(&hidden)?;
    Ok(())
}

/// Whether there is a folder of a listed name that is no run which can be opened.
fn in_the_way(home: &Home, name: &str) -> bool {
    Run::list(home).is_ok_and(|runs| runs.iter().any(|run| run.name == name && run.config.is_err()))
}

/// Removes what deletions left behind that were cut short. What cannot be removed does no harm.
pub fn sweep(home: &Home) {
    let Ok(entries) = fs::read_dir(home.runs()) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(".deleted-")) {
        let _ = fs::remove_dir_all(entry.path());
    }
}

#[cfg(test)]
mod tests;
