//! Detects and answers the tool calls in one row of tokens.
//!
//! A model writes `<|python_start|> expression <|python_end|>`; the engine answers in its place with
//! `<|output_start|> result <|output_end|>` and lets it continue. If there is no result, nothing is forced: the model
//! continues by itself, as in nanochat.

use crate::tokenizer::{ChatTokens, Tokenizer};
use crate::tools::calculator::{MAX_LENGTH, calculate};

/// The special tokens of tool calls, by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToolTokens {
    /// `<|python_start|>`, which opens a call.
    pub python_start: u32,
    /// `<|python_end|>`, which closes it.
    pub python_end: u32,
    /// `<|output_start|>`, before the result.
    pub output_start: u32,
    /// `<|output_end|>`, after it.
    pub output_end: u32,
}

impl ToolTokens {
    /// Those of `tokenizer`, if it has the special tokens of a chat.
    pub fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let ChatTokens { python_start, python_end, output_start, output_end, .. } = tokenizer.chat_tokens().ok()?;
        Some(Self { python_start, python_end, output_start, output_end })
    }
}

/// A call that was closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// The expression as text; only its beginning if it is too long for the calculator.
    pub expression: String,
    /// What the calculator answered; `None` if the expression has no value.
    pub result: Option<String>,
    /// The tokens that are forced next instead of sampled ones: the result between its special tokens, or none if
    /// there is no result.
    pub forced: Vec<u32>,
}

/// Follows one row of tokens and answers its calls.
#[derive(Clone, Debug)]
pub struct ToolUse {
    tokens: ToolTokens,
    /// The tokens of the open call. A token is at least one byte of text, so a call of more tokens than [`MAX_LENGTH`]
    /// is too long for the calculator, and one token more than that is enough to know it.
    call: Option<Vec<u32>>,
}

impl ToolUse {
    /// A row in which no call is open.
    pub fn new(tokens: ToolTokens) -> Self {
        Self { tokens, call: None }
    }

    /// Whether a call is open.
    pub fn in_call(&self) -> bool {
        self.call.is_some()
    }

    /// Processes the next token of the row, sampled or forced, and answers the call that it closes.
    ///
    /// A second `<|python_start|>` restarts the call, and a `<|python_end|>` outside a call is ignored. Other special
    /// tokens in a call are part of its text, which is then not a valid expression, so it has no result.
    pub fn observe(&mut self, token: u32, tokenizer: &Tokenizer) -> Option<ToolCall> {
        if token == self.tokens.python_start {
            self.call = Some(Vec::new());
        } else if token == self.tokens.python_end {
            return self.call.take().map(|call| self.answer(&call, tokenizer));
        } else if let Some(call) = &mut self.call
            && call.len() <= MAX_LENGTH
        {
            call.push(token);
        }
        None
    }

