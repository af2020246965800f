//! Tasks by name: what `--task` accepts, and the mixture of the reference.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::jsonl::{FileRules, Jsonl};
use super::mixture::{Mixture, Repeated};
use super::slice::Slice;
use super::source::HubSet;
use super::spelling::{SimpleSpelling, SpellingBee};
use super::table::{Layout, Table};
use super::{Task, TaskError, arc, gsm8k, mmlu, smoltalk};
use crate::data::Format;

/// The names of tasks. A task may also be the path of a `.jsonl` file.
pub const NAMES: [&str; 7] = ["smoltalk", "mmlu", "arc-easy", "arc-challenge", "gsm8k", SimpleSpelling::NAME, SpellingBee::NAME];

/// Conversations of the spelling tasks unless a number is given, as in the reference.
const SPELLING: usize = 200_000;
const SPELLING_BEE: usize = 80_000;

/// The most conversations of a spelling task in validation.
const SPELLING_VALIDATION: usize = 1000;

/// Questions of a spelling task to evaluate with, as in the reference.
const SPELLING_TEST: usize = 256;

/// The largest numbers in a spec: more would only fill the memory.
const MOST_REPEATS: usize = 1000;
const MOST_GENERATED: usize = 100_000_000;

/// A split of a task's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// Conversations to train on.
    Train,
    /// Conversations for validation.
    Validation,
    /// All questions to evaluate with, in the reference's order.
    Test,
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "training",
            Self::Validation => "validation",
            Self::Test => "evaluation",
        })
    }
}

/// Where tasks find their data.
#[derive(Clone, Debug)]
pub struct Sources {
    /// A folder with the data sets; then nothing is fetched. [`HubSet::locate`] describes its layout.
    pub data: Option<PathBuf>,
    /// Whether only the cache may be used.
    pub offline: bool,
    /// Where fetched files go, in `hub/`, and what is written while the process lives: [`Home::cache`](crate::checkpoint::home::Home::cache).
    pub cache: PathBuf,
    /// How files of conversations are read.
    pub files: FileRules,
}

/// A task by name: `smoltalk`, `mmlu:3`, `spelling:20000`, `talks.jsonl:2`.
///
/// The number is how often the conversations are repeated; for the spelling tasks, which are generated, how many there
/// are. Validation never repeats any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskSpec {
    /// One of [`NAMES`], or the path of a file of JSON Lines, such as `.jsonl` or `.jsonl.gz`.
    pub name: String,
    /// How often the training conversations are repeated; at least 1.
    pub repeats: usize,
    /// How many conversations a spelling task makes; `None` for the default, and for other tasks.
    pub size: Option<usize>,
}

impl TaskSpec {
    fn named(name: &str, repeats: usize) -> Self {
        Self { name: name.to_owned(), repeats, size: None }
    }

    /// Whether the conversations are those of a file.
    pub fn is_file(&self) -> bool {
        is_file(&self.name)
    }

    /// Whether the conversations are generated rather than read.
    fn is_generated(&self) -> bool {
        [SimpleSpelling::NAME, SpellingBee::NAME].contains(&self.name.as_str())
    }
}

impl fmt::Display for TaskSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match self.size {
            Some(size) => write!(f, ":{size}"),
            None if self.repeats != 1 => write!(f, ":{}", self.repeats),
            None => Ok(()),
        }
    }
}

impl FromStr for TaskSpec {
    type Err = TaskError;

