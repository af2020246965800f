//! Messages as a tree: who answers whom, and which branch is shown.

use std::collections::HashMap;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, params};

use super::Store;
use crate::error::{AppError, AppResult};
use crate::types::{Answer, Id, Message, MessageState, Part, PartKind, Role, append};

/// The messages of a conversation, with which of them were chosen.
pub(super) struct Tree {
    /// By id, so that parents precede their children.
    pub messages: Vec<Message>,
    /// The chosen child of each message; that of no message is the first one.
    chosen: HashMap<Option<Id>, Id>,
}

impl Tree {
    /// Reads the messages of a conversation; none if there is no such conversation.
    pub fn read(connection: &Connection, conversation: Id) -> AppResult<Self> {
        let mut chosen = HashMap::new();
        let first = "SELECT chosen FROM conversation WHERE id = ?1";
        if let Some(first) =
            connection.prepare_cached(first)?.query_row([conversation], |row| row.get::<_, Option<Id>>(0)).optional()?.flatten()
        {
            chosen.insert(None, first);
        }
        let mut statement = connection.prepare_cached(
            "SELECT id, parent, role, parts, created_at, state, answer, chosen FROM message WHERE conversation = ?1 ORDER BY id",
        )?;
        let mut rows = statement.query([conversation])?;
        let mut messages = Vec::new();
        let mut siblings: HashMap<Option<Id>, Vec<Id>> = HashMap::new();
        while let Some(row) = rows.next()? {
            let (id, parent): (Id, Option<Id>) = (row.get(0)?, row.get(1)?);
            siblings.entry(parent).or_default().push(id);
            if let Some(child) = row.get(7)? {
                chosen.insert(Some(id), child);
            }
            messages.push(Message {
                id,
                parent,
                role: row.get(2)?,
                parts: row.get::<_, String>(3).map(|json| parts(&json))?,
                created_at: row.get(4)?,
                siblings: Vec::new(),
                state: row.get(5)?,
                answer: row.get::<_, Option<String>>(6)?.and_then(|json| serde_json::from_str(&json).ok()),
            });
        }
        for message in &mut messages {
            message.siblings = siblings[&message.parent].clone();
            if message.state == MessageState::Writing {
                append(&mut message.parts, written(connection, message.id)?);
            }
        }
        // Where nothing was chosen, or it is gone, the newest is shown.
        for (parent, ids) in siblings {
            let valid = chosen.get(&parent).is_some_and(|child| ids.contains(child));
            if let Some(&newest) = ids.last().filter(|_| !valid) {
                chosen.insert(parent, newest);
            }
        }
        Ok(Self { messages, chosen })
    }

    /// The chosen branch, first message to last.
    pub fn path(&self) -> Vec<Id> {
        let mut path = Vec::new();
        let mut at = None;
        // A child is younger than its parent, so that this ends even in a tree that somebody meddled with.
        while let Some(&next) = self.chosen.get(&at).filter(|&&next| at.is_none_or(|at| next > at)) {
            path.push(next);
            at = Some(next);
        }
        path
    }

    /// The branch that ends with `message`, first message to last.
    pub fn branch(&self, message: Id) -> Vec<&Message> {
        let by_id: HashMap<Id, &Message> = self.messages.iter().map(|message| (message.id, message)).collect();
        let mut branch = Vec::new();
        let mut at = Some(message);
        while let Some(message) = at.and_then(|id| by_id.get(&id)) {
            branch.push(*message);
            at = message.parent.filter(|&parent| parent < message.id);
        }
        branch.reverse();
        branch
    }

    /// A message by its id.
    pub fn message(&self, id: Id) -> AppResult<&Message> {
        self.messages.iter().find(|message| message.id == id).ok_or_else(missing_message)
    }
}

/// The sentence for a message that is not there.
pub(super) fn missing_message() -> AppError {
    AppError::not_found("This message is not there any more.")
}

