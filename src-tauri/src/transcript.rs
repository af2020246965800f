//! A branch of messages as nc-core's conversation: what the engine answers, and what fine-tuning reads.

use nc_core::tokenizer as nc;

use crate::types::{Message, MessageState, Part, PartKind, Role};

/// The conversation that a branch is, with the system prompt before it.
pub fn conversation<'a>(system_prompt: &str, branch: impl IntoIterator<Item = &'a Message>) -> nc::Conversation {
    let system = Some(system_prompt).filter(|text| !text.trim().is_empty()).map(|text| nc::Message::text(nc::Role::System, text));
    nc::Conversation { messages: system.into_iter().chain(branch.into_iter().map(message)).collect() }
}

/// A message as nc-core has it.
fn message(message: &Message) -> nc::Message {
    let text = |parts: &[Part]| nc::Content::Text(parts.iter().map(|part| part.text.as_str()).collect());
    match message.role {
        Role::User => nc::Message::new(nc::Role::User, text(&message.parts)),
        Role::Assistant if message.parts.iter().all(|part| part.kind == PartKind::Text) => {
            nc::Message::new(nc::Role::Assistant, text(&message.parts))
        }
        Role::Assistant => {
            let parts = message.parts.iter().map(|part| nc::Part { kind: nc_kind(part.kind), text: part.text.clone() }).collect();
            nc::Message::new(nc::Role::Assistant, nc::Content::Parts(parts))
        }
    }
}

/// The parts of what nc-core's message says.
pub fn parts(content: &nc::Content) -> Vec<Part> {
    match content {
        nc::Content::Text(text) if text.is_empty() => Vec::new(),
        nc::Content::Text(text) => vec![Part::text(text)],
        nc::Content::Parts(parts) => parts.iter().map(|part| Part { kind: kind(part.kind), text: part.text.clone() }).collect(),
    }
}

/// The messages of a branch that one may learn from: up to its last whole answer.
pub fn learnable(branch: &[&Message]) -> usize {
    let whole = |message: &&Message| message.role == Role::Assistant && message.state == MessageState::Whole && !message.parts.is_empty();
    branch.iter().rposition(whole).map_or(0, |last| last + 1)
}

fn kind(kind: nc::PartKind) -> PartKind {
    match kind {
        nc::PartKind::Text => PartKind::Text,
        nc::PartKind::Python => PartKind::Python,
        nc::PartKind::PythonOutput => PartKind::PythonOutput,
    }
}

fn nc_kind(kind: PartKind) -> nc::PartKind {
    match kind {
        PartKind::Text => nc::PartKind::Text,
        PartKind::Python => nc::PartKind::Python,
        PartKind::PythonOutput => nc::PartKind::PythonOutput,
    }
}
