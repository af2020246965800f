//! A chat: whole conversations in, the assistant's next message out.
//!
//! The caller owns the conversation. This keeps the tokens of the last one, since a model's own
//! tokens need not be those that its text would be encoded to: a conversation that continues the last one continues from
//! its tokens, and so from the cache.

use std::sync::atomic::AtomicBool;

use crate::tokenizer::{ChatTokens, Content, Conversation, ConversationError, Message, Role, Tokenizer};

use super::{Engine, EngineError, Event, GenerateOptions, Overflow, Reason, Sampling, Stats};

/// How to answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatOptions {
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// The most tokens of an answer.
    pub max_tokens: usize,
}

impl Default for ChatOptions {
    fn default() -> Self {
        Self { sampling: Sampling { temperature: 0.6, ..Sampling::default() }, max_tokens: 256 }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// What the assistant said, with its tool calls.
    pub message: Message,
    /// Messages at the start of the conversation that no longer fit in the context.
    pub dropped: usize,
    /// Why the answer ended.
    pub reason: Reason,
    /// Token counts and times.
    pub stats: Stats,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The model or the GPU failed, or an option is out of its range.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The conversation cannot be answered.
    #[error(transparent)]
    Conversation(#[from] ConversationError),
}

/// Answers conversations with one model.
pub struct Chat<'a> {
    engine: Engine<'a>,
    tokenizer: &'a Tokenizer,
    tokens: ChatTokens,
    last: Option<Last>,
}

/// The conversation that was last answered.
struct Last {
    /// Its messages, without those that were dropped.
    messages: Vec<Message>,
    /// Messages that were dropped at its start.
    dropped: usize,
    /// Its tokens up to the answer's `<|assistant_end|>`.
    ids: Vec<u32>,
    /// How many of them are the prompt.
    prompt: usize,
}

/// What to continue.
struct Prompt {
    ids: Vec<u32>,
    messages: Vec<Message>,
    dropped: usize,
}

impl<'a> Chat<'a> {
    /// A chat with what `engine` has loaded.
    ///
    /// # Errors
    /// If there is no tokenizer, or it lacks the special tokens of a chat.
    pub fn new(engine: Engine<'a>) -> Result<Self, ChatError> {
        let tokenizer = engine.tokenizer().ok_or(EngineError::NoTokenizer)?;
        let tokens = tokenizer.chat_tokens().map_err(ConversationError::from)?;
        Ok(Self { engine, tokenizer, tokens, last: None })
    }

    /// The size of the context in tokens.
    pub fn context(&self) -> usize {
        self.engine.context()
    }

    /// Answers `conversation`, which ends with a message from the user. `each` receives all events as they happen; setting
    /// `cancel` ends the answer early.
    ///
    /// If conversation and answer may not fit in the context, the oldest turns are dropped, and [`Event::Cut`] reports how
    /// many messages. The system text is kept.
    ///
    /// # Errors
    /// If the conversation cannot be rendered, its last message does not fit in the context, an option is out of its range,
    /// or the model or the GPU fails. Other conversations can still be answered.
    pub fn reply(
        &mut self,
        conversation: &Conversation,
        options: &ChatOptions,
        cancel: &AtomicBool,
        each: &mut dyn FnMut(Event),
    ) -> Result<Reply, ChatError> {
        let Prompt { mut ids, mut messages, dropped } = self.prompt(conversation, options.max_tokens)?;
        let known = self.last.take().filter(|last| last.rest_of(conversation).is_some()).map_or(0, |last| last.dropped);
        if known < dropped {
            each(Event::Cut { messages: dropped });
        }
        let ChatTokens { bos, user_start, user_end, assistant_end, .. } = self.tokens;
        let options = GenerateOptions {
            max_tokens: Some(options.max_tokens),
            sampling: options.sampling.clone(),
            stop: vec![assistant_end, bos, user_start, user_end],
            tools: true,
            overflow: Overflow::Stop,
        };
        let generated = self.engine.generate(&ids, &options, cancel, each)?;
        let message = self.tokenizer.message_from_ids(&generated.ids)?;

        messages.push(message.clone());
        let prompt = ids.len();
        ids.extend(&generated.ids);
        ids.push(assistant_end);
        self.last = Some(Last { messages, dropped, ids, prompt });
        Ok(Reply { message, dropped, reason: generated.reason, stats: generated.stats })
    }

    fn prompt(&self, conversation: &Conversation, max_tokens: usize) -> Result<Prompt, ChatError> {
        conversation.check()?;
        // Half of the context is reserved for the conversation, however long an answer may be.
        let room = self.context() - max_tokens.min(self.context() / 2);
        if let Some(prompt) = self.continued(conversation)?.filter(|prompt| prompt.ids.len() <= room) {
            return Ok(prompt);
        }
        let tokenizer = self.tokenizer;
        let (mut kept, mut dropped) = tokenizer.cut_to_fit(conversation, room)?;
        if dropped > 0 {
            // Further than necessary, so that not every turn from now on needs a full prefill.
            let further = tokenizer.cut_to_fit(conversation, room / 4 * 3);
            (kept, dropped) = further.unwrap_or((kept, dropped));
        }
        Ok(Prompt { ids: tokenizer.render_prompt(&kept)?, messages: kept.messages, dropped })
    }

    /// What to continue if `conversation` is the last one plus one message from the user, or the last one again.
    fn continued(&self, conversation: &Conversation) -> Result<Option<Prompt>, ChatError> {
        let Some((last, rest)) = self.last.as_ref().and_then(|last| Some((last, last.rest_of(conversation)?))) else {
            return Ok(None);
        };
        let ids = match rest {
            [] => last.ids[..last.prompt].to_vec(),
            [answer, Message { role: Role::User, content: Content::Text(text), .. }] if Some(answer) == last.messages.last() => {
                [last.ids.as_slice(), &self.tokenizer.render_turn(text)?].concat()
            }
            _ => return Ok(None),
        };
        let messages = [last.asked(), rest].concat();
        Ok(Some(Prompt { ids, messages, dropped: last.dropped }))
    }
}

impl Last {
    /// The messages that were answered.
    fn asked(&self) -> &[Message] {
        &self.messages[..self.messages.len() - 1]
    }

    /// The messages of `conversation` after those that were answered; `None` if it is another conversation.
    fn rest_of<'c>(&self, conversation: &'c Conversation) -> Option<&'c [Message]> {
        let (system, turns) = conversation.messages.split_at(systems(&conversation.messages));
        let (own_system, own_turns) = self.asked().split_at(systems(self.asked()));
        turns.get(self.dropped..)?.strip_prefix(own_turns).filter(|_| system == own_system)
    }
}

/// The number of system messages at the start.
fn systems(messages: &[Message]) -> usize {
    usize::from(messages.first().is_some_and(|message| message.role == Role::System))
}
