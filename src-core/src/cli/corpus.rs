//! What is read when no `--data` is given: the downloaded shards, or the sample corpus that comes with nc-core.

use std::path::{Path, PathBuf};

use super::{Context, Failure};
use crate::data::PUBLIC_SHARDS;

/// The folder of the downloaded shards if there are any, else that of the sample corpus.
pub fn downloaded_or_shipped(context: &Context) -> Result<PathBuf, Failure> {
    let shards = context.home.data().join(PUBLIC_SHARDS);
    let is_shard = |path: PathBuf| path.extension().is_some_and(|ending| ending == "parquet");
    let any = std::fs::read_dir(&shards).is_ok_and(|files| files.flatten().any(|file| is_shard(file.path())));
    if any { Ok(shards) } else { shipped() }
}

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
