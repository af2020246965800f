//! The bundle's folder: `core.yaml` names the tasks, `eval_meta_data.csv` has their baselines, `eval_data` their items.
//!
//! A folder without the first two means the [22 tasks](super::TASKS). All of it is untrusted: sizes are limited, and no path may leave
//! the folder.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use super::catalog::SPACE;
use super::csv;
use super::yaml::{self, Value};
use super::{CoreError, Item, Kind, TaskData, TaskFacts};
use crate::files::StandIn;
use crate::files::digest::sha256_of;
use crate::files::plain::read_at_most;

/// The file that names the tasks.
pub const CONFIG: &str = "core.yaml";

/// The file with the baselines.
pub const META: &str = "eval_meta_data.csv";

/// The folder of the items.
pub const DATA: &str = "eval_data";

/// The most bytes of `core.yaml` and of the baselines; the bundle's have some thousand.
const MOST_CONFIG: u64 = 1 << 20;

/// The most bytes of a task's file; the largest of the bundle has 40 MB.
const MOST_DATA: u64 = 1 << 30;

/// The most tasks, and the most examples before an item.
const MOST_TASKS: usize = 1000;
const MOST_SHOTS: usize = 1000;

/// A bundle whose tasks are known.
#[derive(Clone, Debug)]
pub struct Bundle {
    folder: PathBuf,
    tasks: Vec<TaskFacts>,
}

/// A task of `core.yaml`.
#[derive(Default)]
struct ConfiguredTask {
    label: Option<String>,
    dataset_uri: Option<String>,
    shots: Option<usize>,
    kind: Option<Kind>,
    delimiter: Option<String>,
}

impl Bundle {
    /// Reads what the bundle in `folder` says of its tasks.
    ///
    /// # Errors
    /// If it is no bundle, or a file is not what it should be.
    pub fn open(folder: &Path) -> Result<Self, CoreError> {
        if !folder.join(DATA).is_dir() {
            return Err(CoreError::NotABundle { folder: folder.to_path_buf() });
        }
        let config = folder.join(CONFIG);
        let Some(text) = optional_text(&config)? else {
            return Ok(Self { folder: folder.to_path_buf(), tasks: TaskFacts::all() });
        };
        let tasks = yaml::entries(&text, "icl_tasks").map_err(|(line, reason)| CoreError::Line { path: config.clone(), line, reason })?;
        let meta = folder.join(META);
        let baselines = optional_text(&meta)?.map(|text| baselines(&meta, &text)).transpose()?;
        // Of a bundle with other tasks but without baselines, those that are known.
        let baselines = baselines.unwrap_or_else(|| TaskFacts::all().into_iter().map(|task| (task.label, task.baseline)).collect());
        if tasks.is_empty() || tasks.len() > MOST_TASKS {
            return Err(CoreError::file(&config, format!("it has {} tasks; there must be 1 to {MOST_TASKS}", tasks.len())));
        }
        let facts = |entry: yaml::Entry| {
            let first = entry.first().map_or(0, |(.., line)| *line);
            let task = ConfiguredTask::read(entry, &config)?;
            let lacks = |key: &str| CoreError::Line { path: config.clone(), line: first, reason: format!("the task has no {key}") };
            let label = task.label.ok_or_else(|| lacks("label"))?;
            let baseline = *baselines.get(&label).ok_or_else(|| CoreError::NoBaseline { path: meta.clone(), label: label.clone() })?;
            Ok(TaskFacts {
                label,
                dataset_uri: task.dataset_uri.ok_or_else(|| lacks("dataset_uri"))?,
                kind: task.kind.ok_or_else(|| lacks("icl_task_type"))?,
                shots: task.shots.ok_or_else(|| lacks("num_fewshot"))?,
                delimiter: task.delimiter.unwrap_or_else(|| SPACE.to_owned()),
                baseline,
            })
        };
        let tasks: Vec<TaskFacts> = tasks.into_iter().map(facts).collect::<Result<_, CoreError>>()?;
        let mut labels: Vec<&str> = tasks.iter().map(|task| task.label.as_str()).collect();
        labels.sort_unstable();
        if let Some(twice) = labels.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(CoreError::file(&config, format!("it has the task {} twice", twice[0])));
        }
        Ok(Self { folder: folder.to_path_buf(), tasks })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// All tasks of the bundle, in its order.
    pub fn tasks(&self) -> &[TaskFacts] {
        &self.tasks
    }

    /// The file of a task.
    pub fn file(&self, task: &TaskFacts) -> PathBuf {
        self.folder.join(DATA).join(&task.dataset_uri)
    }

    /// The tasks to evaluate: all of them, those with these labels, or, with `present`, those whose files are there.
    ///
    /// # Errors
    /// If a label is unknown, or files are missing.
    pub fn choose(&self, labels: Option<&[String]>, present: bool) -> Result<Vec<TaskFacts>, CoreError> {
        let unknown = |label: &String| {
            let known: Vec<&str> = self.tasks.iter().map(|task| task.label.as_str()).collect();
            CoreError::UnknownTask { label: label.clone(), known: known.join(", ") }
        };
        let known = |label: &String| self.tasks.iter().any(|task| task.label == *label);
        if let Some(label) = labels.and_then(|labels| labels.iter().find(|label| !known(label))) {
            return Err(unknown(label));
        }
        let wanted = |task: &&TaskFacts| labels.is_none_or(|labels| labels.contains(&task.label));
        let (there, missing): (Vec<TaskFacts>, Vec<TaskFacts>) =
            self.tasks.iter().filter(wanted).cloned().partition(|task| self.file(task).is_file());
        if there.is_empty() || !(missing.is_empty() || present) {
            let of = there.len() + missing.len();
            let missing = missing.into_iter().map(|task| task.label).collect();
            return Err(CoreError::MissingTasks { folder: self.folder.clone(), missing, of });
        }
        Ok(there)
    }

