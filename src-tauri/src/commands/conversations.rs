//! Conversations as a whole.

use super::App;
use crate::desktop::write_file;
use crate::dialogs::Kind;
use crate::error::{AppError, AppResult};
use crate::types::{AppEvent, ChatSettings, Conversation, ConversationSummary, ExportFormat, Exported, Id, Imported, SearchHit, SortKey};

/// Bytes of a file of conversations at most.
const LONGEST_IMPORT: u64 = 256 << 20;

/// Conversations of an export at most.
const MOST_EXPORTED: usize = 100_000;

/// All conversations.
#[tauri::command(async, rename_all = "snake_case")]
pub fn conversations_list(app: App<'_>, sort: SortKey) -> AppResult<Vec<ConversationSummary>> {
    app.store.conversations(sort)
}

/// Titles and messages that have all the words.
#[tauri::command(async, rename_all = "snake_case")]
pub fn conversations_search(app: App<'_>, query: String) -> AppResult<Vec<SearchHit>> {
    app.store.search(&query)
}

/// Makes a conversation, by default with the person's settings for new ones.
#[tauri::command(async, rename_all = "snake_case")]
pub fn conversation_create(app: App<'_>, title: Option<String>, settings: Option<ChatSettings>) -> AppResult<Conversation> {
    let settings = match settings {
        Some(settings) => settings,
        None => app.store.settings()?.defaults,
    };
    app.store.create(title.as_deref(), &settings)
}

/// A conversation with all its messages.
#[tauri::command(async, rename_all = "snake_case")]
pub fn conversation_get(app: App<'_>, id: Id) -> AppResult<Conversation> {
    app.store.conversation(id)
}

/// Gives a conversation a title.
#[tauri::command(async, rename_all = "snake_case")]
pub fn conversation_rename(app: App<'_>, id: Id, title: String) -> AppResult<ConversationSummary> {
    app.store.rename(id, &title)
}

/// Keeps a conversation on top of the list, or no longer.
#[tauri::command(async, rename_all = "snake_case")]
pub fn conversation_pin(app: App<'_>, id: Id, pinned: bool) -> AppResult<ConversationSummary> {
    app.store.pin(id, pinned)
}

/// Changes how the assistant of a conversation answers.
#[tauri::command(async, rename_all = "snake_case")]
pub fn conversation_settings(app: App<'_>, id: Id, settings: ChatSettings) -> AppResult<ChatSettings> {
    app.store.set_chat_settings(id, &settings)
}

/// Hides a conversation until the app ends, and then removes it.
#[tauri::command(async, rename_all = "snake_case")]
pub fn conversation_delete(app: App<'_>, id: Id) -> AppResult<()> {
    if let Some(message) = app.worker.answering()
        && app.store.message(message).is_ok_and(|(conversation, _)| conversation == id)
    {
        app.worker.stop(message);
    }
    app.store.delete(id)
}

/// Takes a deletion back.
#[tauri::command(async, rename_all = "snake_case")]
pub fn conversation_undelete(app: App<'_>, id: Id) -> AppResult<ConversationSummary> {
    app.store.undelete(id)
}

/// Writes conversations to a file that the person chooses.
#[tauri::command(async, rename_all = "snake_case")]
pub fn conversation_export(app: App<'_>, ids: Vec<Id>, format: ExportFormat, all_branches: bool) -> AppResult<Option<Exported>> {
    if ids.is_empty() || ids.len() > MOST_EXPORTED {
        return Err(AppError::bad_input(format!("Choose between 1 and {MOST_EXPORTED} conversations.")));
    }
    let text = app.store.export(&ids, format, all_branches)?;
    if text.is_empty() {
        return Err(AppError::bad_input("There is nothing to learn from here yet: no message has an answer."));
    }
    let (ending, kind): (&str, Kind) = match format {
        ExportFormat::Markdown => ("md", ("Markdown", &["md"])),
        ExportFormat::Json => ("json", ("JSON", &["json"])),
        ExportFormat::Jsonl => ("jsonl", ("JSON Lines", &["jsonl"])),
    };
    let name = match ids.as_slice() {
        [id] => file_name(&app.store.summary(*id)?.title),
        _ => "conversations".to_owned(),
    };
    let Some(path) = app.dialogs.save(&format!("{name}.{ending}"), kind) else { return Ok(None) };
    let bytes = write_file(&path, &text)?;
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    Ok(Some(Exported { name, bytes, conversations: ids.len() as u64 }))
}

/// A title as the name of a file on every system.
fn file_name(title: &str) -> String {
    let name: String = title.chars().map(|c| if c.is_alphanumeric() || "-_ ".contains(c) { c } else { ' ' }).take(60).collect();
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    if name.is_empty() { "conversation".to_owned() } else { name }
}

/// Reads conversations from a file: one that was dropped, or else one that the person chooses.
#[tauri::command(async, rename_all = "snake_case")]
pub fn conversations_import(app: App<'_>, token: Option<String>) -> AppResult<Option<Imported>> {
    let path = match token {
        Some(token) => app.files.path(&token)?,
        None => match app.dialogs.open(("Conversations", &["json", "jsonl"])) {
            Some(path) => path,
            None => return Ok(None),
        },
    };
    let data = std::fs::metadata(&path)?;
    if !data.is_file() || data.len() > LONGEST_IMPORT {
        return Err(AppError::bad_input("Conversations are imported from a file of at most 256 MiB."));
    }
    let text = String::from_utf8(std::fs::read(&path)?).map_err(|_| AppError::bad_input("This file is not text in UTF-8."))?;
    let imported = app.store.import(&text)?;
    app.tell(AppEvent::ConversationsChanged);
    Ok(Some(imported))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_title_becomes_a_harmless_file_name() {
        for (title, name) in
            [("../../etc/passwd", "etc passwd"), ("What is 2+2?", "What is 2 2"), ("\u{202e}:*", "conversation"), ("Grüße", "Grüße")]
        {
            assert_eq!(super::file_name(title), name);
        }
    }
}
