//! Caches the documents of an epoch that is so short that it is reread before its own documents are packed.
//!
//! A thousand documents wait to be packed. One book, or a few, would be read and tokenised repeatedly to fill them; here it is
//! read once.

use std::collections::HashMap;

use super::documents::Position;
use super::waiting::{Document, WAITING};

/// The result of reading from a position.
#[derive(Clone)]
pub(super) struct Step {
    /// The documents; none at the end.
    pub documents: Option<Vec<Document>>,
    /// The position after them.
    pub to: Position,
}

/// The steps of an epoch from its first document on, until it turns out to be long.
#[derive(Default)]
pub(super) struct ShortEpoch {
    steps: HashMap<Position, Step>,
    documents: usize,
    long: bool,
}

impl ShortEpoch {
    /// The step from a position, if it is known.
    pub fn after(&self, from: Position) -> Option<Step> {
        self.steps.get(&from).cloned()
    }

    /// Caches a step.
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
