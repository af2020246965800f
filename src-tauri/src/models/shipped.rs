//! The small model that comes with the app: a whole run in `assets/model`, copied among the person's models on request.

use std::fs;
use std::path::Path;

use nc_core::checkpoint::home::Home;
use nc_core::checkpoint::{MODEL_FILE, Run};
use nc_core::model::Config;

use super::{Around, Assets, SHIPPED_MARK};
use crate::error::{AppError, AppResult, ErrorCode};
use crate::types::{ModelInfo, ShippedModel};

/// The name that it gets.
const NAME: &str = "nanochat-small";

/// What to expect of it.
const NOTE: &str = "A very small model that was trained in some minutes on two processor cores. It answers simple questions like those it was taught, and shows how everything works.";

/// What would be installed, if this build has a model.
pub fn shipped(assets: &Assets, home: &Home) -> Option<ShippedModel> {
    let folder = assets.model()?;
    let config: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("config.json")).ok()?).ok()?;
    let config: Config = serde_json::from_value(config.get("model")?.clone()).ok()?;
    Some(ShippedModel {
        name: NAME.into(),
        bytes: fs::metadata(weights(&folder)?).ok()?.len(),
        parameters: config.param_counts().total as u64,
        installed: home.run(NAME).is_dir(),
        note: NOTE.into(),
    })
}

/// The file of weights of the only checkpoint in a run's folder.
fn weights(folder: &Path) -> Option<std::path::PathBuf> {
    let mut checkpoints = fs::read_dir(folder.join("checkpoints")).ok()?;
    checkpoints.find_map(|entry| Some(entry.ok()?.path().join(MODEL_FILE)).filter(|file| file.is_file()))
}

/// Copies it among the person's models.
pub fn install(assets: &Assets, home: &Home, around: Around<'_>) -> AppResult<ModelInfo> {
    let from = assets.model().ok_or_else(|| AppError::not_found("No model ships with this build: train one, or import one."))?;
    if !home.run(NAME).exists() {
        Run::check_vacant(home, NAME)?;
        fs::create_dir_all(home.runs())?;
        // Whole or not at all.
        let unfinished = tempfile::Builder::new().prefix(".new-").tempdir_in(home.runs())?;
        copy(&from, unfinished.path())?;
        fs::write(unfinished.path().join(SHIPPED_MARK), "")?;
        fs::rename(unfinished.path(), home.run(NAME))?;
        let _ = unfinished.keep();
    }
    let model = super::one(home, NAME, around)?;
    match &model.problem {
        Some(problem) => Err(AppError {
            detail: problem.message.clone(),
            ..AppError::new(ErrorCode::Damaged, "The model that ships with the app is damaged.")
        }),
        None => Ok(model),
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