/// The conversation of a message.
pub(super) fn conversation_of(connection: &Connection, message: Id) -> AppResult<Id> {
    let sql = "SELECT conversation FROM message JOIN conversation ON conversation.id = message.conversation
        WHERE message.id = ?1 AND deleted_at IS NULL";
    connection.prepare_cached(sql)?.query_row([message], |row| row.get(0)).optional()?.ok_or_else(missing_message)
}

/// What was written of a message that has no end yet.
pub(super) fn written(connection: &Connection, message: Id) -> AppResult<Vec<Part>> {
    let mut statement = connection.prepare_cached("SELECT parts FROM written WHERE message = ?1 ORDER BY batch")?;
    let mut all = Vec::new();
    let mut rows = statement.query([message])?;
    while let Some(row) = rows.next()? {
        append(&mut all, parts(&row.get::<_, String>(0)?));
    }
    Ok(all)
}

/// Parts as the database keeps them.
pub(super) fn parts(json: &str) -> Vec<Part> {
    serde_json::from_str(json).unwrap_or_default()
}

/// The words of parts, for the index.
pub(super) fn words(parts: &[Part]) -> String {
    let text: Vec<&str> = parts.iter().filter(|part| part.kind != PartKind::PythonOutput).map(|part| part.text.as_str()).collect();
    text.join(" ")
}

/// A message to add.
pub(super) struct New<'a> {
    pub conversation: Id,
    pub parent: Option<Id>,
    pub role: Role,
    pub state: MessageState,
    pub parts: &'a [Part],
    pub answer: Option<&'a Answer>,
    pub created_at: i64,
}

/// Adds a message and chooses it.
pub(super) fn insert(connection: &Connection, new: &New<'_>) -> AppResult<Id> {
    let sql =
        "INSERT INTO message (conversation, parent, role, state, parts, text, answer, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    connection.prepare_cached(sql)?.execute(params![
        new.conversation,
        new.parent,
        new.role,
        new.state,
        super::conversations::json(&new.parts),
        words(new.parts),
        new.answer.map(super::conversations::json),
        new.created_at,
    ])?;
    let id = connection.last_insert_rowid();
    choose(connection, new.conversation, new.parent, id)?;
    Ok(id)
}

/// Chooses `child` among the children of `parent`, or among the first messages.
pub(super) fn choose(connection: &Connection, conversation: Id, parent: Option<Id>, child: Id) -> AppResult<()> {
    match parent {
        Some(parent) => connection.prepare_cached("UPDATE message SET chosen = ?2 WHERE id = ?1")?.execute([parent, child])?,
        None => connection.prepare_cached("UPDATE conversation SET chosen = ?2 WHERE id = ?1")?.execute([conversation, child])?,
    };
    Ok(())
}

impl Store {
    /// Shows the branch that goes through `message`, and gives it.
    pub fn choose(&self, message: Id) -> AppResult<Vec<Id>> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        let conversation = conversation_of(&transaction, message)?;
        let tree = Tree::read(&transaction, conversation)?;
        for message in tree.branch(message) {
            choose(&transaction, conversation, message.parent, message.id)?;
        }
        let path = Tree::read(&transaction, conversation)?.path();
        transaction.commit()?;
        Ok(path)
    }

    /// A message as it stands, and its conversation.
    pub fn message(&self, id: Id) -> AppResult<(Id, Message)> {
        let connection = self.lock();
        let conversation = conversation_of(&connection, id)?;
        let tree = Tree::read(&connection, conversation)?;
        Ok((conversation, tree.message(id)?.clone()))
    }
}

/// Enumerations are kept under the names that the pages know them by.
macro_rules! by_name {
    ($($kind:ty),+) => {
        $(impl ToSql for $kind {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                match serde_json::to_value(self) {
                    Ok(serde_json::Value::String(name)) => Ok(name.into()),
                    _ => Err(rusqlite::Error::ToSqlConversionFailure("not a name".into())),
                }
            }
        }

        impl FromSql for $kind {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                serde_json::from_value(value.as_str()?.into()).map_err(FromSqlError::other)
            }
        })+
    };
}

by_name!(Role, MessageState);