    /// The items of a task, shuffled, at most `most` of them.
    ///
    /// # Errors
    /// If its file cannot be read, holds no item, or has a line that is none.
    pub fn load(&self, task: &TaskFacts, most: Option<usize>) -> Result<TaskData, CoreError> {
        let path = self.file(task);
        let bytes = read_at_most(&path, MOST_DATA).map_err(CoreError::io(&path))?;
        if let Some(found) = StandIn::of(&bytes) {
            return Err(CoreError::file(&path, format!("it {found}")));
        }
        let digest = sha256_of(&bytes[..]).map_err(CoreError::io(&path))?;
        let mut items = Vec::new();
        // A file ends with a newline, and may have been written on Windows.
        let lines = bytes.strip_suffix(b"\n").unwrap_or(&bytes).split(|&byte| byte == b'\n');
        for (number, line) in lines.enumerate().filter(|_| !bytes.is_empty()) {
            let wrong = |reason: String| CoreError::Line { path: path.clone(), line: number + 1, reason };
            let line = std::str::from_utf8(line).map_err(|_| wrong("it is not UTF-8 text".to_owned()))?;
            items.push(Item::parse(line, task.kind).map_err(wrong)?);
        }
        if items.is_empty() {
            return Err(CoreError::file(&path, "it holds no item"));
        }
        Ok(TaskData::new(task.clone(), items, digest, most))
    }
}

/// Whether a path names something inside a folder, whatever the system.
fn is_inside(path: &str) -> bool {
    let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    plain && !path.is_empty() && !path.contains(['\\', ':'])
}

/// The text of a file; `None` if there is none.
fn optional_text(path: &Path) -> Result<Option<String>, CoreError> {
    let bytes = match read_at_most(path, MOST_CONFIG) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        read => read.map_err(CoreError::io(path))?,
    };
    if let Some(found) = StandIn::of(&bytes) {
        return Err(CoreError::file(path, format!("it {found}")));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| CoreError::file(path, "it is not UTF-8 text"))
}

impl ConfiguredTask {
    /// Of the numbers of examples, the reference takes the first. Other keys are ignored.
    fn read(entry: yaml::Entry, path: &Path) -> Result<Self, CoreError> {
        let mut task = Self::default();
        for (key, value, line) in entry {
            let wrong = |reason: String| CoreError::Line { path: path.to_path_buf(), line, reason };
            let text = |value: &Value| match value {
                Value::Text(text) => Ok(text.clone()),
                Value::List(_) => Err(wrong(format!("{key} is a list"))),
            };
            match key.as_str() {
                "label" => task.label = Some(text(&value)?),
                "dataset_uri" => {
                    let uri = text(&value)?;
                    if !is_inside(&uri) {
                        return Err(wrong("dataset_uri is no path inside the bundle".to_owned()));
                    }
                    task.dataset_uri = Some(uri);
                }
                "num_fewshot" => {
                    let Value::List(numbers) = &value else { return Err(wrong("num_fewshot is no list".to_owned())) };
                    let first = numbers.first().ok_or_else(|| wrong("num_fewshot is empty".to_owned()))?;
                    let shots = first.parse().ok().filter(|&shots: &usize| shots <= MOST_SHOTS);
                    task.shots = Some(shots.ok_or_else(|| wrong(format!("num_fewshot begins with no number from 0 to {MOST_SHOTS}")))?);
                }
                "icl_task_type" => {
                    let word = text(&value)?;
                    let kind = [Kind::MultipleChoice, Kind::Schema, Kind::LanguageModeling].into_iter().find(|kind| kind.word() == word);
                    let unknown = || wrong("icl_task_type is not multiple_choice, schema or language_modeling".to_owned());
                    task.kind = Some(kind.ok_or_else(unknown)?);
                }
                "continuation_delimiter" => task.delimiter = Some(text(&value)?),
                _ => {}
            }
        }
        Ok(task)
    }
}

/// The baselines in per cent, by label.
fn baselines(path: &Path, text: &str) -> Result<HashMap<String, f64>, CoreError> {
    let wrong = |line: usize, reason: &str| CoreError::Line { path: path.to_path_buf(), line, reason: reason.to_owned() };
    let rows = csv::rows(text.strip_prefix('\u{feff}').unwrap_or(text)).map_err(|line| wrong(line, "a quoted field does not end"))?;
    let Some((header, rows)) = rows.split_first() else { return Err(wrong(1, "it is empty")) };
    let column = |name: &str| {
        let place = header.0.iter().position(|column| column == name);
        place.ok_or_else(|| wrong(header.1, &format!("there is no column {name:?}")))
    };
    let (label, baseline) = (column("Eval Task")?, column("Random baseline")?);
    let mut found = HashMap::new();
    for (row, line) in rows {
        let name = row.get(label).ok_or_else(|| wrong(*line, "it has no task"))?;
        let percent: f64 = row
            .get(baseline)
            .and_then(|text| text.trim().parse().ok())
            .filter(|percent| (0.0..100.0).contains(percent))
            .ok_or_else(|| wrong(*line, "its random baseline is no number from 0 to below 100"))?;
        // As in Python's dict, a later row replaces an earlier one.
        found.insert(name.clone(), percent);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        for good in ["a.jsonl", "world_knowledge/arc_easy.jsonl"] {
            assert!(is_inside(good), "{good}");
        }
        for bad in ["", "/etc/passwd", "../a", "a/../../b", "./../a", "C:\\a", "a\\b", "c:a"] {
            assert!(!is_inside(bad), "{bad}");
        }
    }
}
