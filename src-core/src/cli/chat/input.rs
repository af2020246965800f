//! Input lines of a chat: edited at a terminal, or read from a file or a pipe.

use std::io::{BufRead, IsTerminal, Read};

use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Completer, Config, Editor, Helper, Highlighter, Hinter};

use crate::cli::Failure;
use crate::tokenizer::LONGEST_MESSAGE;

/// Where lines come from.
pub enum Input {
    /// A person at a terminal.
    Terminal(Box<Editor<Joined, MemHistory>>),
    /// A file or a pipe.
    Stream,
}

/// One line, or why there is none.
pub enum Next {
    /// A line; several if all but the last ended with a backslash.
    Line(String),
    /// Ctrl-C at the prompt.
    Interrupted,
    /// The end of input.
    End,
}

/// A line that ends with a backslash continues on the next one.
#[derive(Completer, Helper, Highlighter, Hinter)]
pub struct Joined;

impl Validator for Joined {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let unfinished = context.input().ends_with('\\');
        Ok(if unfinished { ValidationResult::Incomplete } else { ValidationResult::Valid(None) })
    }
}

impl Input {
    /// Opens stdin, whatever that is. The history of a terminal is kept in memory only.
    pub fn open() -> Result<Self, Failure> {
        if !std::io::stdin().is_terminal() {
            return Ok(Input::Stream);
        }
        let config = Config::builder().auto_add_history(true).build();
        let mut editor = Editor::with_history(config, MemHistory::new())
            .map_err(|error| Failure::input(format!("the terminal cannot be used: {error}; pass the message with --prompt")))?;
        editor.set_helper(Some(Joined));
        Ok(Input::Terminal(Box::new(editor)))
    }

    /// Whether it is a terminal with a person typing.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Input::Terminal(_))
    }

    /// The next line.
    pub fn next(&mut self) -> Result<Next, Failure> {
        let line = match self {
            Input::Terminal(editor) => match editor.readline("> ") {
                Ok(line) => Some(line),
                Err(ReadlineError::Eof) => None,
                Err(ReadlineError::Interrupted) => return Ok(Next::Interrupted),
                Err(error) => return Err(Failure::input(format!("the terminal cannot be read: {error}"))),
            },
            Input::Stream => {
                tracing::debug!("waiting for a line");
                read_line(&mut std::io::stdin().lock())?
            }
        };
        Ok(line.map_or(Next::End, |line| Next::Line(line.replace("\\\n", "\n"))))
    }
}

/// The next line of a stream, with those joined to it, or none at its end.
fn read_line(reader: &mut impl BufRead) -> Result<Option<String>, Failure> {
    // Joined lines have more bytes than the resulting message; there is no point in reading much further.
    const MOST: usize = 2 * LONGEST_MESSAGE;
    let mut reader = reader.take(MOST as u64 + 1);
    let mut line = Vec::new();
    loop {
        let read = reader.read_until(b'\n', &mut line).map_err(|error| Failure::input(format!("stdin cannot be read: {error}")))?;
        if read == 0 && line.is_empty() {
            return Ok(None);
        }
        if read == 0 || !line.ends_with(b"\\\n") {
            break;
        }
    }
    if line.len() > MOST {
        return Err(Failure::input(format!("a line of stdin is too long; the longest message has {LONGEST_MESSAGE} bytes")));
    }
    String::from_utf8(line).map(Some).map_err(|_| Failure::input("stdin is not text in UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_read_line_by_line_and_backslashes_join() {
        let mut stream: &[u8] = b"one\ntwo \\\nthree\n\nlast";
        let mut lines = Vec::new();
        while let Some(line) = read_line(&mut stream).unwrap() {
            lines.push(line);
        }
        assert_eq!(lines, ["one\n", "two \\\nthree\n", "\n", "last"]);
        assert!(read_line(&mut &b"\xFF\n"[..]).is_err());
    }

    #[test]
    fn a_line_without_end_is_refused_for_its_length() {
        // Cut anywhere, this would not be UTF-8 either.
        let error = read_line(&mut format!("x{}", "é".repeat(2 * LONGEST_MESSAGE)).as_bytes()).unwrap_err().to_string();
        assert!(error.contains("too long"), "{error}");
        assert_eq!(read_line(&mut "x".repeat(LONGEST_MESSAGE + 9).as_bytes()).unwrap().unwrap().len(), LONGEST_MESSAGE + 9);
    }
}
