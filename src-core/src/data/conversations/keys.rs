//! The keys that occur in addition to `role` and `content`, and how they are handled: no content is dropped
//! silently.

use super::node::{Node, Object};
use crate::tokenizer::Role;

/// Keys of a message with notes about it, whatever their text is.
const NOTES: [&str; 31] = [
    "cache_control",
    "created",
    "created_at",
    "create_time",
    "date",
    "finish_reason",
    "hash",
    "id",
    "index",
    "lang",
    "language",
    "message_id",
    "meta",
    "metadata",
    "model",
    "object",
    "parent",
    "parent_id",
    "rating",
    "recipient",
    "score",
    "source",
    "status",
    "stop_reason",
    "time",
    "timestamp",
    "token_count",
    "tokens",
    "update_time",
    "updated_at",
    "uuid",
];

/// Keys next to the messages with more content of the conversation.
const BESIDE: [&str; 10] = ["audio", "audios", "functions", "image", "images", "system", "system_prompt", "tools", "video", "videos"];

/// Keys with which other programs mark a message as learnt.
const LEARNT: [&str; 6] = ["learn", "loss", "loss_weight", "train", "trainable", "training"];

/// Keys with which they mark it as not learnt.
const NOT_LEARNT: [&str; 3] = ["ignore", "mask", "masked"];

/// Keys with which they mark each part as learnt or not.
const LEARNT_IN_PART: [&str; 2] = ["train_detail", "training_detail"];

/// The first key next to the messages with content that would be lost.
pub(super) fn lost_beside(object: &Object) -> Option<&str> {
    let weighted = |key: &str, value: &Node| key == "weight" && !matches!(value, Node::Null) && *value != Node::Number(1.0);
    object.rest().find(|(key, value)| BESIDE.contains(key) && value.holds_text() || weighted(key, value)).map(|(key, _)| key)
}

/// The first of a message's remaining keys with content that would be lost.
pub(super) fn lost_of_message(object: &Object, role: Role) -> Option<&str> {
    let others = |learnt: &Node, wanted: bool| match learnt {
        Node::Null => false,
        Node::Bool(value) => *value != wanted,
        Node::Number(value) => *value != f64::from(u8::from(wanted)),
        _ => true,
    };
    let is_learnt = role == Role::Assistant;
    let lost = |key: &str, value: &Node| {
        if LEARNT.contains(&key) {
            others(value, is_learnt)
        } else if NOT_LEARNT.contains(&key) {
            // Messages of other roles are never learnt, whatever the key says.
            is_learnt && others(value, false)
        } else if LEARNT_IN_PART.contains(&key) {
            !matches!(value, Node::Null)
        } else {
            lost_of_part(key, value)
        }
    };
    object.rest().find(|(key, value)| *key != "content" && lost(key, value)).map(|(key, _)| key)
}

/// The first of a part's remaining keys with content that would be lost.
pub(super) fn lost_of(object: &Object) -> Option<&str> {
    object.rest().find(|(key, value)| *key != "text" && lost_of_part(key, value)).map(|(key, _)| key)
}

fn lost_of_part(key: &str, value: &Node) -> bool {
    // Programs that wrap a message give the type of its content.
    let wrapped = key == "type" && matches!(value, Node::Text(text) if text == "message");
    !NOTES.contains(&key) && !wrapped && value.holds_text()
}