    fn from_str(spec: &str) -> Result<Self, TaskError> {
        let refused = |reason| TaskError::Spec { spec: spec.to_owned(), reason };
        let (name, number) = match spec.rsplit_once(':') {
            Some((name, number)) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => (name, Some(number)),
            // A path may have a colon, a name may not.
            _ => (spec, None),
        };
        if name.is_empty() {
            return Err(refused("the name is missing"));
        }
        if !is_file(name) && !NAMES.contains(&name) {
            return match name.split_once(':') {
                Some((before, _)) if NAMES.contains(&before) => Err(refused("what follows the colon is no whole number")),
                _ => Err(TaskError::Unknown { name: name.to_owned(), advice: advice(name) }),
            };
        }
        let mut parsed = Self::named(name, 1);
        if let Some(number) = number {
            let number = number.parse().unwrap_or(usize::MAX);
            match (number, parsed.is_generated()) {
                (0, _) => return Err(refused("the number must be at least 1")),
                (1..=MOST_GENERATED, true) => parsed.size = Some(number),
                (1..=MOST_REPEATS, false) => parsed.repeats = number,
                (_, true) => return Err(refused("the number must be at most 100000000")),
                (_, false) => return Err(refused("the number must be at most 1000")),
            }
        }
        Ok(parsed)
    }
}

/// Whether a name is the path of a file of JSON Lines, such as `.jsonl` or `.jsonl.gz`.
fn is_file(name: &str) -> bool {
    Format::of(Path::new(name)) == Some(Format::JsonLines)
}

fn advice(name: &str) -> String {
    let names = NAMES.join(", ");
    let lower = name.to_lowercase();
    let closest = NAMES.iter().map(|other| (strsim::damerau_levenshtein(&lower, other), other)).min();
    let all = format!("there are {names}, and files that end in .jsonl");
    match closest.filter(|(distance, other)| *distance <= 1 + other.len() / 4) {
        Some((_, other)) => format!("did you mean {other:?}? {all}"),
        None => all,
    }
}

/// The reference's mixture for fine-tuning: SmolTalk, MMLU three times, GSM8K four times, both spelling tasks, and the
/// conversations about the model itself twice if there are any. Validation with the same specs takes the
/// reference's subsets.
pub fn standard(identity: Option<&Path>) -> Vec<TaskSpec> {
    let mut specs = vec![
        TaskSpec::named("smoltalk", 1),
        TaskSpec::named("mmlu", 3),
        TaskSpec::named("gsm8k", 4),
        TaskSpec { size: Some(SPELLING), ..TaskSpec::named(SimpleSpelling::NAME, 1) },
        TaskSpec { size: Some(SPELLING_BEE), ..TaskSpec::named(SpellingBee::NAME, 1) },
    ];
    specs.extend(identity.map(|path| TaskSpec::named(&path.display().to_string(), 2)));
    specs
}

/// Opens a task.
///
/// Validation uses parts of the `test` splits of the hub's data sets, as in the reference; for files, what
/// [`jsonl`](super::jsonl) holds out, which is nothing for small ones: then the task is empty; and for the spelling tasks
/// words that are not trained on.
///
/// # Errors
/// If the data cannot be found, fetched or read, a row is not what the task expects, or there is none.
pub fn open(spec: &TaskSpec, split: Split, sources: &Sources) -> Result<Box<dyn Task>, TaskError> {
    let table = |set: &HubSet, layout: &Layout| -> Result<Box<dyn Task>, TaskError> {
        Ok(Box::new(Table::read(layout, split, &set.locate(split, sources)?, &sources.cache)?))
    };
    let part = |task: Box<dyn Task>, validation: usize| -> Box<dyn Task> {
        match split {
            Split::Train | Split::Test => task,
            Split::Validation => Box::new(Slice::first(task, validation)),
        }
    };
    let size = |default: usize| {
        let size = spec.size.unwrap_or(default);
        match split {
            Split::Train => size,
            Split::Validation => size.min(SPELLING_VALIDATION),
            Split::Test => spec.size.unwrap_or(SPELLING_TEST),
        }
    };
    let task: Box<dyn Task> = match spec.name.as_str() {
        "smoltalk" => table(&smoltalk::SET, &smoltalk::LAYOUT)?,
        "mmlu" => part(table(&mmlu::SET, &mmlu::LAYOUT)?, mmlu::VALIDATION),
        "arc-easy" => table(&arc::EASY, &arc::EASY_LAYOUT)?,
        "arc-challenge" => table(&arc::CHALLENGE, &arc::CHALLENGE_LAYOUT)?,
        "gsm8k" => part(table(&gsm8k::SET, &gsm8k::LAYOUT)?, gsm8k::VALIDATION),
        SimpleSpelling::NAME => Box::new(SimpleSpelling::new(split, size(SPELLING))),
        SpellingBee::NAME => Box::new(SpellingBee::new(split, size(SPELLING_BEE))),
        name if is_file(name) => Box::new(Jsonl::open(Path::new(name), split, sources.files)?),
        name => return Err(TaskError::Unknown { name: name.to_owned(), advice: advice(name) }),
    };
    Ok(if split == Split::Train && spec.repeats > 1 { Box::new(Repeated::new(task, spec.repeats)) } else { task })
}

