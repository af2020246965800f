//! Scores of chat tasks, and ChatCORE.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{ALL, ChatAnswer, ChatTask};

/// The score of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatScore {
    /// The task's label.
    pub task: String,
    /// Questions that were asked.
    pub questions: usize,
    /// Questions that were answered right.
    pub right: usize,
    /// The share of right answers.
    pub accuracy: f64,
    /// 0 for guessing, 1 for perfect.
    pub centred: f64,
    /// The time it took.
    pub seconds: f64,
}

impl ChatScore {
    /// Sums up the answers to a task.
    pub fn new(task: &ChatTask, answers: &[ChatAnswer], seconds: f64) -> Self {
        let right = answers.iter().filter(|answer| answer.right).count();
        let accuracy = right as f64 / answers.len().max(1) as f64;
        Self { task: task.label.to_owned(), questions: answers.len(), right, accuracy, centred: task.centred(accuracy), seconds }
    }
}

/// The scores of all tasks that were evaluated.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChatReport {
    /// The tasks.
    pub tasks: Vec<ChatScore>,
    /// The mean of the centred scores of ARC, MMLU, GSM8K and HumanEval; `None` if one is missing.
    pub chat_core: Option<f64>,
    /// The same with SpellingBee: ChatCORE until July 2026.
    pub chat_core_with_spelling: Option<f64>,
}

impl ChatReport {
    /// Sums up tasks.
    pub fn new(tasks: Vec<ChatScore>) -> Self {
        let mean = |counts: fn(&ChatTask) -> bool| {
            let wanted: Vec<&ChatTask> = ALL.iter().filter(|task| counts(task)).collect();
            let found = wanted.iter().map(|wanted| tasks.iter().find(|score| score.task == wanted.label).map(|score| score.centred));
            found.collect::<Option<Vec<f64>>>().map(|centred| centred.iter().sum::<f64>() / centred.len() as f64)
        };
        Self { chat_core: mean(|task| task.in_core), chat_core_with_spelling: mean(|_| true), tasks }
    }

    /// As comma-separated values, with a row for each mean that there is.
    pub fn csv(&self) -> String {
        let mut text = String::from("task,questions,right,accuracy,centred\n");
        for score in &self.tasks {
            let _ = writeln!(text, "{},{},{},{:.6},{:.6}", score.task, score.questions, score.right, score.accuracy, score.centred);
        }
        for (name, mean) in self.means() {
            let _ = writeln!(text, "{name},,,,{mean:.6}");
        }
        text
    }

    /// For a terminal.
    pub fn table(&self) -> String {
        let mut text = String::from("task            questions   accuracy    centred\n");
        for score in &self.tasks {
            let _ = writeln!(text, "{:14} {:>10} {:>10.4} {:>10.4}", score.task, score.questions, score.accuracy, score.centred);
        }
        for (name, mean) in self.means() {
            let _ = writeln!(text, "{name:36} {mean:>10.4}");
        }
        if self.chat_core.is_none() {
            let missing = ALL.iter().filter(|task| task.in_core && self.tasks.iter().all(|score| score.task != task.label));
            let missing: Vec<&str> = missing.map(|task| task.label).collect();
            let _ = writeln!(text, "ChatCORE needs {} as well", missing.join(", "));
        }
        text.pop();
        text
    }

    fn means(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let means = [("ChatCORE", self.chat_core), ("ChatCORE with SpellingBee", self.chat_core_with_spelling)];
        means.into_iter().filter_map(|(name, mean)| mean.map(|mean| (name, mean)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(without: &str) -> Vec<ChatScore> {
        let all = ALL.iter().filter(|task| task.label != without);
        let answers = [true, true, false, false].map(|right| ChatAnswer { right, given: Vec::new() });
        all.map(|task| ChatScore::new(task, &answers, 1.0)).collect()
    }

    #[test]
    fn the_means_are_of_centred_scores() {
        let report = ChatReport::new(scores(""));
        // Half right: a third of the way from chance on three tasks, half of it on the others.
        assert!((report.chat_core.unwrap() - (3.0 / 3.0 + 2.0 / 2.0) / 5.0).abs() < 1e-12);
        assert!((report.chat_core_with_spelling.unwrap() - (1.0 + 1.5) / 6.0).abs() < 1e-12);
        assert!(report.csv().ends_with("ChatCORE,,,,0.400000\nChatCORE with SpellingBee,,,,0.416667\n"));
    }

    #[test]
    fn a_mean_without_one_of_its_tasks_is_none() {
        let report = ChatReport::new(scores("HumanEval"));
        assert_eq!((report.chat_core, report.chat_core_with_spelling), (None, None));
        assert!(report.table().ends_with("ChatCORE needs HumanEval as well"), "{}", report.table());
        let report = ChatReport::new(scores("SpellingBee"));
        assert!(report.chat_core.is_some() && report.chat_core_with_spelling.is_none());
        assert_eq!(ChatReport::new(Vec::new()).chat_core, None);
    }
}
