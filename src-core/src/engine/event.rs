//! The events of a generation, and its result.

use std::time::Duration;

/// An event of a generation.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// More text: whole characters, never a part of one.
    Text(String),
    /// The model closed a call of the calculator.
    ToolCall {
        /// The expression.
        expression: String,
    },
    /// What the calculator answered.
    ToolResult {
        /// The value as text; `None` if the expression has none, and then the model continues by itself.
        result: Option<String>,
    },
    /// The conversation has outgrown the context, and its oldest turns were dropped.
    Cut {
        /// Messages dropped.
        messages: usize,
    },
    /// The last event.
    Done {
        /// Why.
        reason: Reason,
        /// Token counts and times.
        stats: Stats,
    },
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The model wrote a token that ends the text.
    Stop,
    /// The requested number of tokens was written.
    MaxTokens,
    /// The context is full.
    ContextFull,
    /// It was cancelled.
    Cancelled,
}

/// Token counts and times of a generation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// How many of those were already in the cache.
    pub reused_tokens: usize,
    /// Tokens that were written, including results of tools and the one that ended the text.
    pub new_tokens: usize,
    /// Tokens that were drafted and verified.
    pub drafted_tokens: usize,
    /// How many of those were right, so that they cost no step of their own.
    pub accepted_tokens: usize,
    /// From the call to the first token.
    pub time_to_first_token: Duration,
    /// From the call to the end.
    pub total_time: Duration,
    /// Tokens in the context at the end.
    pub context_used: usize,
    /// The size of the context in tokens.
    pub context: usize,
}

impl Stats {
    /// Tokens per second after the first; 0 if there was no second one.
    pub fn tokens_per_second(&self) -> f64 {
        let seconds = (self.total_time - self.time_to_first_token).as_secs_f64();
        if self.new_tokens < 2 || seconds <= 0.0 { 0.0 } else { (self.new_tokens - 1) as f64 / seconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_counts_the_tokens_after_the_first_and_their_time() {
        let speed = |new_tokens, first, total| {
            let [time_to_first_token, total_time] = [first, total].map(Duration::from_secs);
            Stats { new_tokens, time_to_first_token, total_time, ..Stats::default() }.tokens_per_second()
        };
        assert_eq!([speed(11, 1, 3), speed(2, 1, 3)], [5.0, 0.5]);
        assert_eq!([speed(0, 0, 3), speed(1, 1, 3), speed(2, 3, 3)], [0.0; 3]);
    }
}
