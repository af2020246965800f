//! Conversations as a whole: the list, and what is said of each.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Store;
use crate::error::{AppError, AppResult};
use crate::limits;
use crate::types::{ChatSettings, Conversation, ConversationSummary, Id, SortKey, now};

/// The columns of a summary, in the order of [`summary`].
pub(super) const SUMMARY: &str = "conversation.id, conversation.title, conversation.titled, conversation.pinned, conversation.created_at,
    conversation.updated_at, (SELECT count(*) FROM message WHERE message.conversation = conversation.id), conversation.model";

/// The number of columns of a summary.
pub(super) const SUMMARY_COLUMNS: usize = 8;

/// Reads a summary from the first columns of a row.
pub(super) fn summary(row: &Row<'_>) -> rusqlite::Result<ConversationSummary> {
    Ok(ConversationSummary {
        id: row.get(0)?,
        title: row.get(1)?,
        titled: row.get(2)?,
        pinned: row.get(3)?,
        created_at: row.get(4)?,
        updated_at: row.get(5)?,
        messages: row.get::<_, i64>(6)?.unsigned_abs(),
        model: row.get(7)?,
    })
}

/// The sentence for a conversation that is not there.
pub(super) fn missing() -> AppError {
    AppError::not_found("This conversation is not there any more.")
}

/// Reads a summary by its id.
pub(super) fn summary_of(connection: &Connection, id: Id) -> AppResult<ConversationSummary> {
    let sql = format!("SELECT {SUMMARY} FROM conversation WHERE id = ?1 AND deleted_at IS NULL");
    connection.prepare_cached(&sql)?.query_row([id], summary).optional()?.ok_or_else(missing)
}

/// Reads the settings of a conversation.
pub(super) fn settings_of(connection: &Connection, id: Id) -> AppResult<ChatSettings> {
    let sql = "SELECT settings FROM conversation WHERE id = ?1 AND deleted_at IS NULL";
    let json: String = connection.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?.ok_or_else(missing)?;
    // Settings of another version are better begun anew than in the way of what was said.
    Ok(serde_json::from_str(&json).unwrap_or_default())
}

/// Adds an empty conversation.
pub(super) fn insert(connection: &Connection, title: Option<&str>, settings: &ChatSettings) -> AppResult<Id> {
    let now = now();
    connection
        .prepare_cached("INSERT INTO conversation (title, titled, settings, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?4)")?
        .execute(params![title.unwrap_or_default(), title.is_some(), json(settings), now])?;
    Ok(connection.last_insert_rowid())
}

/// A value as the database keeps it. What is serialised here cannot fail to be.
pub(super) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

impl Store {
    /// All conversations.
    pub fn conversations(&self, sort: SortKey) -> AppResult<Vec<ConversationSummary>> {
        let order = match sort {
            SortKey::Recent => "updated_at DESC",
            SortKey::Created => "created_at DESC",
            SortKey::Title => "title COLLATE NOCASE",
        };
        let sql = format!("SELECT {SUMMARY} FROM conversation WHERE deleted_at IS NULL ORDER BY pinned DESC, {order}, id DESC");
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&sql)?;
        Ok(statement.query_map([], summary)?.collect::<Result<_, _>>()?)
    }

    /// Makes a conversation, and titles it if a person gave a title.
    pub fn create(&self, title: Option<&str>, settings: &ChatSettings) -> AppResult<Conversation> {
        let title = title.map(limits::title).transpose()?;
        settings.check()?;
        let id = insert(&self.lock(), title.as_deref(), settings)?;
        self.conversation(id)
    }

    /// A conversation with all its messages.
    pub fn conversation(&self, id: Id) -> AppResult<Conversation> {
        let connection = self.lock();
        let tree = super::messages::Tree::read(&connection, id)?;
        Ok(Conversation {
            summary: summary_of(&connection, id)?,
            settings: settings_of(&connection, id)?,
            path: tree.path(),
            tree: tree.messages,
        })
    }

    /// A conversation as the list shows it.
    pub fn summary(&self, id: Id) -> AppResult<ConversationSummary> {
        summary_of(&self.lock(), id)
    }

    /// Gives a conversation a title.
    pub fn rename(&self, id: Id, title: &str) -> AppResult<ConversationSummary> {
        let title = limits::title(title)?;
        self.change(id, "title = ?2, titled = 1", &title)
    }

    /// Keeps a conversation on top of the list, or no longer.
    pub fn pin(&self, id: Id, pinned: bool) -> AppResult<ConversationSummary> {
        self.change(id, "pinned = ?2", &pinned)
    }

    /// Changes how the assistant of a conversation answers.
    pub fn set_chat_settings(&self, id: Id, settings: &ChatSettings) -> AppResult<ChatSettings> {
        settings.check()?;
        self.change(id, "settings = ?2", &json(settings))?;
        Ok(settings.clone())
    }

    /// Hides a conversation. It can be had back until the app ends.
    pub fn delete(&self, id: Id) -> AppResult<()> {
        let connection = self.lock();
        let changed =
            connection.execute("UPDATE conversation SET deleted_at = ?2 WHERE id = ?1 AND deleted_at IS NULL", params![id, now()])?;
        if changed == 0 { Err(missing()) } else { Ok(()) }
    }

    /// Takes a deletion back.
    pub fn undelete(&self, id: Id) -> AppResult<ConversationSummary> {
        let connection = self.lock();
        connection.execute("UPDATE conversation SET deleted_at = NULL WHERE id = ?1", [id])?;
        summary_of(&connection, id)
    }

    /// Removes what was deleted for good; its bytes are overwritten.
    pub fn purge(&self) -> AppResult<usize> {
        let connection = self.lock();
        let purged = connection.execute("DELETE FROM conversation WHERE deleted_at IS NOT NULL", [])?;
        drop(connection);
        if purged > 0 {
            // The log still holds what was deleted.
            self.settle()?;
        }
        Ok(purged)
    }

    /// Moves what is in the log into the database, so that the one file is all there is.
    pub fn settle(&self) -> AppResult<()> {
        Ok(self.lock().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
    }

    fn change(&self, id: Id, what: &str, value: &dyn rusqlite::ToSql) -> AppResult<ConversationSummary> {
        let connection = self.lock();
        let sql = format!("UPDATE conversation SET {what} WHERE id = ?1 AND deleted_at IS NULL");
        connection.prepare_cached(&sql)?.execute(params![id, value])?;
        summary_of(&connection, id)
    }
}
