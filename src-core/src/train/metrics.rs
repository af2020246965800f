//! `metrics.jsonl`: the measurements of a training run, one JSON object per line, append-only.
//!
//! A killed run has logged steps after its last checkpoint, and a resumed one repeats them; so opening the log
//! for a resume removes those lines, and the file becomes that of a run that was never killed.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A metrics file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {path}: {source}", path = path.display())]
pub struct MetricsError {
    /// The operation.
    doing: &'static str,
    /// The file.
    path: PathBuf,
    /// The system's error.
    source: io::Error,
}

impl MetricsError {
    /// Makes the error of a failed system call: `.map_err(MetricsError::io("write", &path))`.
    pub(super) fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self { doing, path: path.to_path_buf(), source }
    }
}

/// An open `metrics.jsonl`.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
    /// Bytes of complete lines.
    length: u64,
}

impl MetricsLog {
    /// Opens the log for appending, or creates it. Incomplete lines are dropped, and with
    /// `resume_step` also every line whose `step` is that step or a later one. Lines without a `step` stay.
    pub fn open(path: &Path, resume_step: Option<u64>) -> Result<Self, MetricsError> {
        if path.exists() {
            cut(path, resume_step).map_err(MetricsError::io("cut back", path))?;
        }
        // Not in append mode: Windows would not let such a file be cut when a line fails.
        let mut file = File::options().create(true).truncate(false).write(true).open(path).map_err(MetricsError::io("open", path))?;
        let length = file.seek(SeekFrom::End(0)).map_err(MetricsError::io("open", path))?;
        Ok(Self { path: path.to_path_buf(), file, length })
    }

    /// Appends `line`, an object with the field `step`, in a single write. If that fails, no part of it remains.
    pub fn append(&mut self, line: &impl Serialize) -> Result<(), MetricsError> {
        let mut bytes = serde_json::to_vec(line).map_err(|error| MetricsError::io("write", &self.path)(error.into()))?;
        bytes.push(b'\n');
        if let Err(error) = self.file.write_all(&bytes) {
            let _ = self.file.set_len(self.length).and_then(|()| self.file.seek(SeekFrom::Start(self.length)));
            return Err(MetricsError::io("write", &self.path)(error));
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Makes all lines durable. Call it before saving a checkpoint, so that no earlier line is lost in a power failure.
    pub fn sync(&self) -> Result<(), MetricsError> {
        self.file.sync_data().map_err(MetricsError::io("write", &self.path))
    }
}

/// The last validation bits per byte in the log for `step`; none without a log.
pub fn validation(path: &Path, step: u64) -> Result<Option<f64>, MetricsError> {
    #[derive(Deserialize)]
    struct Line {
        step: u64,
        val_bpb: f64,
    }

    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(MetricsError::io("read", path))?,
    };
    let mut found = None;
    for line in BufReader::new(file).split(b'\n') {
        let line = line.map_err(MetricsError::io("read", path))?;
        // Other lines hold other measurements, and the last one may be incomplete.
        found = serde_json::from_slice::<Line>(&line).ok().filter(|line| line.step == step).map(|line| line.val_bpb).or(found);
    }
    Ok(found)
}

/// Rewrites the log without the lines that do not belong there, atomically; leaves it alone if there are none.
fn cut(path: &Path, resume_step: Option<u64>) -> io::Result<()> {
    /// The only field that is used.
    #[derive(Deserialize)]
    struct Line {
        step: Option<u64>,
    }

    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut kept = BufWriter::new(tempfile::Builder::new().prefix(".metrics-").tempfile_in(folder)?);
    let mut reader = BufReader::new(File::open(path)?);
    let mut changed = false;
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        let keep = match serde_json::from_slice::<Line>(&line) {
            Ok(Line { step }) => line.ends_with(b"\n") && step.zip(resume_step).is_none_or(|(step, resume)| step < resume),
            Err(_) => false,
        };
        if keep {
            kept.write_all(&line)?;
        }
        changed |= !keep;
        line.clear();
    }
    drop(reader); // Windows does not replace a file that is open
    if changed {
        let kept = kept.into_inner().map_err(io::IntoInnerError::into_error)?;
        fs::set_permissions(kept.path(), fs::metadata(path)?.permissions())?;
        kept.as_file().sync_all()?;
        kept.persist(path)?;
        #[cfg(unix)]
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn log_with(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn a_resumed_log_is_that_of_a_run_that_was_never_killed() {
        let folder = tempfile::tempdir().unwrap();
        let line = |step: u64| json!({"step": step, "loss": 1.0 / (step + 1) as f64});
        let (whole, killed) = (folder.path().join("whole.jsonl"), folder.path().join("killed.jsonl"));
        let mut log = MetricsLog::open(&whole, None).unwrap();
        (0..30).for_each(|step| log.append(&line(step)).unwrap());

        let mut log = MetricsLog::open(&killed, None).unwrap();
        log.append(&line(0)).unwrap();
        for kept in [10, 0, 20] {
            // Each time some lines after the last checkpoint, and the beginning of another.
            let from = fs::read_to_string(&killed).unwrap().lines().count() as u64;
            (from..kept.max(from) + 5).for_each(|step| log.append(&line(step)).unwrap());
            fs::File::options().append(true).open(&killed).unwrap().write_all(b"{\"step\": 99, \"lo").unwrap();
            log = MetricsLog::open(&killed, Some(kept)).unwrap();
        }
        (20..30).for_each(|step| log.append(&line(step)).unwrap());
        assert_eq!(fs::read_to_string(&whole).unwrap(), fs::read_to_string(&killed).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no temporary file is left");
    }

    #[test]
    fn opening_without_a_step_drops_only_a_half_written_end() {
        let (_folder, path) = log_with("{\"step\":5}\n{\"note\":\"no step\"}\n{\"step\":6}");
        MetricsLog::open(&path, None).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"step\":5}\n{\"note\":\"no step\"}\n");
    }

    #[test]
    fn late_lines_of_earlier_steps_stay_and_broken_lines_go() {
        let (_folder, path) = log_with("{\"step\":3}\n{\"note\":1}\n{\"step\":5,\"val\":1}\n\0\0\0\n{\"step\":4}\n");
        MetricsLog::open(&path, Some(5)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"step\":3}\n{\"note\":1}\n{\"step\":4}\n");
    }

    #[test]
    fn a_steps_validation_is_the_last_one_logged_for_it() {
        let (folder, path) =
            log_with("{\"step\":3,\"val_bpb\":2.5}\n{\"step\":3,\"loss\":1}\n{\"step\":4,\"val_bpb\":2.25}\n{\"step\":4,\"val");
        let at = |step| validation(&path, step).unwrap();
        assert_eq!((at(3), at(4), at(5)), (Some(2.5), Some(2.25), None));
        assert_eq!(validation(&folder.path().join("none.jsonl"), 3).unwrap(), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_log_with_nothing_to_cut_is_not_touched() {
        use std::os::unix::fs::MetadataExt;
        let (_folder, path) = log_with("{\"step\":3}\n");
        let before = fs::metadata(&path).unwrap().ino();
        MetricsLog::open(&path, Some(4)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), before);
    }
}
