//! A place to train in: a home folder, a small text, and a tokenizer of 300 ids, for tests that run the program.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};

use serde_json::Value;

/// Options of a model so small that a step takes milliseconds; two batches a step.
pub const TINY: [&str; 12] = [
    "--depth",
    "1",
    "--aspect-ratio",
    "32",
    "--head-dim",
    "16",
    "--max-seq-len",
    "32",
    "--device-batch-size",
    "2",
    "--total-batch-size",
    "128",
];

/// Fields of `metrics.jsonl` that time and circumstances decide.
const CIRCUMSTANCES: [&str; 4] = ["seconds", "tokens_per_second", "flops_per_second", "memory"];

/// A home folder with a text and a tokenizer, and the program to run in it.
pub struct Workshop {
    folder: tempfile::TempDir,
    program: fn(&Path) -> Command,
}

/// A program that is running, with its standard output and its standard error line by line.
pub struct Running {
    /// The process. It is killed when this is dropped.
    pub child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    errors: Lines<BufReader<ChildStderr>>,
    /// The lines of standard error that were read so far.
    heard: String,
}

impl Workshop {
    /// A fresh home; `program` is `|home| nc_core!(home)`.
    pub fn new(program: fn(&Path) -> Command) -> Self {
        let workshop = Self::without_tokenizer(program);
        workshop.succeed(&["tokenizer", "train", "--vocab-size", "300", "--data", &workshop.text()]);
        workshop
    }

    /// A fresh home in which no tokenizer has been trained.
    pub fn without_tokenizer(program: fn(&Path) -> Command) -> Self {
        let workshop = Self { folder: tempfile::tempdir().unwrap(), program };
        fs::write(workshop.folder.path().join("text.txt"), text(400)).unwrap();
        workshop
    }

    /// The folder that holds the home and the text.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `NC_HOME`.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// The path of the text.
    pub fn text(&self) -> String {
        self.path("text.txt")
    }

    /// The path of a file beside the home.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file beside the home and gives its path.
    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        fs::write(self.folder.path().join(name), bytes).unwrap();
        self.path(name)
    }

    /// The folder of a run.
    pub fn run(&self, name: &str) -> PathBuf {
        self.home().join("runs").join(name)
    }

    /// The folder of a run's checkpoint.
    pub fn checkpoint(&self, run: &str, step: u64) -> PathBuf {
        self.run(run).join("checkpoints").join(format!("{step:06}"))
    }

    /// Names in a folder, sorted; none if there is no such folder.
    pub fn names(folder: &Path) -> Vec<String> {
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The program with arguments.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = (self.program)(&self.home());
        command.args(args).env_remove("NC_MEMORY_LIMIT").stdin(Stdio::null());
        command
    }

    /// Arguments that train the tiny model as `run`, and `more` of them.
    pub fn training<'a>(&self, run: &'a str, text: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let mut args = vec!["train", "--run", run, "--data", text];
        args.extend(TINY);
        args.extend(more);
        args
    }

    /// Runs the program to its end, which must be a good one.
    pub fn succeed(&self, args: &[&str]) -> Output {
        let output = self.command(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", words(&output));
        output
    }

    /// Trains the tiny model to its end.
    pub fn train(&self, run: &str, more: &[&str]) -> Output {
        self.succeed(&self.training(run, &self.text(), more))
    }

    /// Runs the program, which must refuse its input: see [`refusal`].
    pub fn refused(&self, args: &[&str]) -> String {
        refusal(&format!("{args:?}"), &self.command(args).output().unwrap())
    }

    /// Starts the program.
    pub fn start(&self, args: &[&str]) -> Running {
        Running::start(&mut self.command(args))
    }

    /// Asserts that two runs hold the same bytes in every kept checkpoint, and the same metrics but for the time they took.
    pub fn assert_same_runs(&self, one: &str, other: &str) {
        let steps = Self::names(&self.run(one).join("checkpoints"));
        assert_eq!(steps, Self::names(&self.run(other).join("checkpoints")), "checkpoints of {one} and {other}");
        for step in &steps {
            for file in ["model.safetensors", "optimizer.safetensors"] {
                let read = |run| fs::read(self.run(run).join("checkpoints").join(step).join(file)).unwrap();
                assert!(read(one) == read(other), "{file} of step {step} differs between {one} and {other}");
            }
            let state = |run| {
                let bytes = fs::read(self.run(run).join("checkpoints").join(step).join("state.json")).unwrap();
                let mut state: Value = serde_json::from_slice(&bytes).unwrap();
                state["state"].as_object_mut().unwrap().remove("training_seconds");
                state["state"].take()
            };
            assert_eq!(state(one), state(other), "state of step {step}");
        }
        assert_eq!(self.metrics(one), self.metrics(other), "metrics of {one} and {other}");
    }

    /// The lines of a run's `metrics.jsonl`, without what time and circumstances decide.
    pub fn metrics(&self, run: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.run(run).join("metrics.jsonl")).unwrap();
        let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for line in &mut lines {
            CIRCUMSTANCES.iter().for_each(|field| drop(line.as_object_mut().unwrap().remove(*field)));
        }
        lines
    }
}

