//! Conversations in files: JSON Lines, a conversation a line. People write these by hand and by script, so what is
//! wrong is named by file and line, and never quoted: it may be private.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::files::StandIn;
use crate::tokenizer::Conversation;

mod error;
mod keys;
mod line;
mod node;

pub use error::{ConversationFileError, LineError, Place};

/// The longest line that is read, in bytes: many of the longest messages. A longer one is no conversation but a file of
/// another kind.
const LONGEST_LINE: u64 = 64 << 20;

/// Reads every conversation of a file, or of the `.jsonl` files of a folder in the order of their names.
///
/// A line is an object with a list `messages`, or that list alone. Notes beside them are passed over, and so are blank
/// lines; what says something that a conversation here cannot hold is not.
///
/// # Errors
/// For the first line that is not a conversation which [`Conversation::check`] accepts; when a file cannot be read, the
/// folder has no `.jsonl` file, or there is no conversation at all.
pub fn read_conversations(path: &Path) -> Result<Vec<Conversation>, ConversationFileError> {
    Ok(read_conversations_with(path, Unsupported::Refuse)?.conversations)
}

/// What becomes of conversations that cannot be represented: with calls of tools, images, other roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unsupported {
    /// Reading ends with the first one.
    #[default]
    Refuse,
    /// They are left out, and counted.
    Skip,
}

/// The conversations of a file, and what was left out.
#[derive(Debug, Default)]
pub struct FoundConversations {
    /// Those that can be represented, in order.
    pub conversations: Vec<Conversation>,
    /// How many cannot be, and were left out.
    pub skipped: u64,
    /// The first of these, and why.
    pub first_skipped: Option<ConversationFileError>,
}

/// As [`read_conversations`], and `unsupported` says what becomes of conversations that cannot be represented.
///
/// # Errors
/// As [`read_conversations`]; where all conversations would be left out, that of the first.
pub fn read_conversations_with(path: &Path, unsupported: Unsupported) -> Result<FoundConversations, ConversationFileError> {
    let mut found = FoundConversations::default();
    let folder = std::fs::metadata(path).map_err(at(path))?.is_dir();
    for file in if folder { files(path)? } else { vec![path.to_path_buf()] } {
        read_file(&file, unsupported, &mut found)?;
    }
    if found.conversations.is_empty() {
        return Err(found.first_skipped.unwrap_or_else(|| ConversationFileError::Empty { path: path.to_path_buf() }));
    }
    Ok(found)
}

/// The `.jsonl` files right in a folder, sorted by name, without hidden ones.
fn files(folder: &Path) -> Result<Vec<PathBuf>, ConversationFileError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(at(folder))? {
        let path = entry.map_err(at(folder))?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let named = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("jsonl"));
        if named && !hidden && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() { Err(ConversationFileError::NoFiles { path: folder.to_path_buf() }) } else { Ok(found) }
}

fn read_file(path: &Path, unsupported: Unsupported, found: &mut FoundConversations) -> Result<(), ConversationFileError> {
    let mut file = BufReader::with_capacity(1 << 16, File::open(path).map_err(at(path))?);
    if let Some(found) = StandIn::of(file.fill_buf().map_err(at(path))?) {
        return Err(ConversationFileError::StandIn { path: path.to_path_buf(), found });
    }
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        let read = (&mut file).take(LONGEST_LINE + 1).read_until(b'\n', &mut bytes).map_err(at(path))?;
        if read == 0 {
            break;
        }
        let content = if number == 1 { bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes) } else { &bytes };
        if read as u64 > LONGEST_LINE {
            return Err(broken(path, number, LineError::TooLong));
        }
        // With its line break, a line that ends too early would look like one with a stray control character.
        let content = content.trim_ascii_end();
        if content.is_empty() {
            continue;
        }
        match line::parse(content) {
            Ok(conversation) => found.conversations.push(conversation),
            Err(source) if unsupported == Unsupported::Skip && source.is_unsupported() => {
                found.skipped += 1;
                found.first_skipped.get_or_insert_with(|| broken(path, number, source));
            }
            Err(source) => return Err(broken(path, number, source)),
        }
    }
    Ok(())
}

fn broken(path: &Path, line: u64, source: LineError) -> ConversationFileError {
    ConversationFileError::Line { path: path.to_path_buf(), line, source }
}

