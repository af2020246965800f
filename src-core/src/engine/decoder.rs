//! Sequences of tokens on the GPU: prefill and decoding with a KV cache.
//!
//! Works on token ids and knows no text. It owns the positions of its rows and passes them to every pass.

use crate::gpu::{Clock, Gpu, KernelTime, Readback, Recorder, Recording, Submission, Tensor};
use crate::kernels::kv_cache::Cursor;
use crate::kernels::sample::Draw;
use crate::model::{Cache, CacheFormat, CachedPass, Model, Want};

use super::EngineError;

mod drawing;
mod verify;

use drawing::Drawing;
pub use verify::MOST_VERIFIED;
use verify::Verify;

/// New tokens of the shortest pass that prefill records.
const SHORTEST_PASS: usize = 8;

/// New tokens of the pass for `fresh` ones, including padding: powers of two, so that few passes are recorded.
fn fresh_of_pass(fresh: usize, capacity: usize) -> usize {
    fresh.next_power_of_two().max(SHORTEST_PASS).min(Cache::LONGEST_PASS.min(capacity)).max(fresh)
}

/// Rows of tokens that one model continues as a batch.
pub struct Decoder<'a> {
    gpu: Gpu,
    model: &'a Model,
    cache: Cache,
    rows: Vec<Row>,
    longest: Option<CachedPass>,
    /// Passes of one row, the shortest first.
    prefill: Vec<(CachedPass, Recording)>,
    decode: Decode,
    /// Whether the marks of the tokens seen lack tokens that were kept from a verification.
    marks_lack: bool,
    /// The passes that verify drafts, from the first draft on.
    verify: Option<Verify>,
    /// The copy of the first row to all others, with the cursor that holds its length.
    fork: Option<(Tensor, Recording)>,
}

/// The content of a row.
#[derive(Clone, Default)]
struct Row {
    /// Ids of the tokens that are in the cache.
    ids: Vec<u32>,
    /// The most tokens in the row since it was last empty: slots up to there were written.
    longest: usize,
}

/// The pass of one token per row, followed by drawing the next.
struct Decode {
    drawing: Drawing, // of a token for each of B rows
    recording: Recording,
    readback: Readback,
}

/// What one row does in a decoding step.
#[derive(Clone, Copy, Debug)]
pub enum Feed {
    /// Appends a token, and draws the next.
    Token(u32, Draw),
    /// Nothing.
    Idle,
}

impl<'a> Decoder<'a> {
    /// A decoder with `rows` empty rows, each for up to `capacity` tokens or the model's context, whichever is less.
    ///
    /// # Errors
    /// If the GPU's memory does not suffice.
    pub fn new(gpu: &Gpu, model: &'a Model, rows: usize, capacity: usize) -> Result<Self, EngineError> {
        Self::with_cache(gpu, model, rows, capacity, CacheFormat::F32)
    }

    /// The same with the cache in a format of its own.
    pub fn with_cache(gpu: &Gpu, model: &'a Model, rows: usize, capacity: usize, format: CacheFormat) -> Result<Self, EngineError> {
        let cache = Cache::allocate(gpu, &model.config, rows, capacity, format)?;
        let decode = Decode::new(gpu, model, &cache, rows)?;
        Ok(Self {
            gpu: gpu.clone(),
            model,
            cache,
            rows: vec![Row::default(); rows],
            longest: None,
            prefill: Vec::new(),
            decode,
            marks_lack: false,
            verify: None,
            fork: None,
        })
    }

    /// The capacity of a row in tokens.
    pub fn capacity(&self) -> usize {
        self.cache.capacity
    }

    /// What a number in the cache is.
    pub fn cache_format(&self) -> CacheFormat {
        self.cache.format
    }

    /// The tokens that `row` holds.
    pub fn held(&self, row: usize) -> &[u32] {
        &self.rows[row].ids
    }

    /// Makes `row` hold `ids`, and returns how many of them it already held: only what comes after the common prefix is
    /// computed, unless part of that prefix has left a window.
    ///
    /// # Errors
    /// If there are more than the row's capacity, or one of them is not in the vocabulary.
    pub fn prefill(&mut self, row: usize, ids: &[u32]) -> Result<usize, EngineError> {
        let reused = self.keep_common(row, ids)?;
        for chunk in ids[reused..].chunks(Cache::LONGEST_PASS) {
            self.prefill_chunk(row, chunk)?;
        }
        Ok(reused)
    }