impl Running {
    /// Starts a program.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let errors = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, lines, errors, heard: String::new() }
    }

    /// The next line of standard output; `None` when it is closed.
    pub fn line(&mut self) -> Option<String> {
        self.lines.next().map(Result::unwrap)
    }

    /// Reads on to the first line that contains `words`. Panics if there is none.
    pub fn wait_for(&mut self, words: &str) -> String {
        loop {
            let line = self.line().unwrap_or_else(|| panic!("it ended without saying {words:?}"));
            if line.contains(words) {
                return line;
            }
        }
    }

    /// The same for standard error, where `NC_LOG` has the program say what it is at.
    pub fn wait_for_error(&mut self, words: &str) {
        loop {
            let line = self.error_line().unwrap_or_else(|| panic!("it ended without saying {words:?}: {}", self.heard));
            if line.contains(words) {
                return;
            }
        }
    }

    /// The next line of standard error, which is kept; `None` when it is closed.
    fn error_line(&mut self) -> Option<String> {
        let line = self.errors.next()?.unwrap();
        self.heard.push_str(&line);
        self.heard.push('\n');
        Some(line)
    }

    /// Sends a signal.
    #[cfg(unix)]
    pub fn signal(&self, signal: i32) {
        // SAFETY: the process is ours and has not been waited for.
        assert_eq!(unsafe { libc::kill(self.child.id() as libc::pid_t, signal) }, 0);
    }

    /// Waits for the end and gives the exit code, the rest of standard output, and standard error.
    pub fn end(mut self) -> (Option<i32>, String, String) {
        let rest: Vec<String> = self.lines.by_ref().map(Result::unwrap).collect();
        while self.error_line().is_some() {}
        (self.child.wait().unwrap().code(), rest.join("\n"), std::mem::take(&mut self.heard))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets `command` write no file of more than `bytes`: it then fails in the middle of writing, as on a disk that fills up.
#[cfg(unix)]
pub fn limit_file_size(command: &mut Command, bytes: u64) {
    use std::os::unix::process::CommandExt;
    // SAFETY: `setrlimit` may be called between fork and exec.
    unsafe {
        command.pre_exec(move || {
            let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
            if libc::setrlimit(libc::RLIMIT_FSIZE, &limit) == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        });
    }
}

/// Lets `command` take a second of processor time and 200 MB of memory, the limits for refusing any file: the system ends
/// it where it takes more. A busy machine makes no difference.
#[cfg(target_os = "linux")]
pub fn limit_refusal(command: &mut Command) {
    limit(command, [(libc::RLIMIT_CPU, 1), (libc::RLIMIT_DATA, 200_000_000)]);
}

/// Lets `command` take 200 MB of memory: the system ends it where it takes more.
#[cfg(target_os = "linux")]
pub fn limit_memory(command: &mut Command) {
    limit(command, [(libc::RLIMIT_DATA, 200_000_000)]);
}

#[cfg(target_os = "linux")]
fn limit<const N: usize>(command: &mut Command, limits: [(libc::__rlimit_resource_t, libc::rlim_t); N]) {
    use std::os::unix::process::CommandExt;
    // SAFETY: `setrlimit` may be called between fork and exec.
    unsafe {
        command.pre_exec(move || {
            for (resource, most) in limits {
                let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
                if libc::setrlimit(resource, &limit) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
}

/// What an output says, for a failed assertion.
pub fn words(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\nstdout: {out}\nstderr: {err}", output.status)
}

/// Asserts that a program refused its input as a program should, with exit code 2, nothing on stdout and one sentence on
/// stderr, and gives the sentence.
pub fn refusal(what: &str, output: &Output) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(2), "{what}: {}", words(output));
    assert!(!stderr.contains("panicked") && !stderr.contains("RUST_BACKTRACE"), "{what}: {stderr}");
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{what}: one sentence, not {stderr:?}");
    errors[0].to_owned()
}

/// Documents of made-up sentences, always the same ones.
pub fn text(documents: usize) -> String {
    const WORDS: [&str; 32] = [
        "the", "whale", "sea", "captain", "ship", "of", "and", "to", "in", "a", "that", "his", "it", "was", "with", "but", "as", "is",
        "all", "not", "this", "from", "they", "be", "on", "so", "one", "you", "had", "white", "old", "water",
    ];
    let mut seed = 12345u64;
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as usize % below
    };
    let document = |next: &mut dyn FnMut(usize) -> usize| {
        let length = 5 + next(55);
        (0..length).map(|_| WORDS[next(WORDS.len())]).collect::<Vec<_>>().join(" ")
    };
    (0..documents).map(|_| document(&mut next)).collect::<Vec<_>>().join("\u{c}")
}
