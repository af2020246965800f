//! What training is fed: batches of token ids, and what makes them.

use std::ops::Range;

use super::{DataError, IGNORED};

/// Rows of tokens and, for each token, the one that follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The number of rows, B.
    pub rows: usize,
    /// Tokens in a row, T.
    pub row_len: usize,
    /// Token ids, `[B, T]`.
    pub inputs: Vec<i32>,
    /// The token ids that follow, `[B, T]`; [`IGNORED`] where nothing is to be predicted, which pretraining has not.
    pub targets: Vec<i32>,
}

impl Batch {
    /// Inputs and targets of some rows, each `[rows.len(), T]`: for a device that takes fewer rows at once.
    pub fn part(&self, rows: Range<usize>) -> (&[i32], &[i32]) {
        let tokens = rows.start * self.row_len..rows.end * self.row_len;
        (&self.inputs[tokens.clone()], &self.targets[tokens])
    }

    /// Targets that count.
    pub fn targets_that_count(&self) -> usize {
        self.targets.iter().filter(|target| **target != IGNORED).count()
    }
}

/// What makes batches: a loader of any stage.
pub trait BatchSource: Send + 'static {
    /// All that it needs to go on after a batch as if it had never stopped. Cheap to make.
    type State: Send + 'static;

    /// Does one part of the work that the next batch needs; false when nothing is left to do but to make the batch.
    fn refill(&mut self) -> Result<bool, DataError>;

    /// The next batch. After an error the source is of no further use.
    fn next_batch(&mut self) -> Result<Batch, DataError>;

    /// The state after the last batch.
    fn state(&self) -> Self::State;
}
