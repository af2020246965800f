//! GSM8K: word problems of school mathematics. Their solutions contain calculations as `<<12/60=0.2>>`, which become calls
//! to the calculator and its results, so that a model learns to use it; they end with `#### ` and the answer.
//!
//! 7,500 problems to train on; of the 1,300 of `test`, validation takes the first 420 of the shuffled order, as the
//! reference does.

use serde::Deserialize;
use serde_json::Value;

use super::Split;
use super::grading::Grading;
use super::rows::parse;
use super::source::{Files, HubSet};
use super::table::{Layout, Made};
use crate::tokenizer::{Content, Conversation, Message, Part, PartKind, Role};

/// How many problems of the test split are validation.
pub const VALIDATION: usize = 420;

/// Where the problems are.
pub const SET: HubSet = HubSet { name: "gsm8k", repo: "openai/gsm8k", files };

/// How they are read.
pub const LAYOUT: Layout =
    Layout { name: "gsm8k", columns: &["question", "answer"], convert: conversation, grading: Some(Grading::Number) };

fn files(split: Split) -> Files {
    match split {
        Split::Train => Files { splits: &["train"], on_hub: &["main/train-"] },
        Split::Validation | Split::Test => Files { splits: &["test"], on_hub: &["main/test-"] },
    }
}

#[derive(Deserialize)]
struct Row {
    question: String,
    answer: String,
}

fn conversation(row: Value) -> Result<Made, String> {
    let row: Row = parse(row, "strings `question` and `answer`")?;
    if row.question.is_empty() {
        return Err("its question is empty".into());
    }
    if !row.answer.contains("#### ") {
        return Err("its answer does not end with `#### ` and a number".into());
    }
    let solution = Message::new(Role::Assistant, Content::Parts(parts(&row.answer)));
    Ok(Made::Conversation(Conversation { messages: vec![Message::text(Role::User, row.question), solution] }))
}

/// Text, calls and results, in order. A call is `<<EXPRESSION=RESULT>>` without a `>` inside and is split at the last
/// `=`; without one the result is empty.
fn parts(answer: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut push = |kind, text: &str| parts.push(Part { kind, text: text.to_owned() });
    // The text before the next call, which starts somewhere in `rest`.
    let (mut text_from, mut from) = (0, 0);
    while let Some(start) = answer[from..].find("<<").map(|at| from + at) {
        let inner = start + 2;
        let end = answer[inner..].find('>').map(|at| inner + at).filter(|&end| end > inner && answer[end..].starts_with(">>"));
        let Some(end) = end else {
            // Not a call. One may still start at the second of these signs.
            from = start + 1;
            continue;
        };
        if start > text_from {
            push(PartKind::Text, &answer[text_from..start]);
        }
        let (expression, result) = answer[inner..end].rsplit_once('=').unwrap_or((&answer[inner..end], ""));
        push(PartKind::Python, expression);
        push(PartKind::PythonOutput, result);
        (text_from, from) = (end + 2, end + 2);
    }
    if text_from < answer.len() {
        push(PartKind::Text, &answer[text_from..]);
    }
    parts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(answer: &str) -> Vec<(PartKind, String)> {
        parts(answer).into_iter().map(|part| (part.kind, part.text)).collect()
    }

    #[test]
    fn calculations_become_calls_and_results() {
        let text = |text: &str| (PartKind::Text, text.to_owned());
        let call = |text: &str| (PartKind::Python, text.to_owned());
        let result = |text: &str| (PartKind::PythonOutput, text.to_owned());
        assert_eq!(
            of("An hour is 12/60 = $<<12/60=0.2>>0.2.\n#### 10"),
            [text("An hour is 12/60 = $"), call("12/60"), result("0.2"), text("0.2.\n#### 10")]
        );
        assert_eq!(of("<<1+1=2>><<2*3=6>>"), [call("1+1"), result("2"), call("2*3"), result("6")]);
        assert_eq!(of("<<a=b=c>>"), [call("a=b"), result("c")]);
        assert_eq!(of("<<12>>"), [call("12"), result("")]);
    }

    #[test]
    fn signs_that_make_no_call_stay_text() {
        for text in ["a < b", "<<", "<<1=1", "<<>>", "<<1>2=3>>", ">>1<<", "2 <<3> x"] {
            assert_eq!(of(text), [(PartKind::Text, text.to_owned())]);
        }
        assert!(of("").is_empty());
        assert_eq!(of("<<<1=1>>"), [(PartKind::Python, "<1".into()), (PartKind::PythonOutput, "1".into())]);
    }

    #[test]
    fn no_letter_is_lost() {
        let answer = "é<<1+1=2>>2 <<x <<3-1=2>> ünd <<4=>>\n#### 2";
        let spoken: String = parts(answer)
            .iter()
            .map(|part| match part.kind {
                PartKind::Text => part.text.clone(),
                PartKind::Python => format!("<<{}", part.text),
                PartKind::PythonOutput => format!("={}>>", part.text),
            })
            .collect();
        assert_eq!(spoken, answer);
    }

    #[test]
    fn a_row_is_a_question_and_its_solution() {
        let Ok(Made::Conversation(made)) = conversation(json!({ "question": "1+1?", "answer": "It is <<1+1=2>>2.\n#### 2" })) else {
            panic!("a good row was refused")
        };
        assert_eq!(made.messages[0], Message::text(Role::User, "1+1?"));
        assert!(matches!(&made.messages[1].content, Content::Parts(parts) if parts.len() == 4));
        for (row, reason) in [
            (json!({ "question": "secret", "answer": "secret" }), "does not end"),
            (json!({ "question": "", "answer": "#### 1" }), "its question is empty"),
            (json!({ "question": "secret" }), "strings `question` and `answer`"),
        ] {
            let Err(said) = conversation(row) else { panic!("a bad row was taken") };
            assert!(said.contains(reason) && !said.contains("secret"), "{said}");
        }
    }
}
