//! The tokens of one row, drawn by the model or forced: a result of the calculator takes precedence over what is drawn.

use std::collections::VecDeque;

use crate::tokenizer::Tokenizer;

use super::{ToolCall, ToolTokens, ToolUse};

/// A row whose tool calls are answered, if that is enabled.
pub(super) struct Answered<'a> {
    /// What detects calls, and the tokenizer that decodes them.
    tools: Option<(ToolUse, &'a Tokenizer)>,
    /// The remaining tokens of the last result.
    forced: VecDeque<u32>,
    /// Tokens of the last result.
    result: usize,
}

/// The role of a token in its row.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Text of the model.
    Said,
    /// Part of an open call.
    Call,
    /// The end of a call, which was answered.
    Closed(ToolCall),
    /// Part of a result.
    Result,
}

impl<'a> Answered<'a> {
    /// An empty row. With `tools`, calls are answered if the tokenizer has the special tokens for them.
    pub fn new(tokenizer: impl Into<Option<&'a Tokenizer>>, tools: bool) -> Self {
        let tokenizer = tokenizer.into().filter(|_| tools);
        let tools = tokenizer.and_then(|tokenizer| Some((ToolUse::new(ToolTokens::of(tokenizer)?), tokenizer)));
        Self { tools, forced: VecDeque::new(), result: 0 }
    }

    /// The row's next token: that of a pending result, or else the drawn one.
    pub fn next(&self, drawn: u32) -> u32 {
        self.forced.front().copied().unwrap_or(drawn)
    }

    /// The tokens of a pending result, which come next whatever is drawn.
    pub fn known(&self) -> &VecDeque<u32> {
        &self.forced
    }

    /// Whether the next token is drawn and not forced.
    pub fn draws(&self) -> bool {
        self.forced.is_empty()
    }

    /// Appends the [`next`](Self::next) token.
    pub fn take(&mut self, token: u32) -> Part {
        let forced = self.forced.pop_front().is_some();
        let Some((tools, tokenizer)) = &mut self.tools else { return Part::Said };
        match tools.observe(token, tokenizer) {
            Some(call) => {
                self.result = call.forced.len();
                self.forced = call.forced.iter().copied().collect();
                Part::Closed(call)
            }
            None if forced => Part::Result,
            None if tools.in_call() => Part::Call,
            None => Part::Said,
        }
    }

    /// Tokens at the row's end that are an incomplete result: alone they would read as a different result.
    pub fn half_a_result(&self) -> usize {
        if self.forced.is_empty() { 0 } else { self.result - self.forced.len() }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_result_is_taken_before_what_is_drawn_and_counted_until_it_is_whole() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/nanochat-native/tokenizer.json");
        let tokenizer = Tokenizer::from_file(&path).unwrap();
        let special = |name: &str| tokenizer.special(name).unwrap();
        let mut row = Answered::new(&tokenizer, true);
        assert_eq!(row.take(special("<|python_start|>")), Part::Call);
        for token in tokenizer.encode("6*7") {
            assert_eq!((row.next(token), row.take(token)), (token, Part::Call));
        }
        let Part::Closed(call) = row.take(special("<|python_end|>")) else { panic!("the call is open") };
        assert_eq!(call.result.as_deref(), Some("42"));
        for (taken, &token) in call.forced.iter().enumerate() {
            assert_eq!((row.half_a_result(), row.draws(), row.next(0)), (taken, false, token));
            assert_eq!(row.take(token), Part::Result);
        }
        assert_eq!((row.half_a_result(), row.draws(), row.next(65), row.take(65)), (0, true, 65, Part::Said));

        let mut row = Answered::new(&tokenizer, false);
        assert_eq!(row.take(special("<|python_start|>")), Part::Said);
    }
}
