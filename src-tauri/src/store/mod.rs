//! Conversations on disk: one SQLite database in the user's data folder.
//!
//! What was shown must survive whatever happens to the process, so every batch of tokens is committed before the page
//! hears of it. The journal is a write-ahead log without a sync for each commit: the system keeps what the process wrote
//! when that is killed, and a power cut loses at most the last moments, never the database.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use crate::error::{AppError, AppResult, ErrorCode};
use crate::files::make_private;
use crate::types::{Recovered, now};

mod conversations;
mod exchange;
mod formats;
mod messages;
mod schema;
mod search;
mod settings;
#[cfg(test)]
mod speed;
#[cfg(test)]
mod testing;
mod writing;

pub use formats::Choices;
pub use writing::{Asked, Begun};

/// The file's name.
pub const FILE: &str = "conversations.db";

/// The conversations.
pub struct Store {
    path: PathBuf,
    connection: Mutex<Connection>,
}

/// A [`Store`] that is being opened, on a thread of its own.
pub struct Opening(JoinHandle<AppResult<(Store, Option<Recovered>)>>);

impl Opening {
    /// What [`Store::open`] gives, as soon as it does.
    pub fn wait(self) -> AppResult<(Store, Option<Recovered>)> {
        self.0.join().unwrap_or_else(|_| Err(AppError::new(ErrorCode::Internal, "The conversations could not be opened.")))
    }
}

impl Store {
    /// [`Store::open`], while whoever calls does something else.
    pub fn opening(folder: PathBuf) -> AppResult<Opening> {
        let thread = std::thread::Builder::new().name("opening".into()).spawn(move || Self::open(&folder))?;
        Ok(Opening(thread))
    }

    /// Opens the database in `folder`, and makes both if they are not there. One that is damaged is set aside, with a
    /// new one in its place; what was wrong is told.
    pub fn open(folder: &Path) -> AppResult<(Self, Option<Recovered>)> {
        make_private(folder)?;
        let path = folder.join(FILE);
        match Self::ready(&path) {
            Ok(store) => Ok((store, None)),
            Err(Refusal::Damaged(problem)) => {
                let moved_to = set_aside(&path)?;
                let store = Self::ready(&path).map_err(Refusal::into_error)?;
                Ok((store, Some(Recovered { moved_to: moved_to.display().to_string(), problem })))
            }
            Err(refusal) => Err(refusal.into_error()),
        }
    }

    /// Opens it and does what the last session left undone: damage may show there first.
    fn ready(path: &Path) -> Result<Self, Refusal> {
        let store = Self { path: path.to_owned(), connection: Mutex::new(open(path)?) };
        store.mend_interrupted()?;
        store.purge()?;
        Ok(store)
    }

    /// Length of the database's file.
    pub fn bytes(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |data| data.len())
    }

    /// The connection, alone for as long as the guard lives.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic in between has rolled its transaction back.
        self.connection.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Why a database cannot be used.
enum Refusal {
    /// It is none of ours, or not whole.
    Damaged(String),
    /// The system is in the way.
    Other(rusqlite::Error),
    /// The same, in words.
    Told(AppError),
}

impl Refusal {
    fn into_error(self) -> AppError {
        match self {
            Self::Damaged(problem) => {
                AppError { detail: problem, ..AppError::new(ErrorCode::Damaged, "The database of conversations is damaged.") }
            }
            Self::Other(error) => error.into(),
            Self::Told(error) => error,
        }
    }
}

impl From<AppError> for Refusal {
    fn from(error: AppError) -> Self {
        match error.code {
            ErrorCode::Damaged => Self::Damaged(error.detail),
            _ => Self::Told(error),
        }
    }
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match error.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => Self::Damaged(error.to_string()),
            _ => Self::Other(error),
        }
    }
}

impl From<rusqlite_migration::Error> for Refusal {
    fn from(error: rusqlite_migration::Error) -> Self {
        match error {
            rusqlite_migration::Error::RusqliteError { err, .. } => match Self::from(err) {
                // Tables that are in the way of ours are not ours.
                Self::Other(rusqlite::Error::SqlInputError { msg, .. }) => Self::Damaged(msg),
                refusal => refusal,
            },
            error => Self::Damaged(format!("it was made by another version: {error}")),
        }
    }
}

fn open(path: &Path) -> Result<Connection, Refusal> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "secure_delete", true)?;
    let checked: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if checked != "ok" {
        return Err(Refusal::Damaged(checked));
    }
    // Tables may be rebuilt by a step, which their references must not hinder.
    connection.pragma_update(None, "foreign_keys", false)?;
    schema::migrations().to_latest(&mut connection)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // That every row reads as what it should be.
    connection.query_row("SELECT count(*) FROM message_words", [], |row| row.get::<_, i64>(0))?;
    Ok(connection)
}

/// Moves a database out of the way, with what belongs to it.
fn set_aside(path: &Path) -> AppResult<PathBuf> {
    let moved_to = path.with_file_name(format!("conversations.damaged-{}.db", now()));
    for ending in ["-wal", "-shm", ""] {
        match fs::rename(with_ending(path, ending), with_ending(&moved_to, ending)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(moved_to)
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests;
