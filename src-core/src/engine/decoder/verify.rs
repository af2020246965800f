//! Several tokens of one row in one pass, each followed by drawing the next: what checks a draft.
//!
//! The pass does what as many steps would do, to the bit: up to eight tokens go through the kernels of a single one, whose results
//! do not depend on how many there are. So whoever verifies tokens sees what plain decoding would have drawn after each of them.
//!
//! A verified token is not in the row until it is [kept](Decoder::keep). Those that are not leave keys and values in slots that
//! no cursor counts, and that the next pass writes again. In a ring buffer these slots held tokens that had left the window:
//! it has [`Cache::LONGEST_PASS`] slots more than the window.

use std::collections::VecDeque;

use crate::gpu::{Readback, Recording};
use crate::kernels::matvec;
use crate::kernels::sample::Draw;
use crate::model::{Cache, CachedPass};

use super::drawing::Drawing;
use super::{Decoder, mark};
use crate::engine::EngineError;

/// The most tokens of a verification: with more, products are computed by other kernels, which round in another way.
pub const MOST_VERIFIED: usize = matvec::MOST_ROWS;

// The cache expects that no more slots than this are written in vain.
const _: () = assert!(MOST_VERIFIED <= Cache::UNKEPT && MOST_VERIFIED < CachedPass::SHARED_KEYS);

/// The passes that verify tokens, and the tokens of the last one.
pub struct Verify {
    /// Those of the longest pass, which the shorter ones use too.
    buffers: Drawing,
    recorded: Vec<(Drawing, Recording)>,
    readback: Readback,
    /// The row of the last verification, and its tokens that are not kept yet.
    row: usize,
    unkept: VecDeque<u32>,
}

impl Verify {
    fn new(decoder: &Decoder<'_>) -> Result<Self, EngineError> {
        let buffers = Drawing::allocate(&decoder.gpu, decoder.model, 1, MOST_VERIFIED.min(decoder.capacity()))?;
        let readback = Readback::new(&decoder.gpu, buffers.pass.ids.bytes())?;
        Ok(Self { buffers, recorded: Vec::new(), readback, row: 0, unkept: VecDeque::new() })
    }

    /// The index of the recorded pass for this many tokens: products handle rows in powers of two, so the rest is padding.
    fn pass_for(&mut self, decoder: &Decoder<'_>, tokens: usize) -> Result<usize, EngineError> {
        let rows = tokens.next_power_of_two().min(decoder.capacity());
        if let Some(found) = self.recorded.iter().position(|(buffers, _)| buffers.pass.fresh == rows) {
            return Ok(found);
        }
        let buffers = self.buffers.shorter(rows);
        let recording = buffers.record(&decoder.gpu, decoder.model, &decoder.cache)?;
        self.recorded.push((buffers, recording));
        Ok(self.recorded.len() - 1)
    }
}

impl Decoder<'_> {
    /// What plain steps would draw if `ids` were fed to `row` one after another, with a draw each: one submission. `None` where
    /// the logits are not numbers. The row does not change: [`keep`](Self::keep) appends the tokens that stay.
    ///
    /// The buffers are allocated by the first call.
    ///
    /// # Errors
    /// If the row has no space for them, a token is not in the vocabulary, or the GPU fails or lacks memory.
    ///
    /// # Panics
    /// If there are none, or more than [`MOST_VERIFIED`].
    pub fn verify(&mut self, row: usize, ids: &[u32], draws: &[Draw]) -> Result<Vec<Option<u32>>, EngineError> {
        assert!((1..=MOST_VERIFIED).contains(&ids.len()) && ids.len() == draws.len(), "{} tokens, {} draws", ids.len(), draws.len());
        let held = self.rows[row].ids.len();
        if held + ids.len() > self.capacity() {
            return Err(EngineError::TooLong { tokens: held + ids.len(), room: self.capacity() });
        }
        self.check(ids)?;
        let mut verify = match self.verify.take() {
            Some(verify) => verify,
            None => Verify::new(self)?,
        };
        let drawn = self.verify_with(&mut verify, row, ids, draws);
        self.verify = Some(verify);
        drawn
    }

    fn verify_with(&mut self, verify: &mut Verify, row: usize, ids: &[u32], draws: &[Draw]) -> Result<Vec<Option<u32>>, EngineError> {
        let place = verify.pass_for(self, ids.len())?;
        let (Drawing { pass, draws: to, seen, .. }, recording) = &verify.recorded[place];
        let held = &self.rows[row];
        if draws.iter().any(|draw| draw.penalty != 1.0) {
            self.gpu.write(seen, &marks(&held.ids, ids, seen.shape()));
            self.marks_lack = true;
        }
        // Past the last token, one that exists, and the cheapest draw.
        let mut padded: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
        padded.resize(pass.fresh, 0);
        let mut draws = draws.to_vec();
        draws.resize(pass.fresh, Draw::GREEDY);
        self.gpu.write(&pass.cursors, &[held.cursor(row, ids.len())]);
        self.gpu.write(&pass.ids, &padded);
        self.gpu.write(to, bytemuck::cast_slice::<Draw, u32>(&draws));
        // What comes back is as long as the longest pass.
        recording.run_and_read(&mut verify.readback, &[&verify.buffers.pass.ids]);
        let drawn: Vec<i32> = verify.readback.wait()?;
        verify.row = row;
        verify.unkept = ids.iter().copied().collect();
        Ok(drawn[..ids.len()].iter().map(|&drawn| u32::try_from(drawn).ok()).collect())
    }

    /// Appends the next token of the last [`verify`](Self::verify) to its row.
    ///
    /// # Panics
    /// If there is none: all are kept, or the decoder has done something else since.
    pub fn keep(&mut self) {
        let (row, id) = self.verify.as_mut().and_then(|verify| Some((verify.row, verify.unkept.pop_front()?))).expect("a verified token");
        self.rows[row].extend(&[id]);
    }

    /// Gives up the verified tokens that are not kept: another pass overwrites them.
    pub(super) fn forget_unkept(&mut self) {
        if let Some(verify) = &mut self.verify {
            verify.unkept.clear();
        }
    }
}

/// For each of `ids` the marks of the tokens before it, to which the kernel adds its own; then none, for padding.
fn marks(held: &[u32], ids: &[u32], shape: &[usize]) -> Vec<u32> {
    let mut marks = vec![0; shape[1]];
    held.iter().for_each(|&id| mark(&mut marks, id));
    let mut all = Vec::with_capacity(shape[0] * shape[1]);
    for &id in ids {
        all.extend_from_slice(&marks);
        mark(&mut marks, id);
    }
    all.resize(shape[0] * shape[1], 0);
    all
}
