//! A task whose conversations come from the rows of files: SmolTalk, MMLU and GSM8K share it.
//!
//! All rows are read and checked when the task is opened, so that a bad one is reported then and not hours into training.
//! As in the reference, the order is shuffled once with seed 42, so that the first ones are a fair sample; the
//! permutation is that of [`super::random::permutation`], not numpy's.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::rows::{self, RowFault};
use super::store::{Store, StoreWriter};
use super::{Task, TaskError, random};
use crate::tokenizer::Conversation;

/// The seed of the order.
const SEED: u64 = 42;

/// The result of converting a row.
pub enum Made {
    /// A conversation.
    Conversation(Conversation),
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
}

/// Conversations that were read from files.
pub struct Table {
    name: &'static str,
    store: Store,
    order: Vec<usize>,
}

impl Table {
    /// Reads `files`, in order; the conversations are kept in a file in `cache` while the process lives.
    ///
    /// # Errors
    /// If a file cannot be read, a row is not what the task expects, or there is no row.
    pub fn read(layout: &Layout, files: &[PathBuf], cache: &Path) -> Result<Self, TaskError> {
        let mut store = StoreWriter::create(cache)?;
        let mut left_out = 0u64;
        for path in files {
            rows::for_each(path, layout.columns, &mut |row| match (layout.convert)(row).map_err(RowFault::Unusable)? {
                Made::Conversation(conversation) => {
                    conversation.check().map_err(|error| RowFault::Unusable(error.to_string()))?;
                    store.push(&conversation).map_err(RowFault::Other)
                }
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
        Ok(Self { name: layout.name, order: random::permutation(store.len(), SEED), store })
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
        self.store.get(self.order[index])
    }

    fn fingerprint(&self) -> String {
        self.store.fingerprint().to_owned()
    }
}
