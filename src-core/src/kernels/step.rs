//! What a recorded update of parameters reads each time it is replayed.

use crate::gpu::Tensor;

/// The numbers of a step, in tensors that are written before each replay.
#[derive(Clone, Copy, Debug)]
pub struct Now<'a> {
    /// `[slots, 4]`: what each group of parameters needs.
    pub numbers: &'a Tensor,
    /// The group's slot.
    pub slot: usize,
    /// `[1 or more]` u32. If the first is not 0, a gradient is not finite, and the update changes neither parameters nor moments.
    pub halt: &'a Tensor,
}

impl Now<'_> {
    /// Panics if there is no such slot.
    pub(super) fn check(&self) {
        assert!(self.numbers.len() >= 4 * (self.slot + 1), "no slot {} in {:?}", self.slot, self.numbers.shape());
    }
}
