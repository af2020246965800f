//! Continues one text: tokens from the decoder, tool calls answered on the way, events out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::gpu::Gpu;
use crate::model::{CacheFormat, Model};
use crate::tokenizer::Tokenizer;

use super::answered::{Answered, Part};
use super::decoder::{Decoder, Feed};
use super::draft::Drafter;
use super::sampling::Draws;
use super::speculate::{Effort, Now, Speculator};
use super::text::TextStream;
use super::{EngineError, Event, Reason, Sampling, Stats};

/// How to continue a text.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateOptions {
    /// The most tokens to write; by default as many as fit in the context.
    pub max_tokens: Option<usize>,
    /// How they are drawn.
    pub sampling: Sampling,
    /// Tokens that end the text; they are not part of it.
    pub stop: Vec<u32>,
    /// Whether calls to the calculator are answered.
    pub tools: bool,
    /// What to do when the context is full.
    pub overflow: Overflow,
}

/// What to do when the context is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// End the text.
    Stop,
    /// Forget its first half and continue.
    Forget,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self { max_tokens: None, sampling: Sampling::default(), stop: Vec::new(), tools: false, overflow: Overflow::Stop }
    }
}

/// A generated text.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// Its tokens, without the one that ended it. An incomplete result of a tool, if the text ended in the middle of it, is
    /// left out: it would read as a different result.
    pub ids: Vec<u32>,
    /// Why it ended.
    pub reason: Reason,
    /// Token counts and times.
    pub stats: Stats,
}

/// Continues texts with one model. Tokens stay in the cache: of a prompt that begins like the last text, only the rest
/// is computed.
pub struct Engine<'a> {
    decoder: Decoder<'a>,
    speculator: Option<Speculator<'a>>,
    /// `None` for a model without a tokenizer.
    tokenizer: Option<&'a Tokenizer>,
    vocab_size: usize,
}

impl<'a> Engine<'a> {
    /// An engine with an empty cache for the model's whole context.
    ///
    /// # Errors
    /// If the GPU's memory does not suffice.
    pub fn new(gpu: &Gpu, model: &'a Model, tokenizer: &'a Tokenizer) -> Result<Self, EngineError> {
        Self::with_cache(gpu, model, Some(tokenizer), CacheFormat::F32)
    }

    /// The same for a model without a tokenizer: it continues token ids, without [`Event::Text`] and tools.
    pub fn of_ids(gpu: &Gpu, model: &'a Model) -> Result<Self, EngineError> {
        Self::with_cache(gpu, model, None, CacheFormat::F32)
    }

    /// An engine with or without a tokenizer, whose cache is in `format`.
    pub fn with_cache(gpu: &Gpu, model: &'a Model, tokenizer: Option<&'a Tokenizer>, format: CacheFormat) -> Result<Self, EngineError> {
        let decoder = Decoder::with_cache(gpu, model, 1, model.config.sequence_len, format)?;
        Ok(Self { decoder, speculator: None, tokenizer, vocab_size: model.config.vocab_size })
    }

    /// Drafts tokens by `drafter` from now on, and verifies several in one pass. Every text stays what it would be without, and comes
    /// sooner if enough of its tokens are drafted right. A draft model's cache is in the format of the model's.
    ///
    /// # Errors
    /// If a draft model has another tokenizer than the model, or the GPU's memory does not suffice for its cache.
    pub fn speculate(&mut self, drafter: Drafter<'a>, effort: Effort) -> Result<(), EngineError> {
        if let Drafter::Model { model, tokenizer, .. } = drafter {
            let same = match (self.tokenizer, tokenizer) {
                (Some(own), Some(other)) => own.to_json() == other.to_json(),
                (None, None) => true,
                _ => false,
            };
            if !same || model.config.vocab_size != self.vocab_size {
                return Err(EngineError::OtherTokenizer);
            }
        }
        self.speculator = Some(Speculator::new(drafter, self.context(), self.decoder.cache_format(), effort)?);
        Ok(())
    }

    /// The size of the context in tokens.
    pub fn context(&self) -> usize {
        self.decoder.capacity()
    }

