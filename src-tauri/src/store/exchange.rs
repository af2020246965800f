//! Conversations out of the database and in again: Markdown to read, JSON to keep everything, JSON Lines to train on.

use std::collections::HashMap;
use std::fmt::Write;

use nc_core::tokenizer as nc;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::conversations::{insert as insert_conversation, json, settings_of, summary_of};
use super::messages::{New, Tree, choose, insert};
use super::{Store, messages};
use crate::error::{AppError, AppResult};
use crate::limits;
use crate::transcript;
use crate::types::{ChatSettings, ExportFormat, Id, Imported, Message, MessageState, PartKind, Role, Skipped, now};

/// What the field `format` of a JSON export says.
const FORMAT: &str = "nanochat-conversations";

/// The version of that format.
const VERSION: u32 = 1;

/// A JSON export.
#[derive(Debug, Serialize, Deserialize)]
pub struct Archive {
    format: String,
    version: u32,
    conversations: Vec<Archived>,
}

/// A conversation in it.
#[derive(Debug, Serialize, Deserialize)]
struct Archived {
    title: String,
    titled: bool,
    pinned: bool,
    created_at: i64,
    updated_at: i64,
    model: Option<String>,
    settings: ChatSettings,
    /// Parents before their children.
    messages: Vec<Message>,
    /// The chosen branch.
    path: Vec<Id>,
}

impl Store {
    /// Writes conversations as text: all branches of each, or the chosen one only.
    pub fn export(&self, ids: &[Id], format: ExportFormat, all_branches: bool) -> AppResult<String> {
        let connection = self.lock();
        let archived =
            ids.iter().map(|&id| archive(&connection, id, all_branches || format != ExportFormat::Json)).collect::<Result<Vec<_>, _>>()?;
        Ok(match format {
            ExportFormat::Markdown => archived.iter().map(markdown).collect::<Vec<_>>().join("\n---\n\n"),
            ExportFormat::Json => {
                let archive = Archive { format: FORMAT.into(), version: VERSION, conversations: archived };
                format!("{}\n", serde_json::to_string_pretty(&archive).unwrap_or_default())
            }
            ExportFormat::Jsonl => archived.iter().filter_map(jsonl).collect(),
        })
    }

    /// Reads what [`export`](Self::export) wrote as JSON or JSON Lines, or any file of conversations that one may train
    /// on. What is wrong is left out and told by its line.
    pub fn import(&self, text: &str) -> AppResult<Imported> {
        let mut imported = Imported { conversations: Vec::new(), skipped: Vec::new() };
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        let mut take = |line: u64, conversation: Result<Archived, String>| -> AppResult<()> {
            match conversation.and_then(|conversation| check(&conversation).map(|()| conversation)) {
                Ok(conversation) => imported.conversations.push(restore(&transaction, &conversation)?),
                Err(problem) => imported.skipped.push(Skipped { line, problem }),
            }
            Ok(())
        };
        let text = text.trim_start_matches('\u{FEFF}');
        match serde_json::from_str::<Archive>(text) {
            Ok(archive) if archive.format == FORMAT && archive.version == VERSION => {
                for (conversation, number) in archive.conversations.into_iter().zip(1..) {
                    take(number, Ok(conversation))?;
                }
            }
            Ok(_) => return Err(AppError::bad_input("This file was written by another version of nanochat.")),
            Err(_) => {
                for (line, number) in text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty()) {
                    take(number, from_line(line))?;
                }
            }
        }
        transaction.commit()?;
        if imported.conversations.is_empty() && imported.skipped.is_empty() {
            return Err(AppError::bad_input("There is no conversation in this file."));
        }
        Ok(imported)
    }
}

fn archive(connection: &Connection, id: Id, all_branches: bool) -> AppResult<Archived> {
    let summary = summary_of(connection, id)?;
    let tree = Tree::read(connection, id)?;
    let path = tree.path();
    let messages = tree.messages.into_iter().filter(|message| all_branches || path.contains(&message.id)).collect();
    Ok(Archived {
        title: summary.title,
        titled: summary.titled,
        pinned: summary.pinned,
        created_at: summary.created_at,
        updated_at: summary.updated_at,
        model: summary.model,
        settings: settings_of(connection, id)?,
        messages,
        path,
    })
}

impl Archived {
    /// The chosen branch.
    fn branch(&self) -> Vec<&Message> {
        let by_id: HashMap<Id, &Message> = self.messages.iter().map(|message| (message.id, message)).collect();
        self.path.iter().filter_map(|id| by_id.get(id).copied()).collect()
    }
}

