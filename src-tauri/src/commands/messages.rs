//! Messages: sending, answering, and walking between branches.

use tauri::ipc::Channel;

use super::App;
use super::models::check_name;
use crate::error::{AppError, AppResult, ErrorCode};
use crate::limits;
use crate::store::Asked;
use crate::types::{AnswerEvent, Id, Message, Started};
use crate::worker::Listener;

/// Says something at the end of a branch, and has it answered.
#[tauri::command(async, rename_all = "snake_case")]
pub fn message_send(
    app: App<'_>,
    conversation: Id,
    parent: Option<Id>,
    text: String,
    model: String,
    channel: Channel<AnswerEvent>,
) -> AppResult<Started> {
    limits::message(&text)?;
    begin(&app, &Asked::Send { conversation, parent, text: &text }, &model, channel)
}

/// Has a message answered anew.
#[tauri::command(async, rename_all = "snake_case")]
pub fn message_regenerate(app: App<'_>, message: Id, model: String, channel: Channel<AnswerEvent>) -> AppResult<Started> {
    begin(&app, &Asked::Again(message), &model, channel)
}

/// Says something differently, in a branch of its own, and has it answered.
#[tauri::command(async, rename_all = "snake_case")]
pub fn message_edit(app: App<'_>, message: Id, text: String, model: String, channel: Channel<AnswerEvent>) -> AppResult<Started> {
    limits::message(&text)?;
    begin(&app, &Asked::Edit { message, text: &text }, &model, channel)
}

fn begin(app: &App<'_>, asked: &Asked<'_>, model: &str, channel: Channel<AnswerEvent>) -> AppResult<Started> {
    // Before anything is stored: a message to a model that is not there would only wait.
    if check_name(model).is_err() || !app.home.run(model).is_dir() {
        return Err(AppError::new(ErrorCode::NoModel, "Choose a model first."));
    }
    let turn = app.worker.reserve()?;
    let begun = app.store.begin(asked, model)?;
    let started = begun.started.clone();
    // An answer that was begun is written, whether or not it is remembered what was open.
    let _ = app.store.patch_settings(serde_json::json!({ "last_model": model, "last_conversation": begun.conversation }));
    turn.answer(begun, model, listener(channel))?;
    Ok(started)
}

fn listener(channel: Channel<AnswerEvent>) -> Listener {
    // A page that is gone does not hear the answer; it is written all the same.
    Box::new(move |event| drop(channel.send(event)))
}

/// Shows the branch that goes through a message.
#[tauri::command(async, rename_all = "snake_case")]
pub fn message_choose(app: App<'_>, message: Id) -> AppResult<Vec<Id>> {
    app.store.choose(message)
}

/// Hears the rest of an answer that is being written.
#[tauri::command(async, rename_all = "snake_case")]
pub fn message_attach(app: App<'_>, message: Id, channel: Channel<AnswerEvent>) -> AppResult<Message> {
    app.worker.attach(message, listener(channel))
}

/// Ends an answer before its next token.
#[tauri::command(async, rename_all = "snake_case")]
pub fn message_stop(app: App<'_>, message: Id) {
    app.worker.stop(message);
}
