//! A task whose conversations come from the rows of files: SmolTalk, MMLU and GSM8K share it.
//!
//! All rows are read and checked when the task is opened, so that a bad one is reported then and not hours into training.
//! As in the reference, the order is shuffled once with seed 42, so that the first ones are a fair sample. To train with, the
//! permutation is that of [`super::random::permutation`]; to evaluate with it is numpy's, so that the first ones are the reference's.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::grading::Grading;
use super::multiple_choice::LETTERS;
use super::python_random::NumpyRandom;
use super::rows::{self, RowFault};
use super::store::{Kept, Store, StoreWriter};
use super::{Split, Task, TaskError, random};
use crate::tokenizer::Conversation;

/// The seed of the order.
const SEED: u64 = 42;

/// The result of converting a row.
pub enum Made {
    /// A conversation.
    Conversation(Conversation),
    /// A question with the labels of its choices.
    Choices(Conversation, Vec<String>),
    /// Nothing: the row is valid, but has nothing to learn. With the reason.
    Nothing(&'static str),
}

/// How a task reads its rows.
pub struct Layout {
    /// The task's name.
    pub name: &'static str,
    /// The columns that are read.
    pub columns: &'static [&'static str],
    /// Converts a row to a conversation; the error says what is wrong with the row, without quoting it.
    pub convert: fn(Value) -> Result<Made, String>,
    /// How answers are judged; `None` for conversations without a right answer.
    pub grading: Option<Grading>,
}

/// Conversations that were read from files.
pub struct Table {
    name: &'static str,
    grading: Option<Grading>,
    store: Store,
    order: Vec<usize>,
}

impl Table {
    /// Reads `files`, those of `split`, in order; the conversations are kept in a file in `cache` while the process lives.
    ///
    /// # Errors
    /// If a file cannot be read, a row is not what the task expects, or there is no row.
    pub fn read(layout: &Layout, split: Split, files: &[PathBuf], cache: &Path) -> Result<Self, TaskError> {
        let keep = |store: &mut StoreWriter, kept: Kept| {
            kept.conversation.check().map_err(|error| RowFault::Unusable(error.to_string()))?;
            store.push(&kept).map_err(RowFault::Other)
        };
        let mut store = StoreWriter::create(cache)?;
        let mut left_out = 0u64;
        for path in files {
            rows::for_each(path, layout.columns, &mut |row| match (layout.convert)(row).map_err(RowFault::Unusable)? {
                Made::Conversation(conversation) => keep(&mut store, conversation.into()),
                Made::Choices(conversation, labels) => keep(&mut store, Kept { conversation, labels }),
                Made::Nothing(why) => {
                    left_out += 1;
                    tracing::debug!(task = layout.name, why, "a row was left out");
                    Ok(())
                }
            })?;
        }
        if left_out > 0 {
            tracing::warn!(task = layout.name, rows = left_out, "rows with nothing to learn from were left out");
        }
        let store = store.finish()?;
        if store.len() == 0 {
            let path = files.first().cloned().unwrap_or_default();
            return Err(TaskError::Empty { task: layout.name.into(), path });
        }
        let order = match split {
            Split::Test => NumpyRandom::new(SEED).permutation(store.len()),
            Split::Train | Split::Validation => random::permutation(store.len(), SEED),
        };
        Ok(Self { name: layout.name, grading: layout.grading, order, store })
    }
}

impl Task for Table {
    fn name(&self) -> &str {
        self.name
    }

    fn len(&self) -> usize {
        self.order.len()
    }

    fn example(&self, index: usize) -> Result<Conversation, TaskError> {
        Ok(self.store.get(self.order[index])?.conversation)
    }

    fn labels(&self, index: usize) -> Result<Option<Vec<String>>, TaskError> {
        if self.grading != Some(Grading::Letter) {
            return Ok(None);
        }
        let own = self.store.get(self.order[index])?.labels;
        Ok(Some(if own.is_empty() { LETTERS.map(String::from).into() } else { own }))
    }

    fn evaluate(&self, index: usize, answer: &str) -> Result<Option<bool>, TaskError> {
        self.grading.map(|grading| Ok(grading.accepts(&self.example(index)?, answer))).transpose()
    }

    fn fingerprint(&self) -> String {
        self.store.fingerprint().to_owned()
    }
}
