//! Several texts at once: many answers to one prompt, or one to each of many. Nothing is streamed; evaluation and
//! reinforcement learning only need the tokens.

use crate::gpu::Gpu;
use crate::model::Model;
use crate::tokenizer::Tokenizer;

use super::answered::Answered;
use super::decoder::{Decoder, Feed};
use super::sampling::Draws;
use super::{EngineError, GenerateOptions, Reason};

/// The prompts of a batch.
#[derive(Clone, Copy, Debug)]
pub enum Prompts<'a> {
    /// This many rows with the same prompt, which is prefilled once.
    Shared(&'a [u32], usize),
    /// A row for each prompt.
    Own(&'a [Vec<u32>]),
}

/// One generated row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenRow {
    /// The tokens after the prompt, without the one that ended the row, and without an incomplete result of a tool if the row
    /// ended in the middle of it.
    pub ids: Vec<u32>,
    /// For each of them, whether it was drawn and not the result of a tool.
    pub drawn: Vec<bool>,
    /// Why the row ended.
    pub reason: Reason,
}

/// A row in progress.
struct Writing<'a> {
    next: u32,
    draws: Draws,
    row: Answered<'a>,
    written: WrittenRow,
    done: bool,
}

/// Generates a text for every row of `prompts`. A row's draws depend on the seed and its index, not on the other rows;
/// `options.overflow` counts as `Stop`.
///
/// # Errors
/// As [`Engine::generate`](super::Engine::generate).
pub fn generate_rows(
    gpu: &Gpu,
    model: &Model,
    tokenizer: &Tokenizer,
    prompts: Prompts<'_>,
    options: &GenerateOptions,
) -> Result<Vec<WrittenRow>, EngineError> {
    options.sampling.validate(model.config.vocab_size)?;
    let (rows, shortest, longest) = match prompts {
        Prompts::Shared(prompt, rows) => (rows, prompt.len(), prompt.len()),
        Prompts::Own(prompts) => {
            let lengths = || prompts.iter().map(Vec::len);
            (prompts.len(), lengths().min().unwrap_or(0), lengths().max().unwrap_or(0))
        }
    };
    if rows == 0 {
        return Ok(Vec::new());
    }
    if shortest == 0 {
        return Err(EngineError::Empty);
    }
    let context = model.config.sequence_len;
    if longest > context {
        return Err(EngineError::TooLong { tokens: longest, room: context });
    }
    let most = options.max_tokens.unwrap_or(context);
    let mut decoder = Decoder::new(gpu, model, rows, longest.saturating_add(most).min(context))?;
    let firsts = begin(&mut decoder, prompts)?;
    if options.sampling.has_penalty() {
        decoder.mark_seen();
    }

    let writing = |(row, next): (usize, u32)| Writing {
        next,
        draws: Draws::new(&options.sampling, row),
        row: Answered::new(tokenizer, options.tools),
        written: WrittenRow { ids: Vec::new(), drawn: Vec::new(), reason: Reason::MaxTokens },
        done: most == 0,
    };
    let mut rows: Vec<Writing<'_>> = firsts.into_iter().enumerate().map(writing).collect();
    while rows.iter().any(|row| !row.done) {
        let feed = |row: &mut Writing<'_>| if row.done { Feed::Idle } else { Feed::Token(row.next, row.draws.next()) };
        let feeds: Vec<Feed> = rows.iter_mut().map(feed).collect();
        let drawn = decoder.step(&feeds)?;
        for (i, (row, drawn)) in rows.iter_mut().zip(drawn).enumerate() {
            if let Some(drawn) = drawn {
                let full = decoder.held(i).len() == decoder.capacity();
                row.take(drawn, options, most, full);
            }
        }
    }
    Ok(rows.into_iter().map(|row| row.written).collect())
}

/// Prefills all but the last token of every prompt, and returns the last ones.
fn begin(decoder: &mut Decoder<'_>, prompts: Prompts<'_>) -> Result<Vec<u32>, EngineError> {
    match prompts {
        Prompts::Shared(prompt, rows) => {
            let (&last, before) = prompt.split_last().ok_or(EngineError::Empty)?;
            decoder.check(prompt)?;
            decoder.prefill(0, before)?;
            decoder.fork()?;
            Ok(vec![last; rows])
        }
        Prompts::Own(prompts) => prompts
            .iter()
            .enumerate()
            .map(|(row, prompt)| {
                let (&last, before) = prompt.split_last().ok_or(EngineError::Empty)?;
                decoder.check(prompt)?;
                decoder.prefill(row, before)?;
                Ok(last)
            })
            .collect(),
    }
}

impl Writing<'_> {
    fn take(&mut self, drawn: u32, options: &GenerateOptions, most: usize, full: bool) {
        let token = self.row.next(drawn);
        if options.stop.contains(&token) {
            self.end(Reason::Stop);
            return;
        }
        self.written.ids.push(token);
        self.written.drawn.push(self.row.draws());
        self.next = token;
        self.row.take(token);
        if self.written.ids.len() >= most {
            self.end(Reason::MaxTokens);
        } else if full {
            self.end(Reason::ContextFull);
        }
    }

    fn end(&mut self, reason: Reason) {
        let whole = self.written.ids.len() - self.row.half_a_result();
        self.written.ids.truncate(whole);
        self.written.drawn.truncate(whole);
        self.done = true;
        self.written.reason = reason;
    }
}
