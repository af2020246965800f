//! The recipe as it is written: TOML, before validation. The line of every phrasing is kept for errors.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use toml::Spanned;

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    #[serde(default)]
    pub conversation: Shape,
    #[serde(default)]
    pub slips: Slips,
    #[serde(default)]
    pub facts: BTreeMap<Spanned<String>, Phrasings>,
    #[serde(default)]
    pub words: BTreeMap<Spanned<String>, Phrasings>,
    #[serde(default)]
    pub numbers: BTreeMap<Spanned<String>, [i64; 2]>,
    #[serde(default)]
    pub tables: BTreeMap<Spanned<String>, Table>,
    #[serde(default)]
    pub persona: Vec<Persona>,
    #[serde(default)]
    pub topic: Vec<Topic>,
}

/// The shape of conversations.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shape {
    /// How often a conversation has one question and answer, two, three, and so on.
    pub exchanges: Vec<u32>,
    /// The fraction of conversations that start with a system message.
    pub personas: f64,
    /// The probability that a topic with follow-ups is followed up, rather than changed.
    pub follow_up: f64,
    /// Whether no two conversations may begin with the same question and answer.
    pub distinct_openings: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self { exchanges: vec![1], personas: 0.0, follow_up: 0.5, distinct_openings: false }
    }
}

/// The fractions of questions with typical mistakes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Slips {
    /// Without capitals.
    pub lower: f64,
    /// Without final punctuation.
    pub bare: f64,
    /// With a letter that is missing, doubled or in the wrong place.
    pub typo: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    pub columns: Vec<Spanned<String>>,
    pub rows: Vec<Spanned<Vec<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Persona {
    #[serde(default = "one")]
    pub weight: u32,
    pub system: Phrasings,
    /// Facts that are different for this persona.
    #[serde(default)]
    pub set: BTreeMap<Spanned<String>, Phrasings>,
    /// How it says an `{answer}`.
    pub answer: Option<Phrasings>,
    /// The only topics that suit it; if empty, all without a language.
    #[serde(default)]
    pub topics: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    pub name: Spanned<String>,
    #[serde(default = "one")]
    pub weight: u32,
    #[serde(default)]
    pub place: Place,
    pub language: Option<String>,
    /// Results of the calculator, by name: the expression of each.
    #[serde(default, rename = "let")]
    pub results: BTreeMap<Spanned<String>, Spanned<String>>,
    pub ask: Phrasings,
    pub answer: Phrasings,
    #[serde(default)]
    pub then: Vec<FollowUp>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FollowUp {
    pub ask: Phrasings,
    pub answer: Phrasings,
}

/// Where in a conversation a topic may occur.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    #[default]
    Any,
    /// Only as the first.
    First,
    /// Never as the first.
    Later,
}

fn one() -> u32 {
    1
}

/// A phrasing, or a list of them.
pub struct Phrasings(pub Vec<Spanned<String>>);

impl<'de> Deserialize<'de> for Phrasings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let either = Spanned::<OneOrMany>::deserialize(deserializer)?;
        let span = either.span();
        Ok(match either.into_inner() {
            OneOrMany::One(text) => Self(vec![Spanned::new(span, text)]),
            OneOrMany::Many(texts) => Self(texts),
        })
    }
}

enum OneOrMany {
    One(String),
    Many(Vec<Spanned<String>>),
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<OneOrMany, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = seq.next_element()? {
                    texts.push(text);
                }
                Ok(OneOrMany::Many(texts))
            }
        }
        deserializer.deserialize_any(Either)
    }
}