    /// [`prefill`](Self::prefill) that calls `go_on` before every pass, and returns `None` as soon as that is false: the row
    /// then holds a prefix of `ids`. At most two passes are in flight at a time, so it ends soon.
    pub fn prefill_while(&mut self, row: usize, ids: &[u32], go_on: &mut dyn FnMut() -> bool) -> Result<Option<usize>, EngineError> {
        let reused = self.keep_common(row, ids)?;
        let mut under_way = None;
        for chunk in ids[reused..].chunks(Cache::LONGEST_PASS) {
            if !go_on() {
                return Ok(None);
            }
            let submission = self.prefill_chunk(row, chunk)?;
            if let Some(before) = under_way.replace(submission) {
                self.gpu.wait_until(before)?;
            }
        }
        Ok(Some(reused))
    }

    /// Truncates `row` to its common prefix with `ids`, and returns the length of that.
    fn keep_common(&mut self, row: usize, ids: &[u32]) -> Result<usize, EngineError> {
        if ids.len() > self.capacity() {
            return Err(EngineError::TooLong { tokens: ids.len(), room: self.capacity() });
        }
        self.check(ids)?;
        self.forget_unkept();
        let held = &mut self.rows[row];
        let common = held.ids.iter().zip(ids).take_while(|(a, b)| a == b).count();
        let reused = if self.cache.can_return_to(&self.model.config, held.longest, common) { common } else { 0 };
        if reused == 0 {
            held.longest = 0;
        }
        held.ids.truncate(reused);
        Ok(reused)
    }

    /// Checks that the tokens are in the vocabulary.
    pub(super) fn check(&self, ids: &[u32]) -> Result<(), EngineError> {
        let vocab_size = self.model.config.vocab_size;
        match ids.iter().find(|&&id| id as usize >= vocab_size) {
            Some(&id) => Err(EngineError::NoSuchToken { id, vocab_size }),
            None => Ok(()),
        }
    }

    fn prefill_chunk(&mut self, row: usize, chunk: &[u32]) -> Result<Submission, EngineError> {
        let pass = self.pass_for(chunk.len())?;
        let (pass, recording) = &self.prefill[pass];
        let held = &mut self.rows[row];
        let mut ids: Vec<i32> = chunk.iter().map(|&id| id as i32).collect();
        ids.resize(pass.fresh, 0);
        self.gpu.write(&pass.ids, &ids);
        self.gpu.write(&pass.cursors, &[held.cursor(row, chunk.len())]);
        let submission = recording.run();
        held.extend(chunk);
        Ok(submission)
    }

    /// The index of a recorded pass for `fresh` new tokens of one row.
    pub(super) fn pass_for(&mut self, fresh: usize) -> Result<usize, EngineError> {
        let longest = Cache::LONGEST_PASS.min(self.capacity());
        let fresh = fresh_of_pass(fresh, self.capacity());
        let place = match self.prefill.binary_search_by_key(&fresh, |(pass, _)| pass.fresh) {
            Ok(found) => return Ok(found),
            Err(place) => place,
        };
        if self.longest.is_none() {
            self.longest = Some(CachedPass::allocate(&self.gpu, &self.model.config, 1, longest, Want::Cache)?);
        }
        if let Some(buffers) = &self.longest {
            let pass = buffers.shorter(fresh);
            let mut rec = Recorder::new(&self.gpu);
            self.model.record_cached(&mut rec, &pass, &self.cache);
            self.prefill.insert(place, (pass, rec.finish()?));
        }
        Ok(place)
    }

    /// Copies the first row to all others.
    pub fn fork(&mut self) -> Result<(), EngineError> {
        let (cursors, recording) = match &mut self.fork {
            Some(recorded) => recorded,
            none => {
                let cursors = Cursor::allocate(&self.gpu, 1)?;
                let mut rec = Recorder::new(&self.gpu);
                self.cache.record_fork(&mut rec, &cursors);
                none.insert((cursors, rec.finish()?))
            }
        };
        let first = self.rows[0].clone();
        self.gpu.write(cursors, &[first.cursor(0, self.rows.len() - 1)]);
        recording.run();
        self.rows.fill(first);
        Ok(())
    }

