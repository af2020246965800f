//! Loads a checkpoint: every file is checked against the length and hash in `state.json` before any of it is used.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use serde_json::value::RawValue;

use super::error::{CheckpointError, Rejected};
use super::manifest::{self, Manifest};
use super::run::Run;
use super::tensor_file::{TensorFile, TensorFileError};
use super::{MODEL_FILE, OPTIMIZER_FILE, STATE_FILE};
use crate::files::digest::sha256_of;
use crate::files::plain::open_regular;

/// A verified checkpoint, whose tensors can be read one at a time.
#[derive(Debug)]
pub struct Checkpoint {
    /// Steps done when it was saved.
    pub step: u64,
    /// The weights.
    pub model: TensorFile,
    /// The optimizer's moments; none if the weights were imported.
    pub optimizer: Option<TensorFile>,
    /// What was saved as [`Snapshot::state`](super::Snapshot::state).
    pub state: Box<RawValue>,
}

/// The verified weights of a checkpoint.
#[derive(Debug)]
pub struct ModelCheckpoint {
    /// Steps done when it was saved.
    pub step: u64,
    /// The weights.
    pub model: TensorFile,
    /// The SHA-256 of their file, in hexadecimal.
    pub sha256: String,
}

/// Loads the checkpoint of `step`, or the newest; the error for a damaged one names the file and what is wrong with it.
pub fn load(run: &Run, step: Option<u64>) -> Result<Checkpoint, CheckpointError> {
    load_step(run, find(run, step)?)
}

/// Loads the newest intact checkpoint, to resume from, and returns which newer ones were rejected and why.
pub fn load_latest_good(run: &Run) -> Result<(Checkpoint, Vec<Rejected>), CheckpointError> {
    let mut rejected = Vec::new();
    for step in steps(run)?.into_iter().rev() {
        match load_step(run, step) {
            Ok(checkpoint) => return Ok((checkpoint, rejected)),
            Err(CheckpointError::Rejected(reason)) => rejected.push(reason),
            Err(other) => return Err(other),
        }
    }
    Err(CheckpointError::NoneGood { run: run.name().to_owned(), rejected })
}

/// Loads the weights of the checkpoint of `step`, or of the newest. The optimizer's file need not even exist.
pub fn load_model(run: &Run, step: Option<u64>) -> Result<ModelCheckpoint, CheckpointError> {
    let step = find(run, step)?;
    let manifest = read_manifest(run, step)?;
    let model = open_tensors(run, step, &manifest, MODEL_FILE)?;
    // `open_tensors` found it.
    let sha256 = manifest.files.get(MODEL_FILE).map(|record| record.sha256.clone()).unwrap_or_default();
    Ok(ModelCheckpoint { step, model, sha256 })
}

fn load_step(run: &Run, step: u64) -> Result<Checkpoint, CheckpointError> {
    let manifest = read_manifest(run, step)?;
    let model = open_tensors(run, step, &manifest, MODEL_FILE)?;
    let optimizer = match manifest.files.contains_key(OPTIMIZER_FILE) {
        true => Some(open_tensors(run, step, &manifest, OPTIMIZER_FILE)?),
        false => None,
    };
    Ok(Checkpoint { step, model, optimizer, state: manifest.state })
}

/// Steps of the checkpoints, ascending; at least one.
fn steps(run: &Run) -> Result<Vec<u64>, CheckpointError> {
    let steps = run.steps().map_err(CheckpointError::io("read", &run.checkpoints_path()))?;
    if steps.is_empty() { Err(CheckpointError::Empty { run: run.name().to_owned() }) } else { Ok(steps) }
}