    fn answer(&self, call: &[u32], tokenizer: &Tokenizer) -> ToolCall {
        let expression = tokenizer.decode(call);
        let result = if call.len() > MAX_LENGTH { None } else { calculate(&expression) };
        let mut forced = Vec::new();
        if let Some(result) = &result {
            forced.push(self.tokens.output_start);
            forced.extend(tokenizer.encode(result));
            forced.push(self.tokens.output_end);
        }
        ToolCall { expression, result, forced }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn tokenizer() -> Tokenizer {
        Tokenizer::from_file(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/nanochat-native/tokenizer.json")).unwrap()
    }

    fn tool_tokens(tokenizer: &Tokenizer) -> ToolTokens {
        let special = |name| tokenizer.special(name).unwrap();
        ToolTokens {
            python_start: special("<|python_start|>"),
            python_end: special("<|python_end|>"),
            output_start: special("<|output_start|>"),
            output_end: special("<|output_end|>"),
        }
    }

    /// A row, the tokenizer it is written with, and what it closed.
    struct Row {
        tokenizer: Tokenizer,
        tokens: ToolTokens,
        state: ToolUse,
        calls: Vec<ToolCall>,
    }

    impl Row {
        fn new() -> Self {
            let tokenizer = tokenizer();
            let tokens = tool_tokens(&tokenizer);
            Self { tokenizer, tokens, state: ToolUse::new(tokens), calls: Vec::new() }
        }

        fn token(&mut self, token: u32) -> &mut Self {
            self.calls.extend(self.state.observe(token, &self.tokenizer));
            self
        }

        fn text(&mut self, text: &str) -> &mut Self {
            for token in self.tokenizer.encode(text) {
                self.token(token);
            }
            self
        }

        fn start(&mut self) -> &mut Self {
            self.token(self.tokens.python_start)
        }

        fn end(&mut self) -> &mut Self {
            self.token(self.tokens.python_end)
        }
    }

    #[test]
    fn a_result_is_forced_between_its_tokens() {
        let mut row = Row::new();
        row.text("Let me see: ").start();
        assert!(row.state.in_call());
        row.text("1,200 / 8").end();
        assert!(!row.state.in_call());
        let [call] = &row.calls[..] else { panic!("{:?}", row.calls) };
        assert_eq!((call.expression.as_str(), call.result.as_deref()), ("1,200 / 8", Some("150.0")));
        let (first, last) = (call.forced[0], *call.forced.last().unwrap());
        assert_eq!((first, last), (row.tokens.output_start, row.tokens.output_end));
        assert_eq!(row.tokenizer.decode(&call.forced[1..call.forced.len() - 1]), "150.0");

        // Forced tokens are processed too and open no call; the next call starts afresh.
        for token in call.forced.clone() {
            row.token(token);
        }
        row.text(" and ").start().text("'strawberry'.count('r')").end();
        assert_eq!(row.calls[1].expression, "'strawberry'.count('r')");
        assert_eq!(row.calls[1].result.as_deref(), Some("3"));
        assert_eq!(row.calls.len(), 2);
    }

    #[test]
    fn without_a_result_nothing_is_forced() {
        for expression in ["1 / 0", "__import__('os')", "hello", "", "2 ** 9"] {
            let mut row = Row::new();
            row.start().text(expression).end();
            assert_eq!(row.calls, [ToolCall { expression: expression.into(), result: None, forced: Vec::new() }]);
        }
    }

    #[test]
    fn a_second_start_begins_anew_and_a_lone_end_is_nothing() {
        let mut row = Row::new();
        row.text("1 + 1").end().end();
        assert!(row.calls.is_empty());
        row.start().text("broken (").start().text("2 + 2").end().end();
        assert_eq!(row.calls.len(), 1);
        assert_eq!((row.calls[0].expression.as_str(), row.calls[0].result.as_deref()), ("2 + 2", Some("4")));
    }

    #[test]
    fn special_tokens_in_a_call_spoil_it() {
        let mut row = Row::new();
        let output_start = row.tokens.output_start;
        row.start().text("1").token(output_start).text("+ 1").end();
        assert_eq!((row.calls[0].expression.as_str(), &row.calls[0].result), ("1<|output_start|>+ 1", &None));
        // Their names as text are text, and are not answered either.
        row.start().text("1<|output_end|>").end();
        assert_eq!((row.calls[1].expression.as_str(), &row.calls[1].result), ("1<|output_end|>", &None));
    }

    #[test]
    fn tokens_that_are_no_text_have_no_result() {
        let mut row = Row::new();
        let beyond = row.tokenizer.vocab_size() as u32;
        row.start().text("1 + 1").token(beyond).token(u32::MAX).end();
        assert_eq!((row.calls[0].result.as_deref(), row.calls[0].forced.len()), (None, 0));
    }

    #[test]
    fn a_call_that_never_ends_is_collected_up_to_a_bound() {
        let mut row = Row::new();
        let [digit] = row.tokenizer.encode("1")[..] else { panic!("a digit is one token") };
        row.start();
        for _ in 0..MAX_LENGTH {
            row.token(digit);
        }
        // The longest call that the calculator takes is answered.
        let mut longest = row.state.clone();
        let call = longest.observe(row.tokens.python_end, &row.tokenizer).unwrap();
        assert_eq!(call.result, Some("1".repeat(MAX_LENGTH)));

        for _ in 0..10_000 {
            row.token(digit);
        }
        assert_eq!(row.state.call.as_ref().map(Vec::len), Some(MAX_LENGTH + 1));
        row.end();
        assert_eq!((row.calls[0].result.as_deref(), row.calls[0].forced.len()), (None, 0));
        // The row is none the worse for it.
        row.start().text("6 * 7").end();
        assert_eq!(row.calls[1].result.as_deref(), Some("42"));
    }
}
