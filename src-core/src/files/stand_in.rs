//! Stand-ins: files that are not what their name says, because fetching the real one went wrong.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

/// Something in the place of a data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandIn {
    /// A Git LFS pointer: the few lines that Git keeps of a file until the file itself is pulled.
    LfsPointer,
    /// A web page: a browser's view of a file, or a server's error.
    Html,
}

impl StandIn {
    /// The number of bytes that [`of`](Self::of) examines.
    pub const HEAD: usize = 1024;

    /// What a file that begins with these bytes is; `None` if it looks like neither.
    pub fn of(head: &[u8]) -> Option<Self> {
        let head = &head[..head.len().min(Self::HEAD)];
        // The second is from the first year of Git LFS.
        let pointers: [&[u8]; 2] = [b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/"];
        if pointers.iter().any(|pointer| head.starts_with(pointer)) {
            return Some(Self::LfsPointer);
        }
        is_page(head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head)).then_some(Self::Html)
    }

    /// What the file at `path` is; `None` if it looks like neither.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn at(path: &Path) -> io::Result<Option<Self>> {
        Self::in_file(&mut File::open(path)?)
    }

    /// What an open file is. Reads from its beginning and rewinds it.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn in_file(file: &mut (impl Read + Seek)) -> io::Result<Option<Self>> {
        let mut head = Vec::with_capacity(Self::HEAD);
        file.rewind()?;
        file.take(Self::HEAD as u64).read_to_end(&mut head)?;
        file.rewind()?;
        Ok(Self::of(&head))
    }
}

/// What the file is and what to do, continuing a sentence after its name: `model.safetensors is a Git LFS pointer …`.
impl fmt::Display for StandIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LfsPointer => "is a Git LFS pointer, not the file itself; run `git lfs pull` in its repository, or download the file",
            Self::Html => "is a web page (HTML), not the file itself; download the file from its direct link",
        })
    }
}

/// Whether these bytes begin an HTML document, after blanks, comments and an XML declaration. File servers report errors in
/// XML with `Error` as the root.
fn is_page(head: &[u8]) -> bool {
    let mut rest = head.trim_ascii_start();
    loop {
        let end: &[u8] = match rest {
            [b'<', b'!', b'-', b'-', ..] => b"-->",
            [b'<', b'?', ..] => b"?>",
            _ => break,
        };
        match rest.windows(end.len()).position(|window| window == end) {
            Some(at) => rest = rest[at + end.len()..].trim_ascii_start(),
            None => return false,
        }
    }
    let openings: [&[u8]; 5] = [b"<!doctype html", b"<html", b"<head", b"<body", b"<error"];
    openings.iter().any(|opening| {
        let begins = rest.get(..opening.len()).is_some_and(|start| start.eq_ignore_ascii_case(opening));
        // `<header>` is not `<head>`.
        begins && rest.get(opening.len()).is_none_or(|next| !next.is_ascii_alphanumeric())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_and_pages_are_told_from_files() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
        assert_eq!(StandIn::of(pointer), Some(StandIn::LfsPointer));
        for page in [
            &b"<!DOCTYPE html>\n<html lang=\"en\">"[..],
            b"\xef\xbb\xbf \r\n<!doctype HTML PUBLIC",
            b"<HTML><head>",
            b"<!-- saved from url --><html>",
            b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE html PUBLIC",
            b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>",
            b"<head>",
            b"<html",
        ] {
            assert_eq!(StandIn::of(page), Some(StandIn::Html), "{}", String::from_utf8_lossy(page));
        }
        for file in [
            &b""[..],
            b"{\"model_type\": \"nanochat\"}",
            b"<",
            b"<!-- a comment without an end",
            b"<header>",
            b"<htmlx>",
            b"<?xml version=\"1.0\"?><mediawiki>",
            b"version 1 of this text",
            b"version https://git-lfs.github.com/",
            b"PK\x03\x04",
            b"The tag <html> begins a page.",
        ] {
            assert_eq!(StandIn::of(file), None, "{}", String::from_utf8_lossy(file));
        }
    }

    #[test]
    fn only_the_beginning_of_a_file_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        std::fs::write(&path, [b" ".repeat(StandIn::HEAD), b"<html>".to_vec()].concat()).unwrap();
        assert_eq!(StandIn::at(&path).unwrap(), None);
        std::fs::write(&path, b"\n<html>").unwrap();
        assert_eq!(StandIn::at(&path).unwrap(), Some(StandIn::Html));
        assert!(StandIn::at(&folder.path().join("missing")).is_err());
    }
}
