//! Reads small untrusted JSON files: with a size limit, with Python's `NaN` in unused fields, and with the file's name
//! in every error.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::ImportError;
use crate::files::plain::read_at_most;
use crate::files::{StandIn, json};

/// The longest settings file that is read: a thousand times the usual size.
const LONGEST: u64 = 4 << 20;

/// Reads a JSON file of at most 4 MiB.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, ImportError> {
    let bytes = read_at_most(path, LONGEST).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => ImportError::refused(path, "is missing"),
        _ => ImportError::io(path)(error),
    })?;
    if let Some(found) = StandIn::of(&bytes) {
        return Err(ImportError::refused(path, found.to_string()));
    }
    json::from_slice(&bytes).map_err(|error| ImportError::refused(path, format!("cannot be read: {error}")))
}
