//! One answer: tokens are gathered for a moment, stored, and then shown.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nc_core::engine::{Chat, ChatOptions, Event, Reply, Sampling};

use super::Shared;
use crate::error::{AppError, AppResult};
use crate::models::Loaded;
use crate::store::Begun;
use crate::transcript;
use crate::types::{Answer, AnswerEvent, ChatSettings, Message, MessageState, Part, PartKind, Reason, append};

/// The page draws no faster than this, so that nothing is gained by sending more often.
const BATCH: Duration = Duration::from_millis(33);

/// What is written but not shown yet.
struct Batches<'a> {
    shared: &'a Shared,
    message: i64,
    pending: Vec<Part>,
    batch: u64,
    /// Pieces of text so far: about as many as tokens.
    tokens: u64,
    first: Option<Instant>,
    shown: Instant,
    /// Why the disk takes no more.
    broken: Option<AppError>,
}

impl Batches<'_> {
    fn take(&mut self, part: Part) {
        self.first.get_or_insert_with(Instant::now);
        self.tokens += 1;
        append(&mut self.pending, [part]);
        if self.shown.elapsed() >= BATCH {
            self.show();
        }
    }

    /// Stores what is pending, then shows it.
    fn show(&mut self) {
        if self.pending.is_empty() || self.broken.is_some() {
            return;
        }
        let parts = std::mem::take(&mut self.pending);
        // Under the lock, so that whoever attaches in between gets each part either from the disk or as an event.
        let status = self.shared.status();
        if let Err(error) = self.shared.store.write(self.message, self.batch, &parts) {
            self.broken = Some(error);
            return;
        }
        self.batch += 1;
        self.shown = Instant::now();
        let seconds = self.first.map_or(0.0, |first| first.elapsed().as_secs_f64());
        let tokens_per_second = if self.tokens > 1 && seconds > 0.0 { (self.tokens - 1) as f64 / seconds } else { 0.0 };
        if let Some(listener) = status.active.as_ref().and_then(|active| active.listener.as_ref()) {
            listener(AnswerEvent::Delta { parts, tokens: self.tokens, tokens_per_second, context_used: None });
        }
    }
}

/// Writes the answer that was begun, and stores how it ended.
pub(super) fn write(shared: &Shared, chat: &mut Chat<'_>, loaded: &Loaded, begun: &Begun, cancel: &AtomicBool) -> AppResult<()> {
    let conversation = transcript::conversation(&begun.settings.system_prompt, &begun.branch);
    let options = options(&begun.settings, begun.seed, loaded.model.config.vocab_size);
    let message = begun.started.assistant.id;
    shared.say(AnswerEvent::Reading);
    let mut batches = Batches {
        shared,
        message,
        pending: Vec::new(),
        batch: 0,
        tokens: 0,
        first: None,
        // The first token is shown at once.
        shown: Instant::now().checked_sub(BATCH).unwrap_or_else(Instant::now),
        broken: None,
    };
    let reply = chat.reply(&conversation, &options, cancel, &mut |event| {
        match event {
            Event::Text(text) => batches.take(Part::text(text)),
            Event::ToolCall { expression } => batches.take(Part { kind: PartKind::Python, text: expression }),
            Event::ToolResult { result: Some(result) } => batches.take(Part { kind: PartKind::PythonOutput, text: result }),
            Event::ToolResult { result: None } => {}
            Event::Cut { messages } => shared.say(AnswerEvent::Cut { messages: messages as u64 }),
            Event::Done { .. } => batches.show(),
        }
        if batches.broken.is_some() {
            cancel.store(true, Ordering::Relaxed);
        }
    });
    batches.show();
    let reply = reply?;
    if let Some(error) = batches.broken {
        return Err(error);
    }
    let answer = ended(&loaded.name, begun.seed, &reply);
    let parts = transcript::parts(&reply.message.content);
    shared.store.finish(message, MessageState::Whole, Some(&parts), &answer)?;
    done(shared, begun, MessageState::Whole, answer);
    Ok(())
}

/// Ends an answer that could not be written, with what there is of it.
pub(super) fn fail(shared: &Shared, begun: &Begun, model: &str, error: AppError) {
    let answer = Answer { reason: Reason::Failed, error: Some(error), ..Answer::begun(model, begun.seed) };
    // Where the disk takes nothing, the page is told all the same.
    let _ = shared.store.finish(begun.started.assistant.id, MessageState::Failed, None, &answer);
    done(shared, begun, MessageState::Failed, answer);
}

/// Tells the page of the end: the message as it is stored, or as much of it as can be said where it cannot be read back,
/// for one because its conversation was deleted meanwhile.
fn done(shared: &Shared, begun: &Begun, state: MessageState, answer: Answer) {
    let stored = shared.store.message(begun.started.assistant.id).map(|(_, message)| message).ok();
    let message = stored.filter(|message| message.state == state);
    let message = message.unwrap_or_else(|| Message { state, answer: Some(answer), ..begun.started.assistant.clone() });
    let conversation = shared.store.summary(begun.conversation).unwrap_or_else(|_| begun.started.conversation.clone());
    end(shared, AnswerEvent::Done { message, conversation });
}

/// Sends the last event. By then the thread is free for the next answer.
fn end(shared: &Shared, event: AnswerEvent) {
    let active = shared.status().active.take();
    if let Some(listener) = active.and_then(|active| active.listener) {
        listener(event);
    }
}

fn options(settings: &ChatSettings, seed: u64, vocab_size: usize) -> ChatOptions {
    ChatOptions {
        sampling: Sampling {
            temperature: settings.temperature,
            top_k: usize::try_from(settings.top_k).unwrap_or(usize::MAX).min(vocab_size),
            top_p: settings.top_p,
            min_p: settings.min_p,
            repetition_penalty: settings.repetition_penalty,
            seed,
        },
        max_tokens: usize::try_from(settings.max_tokens).unwrap_or(usize::MAX),
    }
}

fn ended(model: &str, seed: u64, reply: &Reply) -> Answer {
    use nc_core::engine::Reason as Ended;
    let stats = &reply.stats;
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    Answer {
        reason: match reply.reason {
            Ended::Stop => Reason::Stop,
            Ended::MaxTokens => Reason::MaxTokens,
            Ended::ContextFull => Reason::ContextFull,
            Ended::Cancelled => Reason::Cancelled,
        },
        prompt_tokens: stats.prompt_tokens as u64,
        reused_tokens: stats.reused_tokens as u64,
        new_tokens: stats.new_tokens as u64,
        first_token_ms: milliseconds(stats.time_to_first_token),
        total_ms: milliseconds(stats.total_time),
        tokens_per_second: stats.tokens_per_second(),
        context_used: stats.context_used as u64,
        context: stats.context as u64,
        dropped: reply.dropped as u64,
        ..Answer::begun(model, seed)
    }
}
