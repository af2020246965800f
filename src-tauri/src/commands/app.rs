//! The app as a whole.

use std::sync::atomic::Ordering;

use serde::Deserialize;
use serde_json::Value;
use tauri::ipc::Channel;
use tauri::{AppHandle, Manager, Runtime};

use super::App;
use crate::desktop::{Desktop, NotStarted};
use crate::error::{AppError, AppResult, ErrorCode};
use crate::limits::LIMITS;
use crate::models;
use crate::types::{About, AppEvent, AppSettings, AppStart, Licence, Limits};

/// All that the first frame needs.
#[tauri::command(async, rename_all = "snake_case")]
pub fn app_start<R: Runtime>(handle: AppHandle<R>) -> AppResult<AppStart> {
    let Some(app) = handle.try_state::<Desktop>() else {
        let why = handle.try_state::<NotStarted>().map(|why| why.0.clone());
        return Err(why.unwrap_or_else(|| AppError::new(ErrorCode::Internal, "nanochat has not started.")));
    };
    let settings = app.store.settings()?;
    let choices = app.store.format_choices()?;
    let training = app.trainer.in_progress();
    let around = models::Around { memory: app.gpus.known_memory(), training: &training, choices: &choices };
    Ok(AppStart {
        conversations: app.store.conversations(settings.sort)?,
        settings,
        limits: LIMITS,
        // A folder of models that cannot be read is no reason to withhold the conversations; the page of models says why.
        models: models::list(&app.home, around).unwrap_or_default(),
        loaded: app.worker.load_state(),
        training: app.trainer.current(),
        answering: app.worker.answering(),
        recovered: app.recovered.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
    })
}

/// Events from now on go to this channel.
#[tauri::command(async, rename_all = "snake_case")]
pub fn app_events(app: App<'_>, channel: Channel<AppEvent>) {
    app.listen(channel);
}

/// What to do with a run when the window is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnClose {
    /// Finish the step, save, and end; the run can be gone on with.
    Stop,
    /// Do not close.
    Keep,
}

/// The answer to [`AppEvent::CloseRequested`].
#[tauri::command(async, rename_all = "snake_case")]
pub fn app_close(app: App<'_>, training: OnClose) {
    match training {
        OnClose::Keep => app.closing.store(false, Ordering::Relaxed),
        OnClose::Stop => {
            app.close();
            (app.quit)();
        }
    }
}

/// What the person chose.
#[tauri::command(async, rename_all = "snake_case")]
pub fn settings_get(app: App<'_>) -> AppResult<AppSettings> {
    app.store.settings()
}

/// Changes some of it.
#[tauri::command(async, rename_all = "snake_case")]
pub fn settings_set(app: App<'_>, patch: Value) -> AppResult<AppSettings> {
    app.store.patch_settings(patch)
}

/// The range of every setting.
#[tauri::command(async, rename_all = "snake_case")]
pub fn limits() -> Limits {
    LIMITS
}

/// What the app is made of.
#[tauri::command(async, rename_all = "snake_case")]
pub fn about(app: App<'_>) -> About {
    About {
        version: env!("CARGO_PKG_VERSION").into(),
        nc_core: env!("CARGO_PKG_VERSION").into(),
        tauri: tauri::VERSION.into(),
        webview: tauri::webview_version().unwrap_or_else(|_| "unknown".into()),
        os: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        data_folder: app.data_folder().display().to_string(),
        models_folder: app.home.runs().display().to_string(),
        database_bytes: app.store.bytes(),
    }
}

/// The packages that the app is built from.
#[tauri::command(async, rename_all = "snake_case")]
pub fn licences() -> AppResult<Vec<Licence>> {
    let list = include_str!(concat!(env!("OUT_DIR"), "/licences.json"));
    serde_json::from_str(list).map_err(|error| AppError::because(ErrorCode::Internal, "The list of licences cannot be read.", &error))
}
