//! Files of conversations, one JSON object per line. A file is either complete or does not exist: what is
//! generated at once goes through a temporary file, what comes from a server is collected in a partial file,
//! so that nothing that was paid for is lost.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::distinct::Distinct;
use super::error::SynthError;
use crate::tokenizer::Conversation;

/// A conversation as a line of JSON, without the line break.
pub fn line(conversation: &Conversation) -> String {
    serde_json::json!(conversation).to_string()
}

/// Writes conversations to `path`, replacing it; the folder is created if needed.
///
/// # Errors
/// If the system refuses. The file is then unchanged.
pub fn write(path: &Path, conversations: &[Conversation]) -> Result<(), SynthError> {
    let folder = folder_of(path);
    std::fs::create_dir_all(folder).map_err(SynthError::write(folder))?;
    let io = || SynthError::write(path);
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.prefix(".conversations").tempfile_in(folder).map_err(io())?;
    let lines: String = conversations.iter().map(|conversation| line(conversation) + "\n").collect();
    file.write_all(lines.as_bytes()).map_err(io())?;
    file.as_file().sync_all().map_err(io())?;
    file.persist(path).map_err(|error| io()(error.error))?;
    sync_folder(folder).map_err(io())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A new name is durable only once its folder is synced. Windows has no such call and journals it itself.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

/// Conversations that are being collected in `FILE.part`, which is renamed to `FILE` when it is finished. An existing partial
/// file is continued.
pub struct Gathered {
    path: PathBuf,
    part: PathBuf,
    file: File,
    lines: usize,
    distinct: Distinct,
}

impl Gathered {
    /// The partial file of `path`.
    pub fn part_of(path: &Path) -> PathBuf {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        part.into()
    }

    /// Opens the partial file of `path`, or creates it. A line that was truncated by a crash is dropped.
    ///
    /// # Errors
    /// If the system refuses, another process writes to it, or it contains something other than conversations.
    pub fn open(path: &Path) -> Result<Self, SynthError> {
        let (part, folder) = (Self::part_of(path), folder_of(path));
        std::fs::create_dir_all(folder).map_err(SynthError::write(folder))?;
        let open = OpenOptions::new().read(true).append(true).create(true).open(&part);
        let mut file = open.map_err(SynthError::write(&part))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SynthError::Busy { path: part }),
            Err(TryLockError::Error(source)) => return Err(SynthError::Write { path: part, source }),
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|source| SynthError::Read { path: part.clone(), source })?;
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let mut gathered = Self { path: path.to_path_buf(), part, file, lines: 0, distinct: Distinct::default() };
        for (index, known) in bytes[..whole].split_inclusive(|&byte| byte == b'\n').enumerate() {
            let parsed = serde_json::from_slice::<Conversation>(known);
            let conversation = parsed.map_err(|_| SynthError::NotOurs { path: gathered.part.clone(), line: index + 1 })?;
            gathered.distinct.is_new(&line(&conversation));
            gathered.lines += 1;
        }
        if whole < bytes.len() {
            gathered.file.set_len(whole as u64).map_err(SynthError::write(&gathered.part))?;
        }
        Ok(gathered)
    }

    /// How many conversations there are.
    pub fn len(&self) -> usize {
        self.lines
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// Adds a conversation; false if it is a duplicate.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn push(&mut self, conversation: &Conversation) -> Result<bool, SynthError> {
        let line = line(conversation);
        if !self.distinct.is_new(&line) {
            return Ok(false);
        }
        // In one call: if the process is killed now, at most this line is truncated.
        self.file.write_all((line + "\n").as_bytes()).map_err(SynthError::write(&self.part))?;
        self.lines += 1;
        Ok(true)
    }

    /// Renames the file to its final path; removes it if it is empty. True if there is a file now.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn finish(self) -> Result<bool, SynthError> {
        if self.is_empty() {
            std::fs::remove_file(&self.part).map_err(SynthError::write(&self.part))?;
            return Ok(false);
        }
        let io = || SynthError::write(&self.path);
        self.file.sync_all().map_err(io())?;
        std::fs::rename(&self.part, &self.path).map_err(io())?;
        sync_folder(folder_of(&self.path)).map_err(io())?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::{Message, Role};

    fn conversation(text: &str) -> Conversation {
        Conversation { messages: vec![Message::text(Role::User, text), Message::text(Role::Assistant, "yes")] }
    }

    #[test]
    fn gathering_goes_on_behind_the_last_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/talk.jsonl");
        let mut gathered = Gathered::open(&path).unwrap();
        assert!(gathered.push(&conversation("a")).unwrap() && gathered.push(&conversation("b")).unwrap());
        assert!(!gathered.push(&conversation("a")).unwrap(), "said twice");
        assert!(matches!(Gathered::open(&path), Err(SynthError::Busy { .. })));
        gathered.file.write_all(b"{\"messages\": [{\"ro").unwrap();
        drop(gathered);

        let mut gathered = Gathered::open(&path).unwrap();
        assert_eq!(gathered.len(), 2);
        assert!(!gathered.push(&conversation("b")).unwrap(), "it remembers what was there");
        assert!(gathered.push(&conversation("c")).unwrap());
        assert!(!path.exists());
        assert!(gathered.finish().unwrap());
        let expected: String = ["a", "b", "c"].map(|text| line(&conversation(text)) + "\n").concat();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        assert!(!Gathered::part_of(&path).exists());
    }

    #[test]
    fn a_partial_file_of_something_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("talk.jsonl");
        std::fs::write(Gathered::part_of(&path), line(&conversation("a")) + "\nmine\n").unwrap();
        assert!(matches!(Gathered::open(&path), Err(SynthError::NotOurs { line: 2, .. })));
        assert_eq!(std::fs::read(Gathered::part_of(&path)).unwrap().len(), line(&conversation("a")).len() + 6);
    }

    #[test]
    fn nothing_gathered_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("talk.jsonl");
        assert!(!Gathered::open(&path).unwrap().finish().unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
