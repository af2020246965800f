//! A chat: whole conversations in, the assistant's next message out.
//!
//! The caller owns the conversation. What is kept here is how the tokens of the last one looked, since a model's own
//! tokens need not be those that its text would be encoded to: a conversation that goes on from the last one goes on from
//! its tokens, and so from the cache.

use std::sync::atomic::AtomicBool;

use crate::tokenizer::{ChatTokens, Content, Conversation, ConversationError, Message, Role, Tokenizer};

use super::{Engine, EngineError, Event, GenerateOptions, Overflow, Reason, Sampling, Stats};

/// How to answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatOptions {
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Tokens of an answer at most.
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
    /// Messages at the front of the conversation that did not fit the context any more.
    pub dropped: usize,
    /// Why the answer ended.
    pub reason: Reason,
    /// What it took.
    pub stats: Stats,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The model or the GPU failed, or an option is out of its range.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The conversation is none that can be answered.
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
    /// Its messages, without those that were left out.
    messages: Vec<Message>,
    /// Messages that were left out at its front.
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
    /// When there is no tokenizer, or it lacks the special tokens of a chat.
    pub fn new(engine: Engine<'a>) -> Result<Self, ChatError> {
        let tokenizer = engine.tokenizer().ok_or(EngineError::NoTokenizer)?;
        let tokens = tokenizer.chat_tokens().map_err(ConversationError::from)?;
        Ok(Self { engine, tokenizer, tokens, last: None })
    }

    /// Tokens that the context has room for.
    pub fn context(&self) -> usize {
        self.engine.context()
    }

    /// Answers `conversation`, which ends with a message from the user. `each` hears of everything as it happens; setting
    /// `cancel` ends the answer where it is.
    ///
    /// Where conversation and answer may not fit the context, the oldest turns are left out, and [`Event::Cut`] says how
    /// many messages that were. The system text stays.
    ///
    /// # Errors
    /// When the conversation cannot be rendered, its last message does not fit the context, an option is out of its range,
    /// or the model or the GPU fails. The next conversation can be answered all the same.
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
        // Half the context is the conversation's, however long an answer may be.
        let room = self.context() - max_tokens.min(self.context() / 2);
        if let Some(prompt) = self.continued(conversation)?.filter(|prompt| prompt.ids.len() <= room) {
            return Ok(prompt);
        }
        let tokenizer = self.tokenizer;
        let (mut kept, mut dropped) = tokenizer.cut_to_fit(conversation, room)?;
        if dropped > 0 {
            // Further than need be, so that not every turn from now on must be read from its beginning.
            let further = tokenizer.cut_to_fit(conversation, room / 4 * 3);
            (kept, dropped) = further.unwrap_or((kept, dropped));
        }
        Ok(Prompt { ids: tokenizer.render_prompt(&kept)?, messages: kept.messages, dropped })
    }

    /// What to continue where `conversation` is the last one and one more message from the user, or the last one anew.
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

    /// What `conversation` says after the messages that were answered here; `None` where it is another conversation.
    fn rest_of<'c>(&self, conversation: &'c Conversation) -> Option<&'c [Message]> {
        let (system, turns) = conversation.messages.split_at(systems(&conversation.messages));
        let (own_system, own_turns) = self.asked().split_at(systems(self.asked()));
        turns.get(self.dropped..)?.strip_prefix(own_turns).filter(|_| system == own_system)
    }
}

/// How many messages at the front are the system's.
fn systems(messages: &[Message]) -> usize {
    usize::from(messages.first().is_some_and(|message| message.role == Role::System))
}
