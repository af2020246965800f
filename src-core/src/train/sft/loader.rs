//! Batches of whole conversations, which are rendered ahead on all cores, and packed by best fit.
//!
//! A row of T + 1 tokens takes the longest waiting conversation that fits, the first of equals, again until none fits;
//! the rest of the row is `<|bos|>`. Only a conversation longer than a row, which could never fit, is cropped.
//! The mask determines which targets count in the loss; everything else, including padding, is [`IGNORED`].
//!
//! The state holds indexes, not tokens: a resumed loader renders the waiting conversations again.

use std::collections::VecDeque;
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::batch::{Batch, BatchSource};
use crate::data::packing::{BestFit, Packable};
use crate::data::{DataError, IGNORED};
use crate::tasks::Task;
use crate::tokenizer::{Conversation, ConversationError, Rendered, Tokenizer};

/// This many conversations wait while a row is packed.
pub(super) const WAITING: usize = 100;

/// Conversations are read and rendered this many at a time.
const AHEAD: usize = 64;

/// What the loader needs from a tokenizer. A trait, so that packing can be tested without one.
pub(in crate::train) trait Render: Send + Sync + 'static {
    /// The tokens of a conversation, and its loss mask.
    fn render(&self, conversation: &Conversation) -> Result<Rendered, ConversationError>;

    /// The id of `<|bos|>`.
    fn bos(&self) -> u32;
}

impl Render for Tokenizer {
    fn render(&self, conversation: &Conversation) -> Result<Rendered, ConversationError> {
        Tokenizer::render(self, conversation)
    }

    fn bos(&self) -> u32 {
        Tokenizer::bos(self)
    }
}

/// A conversation that waits to be packed.
#[derive(Clone, Debug)]
struct Waiting {
    place: Place,
    rendered: Rendered,
}

impl Packable for Waiting {
    fn positions(&self) -> usize {
        self.rendered.ids.len()
    }
}

/// Which conversation waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// Its index.
    index: usize,
    /// Conversations that were read to get it: itself, and those directly before it with nothing to learn from.
    read: u64,
}

/// Everything that a loader needs to resume exactly. It does not depend on the batch's shape except for the
/// length of a row, which crops conversations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::train) struct SftState {
    /// The fingerprint of the conversations.
    data: String,
    /// How many conversations there are.
    pub conversations: usize,
    /// The epoch: how many times reading has started at the first conversation.
    pub epoch: u64,
    /// The conversation that is read next.
    cursor: usize,
    /// Conversations that are packed, and those that were skipped on the way to them.
    pub consumed: u64,
    /// Conversations that were skipped because there was nothing to learn from them within a row's length.
    pub left_out: u64,
    /// Of these, those since the last one that waits or is packed.
    left_out_since: u64,
    /// The conversations that wait, in order of arrival.
    waiting: Vec<Place>,
}

impl SftState {
    fn beginning(task: &dyn Task) -> Self {
        Self {
            data: task.fingerprint(),
            conversations: task.len(),
            epoch: 1,
            cursor: 0,
            consumed: 0,
            left_out: 0,
            left_out_since: 0,
            waiting: Vec::new(),
        }
    }

    /// Whether a loader that reads every conversation once has packed the last one.
    pub fn is_over(&self) -> bool {
        self.epoch > 1 && self.waiting.is_empty()
    }
}

/// Renders and packs the conversations of a task.
pub(in crate::train) struct SftLoader<R> {
    task: Arc<dyn Task>,
    renderer: Arc<R>,
    rows: usize,
    row_len: usize,
    /// Read every conversation once instead of endlessly.
    once: bool,
    /// The state, except for the waiting conversations, which are in `waiting`.
    state: SftState,
    waiting: BestFit<Waiting>,
    /// Conversations rendered ahead of the state, from its cursor on.
    ahead: VecDeque<Result<Rendered, DataError>>,
}

impl<R: Render> SftLoader<R> {
    /// An endless loader of batches of `rows` rows of `row_len` tokens, from the first conversation on.
    pub fn endless(task: Arc<dyn Task>, renderer: Arc<R>, rows: usize, row_len: usize) -> Self {
        let state = SftState::beginning(task.as_ref());
        Self { task, renderer, rows, row_len, once: false, state, waiting: BestFit::default(), ahead: VecDeque::new() }
    }

    /// The same for every conversation once: when the last one is packed, only padding is left.
    pub fn once(task: Arc<dyn Task>, renderer: Arc<R>, rows: usize, row_len: usize) -> Self {
        Self { once: true, ..Self::endless(task, renderer, rows, row_len) }
    }

