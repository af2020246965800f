//! Documents of an epoch that is so short that it is read again before its own documents are packed.
//!
//! A thousand documents wait to be packed. One book, or a few, would be read and tokenised once for each of them; here it is
//! read once.

use std::collections::HashMap;

use super::documents::Position;
use super::waiting::{Document, WAITING};

/// What reading on from a place gave.
#[derive(Clone)]
pub(super) struct Step {
    /// The documents; none after the last.
    pub documents: Option<Vec<Document>>,
    /// The place after them.
    pub to: Position,
}

/// The steps of an epoch that was read from its first document on, until it proves long.
#[derive(Default)]
pub(super) struct ShortEpoch {
    steps: HashMap<Position, Step>,
    documents: usize,
    long: bool,
}

impl ShortEpoch {
    /// The step from a place, where it is known.
    pub fn after(&self, from: Position) -> Option<Step> {
        self.steps.get(&from).cloned()
    }

    /// Remembers a step that was read.
    pub fn record(&mut self, from: Position, step: &Step) {
        self.documents += step.documents.as_ref().map_or(0, Vec::len);
        self.long |= self.documents > WAITING;
        if self.long {
            self.steps = HashMap::new();
        } else {
            self.steps.insert(from, step.clone());
        }
    }
}
