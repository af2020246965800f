//! Drops the oldest turns of a conversation that has outgrown the context.

use super::{Rendered, Turn, Turns, with_system};
use crate::tokenizer::{ChatTokens, Conversation, ConversationError, Tokenizer};

impl Tokenizer {
    /// Drops whole turns (a user message and its answer) from the start, as few as possible for
    /// [`render_prompt`](Self::render_prompt) to return at most `room` tokens. The system text is kept. Also returns the number
    /// of messages dropped.
    ///
    /// Messages are encoded from the last one backwards, each once, and only as far back as they fit.
    ///
    /// # Errors
    /// As [`render_prompt`](Self::render_prompt), and if the last message alone does not fit.
    pub fn cut_to_fit(&self, conversation: &Conversation, room: usize) -> Result<(Conversation, usize), ConversationError> {
        let Turns { system, turns } = Turns::of(conversation)?;
        let tokens = self.chat_tokens()?;
        if !matches!(turns.last(), Some(Turn::User(_))) {
            return Err(ConversationError::NothingToAnswer);
        }

        let opening = Opening::new(self, system);
        // `<|bos|>`, `<|assistant_start|>`, and everything after the current turn.
        let mut after = 2;
        let mut shortest = None;
        let mut first = None;
        for (at, turn) in turns.iter().enumerate().rev() {
            let alone = self.message_tokens(&tokens, turn);
            if let Turn::User(text) = turn {
                let prompt = after + opening.tokens(text, alone);
                shortest.get_or_insert(prompt);
                if prompt <= room {
                    first = Some(at);
                }
            }
            after += alone;
            if after > room {
                break;
            }
        }
        let Some(first) = first else {
            return Err(ConversationError::PromptTooLong { tokens: shortest.unwrap_or(after), room });
        };

        let system = usize::from(system.is_some());
        let kept = conversation.messages[..system].iter().chain(&conversation.messages[system + first..]);
        Ok((Conversation { messages: kept.cloned().collect() }, first))
    }

    /// The number of tokens of a message, including special ones.
    fn message_tokens(&self, tokens: &ChatTokens, turn: &Turn) -> usize {
        let mut rendered = Rendered::default();
        match turn {
            Turn::User(text) => self.write_user(tokens, text, &mut rendered),
            Turn::Assistant(content, weight) => self.write_assistant(tokens, content, *weight, &mut rendered),
        }
        rendered.len()
    }
}

/// Counts the tokens of a first message, to which the system text is prepended.
struct Opening<'a> {
    tokenizer: &'a Tokenizer,
    /// The system text, and its number of tokens with the blank line.
    system: Option<(&'a str, usize)>,
}

impl<'a> Opening<'a> {
    fn new(tokenizer: &'a Tokenizer, system: Option<&'a str>) -> Self {
        Self { tokenizer, system: system.map(|text| (text, tokenizer.encode(&with_system(text, "")).len())) }
    }

    /// The number of tokens of the message `text` as the first; `alone` is its number elsewhere.
    ///
    /// In the split pattern a line break ends its word unless white space follows. So the system text and the message
    /// are encoded independently, unless the message begins with white space.
    fn tokens(&self, text: &str, alone: usize) -> usize {
        match self.system {
            None => alone,
            Some((system, tokens)) => {
                if text.starts_with(char::is_whitespace) {
                    alone + self.tokenizer.encode(&with_system(system, text)).len() - self.tokenizer.encode(text).len()
                } else {
                    alone + tokens
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::tokenizer::TrainOptions;

    /// A tokenizer with many white-space tokens, whose number depends on the adjacent text.
    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
        let text: String = (1..9).map(|n| format!("a..{}b {}c", "\n".repeat(n), " \n".repeat(n))).collect();
        let options = TrainOptions { vocab_size: 275, ..TrainOptions::default() };
        Tokenizer::train([Ok::<_, std::io::Error>(text)], &options).unwrap().tokenizer
    });

    /// The count of [`Opening`], and the real one.
    fn counted(system: &str, text: &str) -> (usize, usize) {
        let alone = TOKENIZER.encode(text).len();
        (Opening::new(&TOKENIZER, Some(system)).tokens(text, alone), TOKENIZER.encode(&with_system(system, text)).len())
    }

    proptest! {
        #[test]
        fn a_first_message_is_counted_with_the_system_text(
            system in "[ab1.'é \n\r\t\u{A0}\u{2028}]{0,8}",
            text in "[ab1.'é \n\r\t\u{A0}\u{2028}]{1,8}",
        ) {
            let (counted, found) = counted(&system, &text);
            prop_assert_eq!(counted, found);
        }
    }

    #[test]
    fn so_is_a_long_one() {
        let (counted, found) = counted(&". ".repeat(300_000), &".. ".repeat(200_000));
        assert_eq!(counted, found);
    }
}
