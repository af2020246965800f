//! ARC: multiple-choice questions of science from American schools, an easy set and a challenging one. For evaluation: 2,376 and
//! 1,172 questions of the test split.
//!
//! Most questions have four choices, some three or five, and a few have numbers for letters. The format is that of MMLU.

use std::path::PathBuf;

use serde::Deserialize;

use super::digest::Fingerprinter;
use super::multiple_choice::prompt;
use super::rows::{self, RowFault, parse};
use super::source::{Files, HubSet};
use super::{Sources, Split, Task, TaskError};
use crate::tokenizer::{Conversation, Message, Role};

/// Where the easy questions are.
pub const EASY: HubSet = HubSet { name: "arc-easy", repo: "allenai/ai2_arc", files: easy };

/// Where the challenging questions are.
pub const CHALLENGE: HubSet = HubSet { name: "arc-challenge", repo: "allenai/ai2_arc", files: challenge };

fn easy(split: Split) -> Files {
    match split {
        Split::Train => Files { splits: &["train"], on_hub: &["ARC-Easy/train-"] },
        Split::Validation => Files { splits: &["test"], on_hub: &["ARC-Easy/test-"] },
    }
}

fn challenge(split: Split) -> Files {
    match split {
        Split::Train => Files { splits: &["train"], on_hub: &["ARC-Challenge/train-"] },
        Split::Validation => Files { splits: &["test"], on_hub: &["ARC-Challenge/test-"] },
    }
}

const COLUMNS: &[&str] = &["question", "choices", "answerKey"];

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What is asked.
    pub question: String,
    /// The answers to choose from.
    pub choices: Vec<String>,
    /// The letter or number of each choice.
    pub letters: Vec<String>,
    /// The one of the right choice.
    pub answer: String,
}

#[derive(Deserialize)]
struct Row {
    question: String,
    choices: Choices,
    #[serde(rename = "answerKey")]
    answer: String,
}

#[derive(Deserialize)]
struct Choices {
    text: Vec<String>,
    label: Vec<String>,
}

impl Question {
    /// The question as the user asks it.
    pub fn prompt(&self) -> String {
        let letters: Vec<&str> = self.letters.iter().map(String::as_str).collect();
        prompt(&self.question, &letters, &self.choices)
    }

    fn of(row: Row) -> Result<Self, String> {
        let Row { question, choices: Choices { text: choices, label: letters }, answer } = row;
        if choices.len() != letters.len() || choices.len() < 2 {
            return Err(format!("it has {} choices with {} labels", choices.len(), letters.len()));
        }
        if letters.iter().any(String::is_empty) || (1..letters.len()).any(|at| letters[..at].contains(&letters[at])) {
            return Err("its labels do not tell its choices apart".to_owned());
        }
        if !letters.contains(&answer) {
            return Err("its `answerKey` is none of its labels".to_owned());
        }
        Ok(Self { question, choices, letters, answer })
    }
}

/// The questions of a set, in the order of their files.
pub struct Arc {
    name: &'static str,
    questions: Vec<Question>,
    fingerprint: String,
}

impl Arc {
    /// Finds and reads the questions of [`EASY`] or [`CHALLENGE`]; validation is the test split.
    ///
    /// # Errors
    /// If they cannot be found, fetched or read, a row is no question, or there is none.
    pub fn open(set: &HubSet, split: Split, sources: &Sources) -> Result<Self, TaskError> {
        Self::read(set.name, &set.locate(split, sources)?)
    }

    /// Reads the questions of `files`.
    ///
    /// # Errors
    /// If a file cannot be read, a row is no question, or there is none.
    pub fn read(name: &'static str, files: &[PathBuf]) -> Result<Self, TaskError> {
        let mut questions = Vec::new();
        let mut print = Fingerprinter::default();
        for path in files {
            rows::for_each(path, COLUMNS, &mut |row| {
                let question = parse(row, "strings `question` and `answerKey`, and `choices` with lists of strings `text` and `label`")
                    .and_then(Question::of)
                    .map_err(RowFault::Unusable)?;
                print.add(&question.question).add(&question.answer).add_number(question.choices.len() as u64);
                for (choice, letter) in question.choices.iter().zip(&question.letters) {
                    print.add(choice).add(letter);
                }
                questions.push(question);
                Ok(())
            })?;
        }
        if questions.is_empty() {
            return Err(TaskError::Empty { task: name.into(), path: files.first().cloned().unwrap_or_default() });
        }
        Ok(Self { name, questions, fingerprint: print.finish() })
    }

    /// The questions.
    pub fn questions(&self) -> &[Question] {
        &self.questions
    }
}

/// Each question with the letter of the right choice as the answer.
impl Task for Arc {
    fn name(&self) -> &str {
        self.name
    }

    fn len(&self) -> usize {
        self.questions.len()
    }

    fn example(&self, index: usize) -> Result<Conversation, TaskError> {
        let question = &self.questions[index];
        Ok(Conversation {
            messages: vec![Message::text(Role::User, question.prompt()), Message::text(Role::Assistant, question.answer.as_str())],
        })
    }

    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn row(texts: &[&str], labels: &[&str], answer: &str) -> Value {
        json!({ "id": "1", "question": "Which is a secret?", "choices": { "text": texts, "label": labels }, "answerKey": answer })
    }

    fn read(rows: &[Value]) -> Result<Arc, TaskError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.jsonl");
        let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
        std::fs::write(&path, lines).unwrap();
        Arc::read(EASY.name, &[path])
    }

    #[test]
    fn letters_are_those_of_the_row() {
        let task = read(&[row(&["a", "b", "c"], &["A", "B", "C"], "C"), row(&["a", "b", "c", "d", "e"], &["1", "2", "3", "4", "5"], "2")])
            .unwrap();
        assert_eq!((task.name(), task.len(), task.questions()[0].letters.len()), ("arc-easy", 2, 3));
        let second = task.example(1).unwrap();
        assert_eq!(second.messages[1], Message::text(Role::Assistant, "2"));
        assert_eq!(
            second.messages[0],
            Message::text(
                Role::User,
                "Multiple Choice question: Which is a secret?\n- a=1\n- b=2\n- c=3\n- d=4\n- e=5\n\nRespond only with the letter of the correct answer."
            )
        );
        let other = read(&[row(&["a", "b", "c"], &["A", "B", "C"], "B"), row(&["a", "b"], &["1", "2"], "2")]).unwrap();
        assert_ne!(other.fingerprint(), task.fingerprint());
    }

    #[test]
    fn rows_that_are_no_question_are_refused_without_quoting_them() {
        for (row, reason) in [
            (row(&["a", "b", "c"], &["A", "B"], "A"), "it has 3 choices with 2 labels"),
            (row(&["a"], &["A"], "A"), "it has 1 choices"),
            (row(&["a", "b"], &["A", "A"], "A"), "do not tell its choices apart"),
            (row(&["a", "b"], &["A", ""], "A"), "do not tell its choices apart"),
            (row(&["a", "b"], &["A", "B"], "C"), "none of its labels"),
            (json!({ "question": "secret", "choices": ["a"], "answerKey": "A" }), "it does not have strings `question`"),
        ] {
            let said = read(&[row]).map(|_| ()).unwrap_err().to_string();
            assert!(said.contains(reason) && said.contains("line 1") && !said.contains("secret"), "{said}");
        }
        assert!(matches!(read(&[]), Err(TaskError::Empty { .. })));
    }
}