/// Wraps an I/O error with the path it concerns.
fn at(path: &Path) -> impl FnOnce(io::Error) -> ConversationFileError + use<> {
    let path = path.to_path_buf();
    move |source| match source.kind() {
        io::ErrorKind::NotFound => ConversationFileError::NotFound { path },
        _ => ConversationFileError::Io { path, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}"#;

    fn read(bytes: impl AsRef<[u8]>) -> Result<Vec<Conversation>, ConversationFileError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        std::fs::write(&path, bytes).unwrap();
        read_conversations(&path)
    }

    #[test]
    fn both_forms_are_read_whatever_the_editor_did_to_them() {
        let expected: Conversation = serde_json::from_str(LINE).unwrap();
        let bare = serde_json::to_string(&expected.messages).unwrap();
        let text = format!("\u{FEFF}{LINE}\r\n\r\n  \n\t{bare}\n{}", LINE.replace("{\"messages", "{\"id\": 7, \"messages"));
        assert_eq!(read(text).unwrap(), [expected.clone(), expected.clone(), expected]);
    }

    #[test]
    fn a_folder_is_read_in_the_order_of_its_names() {
        let dir = tempfile::tempdir().unwrap();
        for (name, said) in [("b.jsonl", "second"), ("a.JSONL", "first"), (".c.jsonl", "hidden"), ("d.txt", "text")] {
            std::fs::write(dir.path().join(name), LINE.replace("Hi", said)).unwrap();
        }
        std::fs::create_dir(dir.path().join("e.jsonl")).unwrap();
        let read = read_conversations(dir.path()).unwrap();
        let texts = ["first", "second"].map(|said| serde_json::from_str::<Conversation>(&LINE.replace("Hi", said)).unwrap());
        assert_eq!(read, texts);
    }

    #[test]
    fn what_holds_no_conversation_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(read_conversations(dir.path()), Err(ConversationFileError::NoFiles { .. })));
        assert!(matches!(read_conversations(&dir.path().join("no.jsonl")), Err(ConversationFileError::NotFound { .. })));
        assert!(matches!(read(""), Err(ConversationFileError::Empty { .. })));
        assert!(matches!(read("\u{FEFF}\n \r\n"), Err(ConversationFileError::Empty { .. })));
    }

    #[test]
    fn a_broken_line_is_named() {
        let text = [LINE.as_bytes(), b"\n\n[\xff]\n"].concat();
        let error = read(text).unwrap_err();
        assert!(matches!(error, ConversationFileError::Line { line: 3, source: LineError::NotUtf8, .. }), "{error}");
        assert!(error.to_string().ends_with("a.jsonl, line 3: it is not UTF-8 text"), "{error}");
    }

    #[test]
    fn what_cannot_be_represented_is_left_out_and_counted_where_that_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        let called = LINE.replace("\"Hello\"", "\"Hello\", \"tool_calls\": [{\"id\": \"c\"}]");
        let skip = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read_conversations_with(&path, Unsupported::Skip)
        };
        let found = skip(&format!("{LINE}\n\n{called}\n{}\n{LINE}\n", LINE.replace("user", "tool"))).unwrap();
        assert_eq!((found.conversations.len(), found.skipped), (2, 2));
        let first = found.first_skipped.unwrap().to_string();
        assert!(first.contains("a.jsonl, line 3: message 2 has `tool_calls`, which"), "{first}");
        assert!(read_conversations(&path).unwrap_err().is_unsupported());
        // What is broken is broken.
        let error = skip(&format!("{LINE}\n{{\"messages\"\n")).unwrap_err();
        assert!(matches!(error, ConversationFileError::Line { line: 2, source: LineError::Json { .. }, .. }), "{error}");
        let error = skip(&called).unwrap_err();
        assert!(matches!(error, ConversationFileError::Line { line: 1, source: LineError::Unsupported { .. }, .. }), "{error}");
    }

    #[test]
    fn what_lies_in_the_files_place_is_named() {
        let error = read("version https://git-lfs.github.com/spec/v1\noid sha256:00\n").unwrap_err().to_string();
        assert!(error.contains("a.jsonl is a Git LFS pointer"), "{error}");
        let error = read("<!doctype html>").unwrap_err().to_string();
        assert!(error.contains("a.jsonl is a web page"), "{error}");
    }

    #[test]
    fn a_line_without_end_is_refused_before_it_fills_the_memory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        std::fs::File::create(&path).unwrap().set_len(LONGEST_LINE + 1).unwrap();
        let error = read_conversations(&path).unwrap_err();
        assert!(matches!(error, ConversationFileError::Line { line: 1, source: LineError::TooLong, .. }), "{error}");
    }
}
