//! The sample corpus that comes with nc-core: what is read when no `--data` is given.

use std::path::{Path, PathBuf};

use super::Failure;

/// The folder of the sample corpus: `assets/corpus` beside the program or in a folder above it, else in the source
/// tree that the program was built from.
pub fn shipped() -> Result<PathBuf, Failure> {
    let program = std::env::current_exe().ok();
    let above = program.iter().flat_map(|program| program.ancestors().skip(1));
    above
        .chain(Path::new(env!("CARGO_MANIFEST_DIR")).parent())
        .map(|folder| folder.join("assets").join("corpus"))
        .find(|folder| folder.is_dir())
        .ok_or_else(|| Failure::input("the sample corpus assets/corpus is not here; name files or folders of text with --data"))
}
