//! How an answer is judged: by its letter, or by the number that it ends with. Tasks whose answers are programs run them.

use crate::tokenizer::{Content, Conversation, Message};

/// How the answers to a task are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grading {
    /// By the letter of the choice that it names.
    Letter,
    /// By the number after `#### `.
    Number,
}

/// What the assistant says at the end of `conversation`, without tool calls: its last text. Empty if there is none.
pub fn last_text(conversation: &Conversation) -> &str {
    match conversation.messages.last().map(|Message { content, .. }| content) {
        Some(Content::Text(text)) => text,
        Some(Content::Parts(parts)) => parts.last().map_or("", |part| &part.text),
        None => "",
    }
}

impl Grading {
    /// Whether `answer` is as right as the end of `conversation`, which is a right one.
    pub fn accepts(self, conversation: &Conversation, answer: &str) -> bool {
        let right = last_text(conversation);
        match self {
            Grading::Letter => answer == right,
            // A reference without a number would be matched by any answer without one.
            Grading::Number => final_number(right).is_some_and(|right| final_number(answer).as_ref() == Some(&right)),
        }
    }
}

/// The first number after `#### ` in a text, without its commas: what the regular expression `#### (\-?[0-9\.\,]+)` of GSM8K's own
/// evaluation finds. It is compared as text, as there: 3 and 3.0 are two answers.
pub fn final_number(text: &str) -> Option<String> {
    const MARK: &str = "#### ";
    text.match_indices(MARK).find_map(|(at, _)| {
        let rest = &text[at + MARK.len()..];
        let sign = if rest.starts_with('-') { "-" } else { "" };
        let digits = rest[sign.len()..].split(|c: char| !matches!(c, '0'..='9' | '.' | ',')).next()?;
        (!digits.is_empty()).then(|| format!("{sign}{}", digits.replace(',', "")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::{Part, PartKind, Role};

    #[test]
    fn the_number_is_what_the_regular_expression_finds() {
        // Each was compared with Python's `re`.
        for (text, want) in [
            ("so\n#### 18", Some("18")),
            ("#### -1,234.50 dollars", Some("-1234.50")),
            ("#### 3.", Some("3.")),
            ("#### ,", Some("")),
            ("#### x #### 4 #### 5", Some("4")),
            ("##### 7", Some("7")),
            ("####  7", None),
            ("#### --7", None),
            ("#### ٣", None),
            ("#### ", None),
            ("####7", None),
            ("", None),
        ] {
            assert_eq!(final_number(text).as_deref(), want, "{text:?}");
        }
    }

    #[test]
    fn an_answer_is_compared_with_the_end_of_the_solution() {
        let part = |kind, text: &str| Part { kind, text: text.to_owned() };
        let parts = vec![part(PartKind::Text, "#### 1 "), part(PartKind::Python, "2"), part(PartKind::Text, "\n#### 1,000")];
        let solved = Conversation { messages: vec![Message::new(Role::Assistant, Content::Parts(parts))] };
        for (answer, right) in [("#### 1000", true), ("#### 1,000 and #### 3", true), ("#### 1000.0", false), ("1000", false), ("", false)]
        {
            assert_eq!(Grading::Number.accepts(&solved, answer), right, "{answer}");
        }
        let letter = Conversation { messages: vec![Message::text(Role::Assistant, "B")] };
        assert!(Grading::Letter.accepts(&letter, "B") && !Grading::Letter.accepts(&letter, "A") && !Grading::Letter.accepts(&letter, "B."));
        assert!(!Grading::Number.accepts(&letter, "none"));
    }
}
