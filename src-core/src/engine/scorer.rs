//! Scores given tokens: the loss of each in its place, and the likeliest one there. What perplexity and multiple choice are computed
//! from.
//!
//! Sequences come in groups. What all sequences of a group begin with is prefilled once, and the cache is copied ([`kv_cache::fork`]
//! says how). Then every sequence takes the rest of its tokens: without logits up to the first one that is scored, with logits from
//! there. Each of these stages fills its passes from all sequences that the cache has rows for. A pass is recorded for a shape, that
//! is a number of sequences and of new tokens of each, and replayed wherever that shape comes up again.
//!
//! [`kv_cache::fork`]: crate::kernels::kv_cache::fork

use std::collections::{HashMap, VecDeque};

use crate::gpu::{Gpu, GpuError, Readback, Recorder, Recording, Tensor};
use crate::kernels::kv_cache::Cursor;
use crate::model::{Cache, CacheFormat, CachedPass, Model, Scores, Want};

use super::EngineError;

mod plan;

use plan::{Pass, Piece, batches, passes, shared_prefix};

/// Tokens of a pass: on CPU adapters as many as products are fast with, on GPUs enough to fill one.
const TOKENS: [usize; 2] = [256, 2048];

/// The most sequences in the cache at a time.
const MOST_ROWS: usize = 64;

/// The most bytes of the cache, or an eighth of a GPU's memory if that is more. The largest group gets its rows in any case.
const CACHE_BYTES: u64 = 1 << 30;

/// Results that may be under way while more passes are submitted.
const UNDER_WAY: usize = 3;

/// Rows of the cache are for a multiple of this many tokens, so that it is rarely allocated anew.
const CAPACITY_MULTIPLE: usize = 256;

/// Tokens of which some are scored.
#[derive(Clone, Copy, Debug)]
pub struct Sequence<'a> {
    ids: &'a [u32],
    start: usize,
}

impl<'a> Sequence<'a> {
    /// Scores the tokens from `start` on, each given those before it.
    ///
    /// # Panics
    /// If `start` is 0, where nothing is before, or past the end. At the end, nothing is scored.
    pub fn new(ids: &'a [u32], start: usize) -> Self {
        assert!((1..=ids.len()).contains(&start), "token {start} of {}", ids.len());
        Self { ids, start }
    }

    /// Tokens that the model reads: all but the last, and none if nothing is scored.
    fn read(&self) -> usize {
        if self.start < self.ids.len() { self.ids.len() - 1 } else { 0 }
    }
}

/// The scores of a sequence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scored {
    /// The loss of each scored token in nats.
    pub losses: Vec<f32>,
    /// In the place of each, the token with the highest logit, of equal ones the first.
    pub likeliest: Vec<u32>,
}

/// Scores sequences with one model. Buffers and recordings are made by the first call that needs them, and kept.
pub struct Scorer<'m> {
    gpu: Gpu,
    model: &'m Model,
    shares: bool,
    tokens: usize,
    room: Option<Room>,
}

/// A cache, and what works on it.
struct Room {
    cache: Cache,
    buffers: CachedPass,
    scores: Scores,
    recorded: HashMap<Shape, Recorded>,
    fork: Option<(Tensor, Recording)>,
    free: Vec<Readback>,
    under_way: VecDeque<UnderWay>,
}

/// What a recording is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Shape {
    sequences: usize,
    fresh: usize,
    scored: bool,
}

struct Recorded {
    pass: CachedPass,
    scores: Option<Scores>,
    recording: Recording,
}

/// A scored pass whose results are not read yet.
struct UnderWay {
    readback: Readback,
    pass: Pass,
    tokens: usize,
}

/// A sequence in the cache.
struct Row<'a> {
    sequence: Sequence<'a>,
    /// Its index among all sequences of the call.
    index: usize,
    /// Its tokens in the cache.
    held: usize,
}

impl Row<'_> {
    fn cursor(&self, row: usize, count: usize) -> Cursor {
        let before = self.held.checked_sub(1).map_or(0, |last| self.sequence.ids[last]);
        Cursor { position: self.held as u32, count: count as u32, row: row as u32, before }
    }
}