/// The requested step, or the newest.
fn find(run: &Run, step: Option<u64>) -> Result<u64, CheckpointError> {
    const SHOWN: usize = 8;
    let steps = steps(run)?;
    let newest = steps[steps.len() - 1];
    let step = step.unwrap_or(newest);
    if steps.contains(&step) {
        return Ok(step);
    }
    let mut have = if steps.len() > SHOWN { format!("{} up to ", steps.len() - SHOWN) } else { String::new() };
    have.push_str(&steps[steps.len().saturating_sub(SHOWN)..].iter().map(u64::to_string).collect::<Vec<_>>().join(", "));
    Err(CheckpointError::NoSuchStep { run: run.name().to_owned(), step, have })
}

/// Reads and checks `state.json`, and the tokenizer against it.
fn read_manifest(run: &Run, step: u64) -> Result<Manifest, CheckpointError> {
    let path = run.checkpoint_path(step).join(STATE_FILE);
    let reject = |path: &Path, problem: String| CheckpointError::Rejected(Rejected { step, file: path.to_path_buf(), problem });

    let (file, bytes) = open(&path, step)?;
    if bytes > manifest::LONGEST {
        return Err(reject(&path, format!("is {bytes} bytes long, more than such a file can be")));
    }
    let mut json = Vec::with_capacity(bytes as usize);
    file.take(manifest::LONGEST).read_to_end(&mut json).map_err(CheckpointError::io("read", &path))?;
    let manifest = Manifest::decode(&json).map_err(|problem| reject(&path, problem))?;
    if manifest.step != step {
        return Err(reject(&path, format!("is of step {}, so its folder was renamed", manifest.step)));
    }

    let tokenizer = run.tokenizer_path();
    let Some(expected) = &manifest.tokenizer_sha256 else {
        return match tokenizer.symlink_metadata() {
            Ok(_) => Err(reject(&tokenizer, "was put there by hand, and nothing says that it belongs to these weights".to_owned())),
            Err(_) => Ok(manifest),
        };
    };
    let (file, _) = open(&tokenizer, step)?;
    if sha256_of(file).map_err(CheckpointError::io("read", &tokenizer))? != *expected {
        return Err(reject(&tokenizer, "is not the tokenizer that it was trained with: its sha256 is another".to_owned()));
    }
    Ok(manifest)
}

/// Opens a file of tensors after checking its length, its hash and its header.
fn open_tensors(run: &Run, step: u64, manifest: &Manifest, name: &str) -> Result<TensorFile, CheckpointError> {
    let path = run.checkpoint_path(step).join(name);
    let reject = |problem: String| CheckpointError::Rejected(Rejected { step, file: path.clone(), problem });

    let record = manifest.files.get(name).ok_or_else(|| reject("is not listed in state.json".to_owned()))?;
    let (mut file, bytes) = open(&path, step)?;
    if bytes != record.bytes {
        return Err(reject(format!("is {bytes} bytes long, and was written with {}", record.bytes)));
    }
    let sha256 = sha256_of(&file).and_then(|sha256| file.rewind().map(|()| sha256)).map_err(CheckpointError::io("read", &path))?;
    if sha256 != record.sha256 {
        return Err(reject("was altered: its sha256 is not the one in state.json".to_owned()));
    }
    TensorFile::from_file(file, &path).map_err(|error| match error {
        TensorFileError::Io { source, .. } => CheckpointError::io("read", &path)(source),
        TensorFileError::Format { problem, .. } => reject(problem.to_string()),
        other => reject(other.to_string()),
    })
}

