//! MMLU: multiple-choice questions from 57 subjects. The 100,000 of `auxiliary_train` teach the form of question and
//! answer; of the 14,000 of `test`, validation takes the first 5,200 of the shuffled order, as the reference does.

use serde::Deserialize;
use serde_json::Value;

use super::Split;
use super::grading::Grading;
use super::multiple_choice::{LETTERS, prompt};
use super::rows::parse;
use super::source::{Files, HubSet};
use super::table::{Layout, Made};
use crate::tokenizer::{Conversation, Message, Role};

/// How many questions of the test split are validation.
pub const VALIDATION: usize = 5200;

/// Where the questions are.
pub const SET: HubSet = HubSet { name: "mmlu", repo: "cais/mmlu", files };

/// How they are read.
pub const LAYOUT: Layout =
    Layout { name: "mmlu", columns: &["question", "choices", "answer"], convert: conversation, grading: Some(Grading::Letter) };

fn files(split: Split) -> Files {
    match split {
        Split::Train => Files { splits: &["auxiliary_train", "train"], on_hub: &["all/auxiliary_train-", "auxiliary_train/train-"] },
        Split::Validation | Split::Test => Files { splits: &["test"], on_hub: &["all/test-"] },
    }
}

#[derive(Deserialize)]
struct Row {
    question: String,
    choices: Vec<String>,
    /// The index of the right choice.
    answer: u64,
}

fn conversation(row: Value) -> Result<Made, String> {
    let row: Row = parse(row, "a string `question`, a list of strings `choices` and a number `answer`")?;
    if row.choices.len() != LETTERS.len() {
        return Err(format!("it has {} choices, not {}", row.choices.len(), LETTERS.len()));
    }
    let letter = usize::try_from(row.answer).ok().and_then(|answer| LETTERS.get(answer));
    let letter = letter.ok_or_else(|| format!("its answer is choice {}, and choices count from 0 to 3", row.answer))?;
    Ok(Made::Conversation(Conversation {
        messages: vec![Message::text(Role::User, prompt(&row.question, &LETTERS, &row.choices)), Message::text(Role::Assistant, *letter)],
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_answer_is_the_letter_of_the_right_choice() {
        for (answer, letter) in LETTERS.iter().enumerate() {
            let row = json!({ "question": "Which?", "subject": "logic", "choices": ["w", "x", "y", "z"], "answer": answer });
            let Ok(Made::Conversation(made)) = conversation(row) else { panic!("a good row was refused") };
            assert_eq!(made.messages[1], Message::text(Role::Assistant, *letter));
            assert_eq!(made.messages[0], Message::text(Role::User, prompt("Which?", &LETTERS, &["w", "x", "y", "z"].map(String::from))));
        }
    }

    #[test]
    fn rows_that_are_no_question_of_four_choices_are_refused() {
        for (row, reason) in [
            (json!({ "question": "q", "choices": ["a", "b", "c"], "answer": 1 }), "it has 3 choices"),
            (json!({ "question": "q", "choices": ["a", "b", "c", "d"], "answer": 4 }), "its answer is choice 4"),
            (json!({ "question": "q", "choices": ["a", "b", "c", "d"], "answer": -1 }), "a number `answer`"),
            (json!({ "question": "q", "choices": ["a", "b", "c", "d"], "answer": "B" }), "a number `answer`"),
            (json!({ "question": null, "choices": ["a", "b", "c", "d"], "answer": 0 }), "a string `question`"),
        ] {
            let Err(said) = conversation(row) else { panic!("a bad row was taken") };
            assert!(said.contains(reason), "{said}");
        }
    }
}