    /// The tokenizer of texts, if there is one.
    pub fn tokenizer(&self) -> Option<&'a Tokenizer> {
        self.tokenizer
    }

    /// Continues `prompt`; `each` receives all events as they happen, the last being [`Event::Done`]. Setting `cancel` ends the
    /// text before its next token, or prefill of the prompt at most two passes later.
    ///
    /// # Errors
    /// If an option is out of its range, the prompt is empty or longer than the context, the logits are NaN, or
    /// the GPU fails.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        options: &GenerateOptions,
        cancel: &AtomicBool,
        each: &mut dyn FnMut(Event),
    ) -> Result<Generated, EngineError> {
        options.sampling.validate(self.vocab_size)?;
        let begun = Instant::now();
        let Some((&last, before)) = prompt.split_last() else {
            return Err(EngineError::Empty);
        };
        if prompt.len() > self.context() {
            return Err(EngineError::TooLong { tokens: prompt.len(), room: self.context() });
        }
        self.decoder.check(prompt)?;
        let read = self.hold(before, &options.sampling, &mut || !cancel.load(Ordering::Relaxed))?;

        let mut writer = Writer::new(self.tokenizer, options.tools);
        let mut draws = Draws::new(&options.sampling, 0);
        if let Some(speculator) = &mut self.speculator {
            speculator.begin();
        }
        let mut ids = Vec::new();
        let mut time_to_first_token = Duration::ZERO;
        let mut next = last;
        let mut new_tokens = 0;
        let reason = loop {
            if options.max_tokens.is_some_and(|most| new_tokens >= most) {
                break Reason::MaxTokens;
            }
            if read.is_none() || cancel.load(Ordering::Relaxed) {
                break Reason::Cancelled;
            }
            if self.decoder.held(0).len() == self.context() {
                match options.overflow {
                    Overflow::Stop => break Reason::ContextFull,
                    Overflow::Forget => self.forget_half(&options.sampling)?,
                }
            }
            let drawn = match &mut self.speculator {
                Some(speculator) => {
                    let most = options.max_tokens.map_or(usize::MAX, |most| most - new_tokens);
                    let now = Now { next, known: writer.row.known(), most };
                    speculator.step(&mut self.decoder, &mut draws, &now, &mut || !cancel.load(Ordering::Relaxed))?
                }
                None => self.decoder.step(&[Feed::Token(next, draws.next())])?[0].expect("a row that is fed draws"),
            };
            next = writer.row.next(drawn);
            new_tokens += 1;
            if new_tokens == 1 {
                time_to_first_token = begun.elapsed();
            }
            if options.stop.contains(&next) {
                break Reason::Stop;
            }
            ids.push(next);
            writer.take(next, each);
        };
        writer.finish(each);
        ids.truncate(ids.len() - writer.row.half_a_result());

        let (drafted_tokens, accepted_tokens) = self.speculator.as_ref().map_or((0, 0), |draft| (draft.drafted, draft.accepted));
        let stats = Stats {
            prompt_tokens: prompt.len(),
            reused_tokens: read.unwrap_or(0),
            new_tokens,
            drafted_tokens,
            accepted_tokens,
            time_to_first_token,
            total_time: begun.elapsed(),
            context_used: self.decoder.held(0).len(),
            context: self.context(),
        };
        each(Event::Done { reason, stats });
        Ok(Generated { ids, reason, stats })
    }

    /// Prefills `ids`, and returns how many of them were already cached; `None` if `go_on` ended it.
    fn hold(&mut self, ids: &[u32], sampling: &Sampling, go_on: &mut dyn FnMut() -> bool) -> Result<Option<usize>, EngineError> {
        let reused = self.decoder.prefill_while(0, ids, go_on)?;
        if sampling.has_penalty() {
            self.decoder.mark_seen();
        }
        Ok(reused)
    }

    fn forget_half(&mut self, sampling: &Sampling) -> Result<(), EngineError> {
        let held = self.decoder.held(0);
        let rest = held[held.len().div_ceil(2)..].to_vec();
        self.hold(&rest, sampling, &mut || true).map(drop)
    }
}

/// Turns tokens into events.
struct Writer<'a> {
    tokenizer: Option<&'a Tokenizer>,
    row: Answered<'a>,
    text: TextStream,
}

impl<'a> Writer<'a> {
    fn new(tokenizer: Option<&'a Tokenizer>, tools: bool) -> Self {
        Self { tokenizer, row: Answered::new(tokenizer, tools), text: TextStream::default() }
    }

    fn take(&mut self, token: u32, each: &mut dyn FnMut(Event)) {
        match self.row.take(token) {
            Part::Said => {
                if let Some(tokenizer) = self.tokenizer.filter(|tokenizer| !tokenizer.is_special(token)) {
                    say(self.text.push(&tokenizer.decode_bytes(&[token])), each);
                }
            }
            // An incomplete character before the call does not continue after it.
            Part::Call => self.finish(each),
            Part::Closed(call) => {
                each(Event::ToolCall { expression: call.expression });
                each(Event::ToolResult { result: call.result });
            }
            Part::Result => {}
        }
    }

    fn finish(&mut self, each: &mut dyn FnMut(Event)) {
        say(self.text.finish(), each);
    }
}

fn say(text: String, each: &mut dyn FnMut(Event)) {
    if !text.is_empty() {
        each(Event::Text(text));
    }
}
