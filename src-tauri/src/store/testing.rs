//! Conversations for tests.

use super::{Asked, Store};
use crate::types::{Answer, ChatSettings, Id, MessageState, Part, Reason};

#[path = "../../tests/window/much.rs"]
mod much;

pub use much::much;

/// A store in a folder of its own.
pub fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let (store, recovered) = Store::open(folder.path()).unwrap();
    assert_eq!(recovered, None);
    (folder, store)
}

/// An empty conversation.
pub fn conversation(store: &Store) -> Id {
    store.create(None, &ChatSettings::default()).unwrap().summary.id
}

/// Asks, and answers at once. Gives the person's message, or 0 where there is no new one, and the answer.
pub fn turn(store: &Store, asked: &Asked<'_>, answer: &str) -> (Id, Id) {
    let begun = store.begin(asked, "tiny").unwrap();
    let id = begun.started.assistant.id;
    for (batch, word) in answer.split_inclusive(' ').enumerate() {
        store.write(id, batch as u64, &[Part::text(word)]).unwrap();
    }
    let end = Answer { reason: Reason::Stop, ..Answer::begun("tiny", begun.seed) };
    store.finish(id, MessageState::Whole, None, &end).unwrap();
    (begun.started.user.map_or(0, |user| user.id), id)
}

/// Says something at the end of a branch, and answers at once.
pub fn say(store: &Store, conversation: Id, parent: Option<Id>, text: &str, answer: &str) -> (Id, Id) {
    turn(store, &Asked::Send { conversation, parent, text }, answer)
}
