//! What is computed in which pass: arithmetic alone.

use std::ops::Range;

use super::Sequence;
use crate::model::Cache;

/// Tokens `from..to` of the sequence in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub row: usize,
    pub from: usize,
    pub to: usize,
}

/// A pass of up to `fresh` new tokens of some sequences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    pub fresh: usize,
    pub pieces: Vec<Piece>,
}

/// How many tokens all sequences begin with, not counting those whose logits a sequence needs: the token before its first scored one,
/// and all after that.
pub fn shared_prefix(sequences: &[Sequence<'_>]) -> usize {
    let Some((first, others)) = sequences.split_first() else { return 0 };
    let least = sequences.iter().map(|sequence| sequence.start - 1).min().unwrap_or(0);
    let common = |other: &Sequence<'_>| first.ids.iter().zip(other.ids).take_while(|(a, b)| a == b).count();
    others.iter().map(common).fold(least, usize::min)
}

/// Splits groups of such sizes into consecutive batches of at most `rows` sequences. A larger group is a batch of its own.
pub fn batches(sizes: &[usize], rows: usize) -> Vec<Range<usize>> {
    let (mut batches, mut start, mut used) = (Vec::new(), 0, 0);
    for (at, &size) in sizes.iter().enumerate() {
        if used + size > rows && at > start {
            batches.push(start..at);
            (start, used) = (at, 0);
        }
        used += size;
    }
    if start < sizes.len() {
        batches.push(start..sizes.len());
    }
    batches
}

/// New tokens of a sequence in a pass for `tokens` of them, padding included: few different numbers, so that few passes are recorded.
fn class(tokens: usize) -> usize {
    let rounded = if tokens <= 32 { tokens.next_power_of_two() } else { tokens.next_multiple_of(32) };
    rounded.min(Cache::LONGEST_PASS)
}

/// Passes of up to `most` tokens, padding included, that compute all pieces, each one's tokens in order. The number of sequences of a
/// pass is a power of two.
pub fn passes(pieces: Vec<Piece>, most: usize) -> Vec<Pass> {
    let left = |piece: &Piece| piece.to - piece.from;
    let mut open: Vec<Piece> = pieces.into_iter().filter(|piece| left(piece) > 0).collect();
    let mut passes = Vec::new();
    while !open.is_empty() {
        // The longest first; equal ones in their order.
        open.sort_by_key(|piece| std::cmp::Reverse(left(piece)));
        let fresh = class(left(&open[0]).min(most));
        let sequences = 1 << open.len().min(most / fresh).max(1).ilog2();
        let pieces: Vec<Piece> = open[..sequences].iter().map(|piece| Piece { to: piece.to.min(piece.from + fresh), ..*piece }).collect();
        for (piece, done) in open.iter_mut().zip(&pieces) {
            piece.from = done.to;
        }
        open.retain(|piece| left(piece) > 0);
        passes.push(Pass { fresh, pieces });
    }
    passes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn classes_are_few_and_waste_little() {
        let classes: std::collections::BTreeSet<usize> = (1..=1000).map(class).collect();
        assert_eq!(classes.into_iter().collect::<Vec<_>>(), [1, 2, 4, 8, 16, 32, 64, 96, 128, 160, 192, 224, 256]);
        assert!((1..=256).all(|tokens| class(tokens) >= tokens && class(tokens) < 2 * tokens && class(tokens) < tokens + 32));
    }

    #[test]
    fn a_prefix_ends_before_logits_are_needed() {
        let (a, b, c) = ([1, 2, 3, 4, 5], [1, 2, 3, 9], [1, 2, 3, 4, 5, 6]);
        let prefix = |all: &[(&'static [u32], usize)]| {
            let all: Vec<Sequence<'_>> = all.iter().map(|&(ids, start)| Sequence::new(ids, start)).collect();
            shared_prefix(&all)
        };
        let (a, b, c): (&'static [u32], &'static [u32], &'static [u32]) =
            (Box::leak(Box::new(a)), Box::leak(Box::new(b)), Box::leak(Box::new(c)));
        assert_eq!(prefix(&[(a, 3), (b, 3)]), 2);
        assert_eq!(prefix(&[(a, 4), (b, 4)]), 3);
        assert_eq!(prefix(&[(a, 5), (b, 4), (c, 5)]), 3);
        assert_eq!(prefix(&[(a, 4)]), 3);
        assert_eq!(prefix(&[(a, 1), (c, 5)]), 0);
        assert_eq!(prefix(&[]), 0);
    }

    proptest! {
        #[test]
        fn batches_hold_every_group_once(sizes in prop::collection::vec(1usize..9, 0..20), rows in 1usize..20) {
            let batches = batches(&sizes, rows);
            prop_assert!(batches.iter().cloned().flatten().eq(0..sizes.len()));
            for batch in batches {
                let used: usize = sizes[batch.clone()].iter().sum();
                prop_assert!(used <= rows || batch.len() == 1);
            }
        }

        #[test]
        fn passes_compute_every_token_once_and_in_order(
            lengths in prop::collection::vec((0usize..700, 0usize..50), 0..40), most in prop::sample::select(vec![1usize, 8, 256, 2048]),
        ) {
            let pieces: Vec<Piece> = lengths.iter().enumerate().map(|(row, &(len, from))| Piece { row, from, to: from + len }).collect();
            let mut held: Vec<usize> = lengths.iter().map(|&(_, from)| from).collect();
            for pass in passes(pieces.clone(), most) {
                prop_assert!(pass.fresh * pass.pieces.len() <= most && pass.pieces.len().is_power_of_two());
                for piece in pass.pieces {
                    prop_assert!(piece.to > piece.from && piece.to - piece.from <= pass.fresh);
                    prop_assert_eq!(held[piece.row], piece.from);
                    held[piece.row] = piece.to;
                }
            }
            prop_assert!(held.into_iter().eq(pieces.iter().map(|piece| piece.to)));
        }
    }
}
