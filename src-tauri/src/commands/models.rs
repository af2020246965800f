//! Models and GPUs.

use nc_core::weights::Format;
use tauri::ipc::Channel;

use super::App;
use crate::dialogs::Kind;
use crate::error::{AppError, AppResult};
use crate::limits::MODEL_NAME_CHARS;
use crate::models::{self, Around};
use crate::types::{AppEvent, GpuInfo, ImportEvent, ImportPlan, LoadState, Loading, ModelInfo, PickedFile, ShippedModel};

/// Files that may hold a model.
const MODEL_FILES: Kind = ("Models", &["safetensors", "pt", "bin", "json", "gguf"]);

/// All models.
#[tauri::command(async, rename_all = "snake_case")]
pub fn models_list(app: App<'_>) -> AppResult<Vec<ModelInfo>> {
    let (training, choices) = (app.trainer.in_progress(), app.store.format_choices()?);
    models::list(&app.home, Around { memory: app.gpus.memory(), training: &training, choices: &choices })
}

/// Loads a model, and waits until that is done.
#[tauri::command(async, rename_all = "snake_case")]
pub fn model_load(app: App<'_>, name: String) -> AppResult<LoadState> {
    check_name(&name)?;
    let state = app.worker.load(&name)?;
    app.store.patch_settings(serde_json::json!({ "last_model": name }))?;
    Ok(state)
}

/// Takes the model from the GPU.
#[tauri::command(async, rename_all = "snake_case")]
pub fn model_unload(app: App<'_>) -> AppResult<()> {
    app.worker.unload()
}

/// Gives the weights of a model another format from now on, or the one that fits. Loads it anew if it is loaded.
#[tauri::command(async, rename_all = "snake_case")]
pub fn model_format_set(app: App<'_>, name: String, format: Option<Format>) -> AppResult<ModelInfo> {
    check_name(&name)?;
    let offered = one(&app, &name)?.formats;
    if format.is_some_and(|format| !offered.iter().any(|each| each.format == format)) {
        return Err(AppError::bad_input("The weights of this model have fewer bits than that in their file: more would add nothing."));
    }
    let loaded = app.worker.load_state();
    let present = loaded.model.as_ref() == Some(&name) && matches!(loaded.state, Loading::Begun | Loading::Loaded);
    if present {
        app.worker.refuse_while_answering()?;
    }
    app.store.choose_format(&name, format)?;
    app.tell(AppEvent::ModelsChanged);
    let model = one(&app, &name)?;
    if present && loaded.weights != Some(model.weights) {
        app.worker.unload()?;
        app.worker.load(&name)?;
    }
    Ok(model)
}

/// Deletes a model for good.
#[tauri::command(async, rename_all = "snake_case")]
pub fn model_delete(app: App<'_>, name: String) -> AppResult<()> {
    check_name(&name)?;
    if app.trainer.in_progress().contains(&name) {
        return Err(AppError::busy("This model is being trained; stop that first."));
    }
    if app.worker.load_state().model.as_ref() == Some(&name) {
        app.worker.unload()?;
    }
    models::delete(&app.home, &name)?;
    app.trainer.forget(&name);
    app.store.choose_format(&name, None)?;
    app.tell(AppEvent::ModelsChanged);
    Ok(())
}

/// Asks the person for a model's file or folder.
#[tauri::command(async, rename_all = "snake_case")]
pub fn model_pick(app: App<'_>, folder: bool) -> AppResult<Option<PickedFile>> {
    let picked = if folder { app.dialogs.open_folder() } else { app.dialogs.open(MODEL_FILES) };
    picked.map(|path| app.files.add(&path)).transpose()
}

/// What an import would make.
#[tauri::command(async, rename_all = "snake_case")]
pub fn model_inspect(app: App<'_>, token: String) -> AppResult<ImportPlan> {
    models::inspect(&app.files.path(&token)?, app.gpus.memory())
}

/// Imports a model.
#[tauri::command(async, rename_all = "snake_case")]
pub fn model_import(app: App<'_>, token: String, name: String, channel: Channel<ImportEvent>) -> AppResult<ModelInfo> {
    check_name(&name)?;
    let path = app.files.path(&token)?;
    app.importer.run(&app.home, &path, &name, &mut |event| drop(channel.send(event)))?;
    app.tell(AppEvent::ModelsChanged);
    one(&app, &name)
}

/// Ends the import in progress.
#[tauri::command(async, rename_all = "snake_case")]
pub fn import_cancel(app: App<'_>) {
    app.importer.cancel();
}

/// Installs the small model that comes with the app.
#[tauri::command(async, rename_all = "snake_case")]
pub fn model_install_shipped(app: App<'_>) -> AppResult<ModelInfo> {
    let choices = app.store.format_choices()?;
    let model = models::install(&app.assets, &app.home, Around { memory: app.gpus.memory(), training: &[], choices: &choices })?;
    app.tell(AppEvent::ModelsChanged);
    Ok(model)
}

/// The small model that comes with the app.
#[tauri::command(async, rename_all = "snake_case")]
pub fn shipped_model(app: App<'_>) -> Option<ShippedModel> {
    models::shipped(&app.assets, &app.home)
}

/// All GPUs, best first.
#[tauri::command(async, rename_all = "snake_case")]
pub fn gpus_list(app: App<'_>) -> Vec<GpuInfo> {
    app.gpus.list()
}

/// Uses another GPU from now on.
#[tauri::command(async, rename_all = "snake_case")]
pub fn gpu_choose(app: App<'_>, name: Option<String>) -> AppResult<Vec<GpuInfo>> {
    if let Some(name) = &name
        && !app.gpus.list().iter().any(|gpu| gpu.name == *name)
    {
        return Err(AppError::not_found("There is no GPU of this name any more."));
    }
    app.worker.unload()?;
    app.store.patch_settings(serde_json::json!({ "gpu": name }))?;
    app.gpus.choose(name);
    app.tell(AppEvent::ModelsChanged);
    Ok(app.gpus.list())
}

/// One model, as the list has it.
fn one(app: &App<'_>, name: &str) -> AppResult<ModelInfo> {
    let (training, choices) = (app.trainer.in_progress(), app.store.format_choices()?);
    models::one(&app.home, name, Around { memory: app.gpus.memory(), training: &training, choices: &choices })
}

/// Refuses what is no name before anything looks for a folder of it. nc-core checks the rest.
pub(super) fn check_name(name: &str) -> AppResult<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > MODEL_NAME_CHARS || name.starts_with('.') || !name.chars().all(good) {
        return Err(AppError::bad_input(format!(
            "A model's name has up to {MODEL_NAME_CHARS} letters, digits, dots, dashes and underscores, and does not begin with a dot."
        )));
    }
    Ok(())
}
