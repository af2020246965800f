//! Arithmetic by recursive descent. The grammar is Python's, cut down to numbers:
//!
//! ```text
//! sum     = product (("+" | "-") product)*
//! product = factor (("*" | "/" | "//") factor)*
//! factor  = ("+" | "-")* (number | "(" sum ")")
//! number  = digit+ | digit+ "." digit* | "." digit+
//! ```
//!
//! `−`, `×` and `÷` mean `-`, `*` and `/`. `**` is rejected, as in nanochat: a short power can be a long number.

use std::iter::Peekable;
use std::vec::IntoIter;

use super::MAX_DEPTH;
use super::number::Number;

/// Whether `c` is allowed in arithmetic.
pub fn is_allowed(c: char) -> bool {
    matches!(c, '0'..='9' | '*' | '+' | '-' | '/' | '.' | '(' | ')' | ' ' | '−' | '×' | '÷')
}

/// The value of `expression`, or `None` if it is malformed or has no value.
pub fn evaluate(expression: &str) -> Option<Number> {
    let mut parser = Parser { tokens: tokens(expression)?.into_iter().peekable(), depth: 0 };
    let value = parser.sum()?;
    parser.tokens.next().is_none().then_some(value)
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Number(Number),
    Plus,
    Minus,
    Times,
    Divide,
    FloorDivide,
    Open,
    Close,
}

/// The tokens of `expression`, or `None` if Python's lexer would reject it, too.
fn tokens(expression: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            ' ' => {
                rest = &rest[1..];
                continue;
            }
            '0'..='9' | '.' => {
                let literal = literal(rest);
                (Token::Number(Number::from_literal(literal)?), literal.len())
            }
            '*' if rest.starts_with("**") => return None,
            '/' if rest.starts_with("//") => (Token::FloorDivide, 2),
            '+' => (Token::Plus, 1),
            '-' | '−' => (Token::Minus, first.len_utf8()),
            '*' | '×' => (Token::Times, first.len_utf8()),
            '/' | '÷' => (Token::Divide, first.len_utf8()),
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            _ => return None,
        };
        tokens.push(token);
        rest = &rest[length..];
    }
    Some(tokens)
}

/// The digits that `text` starts with, with a point among them if there is one.
fn literal(text: &str) -> &str {
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let whole = digits(text);
    match text[whole..].strip_prefix('.') {
        Some(fraction) => &text[..whole + 1 + digits(fraction)],
        None => &text[..whole],
    }
}

struct Parser {
    tokens: Peekable<IntoIter<Token>>,
    depth: usize,
}

impl Parser {
    fn sum(&mut self) -> Option<Number> {
        let mut value = self.product()?;
        while let Some(operator) = self.tokens.next_if(|token| matches!(token, Token::Plus | Token::Minus)) {
            let other = self.product()?;
            value = if operator == Token::Plus { value.add(other) } else { value.subtract(other) }?;
        }
        Some(value)
    }

    fn product(&mut self) -> Option<Number> {
        let mut value = self.factor()?;
        while let Some(operator) = self.tokens.next_if(|token| matches!(token, Token::Times | Token::Divide | Token::FloorDivide)) {
            let other = self.factor()?;
            value = match operator {
                Token::Times => value.multiply(other),
                Token::Divide => value.divide(other),
                _ => value.floor_divide(other),
            }?;
        }
        Some(value)
    }

    fn factor(&mut self) -> Option<Number> {
        // A loop, because there may be thousands of signs in a row.
        let mut negative = false;
        while let Some(sign) = self.tokens.next_if(|token| matches!(token, Token::Plus | Token::Minus)) {
            negative ^= sign == Token::Minus;
        }
        let value = match self.tokens.next()? {
            Token::Number(number) => number,
            Token::Open => self.parenthesised()?,
            _ => return None,
        };
        Some(if negative { value.negate() } else { value })
    }

    /// What follows an opening parenthesis, up to the closing one.
    fn parenthesised(&mut self) -> Option<Number> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let value = self.sum()?;
        self.depth -= 1;
        (self.tokens.next()? == Token::Close).then_some(value)
    }
}
