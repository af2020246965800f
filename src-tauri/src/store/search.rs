//! Finding what was said: SQLite's full-text index over messages and titles.

use rusqlite::Connection;

use super::Store;
use super::conversations::{SUMMARY, SUMMARY_COLUMNS, summary};
use crate::error::{AppError, AppResult};
use crate::limits::SEARCH_CHARS;
use crate::types::{Piece, SearchHit};

/// Hits at most.
const MOST: usize = 100;

/// What stands around a match in a snippet: characters that no message needs, and that are left out of it.
const BEGIN: char = '\u{2}';
const END: char = '\u{3}';

/// What a search asks the index for: every word, each the beginning of one, in the index's own syntax. None where there
/// is no word.
fn expression(query: &str) -> Option<String> {
    let words: Vec<String> = query
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
        .map(|word| format!("\"{word}\"*"))
        .collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// A snippet in pieces.
fn pieces(snippet: &str) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut matched = false;
    let mut push = |text: &str, matched| {
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if !text.is_empty() {
            pieces.push(Piece { text, matched });
        }
    };
    let mut rest = snippet;
    while let Some(at) = rest.find(if matched { END } else { BEGIN }) {
        push(&rest[..at], matched);
        rest = &rest[at + 1..];
        matched = !matched;
    }
    push(rest, matched);
    pieces
}

impl Store {
    /// The conversations whose titles have all the words of `query`, then the messages that have them, best first.
    pub fn search(&self, query: &str) -> AppResult<Vec<SearchHit>> {
        if query.chars().nth(SEARCH_CHARS).is_some() {
            return Err(AppError::bad_input(format!("The search is longer than {SEARCH_CHARS} characters.")));
        }
        let Some(expression) = expression(query) else { return Ok(Vec::new()) };
        let connection = self.lock();
        let mut hits = titles(&connection, &expression)?;
        hits.extend(messages(&connection, &expression)?);
        hits.truncate(MOST);
        Ok(hits)
    }
}

fn titles(connection: &Connection, expression: &str) -> AppResult<Vec<SearchHit>> {
    let sql = format!(
        "SELECT {SUMMARY}, highlight(title_words, 0, ?2, ?3) FROM title_words JOIN conversation ON conversation.id = title_words.rowid
        WHERE title_words MATCH ?1 AND deleted_at IS NULL ORDER BY rank, updated_at DESC LIMIT {MOST}"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let hits = statement.query_map((expression, BEGIN.to_string(), END.to_string()), |row| {
        let snippet = pieces(row.get_ref(SUMMARY_COLUMNS)?.as_str()?);
        Ok(SearchHit { conversation: summary(row)?, message: None, role: None, snippet })
    })?;
    Ok(hits.collect::<Result<_, _>>()?)
}

fn messages(connection: &Connection, expression: &str) -> AppResult<Vec<SearchHit>> {
    // Ranked first: a snippet of every match would be made only to be thrown away.
    let sql = format!(
        "WITH best AS (
            SELECT message_words.rowid AS id, rank FROM message_words JOIN message ON message.id = message_words.rowid
            JOIN conversation ON conversation.id = message.conversation
            WHERE message_words MATCH ?1 AND deleted_at IS NULL ORDER BY rank, message.id DESC LIMIT {MOST}
        )
        SELECT {SUMMARY}, message.id, message.role, snippet(message_words, 0, ?2, ?3, '…', 16)
        FROM best JOIN message ON message.id = best.id JOIN conversation ON conversation.id = message.conversation
        JOIN message_words ON message_words.rowid = best.id
        WHERE message_words MATCH ?1 ORDER BY best.rank, message.id DESC"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let hits = statement.query_map((expression, BEGIN.to_string(), END.to_string()), |row| {
        let snippet = pieces(row.get_ref(SUMMARY_COLUMNS + 2)?.as_str()?);
        Ok(SearchHit { conversation: summary(row)?, message: row.get(SUMMARY_COLUMNS)?, role: row.get(SUMMARY_COLUMNS + 1)?, snippet })
    })?;
    Ok(hits.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_typed_is_words_and_never_syntax() {
        assert_eq!(expression("two words").unwrap(), r#""two"* "words"*"#);
        assert_eq!(expression(r#"a" OR NEAR(b*) -c:d"#).unwrap(), r#""a"* "OR"* "NEAR"* "b"* "c"* "d"*"#);
        assert_eq!(expression(" \"'*-() "), None);
    }

    #[test]
    fn a_snippet_falls_into_pieces_whatever_is_in_it() {
        let of = |text: &str| pieces(text).into_iter().map(|piece| (piece.text, piece.matched)).collect::<Vec<_>>();
        let piece = |text: &str, matched| (text.to_owned(), matched);
        assert_eq!(of("…the \u{2}capital\u{3} of"), [piece("…the ", false), piece("capital", true), piece(" of", false)]);
        assert_eq!(of("\u{2}a\u{3}"), [piece("a", true)]);
        assert_eq!(of("a\u{3}b\u{2}c"), [piece("a b", false), piece("c", true)]);
        assert!(of("").is_empty());
    }
}
