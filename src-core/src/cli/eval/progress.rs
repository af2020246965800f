//! What an evaluation tells while it runs: a line that counts, on a terminal; and the file of all answers.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::Value;

use crate::cli::Failure;

/// Counts what is done of a task. The line goes away with it.
pub struct Progress<'a> {
    /// The task.
    pub label: &'a str,
    /// What is counted, such as `items`.
    pub unit: &'static str,
    /// How many there are.
    pub all: usize,
    stop: &'a AtomicBool,
    start: Instant,
    live: bool,
}

impl<'a> Progress<'a> {
    /// Starts to count; `stop` says that the evaluation should end.
    pub fn new(label: &'a str, unit: &'static str, all: usize, stop: &'a AtomicBool) -> Self {
        Self { label, unit, all, stop, start: Instant::now(), live: std::io::stderr().is_terminal() }
    }

    /// Seconds since the start.
    pub fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Shows how many are done, and passes on whether to end.
    pub fn done(&self, done: usize) -> ControlFlow<()> {
        if self.live {
            let Self { label, unit, all, .. } = self;
            let _ = write!(std::io::stderr(), "\r{label}: {done}/{all} {unit}, {:.1} a second ", done as f64 / self.seconds());
        }
        if self.stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if self.live {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// A file with a JSON document for each answer.
pub struct AnswerFile<'a> {
    path: &'a Path,
    file: BufWriter<File>,
}

impl<'a> AnswerFile<'a> {
    /// The file that `--answers` names, empty.
    pub fn create(path: &'a Option<PathBuf>) -> Result<Option<Self>, Failure> {
        let create = |path: &'a PathBuf| match File::create(path) {
            Ok(file) => Ok(Self { path, file: BufWriter::new(file) }),
            Err(error) => Err(unwritten(path, &error)),
        };
        path.as_ref().map(create).transpose()
    }

    /// Writes the answers of a task.
    pub fn add(&mut self, answers: impl Iterator<Item = Value>) -> Result<(), Failure> {
        for answer in answers {
            writeln!(self.file, "{answer}").map_err(|error| unwritten(self.path, &error))?;
        }
        self.file.flush().map_err(|error| unwritten(self.path, &error))
    }
}

/// Writes the scores to the file that `--csv` names.
pub fn write_csv(path: &Option<PathBuf>, csv: &str) -> Result<(), Failure> {
    path.as_ref().map_or(Ok(()), |path| std::fs::write(path, csv).map_err(|error| unwritten(path, &error)))
}

fn unwritten(path: &Path, error: &std::io::Error) -> Failure {
    Failure::input(format!("cannot write {}: {error}", path.display()))
}
