//! Saves a checkpoint so that it appears whole or not at all, and never damages an older one.
//!
//! It is written to a temporary folder, each file synced and `state.json` last; then the folder is
//! synced, renamed to its final name, and the rename synced. Only then are older ones removed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use super::error::CheckpointError;
use super::header::{self, TensorSpec};
use super::lock::{REPLACED, RunLock, UNFINISHED};
use super::manifest::{self, FileRecord, Manifest};
use super::run::step_name;
use super::tensor_source::{TensorSource, WriteError, write_tensor};
use super::{MODEL_FILE, OPTIMIZER_FILE, STATE_FILE};
use crate::files::durable::{CHUNK, HashingWriter, free_bytes, is_out_of_room, remove_folder, sync_folder, write_new};
use crate::files::shown::short;

/// Space that is required in addition to the files' bytes: for folders, and for rounding up to whole blocks.
const SLACK: u64 = 64 << 10;

/// The content of a checkpoint.
pub struct Snapshot<'a> {
    /// Steps done so far; names the folder.
    pub step: u64,
    /// The weights.
    pub model: &'a mut dyn TensorSource,
    /// The optimizer's moments; none for weights that were not trained here.
    pub optimizer: Option<&'a mut dyn TensorSource>,
    /// Everything else that a bit-exact resume needs: schedule, loader position, random number generators. Finite
    /// numbers come back bit for bit; JSON has no others.
    pub state: &'a RawValue,
}

/// Saves a checkpoint of the locked run and returns its folder; then removes all but the newest `keep_last` of those
/// up to this step. One that has the same step is replaced.
///
/// If it fails, for lack of space or any other reason, earlier checkpoints are unchanged.
pub fn save(lock: &RunLock, snapshot: Snapshot<'_>, keep_last: Option<NonZeroUsize>) -> Result<PathBuf, CheckpointError> {
    let run = lock.run();
    let step = snapshot.step;
    let checkpoints = run.checkpoints_path();
    let unwritable = |problem| CheckpointError::Unwritable { step, problem };

    let model = Plan::new(snapshot.model).map_err(unwritable)?;
    let mut optimizer = match snapshot.optimizer {
        Some(source) => Some((Plan::new(source).map_err(unwritable)?, source)),
        None => None,
    };
    // What is added to it, hashes and names, is far shorter than the slack.
    let state_bytes = snapshot.state.get().len() as u64;
    if state_bytes + SLACK > manifest::LONGEST {
        return Err(unwritable(format!("its state is {state_bytes} bytes long, more than can be read back")));
    }
    let mut manifest = Manifest::new(step, BTreeMap::new(), lock.tokenizer_sha256().map(str::to_owned), snapshot.state.to_owned());

    let moments = optimizer.as_ref().map_or(0, |(plan, _)| plan.bytes);
    let needed = model.bytes.saturating_add(moments).saturating_add(state_bytes + SLACK);
    let no_room = |free| CheckpointError::NoRoom { step, folder: checkpoints.clone(), needed, free };
    if let Some(free) = free_bytes(&checkpoints).filter(|&free| free < needed) {
        return Err(no_room(Some(free)));
    }

    let mut write = || {
        let mut folder = Unfinished::make(checkpoints.join(format!("{UNFINISHED}{}", step_name(step))))?;
        manifest.files.insert(MODEL_FILE.to_owned(), model.write(&folder.path.join(MODEL_FILE), snapshot.model, step)?);
        if let Some((plan, source)) = &mut optimizer {
            manifest.files.insert(OPTIMIZER_FILE.to_owned(), plan.write(&folder.path.join(OPTIMIZER_FILE), *source, step)?);
        }
        let state = manifest.encode().map_err(|error| CheckpointError::Unwritable { step, problem: error.to_string() })?;
        let state_path = folder.path.join(STATE_FILE);
        write_new(&state_path, &state).map_err(CheckpointError::io("write", &state_path))?;
        sync_folder(&folder.path).map_err(CheckpointError::io("write", &folder.path))?;
        folder.put_in_place(&checkpoints, step)
    };
    let place = write().map_err(|error| match error {
        CheckpointError::Io { source, .. } if is_out_of_room(&source) => no_room(None),
        other => other,
    })?;
    if let Some(keep) = keep_last {
        remove_old(lock, step, keep.get());
    }
    Ok(place)
}

/// A file of tensors before it is written.
struct Plan {
    specs: Vec<TensorSpec>,
    header: Vec<u8>,
    bytes: u64,
}

impl Plan {
    fn new(source: &dyn TensorSource) -> Result<Self, String> {
        let specs = source.specs();
        let (header, bytes) = header::build(&specs, None)?;
        Ok(Self { specs, header, bytes })
    }

    fn write(&self, path: &Path, source: &mut dyn TensorSource, step: u64) -> Result<FileRecord, CheckpointError> {
        let failed = |error| CheckpointError::io("write", path)(error);
        let file = File::create_new(path).map_err(failed)?;
        let mut out = HashingWriter::new(BufWriter::with_capacity(CHUNK, file));
        out.write_all(&self.header).map_err(failed)?;
        for (index, spec) in self.specs.iter().enumerate() {
            let of_source = |source| CheckpointError::Source { step, name: short(&spec.name), source };
            let elements = write_tensor(&mut out, source, index, spec.format, usize::MAX).map_err(|error| match error {
                WriteError::Source(error) => of_source(error),
                WriteError::Range(error) => of_source(error.into()),
                WriteError::Io(error) => failed(error),
            })?;
            if Some(elements) != spec.elements() {
                return Err(of_source(format!("it has {elements} elements, but its shape is {:?}", spec.shape).into()));
            }
        }
        out.flush().map_err(failed)?;
        let (out, sha256, bytes) = out.finish();
        out.get_ref().sync_all().map_err(failed)?;
        Ok(FileRecord { sha256, bytes })
    }
}

