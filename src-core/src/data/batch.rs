//! Batches of token ids for training, and the trait of their sources.

use std::ops::Range;

use super::{DataError, IGNORED};

/// Rows of tokens and, for each token, its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The number of rows, B.
    pub rows: usize,
    /// Tokens in a row, T.
    pub row_len: usize,
    /// Token ids, `[B, T]`.
    pub inputs: Vec<i32>,
    /// The next token ids, `[B, T]`; [`IGNORED`] where nothing is predicted, which does not occur in pretraining.
    pub targets: Vec<i32>,
}

impl Batch {
    /// Inputs and targets of some rows, each `[rows.len(), T]`: for a device that processes fewer rows at once.
    pub fn part(&self, rows: Range<usize>) -> (&[i32], &[i32]) {
        let tokens = rows.start * self.row_len..rows.end * self.row_len;
        (&self.inputs[tokens.clone()], &self.targets[tokens])
    }

    /// The number of targets that are not ignored.
    pub fn targets_that_count(&self) -> usize {
        self.targets.iter().filter(|target| **target != IGNORED).count()
    }
}

/// A source of batches: the loader of any stage.
pub trait BatchSource: Send + 'static {
    /// Everything that is needed to resume exactly after a batch. Cheap to create.
    type State: Send + 'static;

    /// Does one part of the work for the next batch; false if everything is ready.
    fn refill(&mut self) -> Result<bool, DataError>;

    /// The next batch. After an error the source must not be used any more.
    fn next_batch(&mut self) -> Result<Batch, DataError>;

    /// The state after the last batch.
    fn state(&self) -> Self::State;
}
