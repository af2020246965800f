//! Several tasks as one, in one shuffled order: fine-tuning sees all of them all the time, however different their sizes.

use super::digest::Fingerprinter;
use super::random::permutation;
use super::{FileSummary, Task, TaskError};
use crate::tokenizer::Conversation;

/// A task repeated several times, so that a mixture has more of it.
pub struct Repeated {
    task: Box<dyn Task>,
    times: usize,
}

impl Repeated {
    /// The conversations of `task`, `times` times in a row.
    pub fn new(task: Box<dyn Task>, times: usize) -> Self {
        Self { task, times }
    }
}

impl Task for Repeated {
    fn name(&self) -> &str {
        self.task.name()
    }

    fn len(&self) -> usize {
        self.task.len() * self.times
    }

    fn example(&self, index: usize) -> Result<Conversation, TaskError> {
        self.task.example(index % self.task.len())
    }

    fn labels(&self, index: usize) -> Result<Option<Vec<String>>, TaskError> {
        self.task.labels(index % self.task.len())
    }

    fn evaluate(&self, index: usize, answer: &str) -> Result<Option<bool>, TaskError> {
        self.task.evaluate(index % self.task.len(), answer)
    }

    fn fingerprint(&self) -> String {
        Fingerprinter::default().add("repeated").add(self.task.fingerprint()).add_number(self.times as u64).finish()
    }

    fn files(&self) -> Vec<FileSummary> {
        self.task.files()
    }
}

/// All conversations of several tasks, each once, in an order that the seed decides.
///
/// The order is a permutation of (task, index) by [`random`](super::random), not by Python's generator: the same
/// seed gives the same order on every machine, but not that of the reference.
pub struct Mixture {
    tasks: Vec<Box<dyn Task>>,
    /// Where each task ends among the conversations before they are shuffled.
    ends: Vec<usize>,
    order: Vec<usize>,
    seed: u64,
}

impl Mixture {
    /// Mixes `tasks`; the order takes 8 bytes per conversation.
    pub fn new(tasks: Vec<Box<dyn Task>>, seed: u64) -> Self {
        let ends: Vec<usize> = tasks
            .iter()
            .scan(0, |end, task| {
                *end += task.len();
                Some(*end)
            })
            .collect();
        let order = permutation(ends.last().copied().unwrap_or(0), seed);
        Self { tasks, ends, order, seed }
    }

    /// The tasks, in the order given.
    pub fn tasks(&self) -> &[Box<dyn Task>] {
        &self.tasks
    }

    /// The task of conversation `index`, and its index in that task.
    pub fn origin(&self, index: usize) -> (usize, usize) {
        let at = self.order[index];
        let task = self.ends.partition_point(|&end| end <= at);
        (task, at - if task == 0 { 0 } else { self.ends[task - 1] })
    }
}

impl Task for Mixture {
    fn name(&self) -> &str {
        "mixture"
    }

    fn len(&self) -> usize {
        self.order.len()
    }

    fn example(&self, index: usize) -> Result<Conversation, TaskError> {
        let (task, at) = self.origin(index);
        self.tasks[task].example(at)
    }

    fn labels(&self, index: usize) -> Result<Option<Vec<String>>, TaskError> {
        let (task, at) = self.origin(index);
        self.tasks[task].labels(at)
    }

    fn evaluate(&self, index: usize, answer: &str) -> Result<Option<bool>, TaskError> {
        let (task, at) = self.origin(index);
        self.tasks[task].evaluate(at, answer)
    }

    fn fingerprint(&self) -> String {
        let mut print = Fingerprinter::default();
        print.add("mixture").add_number(self.seed);
        for task in &self.tasks {
            print.add(task.name()).add_number(task.len() as u64).add(task.fingerprint());
        }
        print.finish()
    }

    fn files(&self) -> Vec<FileSummary> {
        self.tasks.iter().flat_map(|task| task.files()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::testing::{Numbers, number};
    use super::*;

    fn mixture(seed: u64) -> Mixture {
        Mixture::new(vec![Box::new(Numbers(0)), Box::new(Repeated::new(Box::new(Numbers(5)), 3)), Box::new(Numbers(40))], seed)
    }

    #[test]
    fn every_conversation_comes_once_and_repeated_ones_as_often_as_asked() {
        let mixture = mixture(1);
        assert_eq!(mixture.len(), 55);
        let mut seen: HashMap<(usize, usize), usize> = HashMap::new();
        for index in 0..mixture.len() {
            let (task, at) = mixture.origin(index);
            assert_eq!(number(&mixture, index), number(mixture.tasks()[task].as_ref(), at));
            *seen.entry((task, number(&mixture, index))).or_default() += 1;
        }
        assert_eq!(seen.len(), 45);
        assert!(seen.iter().all(|((task, _), times)| *times == if *task == 1 { 3 } else { 1 }), "{seen:?}");
    }

    #[test]
    fn the_seed_decides_the_order_and_mixes_the_tasks() {
        let order = |seed| (0..55).map(|index| mixture(seed).origin(index)).collect::<Vec<_>>();
        assert_eq!(order(7), order(7));
        assert_ne!(order(7), order(8));
        let firsts = order(7).iter().take(28).filter(|(task, _)| *task == 1).count();
        assert!((3..=12).contains(&firsts), "15 of 55 are of task 1, so about 8 of the first 28: {firsts}");
    }

    #[test]
    fn the_fingerprint_tells_seeds_sizes_and_repeats_apart() {
        let print = |times, count, seed| {
            Mixture::new(vec![Box::new(Repeated::new(Box::new(Numbers(5)), times)), Box::new(Numbers(count))], seed).fingerprint()
        };
        assert_eq!(print(2, 10, 1), print(2, 10, 1));
        let all = [print(2, 10, 1), print(3, 10, 1), print(2, 11, 1), print(2, 10, 2)];
        assert!((1..all.len()).all(|at| !all[..at].contains(&all[at])));
    }

    #[test]
    fn a_mixture_of_nothing_is_empty() {
        assert!(Mixture::new(Vec::new(), 1).is_empty());
        assert!(Mixture::new(vec![Box::new(Repeated::new(Box::new(Numbers(0)), 4))], 1).is_empty());
    }
}