/// The temporary folder of a checkpoint; removed if it is not renamed.
struct Unfinished {
    path: PathBuf,
    in_place: bool,
}

impl Unfinished {
    fn make(path: PathBuf) -> Result<Self, CheckpointError> {
        remove_folder(&path).and_then(|()| fs::create_dir(&path)).map_err(CheckpointError::io("make", &path))?;
        Ok(Self { path, in_place: false })
    }

    /// Renames the folder to its final name. No system replaces a folder atomically, so an existing one is renamed
    /// first; after a power failure between the two renames, the next lock restores it.
    fn put_in_place(&mut self, checkpoints: &Path, step: u64) -> Result<PathBuf, CheckpointError> {
        let place = checkpoints.join(step_name(step));
        let aside = checkpoints.join(format!("{REPLACED}{}", step_name(step)));
        let replaces = place.symlink_metadata().is_ok();
        if replaces {
            remove_folder(&aside).and_then(|()| fs::rename(&place, &aside)).map_err(CheckpointError::io("replace", &place))?;
        }
        if let Err(error) = fs::rename(&self.path, &place) {
            if replaces {
                let _ = fs::rename(&aside, &place);
            }
            return Err(CheckpointError::io("make", &place)(error));
        }
        self.in_place = true;
        sync_folder(checkpoints).map_err(CheckpointError::io("write", checkpoints))?;
        if replaces {
            warn_unless_removed(&aside, remove_folder(&aside));
        }
        Ok(place)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.in_place {
            warn_unless_removed(&self.path, remove_folder(&self.path));
        }
    }
}

/// Removes all but the newest `keep` checkpoints up to `step`. Later ones do not belong to this training: a resume skipped
/// them because they are damaged, or on request. The new checkpoint is in place, so failures here are not failures of saving.
fn remove_old(lock: &RunLock, step: u64, keep: usize) {
    let run = lock.run();
    let steps = match run.steps() {
        Ok(steps) => steps,
        Err(error) => return warn_unless_removed(&run.checkpoints_path(), Err(error)),
    };
    for old in steps.into_iter().filter(|&old| old <= step).rev().skip(keep) {
        let place = run.checkpoint_path(old);
        // Renamed first, so that a half-removed one is not taken for a damaged one.
        let aside = run.checkpoints_path().join(format!("{UNFINISHED}old-{}", step_name(old)));
        warn_unless_removed(&place, fs::rename(&place, &aside).and_then(|()| remove_folder(&aside)));
    }
}

fn warn_unless_removed(path: &Path, result: io::Result<()>) {
    if let Err(error) = result {
        tracing::warn!("cannot remove {}: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use serde_json::json;

    use super::*;
    use crate::checkpoint::home::Home;
    use crate::checkpoint::{Run, SourceError};

    fn lock() -> (tempfile::TempDir, RunLock) {
        let root = tempfile::tempdir().unwrap();
        let lock = Run::create(&Home::at(root.path()), "a", &json!({}), "{}").unwrap().lock().unwrap();
        (root, lock)
    }

    /// A tensor that no disk has room for.
    struct Vast;

    impl TensorSource for Vast {
        fn specs(&self) -> Vec<TensorSpec> {
            vec![TensorSpec::plain("a", [1 << 58])]
        }

        fn fetch(&mut self, _: usize) -> Result<Cow<'_, [f32]>, SourceError> {
            Err("it was asked for, though there is no room for it".into())
        }
    }

    #[cfg(unix)]
    #[test]
    fn weights_and_moments_need_room_before_the_first_byte_is_written() {
        const VAST: u64 = 1 << 60;
        let (_root, lock) = lock();
        for (moments, least) in [(false, VAST), (true, 2 * VAST)] {
            let (mut model, mut optimizer) = (Vast, Vast);
            let optimizer = if moments { Some(&mut optimizer as &mut dyn TensorSource) } else { None };
            let error = save(&lock, Snapshot { step: 1, model: &mut model, optimizer, state: RawValue::NULL }, None).unwrap_err();
            let CheckpointError::NoRoom { needed, free: Some(_), .. } = error else { panic!("{error}") };
            assert!((least..least + (1 << 20)).contains(&needed), "{needed} bytes with moments: {moments}");
        }
        assert_eq!(fs::read_dir(lock.run().checkpoints_path()).unwrap().count(), 0);
    }

    /// A checkpoint with it would take the place of one that can be loaded.
    #[test]
    fn a_state_that_could_not_be_read_back_is_not_saved() {
        let (_root, lock) = lock();
        let state = RawValue::from_string(format!("\"{}\"", "x".repeat(manifest::LONGEST as usize))).unwrap();
        let error = save(&lock, Snapshot { step: 1, model: &mut &[][..], optimizer: None, state: &state }, None).unwrap_err();
        assert!(matches!(error, CheckpointError::Unwritable { step: 1, .. }), "{error}");
        assert_eq!(fs::read_dir(lock.run().checkpoints_path()).unwrap().count(), 0);
    }
}
