//! A part of a task: every `step`-th conversation from `start` to before `stop`.

use std::ops::Range;

use super::digest::Fingerprinter;
use super::{FileSummary, Task, TaskError};
use crate::tokenizer::Conversation;

/// Some of a task's conversations, in its order.
pub struct Slice {
    task: Box<dyn Task>,
    range: Range<usize>,
    step: usize,
}

impl Slice {
    /// The conversations `range.start`, `range.start + step`, … below `range.end`. A range that extends beyond the task
    /// is clamped to it; a `step` of 0 counts as 1.
    pub fn new(task: Box<dyn Task>, range: Range<usize>, step: usize) -> Self {
        let end = range.end.min(task.len());
        Self { range: range.start.min(end)..end, step: step.max(1), task }
    }

    /// The first `count` conversations, or all if there are fewer.
    pub fn first(task: Box<dyn Task>, count: usize) -> Self {
        Self::new(task, 0..count, 1)
    }
}

impl Task for Slice {
    fn name(&self) -> &str {
        self.task.name()
    }

    fn len(&self) -> usize {
        self.range.len().div_ceil(self.step)
    }

    fn example(&self, index: usize) -> Result<Conversation, TaskError> {
        self.task.example(self.range.start + index * self.step)
    }

    fn labels(&self, index: usize) -> Result<Option<Vec<String>>, TaskError> {
        self.task.labels(self.range.start + index * self.step)
    }

    fn evaluate(&self, index: usize, answer: &str) -> Result<Option<bool>, TaskError> {
        self.task.evaluate(self.range.start + index * self.step, answer)
    }

    fn files(&self) -> Vec<FileSummary> {
        self.task.files()
    }

    fn fingerprint(&self) -> String {
        let mut print = Fingerprinter::default();
        print.add("slice").add(self.task.fingerprint());
        print.add_number(self.range.start as u64).add_number(self.range.end as u64).add_number(self.step as u64).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Numbers, number};
    use super::*;

    fn of(range: Range<usize>, step: usize) -> Vec<usize> {
        let slice = Slice::new(Box::new(Numbers(10)), range, step);
        (0..slice.len()).map(|index| number(&slice, index)).collect()
    }

    #[test]
    fn a_slice_is_what_python_would_give() {
        assert_eq!(of(0..10, 1), (0..10).collect::<Vec<_>>());
        assert_eq!(of(2..9, 3), [2, 5, 8]);
        assert_eq!(of(2..8, 3), [2, 5]);
        assert_eq!(of(7..100, 2), [7, 9]);
        assert_eq!(of(3..4, 0), [3]);
        assert!(of(10..20, 1).is_empty() && of(12..20, 1).is_empty() && of(5..5, 1).is_empty());
        assert_eq!(Slice::first(Box::new(Numbers(10)), 4).len(), 4);
        assert_eq!(Slice::first(Box::new(Numbers(3)), 4).len(), 3);
    }

    #[test]
    fn the_fingerprint_tells_slices_apart() {
        let print = |range, step| Slice::new(Box::new(Numbers(10)), range, step).fingerprint();
        let all = [print(0..10, 1), print(0..9, 1), print(1..10, 1), print(0..10, 2), Numbers(10).fingerprint()];
        assert!((1..all.len()).all(|at| !all[..at].contains(&all[at])));
    }
}
