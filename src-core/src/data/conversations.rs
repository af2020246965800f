//! Conversations in files: JSON Lines, one conversation per line, also compressed. People write these by hand and by
//! script, so errors name the file and line, but never quote the content: it may be private.

use std::io;
use std::path::{Path, PathBuf};

use super::file::Format;
use super::format::source::Source;
use crate::tokenizer::Conversation;

mod error;
mod keys;
mod line;
mod node;

pub use error::{ConversationFileError, LineError, Place};

/// The longest line that is read, in bytes: many of the longest messages. A longer one is not a conversation but a file of
/// another kind.
const LONGEST_LINE: u64 = 64 << 20;

/// Reads every conversation of a file, or of the JSON Lines files in a folder in the order of their names. A file may
/// be compressed with gzip or zstd.
///
/// A line is an object with a list `messages`, or that list alone. Other keys with mere notes are ignored, and so are blank
/// lines; keys with content that a conversation here cannot represent are not.
///
/// # Errors
/// For the first line that is not a conversation which [`Conversation::check`] accepts; if a file cannot be read, the
/// folder has no JSON Lines file, or there is no conversation at all.
pub fn read_conversations(path: &Path) -> Result<Vec<Conversation>, ConversationFileError> {
    Ok(read_conversations_with(path, Unsupported::Refuse)?.conversations)
}

/// Reads a conversation from one line: an object with a list `messages`, or that list alone.
///
/// # Errors
/// If it is not a conversation that [`Conversation::check`] accepts, or has content that would be lost. The error quotes
/// no content.
pub fn read_conversation(line: &[u8]) -> Result<Conversation, LineError> {
    line::parse(line)
}

/// What happens to conversations that cannot be represented: with tool calls, images, other roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unsupported {
    /// Reading fails at the first one.
    #[default]
    Refuse,
    /// They are skipped, and counted.
    Skip,
}

/// The conversations of a file, and what was skipped.
#[derive(Debug, Default)]
pub struct FoundConversations {
    /// Those that can be represented, in order.
    pub conversations: Vec<Conversation>,
    /// How many cannot be represented, and were skipped.
    pub skipped: u64,
    /// The first of these, and the reason.
    pub first_skipped: Option<ConversationFileError>,
}

/// As [`read_conversations`]; `unsupported` says what happens to conversations that cannot be represented.
///
/// # Errors
/// As [`read_conversations`], and if all conversations are skipped.
pub fn read_conversations_with(path: &Path, unsupported: Unsupported) -> Result<FoundConversations, ConversationFileError> {
    let mut found = FoundConversations::default();
    let folder = std::fs::metadata(path).map_err(at(path))?.is_dir();
    for file in if folder { files(path)? } else { vec![path.to_path_buf()] } {
        read_file(&file, unsupported, &mut found)?;
    }
    if found.conversations.is_empty() {
        let (path, skipped) = (path.to_path_buf(), found.skipped);
        return Err(match found.first_skipped {
            Some(first) => ConversationFileError::NothingLeft { path, skipped, first: Box::new(first) },
            None => ConversationFileError::Empty { path },
        });
    }
    Ok(found)
}

/// The JSON Lines files directly in a folder, sorted by name, without hidden ones.
fn files(folder: &Path) -> Result<Vec<PathBuf>, ConversationFileError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(at(folder))? {
        let path = entry.map_err(at(folder))?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && Format::of(&path) == Some(Format::JsonLines) && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() { Err(ConversationFileError::NoFiles { path: folder.to_path_buf() }) } else { Ok(found) }
}

fn read_file(path: &Path, unsupported: Unsupported, found: &mut FoundConversations) -> Result<(), ConversationFileError> {
    let mut source = Source::open(path, 0)?;
    let mut bytes = Vec::new();
    for number in 1.. {
        let read = source.read_line(LONGEST_LINE + 1, &mut bytes)?;
        if read == 0 {
            break;
        }
        let content = if number == 1 { bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes) } else { &bytes };
        if read as u64 > LONGEST_LINE {
            return Err(broken(path, number, LineError::TooLong));
        }
        // With its line break, a truncated line would look like one with a stray control character.
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
    use std::io::Write;

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
        for (name, said) in [("b.ndjson", "second"), ("a.JSONL", "first"), (".c.jsonl", "hidden"), ("d.txt", "text")] {
            std::fs::write(dir.path().join(name), LINE.replace("Hi", said)).unwrap();
        }
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(LINE.replace("Hi", "third").as_bytes()).unwrap();
        std::fs::write(dir.path().join("c.jsonl.gz"), packed.finish().unwrap()).unwrap();
        std::fs::write(dir.path().join("d.jsonl.zst"), zstd::stream::encode_all(LINE.replace("Hi", "fourth").as_bytes(), 3).unwrap())
            .unwrap();
        std::fs::create_dir(dir.path().join("e.jsonl")).unwrap();
        let read = read_conversations(dir.path()).unwrap();
        let texts =
            ["first", "second", "third", "fourth"].map(|said| serde_json::from_str::<Conversation>(&LINE.replace("Hi", said)).unwrap());
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
        assert!(matches!(error, ConversationFileError::NothingLeft { skipped: 1, .. }), "{error}");
        assert!(!error.is_unsupported() && error.to_string().contains("1 were skipped, the first because of"), "{error}");
    }

    #[test]
    fn a_packed_file_that_was_cut_is_refused() {
        let packed = zstd::stream::encode_all(LINE.repeat(100).as_bytes(), 3).unwrap();
        let error = read(&packed[..packed.len() - 1]).unwrap_err().to_string();
        assert!(error.contains("a.jsonl") && error.contains("ends too early"), "{error}");
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