    /// An endless loader that resumes from `state`. Rejects the state of other conversations.
    pub fn resume(task: Arc<dyn Task>, renderer: Arc<R>, mut state: SftState, rows: usize, row_len: usize) -> Result<Self, DataError> {
        let length = task.len();
        if state.data != task.fingerprint() || state.conversations != length {
            return Err(DataError::OtherConversations { saved: state.conversations, found: length });
        }
        let places = std::mem::take(&mut state.waiting);
        if state.cursor >= length || places.iter().any(|place| place.index >= length) {
            return Err(DataError::OtherConversations { saved: state.conversations, found: length });
        }
        let mut loader = Self { state, ..Self::endless(task, renderer, rows, row_len) };
        let rendered: Vec<_> = places.par_iter().map(|place| loader.render(place.index)).collect();
        for (place, rendered) in places.into_iter().zip(rendered) {
            loader.waiting.push(Waiting { place, rendered: rendered? });
        }
        Ok(loader)
    }

    /// Whether reading has finished.
    fn all_read(&self) -> bool {
        self.once && self.state.epoch > 1
    }

    /// Conversation `index`, cropped to a row.
    fn render(&self, index: usize) -> Result<Rendered, DataError> {
        let conversation = self.task.example(index).map_err(DataError::conversations)?;
        let mut rendered = self.renderer.render(&conversation).map_err(DataError::conversations)?;
        rendered.truncate(self.row_len + 1);
        Ok(rendered)
    }

    /// Renders the next conversations, starting over after the last unless each is read once.
    fn render_ahead(&mut self) {
        let length = self.state.conversations;
        let most = if self.once { length - self.state.cursor } else { AHEAD };
        let first = self.state.cursor;
        let this = &*self;
        let rendered: Vec<_> = (0..most.min(AHEAD)).into_par_iter().map(|at| this.render((first + at) % length)).collect();
        self.ahead = rendered.into();
    }

    /// Adds the next conversation to the waiting ones, or skips it.
    fn read(&mut self) -> Result<(), DataError> {
        if self.state.conversations == 0 {
            return Err(DataError::NothingToLearn { tokens: self.row_len });
        }
        if self.ahead.is_empty() {
            self.render_ahead();
        }
        let Some(rendered) = self.ahead.pop_front() else { return Ok(()) };
        let rendered = rendered?;
        let index = self.state.cursor;
        self.state.cursor += 1;
        if self.state.cursor == self.state.conversations {
            self.state.cursor = 0;
            self.state.epoch += 1;
        }
        // The first token is not a target.
        if rendered.mask.iter().skip(1).any(|&learnt| learnt) {
            let read = 1 + std::mem::take(&mut self.state.left_out_since);
            self.waiting.push(Waiting { place: Place { index, read }, rendered });
            return Ok(());
        }
        self.state.left_out += 1;
        self.state.left_out_since += 1;
        // An epoch with nothing to learn would repeat for ever.
        if self.state.left_out_since >= self.state.conversations as u64 {
            return Err(DataError::NothingToLearn { tokens: self.row_len });
        }
        Ok(())
    }

    /// Fills a row of `row_len + 1` tokens and its loss mask.
    fn pack(&mut self, row: &mut Rendered) -> Result<(), DataError> {
        row.truncate(0);
        let length = self.row_len + 1;
        while row.ids.len() < length {
            while self.refill()? {}
            match self.waiting.take_fitting(length - row.ids.len()) {
                Some(Waiting { place, rendered }) => {
                    self.state.consumed += place.read;
                    row.ids.extend(rendered.ids);
                    row.mask.extend(rendered.mask);
                }
                None => {
                    row.ids.resize(length, self.renderer.bos());
                    row.mask.resize(length, false);
                }
            }
        }
        Ok(())
    }
}

impl<R: Render> BatchSource for SftLoader<R> {
    type State = SftState;

    fn refill(&mut self) -> Result<bool, DataError> {
        if self.waiting.len() >= WAITING || self.all_read() {
            return Ok(false);
        }
        self.read()?;
        Ok(true)
    }

    fn next_batch(&mut self) -> Result<Batch, DataError> {
        let tokens = self.rows * self.row_len;
        let (mut inputs, mut targets) = (Vec::with_capacity(tokens), Vec::with_capacity(tokens));
        let mut row = Rendered::default();
        for _ in 0..self.rows {
            self.pack(&mut row)?;
            inputs.extend(row.ids[..self.row_len].iter().map(|&id| id as i32));
            targets.extend(row.ids.iter().zip(&row.mask).skip(1).map(|(&id, &learnt)| if learnt { id as i32 } else { IGNORED }));
        }
        Ok(Batch { rows: self.rows, row_len: self.row_len, inputs, targets })
    }

    fn state(&self) -> SftState {
        let waiting = self.waiting.in_order().into_iter().map(|waiting| waiting.place).collect();
        SftState { waiting, ..self.state.clone() }
    }
}

#[cfg(test)]
mod tests;
