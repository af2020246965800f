//! Helpers that the whole-program tests share: running the `nc-core` command, and finding the golden cases.

use std::path::{Path, PathBuf};

/// The repository's own `tests/golden`, and `NC_GOLDEN_DIR` when it is set: every case in each is run.
pub fn golden_dirs() -> Vec<PathBuf> {
    let mut dirs = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")];
    if let Some(extra) = std::env::var_os("NC_GOLDEN_DIR").filter(|value| !value.is_empty()) {
        dirs.push(extra.into());
    }
    dirs
}
