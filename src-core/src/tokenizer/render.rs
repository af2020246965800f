//! Turns a conversation into tokens: the only place that knows the chat format. Training, evaluation, reinforcement
//! learning and chat all use it, so a model sees the same format when it answers as in training.
//!
//! ```text
//! <|bos|> <|user_start|> … <|user_end|> <|assistant_start|> … <|assistant_end|> <|user_start|> …
//! ```
//!
//! System text is prepended to the first user message, with a blank line between. An assistant's message consists of
//! text, calls `<|python_start|> … <|python_end|>` and their results `<|output_start|> … <|output_end|>`. The mask marks
//! what counts in the loss: all that the assistant writes, including `<|assistant_end|>`; not the results, which it is given, and
//! nothing of a message with weight 0.

use super::conversation::{Turn, Turns, check_user};
use super::{ChatTokens, Content, Conversation, ConversationError, Message, Part, PartKind, Role, Tokenizer, Weight};

mod cut;

/// A conversation as tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The token ids, `[T]`.
    pub ids: Vec<u32>,
    /// The loss mask, `[T]`: whether each token counts in the loss as a target.
    pub mask: Vec<bool>,
}

impl Rendered {
    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Keeps the first `max` tokens.
    pub fn truncate(&mut self, max: usize) {
        self.ids.truncate(max);
        self.mask.truncate(max);
    }

    fn push(&mut self, id: u32, learnt: bool) {
        self.ids.push(id);
        self.mask.push(learnt);
    }

    /// Adds `inner` between two special tokens.
    fn push_between(&mut self, start: u32, inner: &[u32], end: u32, learnt: bool) {
        self.push(start, learnt);
        self.extend(inner, learnt);
        self.push(end, learnt);
    }

    fn extend(&mut self, ids: &[u32], learnt: bool) {
        self.ids.extend_from_slice(ids);
        self.mask.resize(self.ids.len(), learnt);
    }
}

impl Tokenizer {
    /// The whole conversation, for training.
    ///
    /// # Errors
    /// As [`Conversation::check`], and if the tokenizer has no chat tokens.
    pub fn render(&self, conversation: &Conversation) -> Result<Rendered, ConversationError> {
        let Turns { system, turns } = Turns::of(conversation)?;
        Ok(self.render_turns(&self.chat_tokens()?, system, &turns))
    }

    /// The prompt for an answer to the last message: ends with `<|assistant_start|>`.
    ///
    /// # Errors
    /// As [`render`](Self::render), and if the last message is not from the user.
    pub fn render_prompt(&self, conversation: &Conversation) -> Result<Vec<u32>, ConversationError> {
        let Turns { system, turns } = Turns::of(conversation)?;
        match turns.last() {
            Some(Turn::User(_)) => self.prompt(system, &turns),
            _ => Err(ConversationError::NothingToAnswer),
        }
    }

    /// The conversation up to the start of the assistant's last message, so that a model can write another in its place:
    /// for evaluation and reinforcement learning.
    ///
    /// # Errors
    /// As [`render`](Self::render), and if the last message is not from the assistant.
    pub fn render_for_completion(&self, conversation: &Conversation) -> Result<Vec<u32>, ConversationError> {
        let Turns { system, turns } = Turns::of(conversation)?;
        match turns.split_last() {
            Some((Turn::Assistant(..), before)) => self.prompt(system, before),
            _ => Err(ConversationError::NothingToComplete),
        }
    }

    /// What the next message from the user adds to a conversation that ends with `<|assistant_end|>`:
    /// `<|user_start|> text <|user_end|> <|assistant_start|>`. The ids before it do not change, and a KV cache of them
    /// remains valid.
    ///
    /// # Errors
    /// If the text is empty or longer than [`LONGEST_MESSAGE`](super::LONGEST_MESSAGE), or the tokenizer has no chat
    /// tokens.
    pub fn render_turn(&self, user_text: &str) -> Result<Vec<u32>, ConversationError> {
        let tokens = self.chat_tokens()?;
        let mut rendered = Rendered::default();
        self.write_user(&tokens, check_user(user_text, None)?, &mut rendered);
        rendered.push(tokens.assistant_start, false);
        Ok(rendered.ids)
    }

