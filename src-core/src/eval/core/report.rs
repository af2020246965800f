//! Scores of tasks, and their sum.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Answer, Kind, Options, TaskData, TaskFacts};
use crate::files::digest::hex;

/// The score of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskScore {
    /// The task.
    pub label: String,
    /// How it is scored.
    pub kind: Kind,
    /// Examples before each item.
    pub shots: usize,
    /// Items that were evaluated.
    pub items: usize,
    /// The share of right ones.
    pub accuracy: f64,
    /// 0 for guessing, 1 for perfect.
    pub centred: f64,
    /// Items with an option of which nothing is scored, because another option begins with it: the first option counts as picked.
    pub empty_spans: usize,
    /// The time it took.
    pub seconds: f64,
}

/// The scores of all tasks that were evaluated.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The tasks, in the bundle's order.
    pub tasks: Vec<TaskScore>,
    /// The plain mean of the centred scores: CORE, if these are all tasks of the bundle.
    pub core: f64,
    /// Tasks of the bundle.
    pub of: usize,
}

impl TaskScore {
    /// Sums up the answers to a task's items.
    pub fn new(facts: &TaskFacts, answers: &[Answer], seconds: f64) -> Self {
        let right = answers.iter().filter(|answer| answer.correct).count();
        let accuracy = right as f64 / answers.len().max(1) as f64;
        let empty = |answer: &&Answer| answer.means.iter().any(Option::is_none);
        Self {
            label: facts.label.clone(),
            kind: facts.kind,
            shots: facts.shots,
            items: answers.len(),
            accuracy,
            centred: facts.centred(accuracy),
            empty_spans: answers.iter().filter(empty).count(),
            seconds,
        }
    }
}

impl TaskData {
    /// Identifies everything that a score of these items depends on except the model: the task, its file, how many items there are and
    /// how they are read.
    pub fn fingerprint(&self, options: Options) -> String {
        /// Changes when the same items would be evaluated in another way.
        const VERSION: u32 = 1;
        let TaskFacts { label, kind, shots, delimiter, baseline, .. } = &self.facts;
        let all = serde_json::json!([VERSION, label, kind, shots, delimiter, baseline, self.digest, self.items().len(), options.room]);
        hex(&Sha256::digest(all.to_string()))
    }
}

impl Report {
    /// Sums up tasks, of `of` in the bundle.
    pub fn new(tasks: Vec<TaskScore>, of: usize) -> Self {
        let core = tasks.iter().map(|task| task.centred).sum::<f64>() / tasks.len().max(1) as f64;
        Self { tasks, core, of }
    }

    /// Whether every task of the bundle was evaluated.
    pub fn is_complete(&self) -> bool {
        self.tasks.len() == self.of
    }

    /// What the mean is called: only all tasks make it CORE.
    fn mean_name(&self) -> String {
        if self.is_complete() { "CORE".to_owned() } else { format!("mean of {} of {} tasks", self.tasks.len(), self.of) }
    }

    /// Comma-separated values: a line for each task and one for the mean.
    pub fn csv(&self) -> String {
        let mut text = "Task,Accuracy,Centered,Items,Shots\n".to_owned();
        for TaskScore { label, accuracy, centred, items, shots, .. } in &self.tasks {
            // Labels come from the bundle.
            let label = if label.contains([',', '"', '\n', '\r']) { format!("\"{}\"", label.replace('"', "\"\"")) } else { label.clone() };
            text.push_str(&format!("{label},{accuracy:.6},{centred:.6},{items},{shots}\n"));
        }
        text.push_str(&format!("{},,{:.6},,\n", self.mean_name(), self.core));
        text
    }

    /// A table for people.
    pub fn table(&self) -> String {
        let width = self.tasks.iter().map(|task| task.label.chars().count()).max().unwrap_or(0).max(self.mean_name().len());
        let mut lines = vec![format!("{:<width$}  {:>8}  {:>8}  {:>6}", "task", "accuracy", "centred", "items")];
        for TaskScore { label, accuracy, centred, items, .. } in &self.tasks {
            lines.push(format!("{label:<width$}  {accuracy:>8.4}  {centred:>8.4}  {items:>6}"));
        }
        lines.push(format!("{:<width$}  {:>8}  {:>8.4}", self.mean_name(), "", self.core));
        lines.extend(self.tasks.iter().filter(|task| task.empty_spans > 0).map(|task| {
            format!("{}: on {} items an option begins another, so nothing of it is scored and option 0 wins", task.label, task.empty_spans)
        }));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(label: &str, correct: &[bool]) -> TaskScore {
        let facts = TaskFacts::all().into_iter().find(|task| task.label == label).unwrap();
        let answer = |&correct: &bool| Answer { correct, picked: None, means: vec![Some(1.0), (!correct).then_some(2.0)] };
        TaskScore::new(&facts, &correct.iter().map(answer).collect::<Vec<_>>(), 1.0)
    }

    #[test]
    fn scores_are_centred_and_averaged() {
        let (copa, jeopardy) = (score("copa", &[true, true, true, false]), score("jeopardy", &[false, true]));
        assert_eq!((copa.accuracy, copa.centred, copa.empty_spans), (0.75, 0.5, 3));
        assert_eq!((jeopardy.accuracy, jeopardy.centred), (0.5, 0.5));
        let report = Report::new(vec![copa, jeopardy], 2);
        assert_eq!(report.core, 0.5);
        assert_eq!(
            report.csv(),
            "Task,Accuracy,Centered,Items,Shots\ncopa,0.750000,0.500000,4,0\njeopardy,0.500000,0.500000,2,10\nCORE,,0.500000,,\n"
        );
        assert!(report.table().contains("copa: on 3 items an option begins another"));
        assert!(Report::new(report.tasks, 22).table().contains("mean of 2 of 22 tasks"));
    }
}
