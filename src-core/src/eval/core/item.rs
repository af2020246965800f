//! An item of a task: a line of its file.

use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

use super::Kind;

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A question and its possible answers.
    MultipleChoice {
        /// The question.
        query: String,
        /// The answers, at least one.
        choices: Vec<String>,
        /// The index of the right one.
        gold: usize,
    },
    /// Possible contexts of a continuation.
    Schema {
        /// The contexts, at least one.
        context_options: Vec<String>,
        /// What follows each of them.
        continuation: String,
        /// The index of the right context.
        gold: usize,
    },
    /// A context and what follows it.
    LanguageModeling {
        /// The context.
        context: String,
        /// What follows.
        continuation: String,
    },
}

/// Text, or a whole number, which Python's templates print as it is.
#[derive(Debug)]
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Text;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("text")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<Text, E> {
                Err(E::invalid_type(Unexpected::Bool(value), &self))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[derive(Deserialize)]
struct ChoiceLine {
    query: Text,
    choices: Vec<Text>,
    gold: usize,
}

#[derive(Deserialize)]
struct SchemaLine {
    context_options: Vec<Text>,
    continuation: Text,
    gold: usize,
}

#[derive(Deserialize)]
struct ModelingLine {
    context: Text,
    continuation: Text,
}

fn texts(all: Vec<Text>) -> Vec<String> {
    all.into_iter().map(|text| text.0).collect()
}

impl Item {
    /// Reads a line of a file of this kind. Fields that are not used are ignored.
    ///
    /// # Errors
    /// What is wrong, in words that quote nothing of the line.
    pub fn parse(line: &str, kind: Kind) -> Result<Self, String> {
        let item = match kind {
            Kind::MultipleChoice => {
                let ChoiceLine { query, choices, gold } = parsed(line)?;
                Self::MultipleChoice { query: query.0, choices: texts(choices), gold }
            }
            Kind::Schema => {
                let SchemaLine { context_options, continuation, gold } = parsed(line)?;
                Self::Schema { context_options: texts(context_options), continuation: continuation.0, gold }
            }
            Kind::LanguageModeling => {
                let ModelingLine { context, continuation } = parsed(line)?;
                Self::LanguageModeling { context: context.0, continuation: continuation.0 }
            }
        };
        match &item {
            Self::MultipleChoice { choices: options, gold, .. } | Self::Schema { context_options: options, gold, .. }
                if *gold >= options.len() =>
            {
                Err(format!("`gold` is {gold}, and there are {} options, counted from 0", options.len()))
            }
            _ => Ok(item),
        }
    }

    /// The index of the right option, if there are options.
    pub fn gold(&self) -> Option<usize> {
        match self {
            Self::MultipleChoice { gold, .. } | Self::Schema { gold, .. } => Some(*gold),
            Self::LanguageModeling { .. } => None,
        }
    }
}

/// The line as JSON of a shape. The error says what and where, but not the content.
fn parsed<'a, T: Deserialize<'a>>(line: &'a str) -> Result<T, String> {
    let mut deserializer = serde_json::Deserializer::from_str(line);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        match inner.classify() {
            serde_json::error::Category::Data => {
                // The library's message quotes values, as in: invalid type: string "…", expected usize.
                let message = inner.to_string();
                let reason = match message.rsplit_once(", expected ") {
                    Some((_, expected)) => format!("expected {}", expected.split(" at line ").next().unwrap_or_default()),
                    None => message.split(" at line ").next().unwrap_or_default().to_owned(),
                };
                if path == "." { reason } else { format!("`{path}`: {reason}") }
            }
            _ => format!("it is no JSON object (column {})", inner.column()),
        }
    })?;
    deserializer.end().map_err(|error| format!("something follows the JSON object (column {})", error.column()))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_by_their_kind() {
        let choice = r#" {"query": "q", "choices": ["a", 7], "gold": 1, "more": null} "#;
        let item = Item::parse(choice, Kind::MultipleChoice).unwrap();
        assert_eq!(item, Item::MultipleChoice { query: "q".into(), choices: vec!["a".into(), "7".into()], gold: 1 });
        assert_eq!(item.gold(), Some(1));
        let schema = Item::parse(r#"{"context_options": ["a"], "continuation": "c", "gold": 0}"#, Kind::Schema).unwrap();
        assert_eq!(schema, Item::Schema { context_options: vec!["a".into()], continuation: "c".into(), gold: 0 });
        let modeling = Item::parse(r#"{"context": "a", "continuation": "c"}"#, Kind::LanguageModeling).unwrap();
        assert_eq!(modeling.gold(), None);
    }

    #[test]
    fn broken_lines_say_what_is_wrong_and_quote_nothing() {
        let refused = |line: &str, kind| Item::parse(line, kind).unwrap_err();
        let mc = Kind::MultipleChoice;
        assert_eq!(refused(r#"{"query": "secret", "choices": ["a"]}"#, mc), "missing field `gold`");
        assert_eq!(refused(r#"{"query": "q", "choices": ["a"], "gold": "secret"}"#, mc), "`gold`: expected usize");
        assert_eq!(refused(r#"{"query": "q", "choices": ["a", true], "gold": 0}"#, mc), "`choices[1]`: expected text");
        assert_eq!(refused(r#"{"query": "q", "choices": [], "gold": 0}"#, mc), "`gold` is 0, and there are 0 options, counted from 0");
        assert_eq!(refused(r#"{"query": "q", "choices": ["a"], "gold": -1}"#, mc), "`gold`: expected usize");
        assert_eq!(refused(r#"{"query": "q""#, mc), "it is no JSON object (column 13)");
        assert_eq!(refused("", mc), "it is no JSON object (column 0)");
        assert!(refused(r#"{"context": "a", "continuation": "c"} x"#, Kind::LanguageModeling).starts_with("something follows"));
    }
}
