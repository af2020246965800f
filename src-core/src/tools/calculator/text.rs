//! Counting text in text by recursive descent. The grammar, where all literals in a row are one text, as in Python:
//!
//! ```text
//! value   = (literal+ | "(" value ")") (".count(" value ")")*
//! literal = "'…'" | "\"…\"" | "'''…'''" | "\"\"\"…\"\"\""
//! ```
//!
//! What nanochat rejects up front is rejected here too, so that both always agree: all characters
//! but letters, digits, quotes, `_`, `.`, parentheses and spaces, and names that could be dangerous in an
//! evaluator, anywhere and in any case. Backslashes are not allowed, so a literal contains exactly what it shows.

use std::iter::Peekable;
use std::vec::IntoIter;

use super::MAX_DEPTH;

/// What must not occur anywhere in an expression, in lower case.
const REFUSED: [&str; 17] = [
    "__",
    "import",
    "exec",
    "eval",
    "compile",
    "open",
    "file",
    "input",
    "raw_input",
    "globals",
    "locals",
    "vars",
    "dir",
    "getattr",
    "setattr",
    "delattr",
    "hasattr",
];

/// How often the text of `expression` contains what is counted, without overlaps; the empty text is found before
/// every character and at the end. `None` if the expression is malformed or rejected.
pub fn evaluate(expression: &str) -> Option<usize> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '\'' | '"' | '(' | ')' | '.' | '_' | ' ');
    // nanochat wants these seven characters together somewhere, so `.count (` alone is not enough.
    if !expression.chars().all(allowed) || !expression.contains(".count(") {
        return None;
    }
    let lower = expression.to_ascii_lowercase();
    if REFUSED.iter().any(|refused| lower.contains(refused)) {
        return None;
    }
    let mut parser = Parser { tokens: tokens(expression)?.into_iter().peekable(), depth: 0 };
    match (parser.value()?, parser.tokens.next()) {
        (Value::Count(count), None) => Some(count),
        _ => None,
    }
}

#[derive(Debug, PartialEq)]
enum Token<'a> {
    Literal(&'a str),
    Dot,
    Count,
    Open,
    Close,
}

/// The tokens of `expression`; `None` at an unfinished literal, or a word other than `count`.
fn tokens(expression: &str) -> Option<Vec<Token<'_>>> {
    let mut tokens = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            ' ' => {
                rest = &rest[1..];
                continue;
            }
            '\'' | '"' => {
                let quote = if rest.starts_with("'''") || rest.starts_with("\"\"\"") { &rest[..3] } else { &rest[..1] };
                let (literal, _) = rest[quote.len()..].split_once(quote)?;
                (Token::Literal(literal), literal.len() + 2 * quote.len())
            }
            '.' => (Token::Dot, 1),
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            _ => {
                let length = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
                if &rest[..length] != "count" {
                    return None;
                }
                (Token::Count, length)
            }
        };
        tokens.push(token);
        rest = &rest[length..];
    }
    Some(tokens)
}

enum Value {
    Text(String),
    Count(usize),
}

struct Parser<'a> {
    tokens: Peekable<IntoIter<Token<'a>>>,
    depth: usize,
}

impl Parser<'_> {
    fn value(&mut self) -> Option<Value> {
        let mut value = match self.tokens.next()? {
            Token::Literal(literal) => {
                let mut text = literal.to_owned();
                while let Some(Token::Literal(more)) = self.tokens.next_if(|token| matches!(token, Token::Literal(_))) {
                    text.push_str(more);
                }
                Value::Text(text)
            }
            Token::Open => self.parenthesised()?,
            _ => return None,
        };
        while self.tokens.next_if_eq(&Token::Dot).is_some() {
            if (self.tokens.next()?, self.tokens.next()?) != (Token::Count, Token::Open) {
                return None;
            }
            // A count has no method `count`, and cannot be counted.
            let (Value::Text(text), Value::Text(counted)) = (value, self.parenthesised()?) else { return None };
            value = Value::Count(text.matches(counted.as_str()).count());
        }
        Some(value)
    }

    /// What follows an opening parenthesis, up to the closing one.
    fn parenthesised(&mut self) -> Option<Value> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let value = self.value()?;
        self.depth -= 1;
        (self.tokens.next()? == Token::Close).then_some(value)
    }
}
