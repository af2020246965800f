//! The tables, as the steps that made them. A step that was released is never changed: what must be different is added.

use rusqlite_migration::{M, Migrations};

/// The first tables.
///
/// Messages form a tree below each conversation; `chosen` is the child, or the first message, that the person last went
/// on with. A message that is being written grows in `written`, a row a batch, and is put together when it ends: so
/// writing a long one costs no more than its length. `text` holds the words of `parts` for the index.
const FIRST: &str = "
CREATE TABLE conversation (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    title TEXT NOT NULL,
    titled INTEGER NOT NULL,
    pinned INTEGER NOT NULL DEFAULT 0,
    settings TEXT NOT NULL,
    model TEXT,
    chosen INTEGER REFERENCES message (id) ON DELETE SET NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER
) STRICT;

CREATE TABLE message (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation INTEGER NOT NULL REFERENCES conversation (id) ON DELETE CASCADE,
    parent INTEGER REFERENCES message (id) ON DELETE CASCADE,
    chosen INTEGER REFERENCES message (id) ON DELETE SET NULL,
    role TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
    state TEXT NOT NULL CHECK (state IN ('whole', 'writing', 'interrupted', 'failed')),
    parts TEXT NOT NULL,
    text TEXT NOT NULL,
    answer TEXT,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX message_of_conversation ON message (conversation, id);
CREATE INDEX message_of_parent ON message (parent);
CREATE INDEX message_writing ON message (state) WHERE state = 'writing';
-- Deleting a message looks for whoever has chosen it.
CREATE INDEX message_chosen ON message (chosen) WHERE chosen IS NOT NULL;
CREATE INDEX conversation_chosen ON conversation (chosen) WHERE chosen IS NOT NULL;

CREATE TABLE written (
    message INTEGER NOT NULL REFERENCES message (id) ON DELETE CASCADE,
    batch INTEGER NOT NULL,
    parts TEXT NOT NULL,
    PRIMARY KEY (message, batch)
) STRICT, WITHOUT ROWID;

CREATE TABLE setting (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE VIRTUAL TABLE message_words USING fts5 (
    text, content = 'message', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3'
);
CREATE TRIGGER message_added AFTER INSERT ON message WHEN new.text <> '' BEGIN
    INSERT INTO message_words (rowid, text) VALUES (new.id, new.text);
END;
CREATE TRIGGER message_changed AFTER UPDATE OF text ON message WHEN old.text <> new.text BEGIN
    INSERT INTO message_words (message_words, rowid, text) SELECT 'delete', old.id, old.text WHERE old.text <> '';
    INSERT INTO message_words (rowid, text) SELECT new.id, new.text WHERE new.text <> '';
END;
CREATE TRIGGER message_removed AFTER DELETE ON message WHEN old.text <> '' BEGIN
    INSERT INTO message_words (message_words, rowid, text) VALUES ('delete', old.id, old.text);
END;

CREATE VIRTUAL TABLE title_words USING fts5 (
    title, content = 'conversation', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3'
);
CREATE TRIGGER title_added AFTER INSERT ON conversation BEGIN
    INSERT INTO title_words (rowid, title) VALUES (new.id, new.title);
END;
CREATE TRIGGER title_changed AFTER UPDATE OF title ON conversation WHEN old.title <> new.title BEGIN
    INSERT INTO title_words (title_words, rowid, title) VALUES ('delete', old.id, old.title);
    INSERT INTO title_words (rowid, title) VALUES (new.id, new.title);
END;
CREATE TRIGGER title_removed AFTER DELETE ON conversation BEGIN
    INSERT INTO title_words (title_words, rowid, title) VALUES ('delete', old.id, old.title);
END;

-- What is deleted leaves the index at once and whole.
INSERT INTO message_words (message_words, rank) VALUES ('secure-delete', 1);
INSERT INTO title_words (title_words, rank) VALUES ('secure-delete', 1);
";

/// All steps, oldest first.
pub fn migrations() -> Migrations<'static> {
    Migrations::new(vec![M::up(FIRST)])
}