    /// Tells the GPU which tokens each row holds, for draws with a repetition penalty. Tokens that are fed later are added
    /// automatically.
    pub fn mark_seen(&mut self) {
        let words = self.decode.drawing.seen.shape()[1];
        let mut seen = vec![0u32; words * self.rows.len()];
        for (row, marks) in self.rows.iter().zip(seen.chunks_exact_mut(words)) {
            row.ids.iter().for_each(|&id| mark(marks, id));
        }
        self.gpu.write(&self.decode.drawing.seen, &seen);
        self.marks_lack = false;
    }

    /// One step: every row that is fed a token appends it and draws the next. One submission; only the drawn ids are read
    /// back. Returns a token for each row, and `None` for idle ones.
    ///
    /// # Errors
    /// If a row is full, its token is not in the vocabulary, or its logits are NaN.
    pub fn step(&mut self, feeds: &[Feed]) -> Result<Vec<Option<u32>>, EngineError> {
        assert_eq!(feeds.len(), self.rows.len(), "a feed for every row");
        let (mut cursors, mut ids, mut draws) = (Vec::new(), Vec::new(), Vec::new());
        for (i, (feed, row)) in feeds.iter().zip(&self.rows).enumerate() {
            match *feed {
                Feed::Token(id, draw) => {
                    if row.ids.len() >= self.cache.capacity {
                        return Err(EngineError::TooLong { tokens: row.ids.len() + 1, room: self.cache.capacity });
                    }
                    self.check(&[id])?;
                    cursors.push(row.cursor(i, 1));
                    ids.push(id as i32);
                    draws.push(draw);
                }
                Feed::Idle => {
                    cursors.push(Cursor { row: i as u32, ..Cursor::default() });
                    // Not a real token, which would be marked as seen.
                    ids.push(-1);
                    draws.push(Draw::GREEDY);
                }
            }
        }
        if self.marks_lack {
            self.mark_seen();
        }
        self.forget_unkept();
        let Decode { drawing, recording, readback } = &mut self.decode;
        self.gpu.write(&drawing.pass.cursors, &cursors);
        self.gpu.write(&drawing.pass.ids, &ids);
        self.gpu.write(&drawing.draws, bytemuck::cast_slice::<Draw, u32>(&draws));
        recording.run_and_read(readback, &[&drawing.pass.ids]);
        let drawn: Vec<i32> = readback.wait()?;
        let mut tokens = Vec::with_capacity(feeds.len());
        for ((feed, row), drawn) in feeds.iter().zip(&mut self.rows).zip(drawn) {
            let Feed::Token(id, _) = *feed else {
                tokens.push(None);
                continue;
            };
            row.extend(&[id]);
            tokens.push(Some(u32::try_from(drawn).map_err(|_| EngineError::NotNumbers)?));
        }
        Ok(tokens)
    }

    /// Replays the last step call by call, and returns the time by kernel, longest first. The rows are not changed.
    pub fn profile(&self) -> Result<Vec<KernelTime>, EngineError> {
        Ok(self.decode.recording.profile(Clock::of(&self.gpu))?)
    }

    /// Softcapped logits after the last step, `[rows, V]`. Those of idle rows are undefined.
    pub fn logits(&self) -> Result<Vec<f32>, EngineError> {
        let (vocab, padded) = (self.model.config.vocab_size, self.model.config.padded_vocab());
        let all: Vec<f32> = self.gpu.read(self.decode.drawing.logits())?;
        Ok(all.chunks_exact(padded).flat_map(|row| &row[..vocab]).copied().collect())
    }
}

/// Marks a token as seen.
fn mark(marks: &mut [u32], id: u32) {
    marks[id as usize / 32] |= 1 << (id % 32);
}

impl Row {
    fn cursor(&self, row: usize, count: usize) -> Cursor {
        let before = self.ids.last().copied().unwrap_or(0);
        Cursor { position: self.ids.len() as u32, count: count as u32, row: row as u32, before }
    }

    fn extend(&mut self, ids: &[u32]) {
        self.ids.extend_from_slice(ids);
        self.longest = self.longest.max(self.ids.len());
    }
}

impl Decode {
    fn new(gpu: &Gpu, model: &Model, cache: &Cache, rows: usize) -> Result<Self, EngineError> {
        let drawing = Drawing::allocate(gpu, model, rows, 1)?;
        let recording = drawing.record(gpu, model, cache)?;
        let readback = Readback::new(gpu, drawing.pass.ids.bytes())?;
        Ok(Self { drawing, recording, readback })
    }
}