impl<'m> Scorer<'m> {
    /// A scorer that computes once what sequences of a group begin with.
    pub fn new(gpu: &Gpu, model: &'m Model) -> Self {
        let tokens = TOKENS[usize::from(!gpu.capabilities().cpu)];
        Self { gpu: gpu.clone(), model, shares: true, tokens, room: None }
    }

    /// A scorer that computes every sequence whole: what sharing is compared with.
    pub fn without_sharing(gpu: &Gpu, model: &'m Model) -> Self {
        Self { shares: false, ..Self::new(gpu, model) }
    }

    /// The scores of every sequence of every group. Groups are computed in any order, so it pays to give many at once.
    ///
    /// # Errors
    /// If a sequence is longer than the model [reaches](Model::positions), a token is not in the vocabulary, a result is NaN, or the
    /// GPU fails or lacks memory.
    pub fn score(&mut self, groups: &[Vec<Sequence<'_>>]) -> Result<Vec<Vec<Scored>>, EngineError> {
        let all: Vec<Sequence<'_>> = groups.iter().flatten().copied().collect();
        self.check(&all)?;
        let mut scored: Vec<Scored> = all.iter().map(|sequence| Scored::with_space_for(sequence)).collect();
        // Indices of sequences that have something to compute, group by group.
        let mut first = 0;
        let mut work: Vec<Vec<usize>> = Vec::new();
        for group in groups {
            let members: Vec<usize> = (first..first + group.len()).filter(|&index| all[index].read() > 0).collect();
            first += group.len();
            if self.shares {
                work.push(members);
            } else {
                work.extend(members.into_iter().map(|index| vec![index]));
            }
        }
        work.retain(|members| !members.is_empty());
        if !work.is_empty() {
            self.score_all(&all, &mut work, &mut scored)?;
        }
        let mut scored = scored.into_iter();
        Ok(groups.iter().map(|group| scored.by_ref().take(group.len()).collect()).collect())
    }

    fn check(&self, all: &[Sequence<'_>]) -> Result<(), EngineError> {
        let (vocab_size, room) = (self.model.config.vocab_size, self.model.positions() + 1);
        if let Some(sequence) = all.iter().find(|sequence| sequence.ids.len() > room) {
            return Err(EngineError::TooLong { tokens: sequence.ids.len(), room });
        }
        match all.iter().flat_map(|sequence| sequence.ids).find(|&&id| id as usize >= vocab_size) {
            Some(&id) => Err(EngineError::NoSuchToken { id, vocab_size }),
            None => Ok(()),
        }
    }

    fn score_all(&mut self, all: &[Sequence<'_>], work: &mut [Vec<usize>], scored: &mut [Scored]) -> Result<(), EngineError> {
        // Alike lengths side by side leave the least padding.
        work.sort_by_key(|members| std::cmp::Reverse(members.iter().map(|&index| all[index].read()).max()));
        let longest = all.iter().map(Sequence::read).max().unwrap_or(0);
        let largest = work.iter().map(Vec::len).max().unwrap_or(0);
        let total: usize = work.iter().map(Vec::len).sum();
        let mut room = match self.room.take() {
            Some(room)
                if room.cache.capacity >= longest
                    && room.cache.rows >= largest.max(total.min(self.affordable_rows(room.cache.capacity))) =>
            {
                room
            }
            _ => self.make_room(longest, largest, total)?,
        };
        let sizes: Vec<usize> = work.iter().map(Vec::len).collect();
        for batch in batches(&sizes, room.cache.rows) {
            self.score_batch(&mut room, all, &work[batch], scored)?;
        }
        while let Some(under_way) = room.under_way.pop_front() {
            room.collect(under_way, scored)?;
        }
        self.room = Some(room);
        Ok(())
    }

    /// Rows of the cache that fit in the bytes meant for it.
    fn affordable_rows(&self, capacity: usize) -> usize {
        let config = &self.model.config;
        let row = Cache::bytes_beyond_context(config, capacity, CacheFormat::F32).max(1);
        let memory =
            self.gpu.adapter_memory().filter(|_| !self.gpu.capabilities().cpu).map_or(CACHE_BYTES, |bytes| (bytes / 8).max(CACHE_BYTES));
        // A layer's keys of all rows are one binding.
        let of_layer = CacheFormat::F32.bytes(capacity * config.kv_dim()).max(1);
        ((memory / row).min(self.gpu.binding_limit() / of_layer) as usize).clamp(1, MOST_ROWS)
    }

    /// A cache for sequences of `longest` tokens: at least `largest` of them, and more if that is affordable and there are so many.
    fn make_room(&self, longest: usize, largest: usize, total: usize) -> Result<Room, EngineError> {
        let config = &self.model.config;
        let capacity = longest.next_multiple_of(CAPACITY_MULTIPLE).min(self.model.positions());
        let mut rows = self.affordable_rows(capacity).min(total).max(largest);
        let cache = loop {
            match Cache::beyond_context(&self.gpu, config, rows, capacity, CacheFormat::F32) {
                Err(GpuError::OutOfMemory { .. }) if rows > largest => rows = (rows / 2).max(largest),
                made => break made?,
            }
        };
        // As many sequences as a pass can have, whatever the rows.
        let fresh = (self.tokens / rows.next_power_of_two()).clamp(1, Cache::LONGEST_PASS);
        let sequences = self.tokens / fresh;
        Ok(Room {
            cache,
            buffers: CachedPass::allocate(&self.gpu, config, sequences, fresh, Want::Cache)?,
            scores: Scores::allocate(&self.gpu, config, self.tokens)?,
            recorded: HashMap::new(),
            fork: None,
            free: Vec::new(),
            under_way: VecDeque::new(),
        })
    }

    /// Scores groups for which the cache has rows.
    fn score_batch(&self, room: &mut Room, all: &[Sequence<'_>], groups: &[Vec<usize>], scored: &mut [Scored]) -> Result<(), EngineError> {
        let (mut rows, mut leads) = (Vec::new(), Vec::new());
        for members in groups {
            let sequences: Vec<Sequence<'_>> = members.iter().map(|&index| all[index]).collect();
            leads.push((rows.len(), members.len(), shared_prefix(&sequences)));
            rows.extend(members.iter().map(|&index| Row { sequence: all[index], index, held: 0 }));
        }
        // 1. What the sequences of a group begin with, in the row of the first.
        let prefixes: Vec<Piece> = leads.iter().map(|&(row, _, prefix)| Piece { row, from: 0, to: prefix }).collect();
        self.read(room, &mut rows, prefixes, false, scored)?;
        // 2. The same for the others.
        let forks: Vec<Cursor> = leads
            .iter()
            .filter(|&&(_, members, prefix)| members > 1 && prefix > 0)
            .map(|&(row, members, prefix)| Cursor { position: prefix as u32, count: (members - 1) as u32, row: row as u32, before: 0 })
            .collect();
        self.fork(room, &forks)?;
        for &(first, members, prefix) in &leads {
            rows[first..first + members].iter_mut().for_each(|row| row.held = prefix);
        }
        // 3. Up to the token before the first that is scored, and 4. the rest.
        let rest = |rows: &[Row<'_>], end: fn(&Sequence<'_>) -> usize| {
            rows.iter().enumerate().map(|(row, of)| Piece { row, from: of.held, to: end(&of.sequence) }).collect::<Vec<_>>()
        };
        let before = rest(&rows, |sequence| sequence.start - 1);
        self.read(room, &mut rows, before, false, scored)?;
        let scored_tokens = rest(&rows, |sequence| sequence.read());
        self.read(room, &mut rows, scored_tokens, true, scored)
    }

    /// Copies rows to those after them.
    fn fork(&self, room: &mut Room, forks: &[Cursor]) -> Result<(), EngineError> {
        if forks.is_empty() {
            return Ok(());
        }
        let (cursors, recording) = match &mut room.fork {
            Some(recorded) => recorded,
            none => {
                // At most every second row is copied.
                let cursors = Cursor::allocate(&self.gpu, (room.cache.rows / 2).max(1))?;
                let mut rec = Recorder::new(&self.gpu);
                room.cache.record_fork(&mut rec, &cursors);
                none.insert((cursors, rec.finish()?))
            }
        };
        let mut given = forks.to_vec();
        given.resize((room.cache.rows / 2).max(1), Cursor::default());
        self.gpu.write(cursors, &given);
        recording.run();
        Ok(())
    }

    /// Reads pieces of sequences into their rows, and scores every token of them if `score`.
    fn read(
        &self,
        room: &mut Room,
        rows: &mut [Row<'_>],
        pieces: Vec<Piece>,
        score: bool,
        scored: &mut [Scored],
    ) -> Result<(), EngineError> {
        for pass in passes(pieces, self.tokens) {
            let shape = Shape { sequences: pass.pieces.len(), fresh: pass.fresh, scored: score };
            let tokens = shape.sequences * shape.fresh;
            let (mut ids, mut targets, mut cursors) = (vec![0; tokens], vec![-1; tokens], Vec::new());
            for (place, &Piece { row, from, to }) in pass.pieces.iter().enumerate() {
                let at = &mut rows[row];
                cursors.push(at.cursor(row, to - from));
                for (i, token) in (from..to).enumerate() {
                    ids[place * shape.fresh + i] = at.sequence.ids[token] as i32;
                    if score {
                        targets[place * shape.fresh + i] = at.sequence.ids[token + 1] as i32;
                    }
                }
                at.held = to;
            }
            let mut readback = None;
            if score {
                if room.under_way.len() >= UNDER_WAY
                    && let Some(oldest) = room.under_way.pop_front()
                {
                    room.collect(oldest, scored)?;
                }
                readback = Some(match room.free.pop() {
                    Some(readback) => readback,
                    // A loss and a token for each.
                    None => Readback::new(&self.gpu, 2 * room.scores.losses.bytes())?,
                });
            }
            let recorded = self.recorded(room, shape)?;
            self.gpu.write(&recorded.pass.ids, &ids);
            self.gpu.write(&recorded.pass.cursors, &cursors);
            match (&recorded.scores, readback) {
                (Some(scores), Some(mut readback)) => {
                    self.gpu.write(&scores.targets, &targets);
                    recorded.recording.run_and_read(&mut readback, &[&scores.losses, &scores.likeliest]);
                    let pass =
                        Pass { pieces: pass.pieces.iter().map(|piece| Piece { row: rows[piece.row].index, ..*piece }).collect(), ..pass };
                    room.under_way.push_back(UnderWay { readback, pass, tokens });
                }
                _ => drop(recorded.recording.run()),
            }
        }
        Ok(())
    }

    fn recorded<'r>(&self, room: &'r mut Room, shape: Shape) -> Result<&'r Recorded, EngineError> {
        let Room { cache, buffers, scores, recorded, .. } = room;
        match recorded.entry(shape) {
            std::collections::hash_map::Entry::Occupied(found) => Ok(found.into_mut()),
            std::collections::hash_map::Entry::Vacant(place) => {
                let pass = buffers.part(shape.sequences, shape.fresh);
                let scores = shape.scored.then(|| scores.part(shape.sequences * shape.fresh));
                let mut rec = Recorder::new(&self.gpu);
                match &scores {
                    Some(scores) => self.model.record_scored(&mut rec, &pass, cache, scores),
                    None => self.model.record_cached(&mut rec, &pass, cache),
                }
                Ok(place.insert(Recorded { pass, scores, recording: rec.finish()? }))
            }
        }
    }
}

impl Room {
    /// Waits for the results of a pass, and adds them to those of its sequences.
    fn collect(&mut self, under_way: UnderWay, scored: &mut [Scored]) -> Result<(), EngineError> {
        let UnderWay { mut readback, pass, tokens } = under_way;
        let words: Vec<u32> = readback.wait()?;
        self.free.push(readback);
        let (losses, likeliest) = words.split_at(tokens);
        for (place, &Piece { row: index, from, to }) in pass.pieces.iter().enumerate() {
            for at in (place * pass.fresh..).take(to - from) {
                let loss = f32::from_bits(losses[at]);
                let best = u32::try_from(likeliest[at] as i32).map_err(|_| EngineError::NotNumbers)?;
                if loss.is_nan() {
                    return Err(EngineError::NotNumbers);
                }
                scored[index].losses.push(loss);
                scored[index].likeliest.push(best);
            }
        }
        Ok(())
    }
}

impl Scored {
    fn with_space_for(sequence: &Sequence<'_>) -> Self {
        let tokens = sequence.ids.len() - sequence.start;
        Self { losses: Vec::with_capacity(tokens), likeliest: Vec::with_capacity(tokens) }
    }
}