/// Opens a file of a checkpoint and returns its length. If it is missing, the checkpoint is rejected; if the system
/// cannot read it, it is not.
fn open(path: &Path, step: u64) -> Result<(File, u64), CheckpointError> {
    open_regular(path).and_then(|file| file.metadata().map(|data| (file, data.len()))).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            CheckpointError::Rejected(Rejected { step, file: path.to_path_buf(), problem: "is missing".to_owned() })
        }
        io::ErrorKind::InvalidInput => {
            CheckpointError::Rejected(Rejected { step, file: path.to_path_buf(), problem: "is not a plain file".to_owned() })
        }
        _ => CheckpointError::io("read", path)(error),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;
    use crate::checkpoint::home::Home;
    use crate::checkpoint::{RunLock, Snapshot, TensorRef, save};

    /// A run with checkpoints of step 1 and 2, and without a tokenizer.
    fn run() -> (tempfile::TempDir, Run) {
        let root = tempfile::tempdir().unwrap();
        let saved = |lock: &RunLock| {
            save_step(lock, 1, true);
            save_step(lock, 2, true);
            Ok::<_, crate::checkpoint::RunError>(())
        };
        let run = Run::create_with(&Home::at(root.path()), "a", &json!({}), None, saved).unwrap();
        (root, run)
    }

    fn save_step(lock: &RunLock, step: u64, optimizer: bool) {
        let tensors = [TensorRef { name: "a", shape: &[2], data: &[1.0, 2.0] }];
        let mut moments = &tensors[..];
        let optimizer = if optimizer { Some(&mut moments as &mut dyn crate::checkpoint::TensorSource) } else { None };
        save(lock, Snapshot { step, model: &mut &tensors[..], optimizer, state: RawValue::NULL }, None).unwrap();
    }

    fn rejected<T: std::fmt::Debug>(loaded: Result<T, CheckpointError>) -> Rejected {
        match loaded {
            Err(CheckpointError::Rejected(rejected)) => rejected,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn weights_alone_have_no_moments_and_moments_that_are_recorded_must_be_there() {
        let (_root, run) = run();
        save_step(&run.lock().unwrap(), 3, false);
        assert!(load(&run, None).unwrap().optimizer.is_none());
        assert!(load(&run, Some(2)).unwrap().optimizer.is_some());
        fs::remove_file(run.checkpoint_path(2).join(OPTIMIZER_FILE)).unwrap();
        assert_eq!(rejected(load(&run, Some(2))).problem, "is missing");
    }

    #[test]
    fn what_is_no_plain_file_is_refused_and_the_one_before_is_loaded() {
        let (_root, run) = run();
        for name in [MODEL_FILE, STATE_FILE] {
            let path = run.checkpoint_path(2).join(name);
            let bytes = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
            let refused = rejected(load(&run, None));
            assert_eq!((&refused.file, refused.problem.as_str()), (&path, "is not a plain file"));
            let (checkpoint, newer) = load_latest_good(&run).unwrap();
            assert_eq!((checkpoint.step, newer), (1, vec![refused]));
            fs::remove_dir(&path).unwrap();
            fs::write(&path, bytes).unwrap();
        }
    }

    /// The one before would be resumed from, and this one overwritten, though nothing may be wrong with it.
    #[cfg(unix)]
    #[test]
    fn a_file_that_the_system_cannot_read_is_no_reason_to_go_back() {
        let (_root, run) = run();
        let path = run.checkpoint_path(2).join(MODEL_FILE);
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&path, &path).unwrap();
        let error = load_latest_good(&run).unwrap_err();
        assert!(matches!(&error, CheckpointError::Io { path: named, .. } if *named == path), "{error}");
    }

    /// The file has no blocks on the disk, and must not be read to the end either.
    #[test]
    fn a_state_that_is_longer_than_any_is_refused_unread() {
        let (_root, run) = run();
        let path = run.checkpoint_path(2).join(STATE_FILE);
        File::options().write(true).open(&path).unwrap().set_len(manifest::LONGEST + 1).unwrap();
        let refused = rejected(load(&run, Some(2)));
        assert!(refused.problem.contains("more than such a file can be"), "{refused}");
    }

    #[test]
    fn a_tokenizer_that_was_put_there_later_is_refused() {
        let (_root, run) = run();
        load(&run, None).unwrap();
        fs::write(run.tokenizer_path(), "{}").unwrap();
        assert_eq!(rejected(load(&run, None)).file, run.tokenizer_path());
    }
}
