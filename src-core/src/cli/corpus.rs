//! The default of `--data`: the downloaded shards, or the sample corpus of nc-core.

use std::path::{Path, PathBuf};

use super::{Context, Failure, note};
use crate::data::{DataSet, PUBLIC_SHARDS, Split, ValidationBy};

/// The most lines about skipped files.
const MOST_LINES: usize = 10;

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

/// Which files are validation and why, in words.
pub fn validation(set: &DataSet) -> String {
    let files = set.files_of(Split::Val);
    let first = files.first().map(|file| file.path.file_name().unwrap_or_default().display().to_string()).unwrap_or_default();
    let more = if files.len() > 1 { format!(" and {} more", files.len() - 1) } else { String::new() };
    format!("{first}{more} ({})", set.validation_by())
}

/// Prints on standard error what was found next to the data and is not read, and whether validation takes most of the data.
pub fn tell_what_is_left_out(set: &DataSet) {
    let passed_over = set.passed_over();
    for over in passed_over.iter().take(MOST_LINES) {
        note(&format!("skipped: {} {}", over.path.display(), over.reason));
    }
    if passed_over.len() > MOST_LINES {
        note(&format!("skipped: {} more", passed_over.len() - MOST_LINES));
    }
    let bytes = |split| set.files_of(split).iter().map(|file| file.bytes).sum::<u64>();
    if set.validation_by() == ValidationBy::Last && bytes(Split::Val) > bytes(Split::Train) {
        note(&format!(
            "most of the data is not trained on: {}, has more bytes than all files before it; give another file a name with `val` in it to validate on that",
            validation(set)
        ));
    }
}
