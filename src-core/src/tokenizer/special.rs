//! The special tokens of a chat, looked up by name once, so that no other code needs their names.

use super::{SPECIAL_TOKENS, Tokenizer, TokenizerError};

/// The ids of the nine special tokens that mark up a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChatTokens {
    /// Begins every document and every conversation.
    pub bos: u32,
    /// Before a user message.
    pub user_start: u32,
    /// After a user message.
    pub user_end: u32,
    /// Before an assistant's message.
    pub assistant_start: u32,
    /// After an assistant's message: a model writes it when it has finished.
    pub assistant_end: u32,
    /// Before an expression for the calculator.
    pub python_start: u32,
    /// After an expression for the calculator.
    pub python_end: u32,
    /// Before a result of the calculator.
    pub output_start: u32,
    /// After a result of the calculator.
    pub output_end: u32,
}

impl Tokenizer {
    /// The special tokens of a chat.
    ///
    /// # Errors
    /// If the tokenizer lacks one of [`SPECIAL_TOKENS`]: only `<|bos|>` is guaranteed.
    pub fn chat_tokens(&self) -> Result<ChatTokens, TokenizerError> {
        let mut ids = [0; SPECIAL_TOKENS.len()];
        for (id, name) in ids.iter_mut().zip(SPECIAL_TOKENS) {
            let missing = || TokenizerError::Unusable(format!("it has no special token {name}, which conversations need"));
            *id = self.special(name).ok_or_else(missing)?;
        }
        let [bos, user_start, user_end, assistant_start, assistant_end, python_start, python_end, output_start, output_end] = ids;
        Ok(ChatTokens { bos, user_start, user_end, assistant_start, assistant_end, python_start, python_end, output_start, output_end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::TrainOptions;

    fn tokenizer() -> Tokenizer {
        let options = TrainOptions { vocab_size: 265, ..TrainOptions::default() };
        Tokenizer::train([Ok::<_, std::io::Error>("text".to_owned())], &options).unwrap().tokenizer
    }

    #[test]
    fn each_field_is_the_token_of_its_name() {
        let tokenizer = tokenizer();
        let tokens = tokenizer.chat_tokens().unwrap();
        for (name, id) in [
            ("<|bos|>", tokens.bos),
            ("<|user_start|>", tokens.user_start),
            ("<|user_end|>", tokens.user_end),
            ("<|assistant_start|>", tokens.assistant_start),
            ("<|assistant_end|>", tokens.assistant_end),
            ("<|python_start|>", tokens.python_start),
            ("<|python_end|>", tokens.python_end),
            ("<|output_start|>", tokens.output_start),
            ("<|output_end|>", tokens.output_end),
        ] {
            assert_eq!(tokenizer.special(name), Some(id), "{name}");
        }
    }

    #[test]
    fn a_tokenizer_without_chat_is_refused_by_what_it_lacks() {
        let json = tokenizer().to_json().replace("<|output_end|>", "<|other|>");
        let error = Tokenizer::from_json(&json).unwrap().chat_tokens().unwrap_err();
        assert_eq!(error.to_string(), "the tokenizer cannot be used: it has no special token <|output_end|>, which conversations need");
    }
}