fn markdown(conversation: &Archived) -> String {
    let mut text = format!("# {}\n", if conversation.title.is_empty() { "Conversation" } else { &conversation.title });
    if !conversation.settings.system_prompt.trim().is_empty() {
        let _ = write!(text, "\n## System\n\n{}\n", conversation.settings.system_prompt.trim());
    }
    for message in conversation.branch() {
        match (message.role, &message.answer) {
            (Role::User, _) => text.push_str("\n## You\n\n"),
            (Role::Assistant, Some(answer)) if !answer.model.is_empty() => {
                let _ = write!(text, "\n## {}\n\n", answer.model);
            }
            (Role::Assistant, _) => text.push_str("\n## Assistant\n\n"),
        }
        for part in &message.parts {
            match part.kind {
                PartKind::Text => text.push_str(&part.text),
                PartKind::Python => {
                    let _ = write!(text, "`{}`", part.text);
                }
                PartKind::PythonOutput => {
                    let _ = write!(text, " = `{}` ", part.text);
                }
            }
        }
        text.push('\n');
    }
    text
}

/// A conversation as a line to train on; none where there is nothing to learn.
fn jsonl(conversation: &Archived) -> Option<String> {
    let branch = conversation.branch();
    let learnt = &branch[..transcript::learnable(&branch)];
    let conversation = transcript::conversation(&conversation.settings.system_prompt, learnt.iter().copied());
    conversation.check().ok()?;
    Some(format!("{}\n", json(&conversation)))
}

/// A line of a file of conversations. What is wrong is said without what is in it.
fn from_line(line: &str) -> Result<Archived, String> {
    let conversation = nc_core::data::read_conversation(line.as_bytes()).map_err(|error| error.to_string())?;
    let mut settings = ChatSettings::default();
    let mut messages = Vec::new();
    for message in conversation.messages {
        let role = match message.role {
            nc::Role::System => {
                settings.system_prompt = transcript::parts(&message.content).into_iter().map(|part| part.text).collect();
                continue;
            }
            nc::Role::User => Role::User,
            nc::Role::Assistant => Role::Assistant,
        };
        let id = messages.len() as Id + 1;
        messages.push(Message {
            id,
            parent: Some(id - 1).filter(|&parent| parent > 0),
            role,
            parts: transcript::parts(&message.content),
            created_at: now(),
            siblings: Vec::new(),
            state: MessageState::Whole,
            answer: None,
        });
    }
    let title = messages.first().map(|first: &Message| limits::title_from(&messages::words(&first.parts))).unwrap_or_default();
    let path = messages.iter().map(|message| message.id).collect();
    Ok(Archived { title, titled: false, pinned: false, created_at: now(), updated_at: now(), model: None, settings, messages, path })
}

/// Whether a conversation keeps the rules of those that are made here.
fn check(conversation: &Archived) -> Result<(), String> {
    conversation.settings.check().map_err(|error| error.message)?;
    if conversation.title.chars().count() > limits::TITLE_CHARS {
        return Err("its title is too long".into());
    }
    let mut roles: HashMap<Id, Role> = HashMap::new();
    for message in &conversation.messages {
        let before = match message.parent {
            Some(parent) => roles.get(&parent).copied().ok_or("a message answers one that is not there")?,
            None => Role::Assistant,
        };
        if before == message.role {
            return Err("user and assistant do not take turns".into());
        }
        if message.parts.iter().map(|part| part.text.len()).sum::<usize>() > limits::MESSAGE_BYTES {
            return Err("a message is too long".into());
        }
        if message.role == Role::User && message.parts.iter().any(|part| part.kind != PartKind::Text) {
            return Err("a user's message has parts that only an assistant writes".into());
        }
        if roles.insert(message.id, message.role).is_some() {
            return Err("two messages have the same id".into());
        }
    }
    Ok(())
}

/// Stores a conversation that was checked.
fn restore(connection: &Connection, archived: &Archived) -> AppResult<Id> {
    let conversation = insert_conversation(connection, None, &archived.settings)?;
    // A page can show no date that is far beyond the present, and none of these was written there.
    let written = |time: i64| time.clamp(0, now());
    let mut ids: HashMap<Id, Id> = HashMap::new();
    for message in &archived.messages {
        let parent = message.parent.and_then(|parent| ids.get(&parent).copied());
        // What was being written there will not go on here.
        let state = if message.state == MessageState::Writing { MessageState::Interrupted } else { message.state };
        let new = New {
            conversation,
            parent,
            role: message.role,
            state,
            parts: &message.parts,
            answer: message.answer.as_ref(),
            created_at: written(message.created_at),
        };
        ids.insert(message.id, insert(connection, &new)?);
    }
    let parents: HashMap<Id, Option<Id>> = archived.messages.iter().map(|message| (message.id, message.parent)).collect();
    for id in &archived.path {
        if let (Some(&new), Some(parent)) = (ids.get(id), parents.get(id)) {
            choose(connection, conversation, parent.and_then(|parent| ids.get(&parent).copied()), new)?;
        }
    }
    let sql = "UPDATE conversation SET title = ?2, titled = ?3, pinned = ?4, created_at = ?5, updated_at = ?6, model = ?7 WHERE id = ?1";
    connection.prepare_cached(sql)?.execute(params![
        conversation,
        limits::title(&archived.title).unwrap_or_default(),
        archived.titled,
        archived.pinned,
        written(archived.created_at),
        written(archived.updated_at),
        archived.model
    ])?;
    Ok(conversation)
}
