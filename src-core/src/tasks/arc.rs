//! ARC: multiple-choice questions of school science, in an easy and a hard set. Three to five choices, labelled by letters or, in some
//! questions, by digits.
//!
//! 2,251 and 1,119 questions to train on, 570 and 299 for validation, 2,376 and 1,172 to evaluate with.

use serde::Deserialize;
use serde_json::Value;

use super::Split;
use super::grading::Grading;
use super::multiple_choice::prompt;
use super::rows::parse;
use super::source::{Files, HubSet};
use super::table::{Layout, Made};
use crate::tokenizer::{Conversation, Message, Role};

const REPO: &str = "allenai/ai2_arc";

/// Where the easy questions are.
pub const EASY: HubSet = HubSet { name: "arc-easy", repo: REPO, files: easy };

/// Where the hard questions are.
pub const CHALLENGE: HubSet = HubSet { name: "arc-challenge", repo: REPO, files: challenge };

/// How the easy questions are read.
pub const EASY_LAYOUT: Layout = layout(EASY.name);

/// How the hard questions are read.
pub const CHALLENGE_LAYOUT: Layout = layout(CHALLENGE.name);

const fn layout(name: &'static str) -> Layout {
    Layout { name, columns: &["question", "choices", "answerKey"], convert: question, grading: Some(Grading::Letter) }
}

fn easy(split: Split) -> Files {
    match split {
        Split::Train => Files { splits: &["train"], on_hub: &["ARC-Easy/train-"] },
        Split::Validation => Files { splits: &["validation"], on_hub: &["ARC-Easy/validation-"] },
        Split::Test => Files { splits: &["test"], on_hub: &["ARC-Easy/test-"] },
    }
}

fn challenge(split: Split) -> Files {
    match split {
        Split::Train => Files { splits: &["train"], on_hub: &["ARC-Challenge/train-"] },
        Split::Validation => Files { splits: &["validation"], on_hub: &["ARC-Challenge/validation-"] },
        Split::Test => Files { splits: &["test"], on_hub: &["ARC-Challenge/test-"] },
    }
}

#[derive(Deserialize)]
struct Row {
    question: String,
    choices: Choices,
    /// The label of the right choice.
    #[serde(rename = "answerKey")]
    answer: String,
}

#[derive(Deserialize)]
struct Choices {
    text: Vec<String>,
    label: Vec<String>,
}

fn question(row: Value) -> Result<Made, String> {
    let expected = "strings `question` and `answerKey`, and an object `choices` with lists of strings `text` and `label`";
    let Row { question, choices: Choices { text, label }, answer } = parse(row, expected)?;
    if text.len() != label.len() || text.is_empty() {
        return Err(format!("it has {} choices and {} labels", text.len(), label.len()));
    }
    if !label.contains(&answer) {
        return Err("its answer is not one of its labels".into());
    }
    let labels: Vec<&str> = label.iter().map(String::as_str).collect();
    let asked = Message::text(Role::User, prompt(&question, &labels, &text));
    Ok(Made::Choices(Conversation { messages: vec![asked, Message::text(Role::Assistant, answer)] }, label))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_question_keeps_its_own_labels() {
        let row =
            json!({ "id": "x", "question": "Why?", "choices": { "text": ["a", "b", "c"], "label": ["1", "2", "3"] }, "answerKey": "3" });
        let Ok(Made::Choices(made, labels)) = question(row) else { panic!("a good row was refused") };
        assert_eq!(labels, ["1", "2", "3"]);
        assert_eq!(made.messages[0], Message::text(Role::User, prompt("Why?", &["1", "2", "3"], &["a", "b", "c"].map(String::from))));
        assert_eq!(made.messages[1], Message::text(Role::Assistant, "3"));
    }

    #[test]
    fn rows_that_are_no_question_are_refused() {
        let row = |text: Value, label: Value, key: &str| json!({ "question": "secret", "choices": { "text": text, "label": label }, "answerKey": key });
        for (row, reason) in [
            (row(json!(["a", "b"]), json!(["A"]), "A"), "2 choices and 1 labels"),
            (row(json!([]), json!([]), "A"), "0 choices"),
            (row(json!(["a"]), json!(["A"]), "B"), "not one of its labels"),
            (row(json!("a"), json!(["A"]), "A"), "lists of strings"),
            (json!({ "question": "secret" }), "an object `choices`"),
        ] {
            let Err(said) = question(row) else { panic!("a bad row was taken") };
            assert!(said.contains(reason) && !said.contains("secret"), "{said}");
        }
    }
}