    /// The assistant's message for the ids that a model wrote after `<|assistant_start|>`: plain text, or parts if it
    /// called a tool. It ends at `<|assistant_end|>`, `<|bos|>` or the last id.
    ///
    /// A model may write anything: misplaced special tokens are left out, an unclosed call counts as one, and bytes that
    /// are not UTF-8 become U+FFFD. For ids from
    /// [`render`](Self::render), rendering the message gives the same ids.
    ///
    /// # Errors
    /// If the tokenizer has no chat tokens.
    pub fn message_from_ids(&self, ids: &[u32]) -> Result<Message, ConversationError> {
        let tokens = self.chat_tokens()?;
        let mut parts = Vec::new();
        let (mut kind, mut written) = (PartKind::Text, Vec::new());
        let mut close = |kind: PartKind, written: &mut Vec<u32>| {
            if kind != PartKind::Text || !written.is_empty() {
                parts.push(Part { kind, text: self.decode(written) });
                written.clear();
            }
        };
        for &id in ids.iter().take_while(|&&id| id != tokens.assistant_end && id != tokens.bos) {
            let next = match kind {
                PartKind::Text if id == tokens.python_start => PartKind::Python,
                PartKind::Text if id == tokens.output_start => PartKind::PythonOutput,
                PartKind::Python if id == tokens.python_end => PartKind::Text,
                PartKind::PythonOutput if id == tokens.output_end => PartKind::Text,
                _ => {
                    if !self.is_special(id) {
                        written.push(id);
                    }
                    continue;
                }
            };
            close(kind, &mut written);
            kind = next;
        }
        close(kind, &mut written);

        let spoken = parts.iter().all(|part| part.kind == PartKind::Text);
        let content = if spoken { Content::Text(parts.into_iter().map(|part| part.text).collect()) } else { Content::Parts(parts) };
        Ok(Message::new(Role::Assistant, content))
    }

    fn prompt(&self, system: Option<&str>, turns: &[Turn]) -> Result<Vec<u32>, ConversationError> {
        let tokens = self.chat_tokens()?;
        let mut rendered = self.render_turns(&tokens, system, turns);
        rendered.push(tokens.assistant_start, false);
        Ok(rendered.ids)
    }

    fn render_turns(&self, tokens: &ChatTokens, system: Option<&str>, turns: &[Turn]) -> Rendered {
        let mut rendered = Rendered::default();
        rendered.push(tokens.bos, false);
        let mut system = system;
        for turn in turns {
            match turn {
                Turn::User(text) => match system.take() {
                    Some(system) => self.write_user(tokens, &with_system(system, text), &mut rendered),
                    None => self.write_user(tokens, text, &mut rendered),
                },
                Turn::Assistant(content, weight) => self.write_assistant(tokens, content, *weight, &mut rendered),
            }
        }
        rendered
    }

    fn write_user(&self, tokens: &ChatTokens, text: &str, rendered: &mut Rendered) {
        rendered.push_between(tokens.user_start, &self.encode(text), tokens.user_end, false);
    }

    fn write_assistant(&self, tokens: &ChatTokens, content: &Content, weight: Weight, rendered: &mut Rendered) {
        let learnt = weight.is_one();
        rendered.push(tokens.assistant_start, false);
        match content {
            Content::Text(text) => rendered.extend(&self.encode(text), learnt),
            Content::Parts(parts) => {
                for Part { kind, text } in parts {
                    let inner = self.encode(text);
                    match kind {
                        PartKind::Text => rendered.extend(&inner, learnt),
                        PartKind::Python => rendered.push_between(tokens.python_start, &inner, tokens.python_end, learnt),
                        PartKind::PythonOutput => rendered.push_between(tokens.output_start, &inner, tokens.output_end, false),
                    }
                }
            }
        }
        rendered.push(tokens.assistant_end, learnt);
    }

    /// Whether `id` is a special token, of a chat or not.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.values().any(|&special| special == id)
    }
}

/// The first user message, with the system text prepended.
fn with_system(system: &str, text: &str) -> String {
    format!("{system}\n\n{text}")
}

#[cfg(test)]
mod tests;