/// Opens several tasks and mixes them.
///
/// # Errors
/// As [`open`], for the first task that cannot be opened.
pub fn open_mixture(specs: &[TaskSpec], split: Split, sources: &Sources, seed: u64) -> Result<Mixture, TaskError> {
    let tasks = specs.iter().map(|spec| open(spec, split, sources)).collect::<Result<_, _>>()?;
    Ok(Mixture::new(tasks, seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_are_read_and_written_alike() {
        for (text, name, repeats, size) in [
            ("smoltalk", "smoltalk", 1, None),
            ("mmlu:3", "mmlu", 3, None),
            ("spelling:20000", "spelling", 1, Some(20_000)),
            ("spellingbee", "spellingbee", 1, None),
            ("a/b.jsonl", "a/b.jsonl", 1, None),
            ("b.jsonl.gz:2", "b.jsonl.gz", 2, None),
            ("a.JSONL:2", "a.JSONL", 2, None),
            ("C:\\x.jsonl:1000", "C:\\x.jsonl", 1000, None),
        ] {
            let spec: TaskSpec = text.parse().unwrap();
            assert_eq!(spec, TaskSpec { name: name.into(), repeats, size });
            assert_eq!(spec.to_string(), text);
        }
        assert_eq!("gsm8k:1".parse::<TaskSpec>().unwrap().to_string(), "gsm8k");
    }

    #[test]
    fn what_is_no_task_is_refused_with_advice() {
        for (text, said) in [
            (
                "smaltalk",
                "did you mean \"smoltalk\"? there are smoltalk, mmlu, arc-easy, arc-challenge, gsm8k, spelling, spellingbee, and files that end in .jsonl",
            ),
            ("MMLU", "did you mean \"mmlu\"?"),
            ("humaneval", "there is no task \"humaneval\"; there are smoltalk"),
            ("talks.json", "files that end in .jsonl"),
            ("", "the name is missing"),
            (":3", "the name is missing"),
            ("mmlu:0", "at least 1"),
            ("mmlu:1001", "at most 1000"),
            ("mmlu:99999999999999999999999", "at most 1000"),
            ("spelling:100000001", "at most 100000000"),
            ("mmlu:three", "no whole number"),
            ("mmlu:-1", "no whole number"),
            ("mmlu:", "no whole number"),
        ] {
            let error = text.parse::<TaskSpec>().unwrap_err().to_string();
            assert!(error.contains(said), "{text:?}: {error}");
        }
    }

    #[test]
    fn the_standard_mixture_is_the_references() {
        let texts = |identity| standard(identity).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(None), ["smoltalk", "mmlu:3", "gsm8k:4", "spelling:200000", "spellingbee:80000"]);
        assert_eq!(texts(Some(Path::new("me.jsonl")))[5], "me.jsonl:2");
    }

    #[test]
    fn generated_tasks_need_no_data_and_validation_asks_for_less() {
        let sources = Sources { data: None, offline: true, cache: PathBuf::from("nowhere"), files: FileRules::default() };
        let open = |text: &str, split| open(&text.parse().unwrap(), split, &sources).unwrap();
        assert_eq!(open("spelling:70", Split::Train).len(), 70);
        assert_eq!(open("spelling:70", Split::Validation).len(), 70);
        assert_eq!(open("spellingbee", Split::Train).len(), 80_000);
        assert_eq!(open("spellingbee", Split::Validation).len(), 1000);
    }
}
