//! Best-fit packing: which of the waiting documents is next in a row.
//!
//! The rule, over documents in order of arrival: take the longest that fits entirely, the first of equals; if none
//! fits, take the shortest, the first of equals, and crop it. Rows start with a document and waste no position.
//!
//! The naive way looks at every document for every choice. Here documents are in queues by length in an ordered map, so a
//! choice costs a look-up: the head of the queue is the first of equals.

use std::collections::{BTreeMap, VecDeque};

/// What can be packed into a row.
pub trait Packable {
    /// The positions that it takes in a row.
    fn positions(&self) -> usize;
}

/// The waiting documents, indexed for best fit.
#[derive(Clone, Debug)]
pub struct BestFit<D> {
    /// By length: the documents of that length in order of arrival, with their sequence numbers.
    by_length: BTreeMap<usize, VecDeque<(u64, D)>>,
    len: usize,
    arrived: u64,
}

impl<D> Default for BestFit<D> {
    fn default() -> Self {
        Self { by_length: BTreeMap::new(), len: 0, arrived: 0 }
    }
}

impl<D: Packable> BestFit<D> {
    /// How many documents wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a document after all others.
    pub fn push(&mut self, document: D) {
        let length = document.positions();
        self.by_length.entry(length).or_default().push_back((self.arrived, document));
        self.arrived += 1;
        self.len += 1;
    }

    /// Takes the longest document of at most `room` tokens or, when all are longer, the shortest: the first of equals
    /// in either case. `None` when nothing waits.
    pub fn take(&mut self, room: usize) -> Option<D> {
        let fitting = self.by_length.range(..=room).next_back();
        let length = fitting.or_else(|| self.by_length.first_key_value()).map(|(length, _)| *length)?;
        self.take_first_of(length)
    }

    /// Takes the longest document of at most `room` tokens, the first of equals; `None` when all are longer.
    pub fn take_fitting(&mut self, room: usize) -> Option<D> {
        let length = self.by_length.range(..=room).next_back().map(|(length, _)| *length)?;
        self.take_first_of(length)
    }

    fn take_first_of(&mut self, length: usize) -> Option<D> {
        let queue = self.by_length.get_mut(&length)?;
        let (_, document) = queue.pop_front()?;
        if queue.is_empty() {
            self.by_length.remove(&length);
        }
        self.len -= 1;
        Some(document)
    }

    /// The documents in order of arrival.
    pub fn in_order(&self) -> Vec<&D> {
        let mut documents: Vec<&(u64, D)> = self.by_length.values().flatten().collect();
        documents.sort_unstable_by_key(|(arrival, _)| *arrival);
        documents.into_iter().map(|(_, document)| document).collect()
    }
}

impl<D: Packable> FromIterator<D> for BestFit<D> {
    fn from_iter<I: IntoIterator<Item = D>>(documents: I) -> Self {
        let mut waiting = Self::default();
        documents.into_iter().for_each(|document| waiting.push(document));
        waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The naive rule over a list in order of arrival.
    fn plain_take(documents: &mut Vec<Vec<u32>>, room: usize) -> Option<Vec<u32>> {
        let mut best: Option<usize> = None;
        for (at, document) in documents.iter().enumerate() {
            if document.len() <= room && best.is_none_or(|best| document.len() > documents[best].len()) {
                best = Some(at);
            }
        }
        let shortest = (0..documents.len()).min_by_key(|at| (documents[*at].len(), *at));
        best.or(shortest).map(|at| documents.remove(at))
    }

    impl Packable for Vec<u32> {
        fn positions(&self) -> usize {
            self.len()
        }
    }

    proptest! {
        #[test]
        fn every_choice_is_that_of_the_plain_rule(
            steps in proptest::collection::vec((proptest::collection::vec(1usize..24, 0..9), 1usize..26), 1..120),
        ) {
            let (mut waiting, mut plain) = (BestFit::default(), Vec::new());
            let mut name = 0;
            for (lengths, room) in steps {
                for length in lengths {
                    name += 1;
                    plain.push(vec![name; length]);
                    waiting.push(vec![name; length]);
                }
                prop_assert_eq!(waiting.take(room), plain_take(&mut plain, room));
                prop_assert_eq!(waiting.len(), plain.len());
                let order: Vec<_> = waiting.in_order().into_iter().cloned().collect();
                prop_assert_eq!(&order, &plain);
            }
        }
    }
}
