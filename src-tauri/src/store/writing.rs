//! Messages as they come: a person's, and the answer that grows behind it.

use rusqlite::{Connection, params};

use super::conversations::{json, settings_of, summary_of};
use super::messages::{New, Tree, conversation_of, insert, missing_message, words, written};
use super::{Store, messages};
use crate::error::{AppError, AppResult};
use crate::limits;
use crate::types::{Answer, ChatSettings, Id, Message, MessageState, Part, Reason, Role, Started, append, now};

/// What is to be answered.
pub enum Asked<'a> {
    /// A new message at the end of a branch.
    Send {
        /// The conversation.
        conversation: Id,
        /// The branch's last message; none at the beginning.
        parent: Option<Id>,
        /// What the person says.
        text: &'a str,
    },
    /// A message anew: an answer that has one already, or a person's message that has none.
    Again(Id),
    /// A person's message, said differently.
    Edit {
        /// The message.
        message: Id,
        /// What the person says now.
        text: &'a str,
    },
}

/// An answer that was begun.
pub struct Begun {
    /// The conversation.
    pub conversation: Id,
    /// What the page is told.
    pub started: Started,
    /// The messages that are answered, first to last.
    pub branch: Vec<Message>,
    /// How to answer.
    pub settings: ChatSettings,
    /// Seed of the draws.
    pub seed: u64,
}

impl Store {
    /// Stores a person's message, if there is a new one, and an empty answer by `model`.
    pub fn begin(&self, asked: &Asked<'_>, model: &str) -> AppResult<Begun> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        let (conversation, user, asks) = place(&transaction, asked)?;
        let tree = Tree::read(&transaction, conversation)?;
        let settings = settings_of(&transaction, conversation)?;
        let branch: Vec<Message> = tree.branch(asks).into_iter().cloned().collect();
        let answers = tree.messages.iter().filter(|message| message.parent == Some(asks)).count() as u64;
        // A fixed seed would write the same answer again.
        let seed = match settings.seed {
            Some(seed) => (seed + answers).min(limits::LARGEST_WHOLE),
            None => rand::random::<u64>() & limits::LARGEST_WHOLE,
        };
        let answer = Answer::begun(model, seed);
        let assistant = insert(
            &transaction,
            &New {
                conversation,
                parent: Some(asks),
                role: Role::Assistant,
                state: MessageState::Writing,
                parts: &[],
                answer: Some(&answer),
                created_at: now(),
            },
        )?;
        transaction.prepare_cached("UPDATE conversation SET updated_at = ?2, model = ?3 WHERE id = ?1")?.execute(params![
            conversation,
            now(),
            model
        ])?;
        // A new branch is shown at once.
        for message in &branch {
            messages::choose(&transaction, conversation, message.parent, message.id)?;
        }
        let tree = Tree::read(&transaction, conversation)?;
        let started = Started {
            user: user.map(|id| tree.message(id).cloned()).transpose()?,
            assistant: tree.message(assistant)?.clone(),
            path: tree.path(),
            conversation: summary_of(&transaction, conversation)?,
        };
        transaction.commit()?;
        Ok(Begun { conversation, started, branch, settings, seed })
    }

    /// Adds a batch to an answer that is being written.
    pub fn write(&self, message: Id, batch: u64, parts: &[Part]) -> AppResult<()> {
        let sql = "INSERT INTO written (message, batch, parts) VALUES (?1, ?2, ?3)";
        self.lock().prepare_cached(sql)?.execute(params![message, batch as i64, json(&parts)])?;
        Ok(())
    }

    /// Ends an answer. `parts` is the whole of it; what was written in batches counts if absent.
    pub fn finish(&self, message: Id, state: MessageState, parts: Option<&[Part]>, answer: &Answer) -> AppResult<()> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        finish(&transaction, message, state, parts, answer)?;
        transaction.commit()?;
        Ok(())
    }

    /// Puts answers together that were being written when the app ended.
    pub(super) fn mend_interrupted(&self) -> AppResult<()> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        let left: Vec<(Id, Option<String>)> = transaction
            .prepare("SELECT id, answer FROM message WHERE state = 'writing'")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        for (message, answer) in left {
            let answer = answer.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_else(|| Answer::begun("", 0));
            let answer = Answer { reason: Reason::Interrupted, ..answer };
            finish(&transaction, message, MessageState::Interrupted, None, &answer)?;
        }
        transaction.commit()?;
        Ok(())
    }
}

/// Finds or makes the person's message that is answered: its conversation, the message if it is new, and the message.
fn place(transaction: &Connection, asked: &Asked<'_>) -> AppResult<(Id, Option<Id>, Id)> {
    let say = |conversation, parent, text: &str| {
        limits::message(text)?;
        let parts = [Part::text(text)];
        let new =
            New { conversation, parent, role: Role::User, state: MessageState::Whole, parts: &parts, answer: None, created_at: now() };
        insert(transaction, &new)
    };
    match *asked {
        Asked::Send { conversation, parent, text } => {
            let summary = summary_of(transaction, conversation)?;
            if let Some(parent) = parent {
                let tree = Tree::read(transaction, conversation)?;
                if tree.message(parent)?.role != Role::Assistant {
                    return Err(AppError::bad_input("The message before this one has no answer yet; try it again first."));
                }
            }
            let user = say(conversation, parent, text)?;
            if !summary.titled && summary.title.is_empty() {
                let sql = "UPDATE conversation SET title = ?2 WHERE id = ?1";
                transaction.prepare_cached(sql)?.execute(params![conversation, limits::title_from(text)])?;
            }
            Ok((conversation, Some(user), user))
        }
        Asked::Again(message) => {
            let conversation = conversation_of(transaction, message)?;
            let tree = Tree::read(transaction, conversation)?;
            let message = tree.message(message)?;
            match message.role {
                Role::User => Ok((conversation, None, message.id)),
                Role::Assistant => Ok((conversation, None, message.parent.ok_or_else(missing_message)?)),
            }
        }
        Asked::Edit { message, text } => {
            let conversation = conversation_of(transaction, message)?;
            let tree = Tree::read(transaction, conversation)?;
            let message = tree.message(message)?;
            if message.role != Role::User {
                return Err(AppError::bad_input("Only your own messages can be edited."));
            }
            let user = say(conversation, message.parent, text)?;
            Ok((conversation, Some(user), user))
        }
    }
}

fn finish(transaction: &Connection, message: Id, state: MessageState, parts: Option<&[Part]>, answer: &Answer) -> AppResult<()> {
    let mut whole = Vec::new();
    match parts {
        Some(parts) => append(&mut whole, parts.iter().cloned()),
        None => append(&mut whole, written(transaction, message)?),
    }
    let sql = "UPDATE message SET state = ?2, parts = ?3, text = ?4, answer = ?5 WHERE id = ?1";
    let changed = transaction.prepare_cached(sql)?.execute(params![message, state, json(&whole), words(&whole), json(answer)])?;
    if changed == 0 {
        return Err(missing_message());
    }
    transaction.prepare_cached("DELETE FROM written WHERE message = ?1")?.execute([message])?;
    let sql = "UPDATE conversation SET updated_at = ?2 WHERE id = (SELECT conversation FROM message WHERE id = ?1)";
    transaction.prepare_cached(sql)?.execute(params![message, now()])?;
    Ok(())
}
