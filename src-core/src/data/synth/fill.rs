//! Fills phrasings: draws values for their names, and remembers what must stay the same.
//!
//! A fact is fixed for a whole conversation; numbers, rows and results for a topic; words are drawn each time.

use std::collections::BTreeMap;

use super::dice::Dice;
use super::error::SynthError;
use super::recipe::{Persona, Recipe, Topic};
use super::template::{Piece, Slot, Template};
use crate::tokenizer::{Part, PartKind};
use crate::tools::calculator::calculate;

/// A run of a filled phrasing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run {
    /// Literal text of the phrasing.
    Own(String),
    /// The value of a name.
    Filled(String),
    /// An expression and its result.
    Call {
        /// The expression.
        expression: String,
        /// The result.
        result: String,
    },
}

/// Fills the phrasings of one conversation.
pub struct Filler<'a> {
    recipe: &'a Recipe,
    persona: Option<&'a Persona>,
    facts: BTreeMap<&'a str, String>,
    topic: Drawn<'a>,
}

/// Values drawn for a topic.
#[derive(Default)]
struct Drawn<'a> {
    topic: Option<&'a Topic>,
    numbers: BTreeMap<&'a str, i64>,
    rows: BTreeMap<&'a str, &'a [String]>,
    results: BTreeMap<&'a str, (String, String)>,
}

impl<'a> Filler<'a> {
    /// Starts a conversation.
    pub fn new(recipe: &'a Recipe, persona: Option<&'a Persona>) -> Self {
        Self { recipe, persona, facts: BTreeMap::new(), topic: Drawn::default() }
    }

    /// Starts a topic: numbers, rows and results are redrawn.
    pub fn start(&mut self, topic: &'a Topic) {
        self.topic = Drawn { topic: Some(topic), ..Drawn::default() };
    }

    /// Fills one of the phrasings.
    pub fn one_of(&mut self, phrasings: &'a [Template], dice: &mut Dice) -> Result<Vec<Run>, SynthError> {
        self.fill(dice.pick(phrasings), &[], dice)
    }

    /// Fills a phrasing, with `answer` in the place of that name.
    pub fn fill(&mut self, template: &'a Template, answer: &[Run], dice: &mut Dice) -> Result<Vec<Run>, SynthError> {
        let mut runs = Vec::new();
        self.pieces(&template.pieces, answer, dice, &mut runs)?;
        Ok(runs)
    }

    fn pieces(&mut self, pieces: &'a [Piece], answer: &[Run], dice: &mut Dice, runs: &mut Vec<Run>) -> Result<(), SynthError> {
        for piece in pieces {
            match piece {
                Piece::Text(text) => runs.push(Run::Own(text.clone())),
                Piece::Choice(ways) => self.pieces(dice.pick::<Vec<_>>(ways), answer, dice, runs)?,
                Piece::Slot(slot) if slot.name == "answer" && !answer.is_empty() => runs.extend_from_slice(answer),
                Piece::Slot(slot) => runs.push(self.slot(slot, dice)?),
            }
        }
        Ok(())
    }

    fn slot(&mut self, slot: &'a Slot, dice: &mut Dice) -> Result<Run, SynthError> {
        if self.topic.topic.is_some_and(|topic| topic.results.contains_key(&slot.name)) {
            let (expression, result) = self.result(&slot.name, dice)?;
            if slot.call {
                return Ok(Run::Call { expression, result });
            }
            return Ok(Run::Filled(filtered(slot, result)));
        }
        let value = self.value(&slot.name, dice)?;
        Ok(Run::Filled(filtered(slot, value)))
    }

    /// The expression behind a result of the topic, and the result.
    fn result(&mut self, name: &'a str, dice: &mut Dice) -> Result<(String, String), SynthError> {
        if let Some(known) = self.topic.results.get(name) {
            return Ok(known.clone());
        }
        let Some(template) = self.topic.topic.and_then(|topic| topic.results.get(name)) else {
            return Ok((String::new(), String::new()));
        };
        let expression = text(&self.fill(template, &[], dice)?);
        let result = calculate(&expression).ok_or_else(|| SynthError::Broken {
            path: self.recipe.path.clone(),
            line: template.line,
            reason: format!("the calculator cannot compute {name:?}, which became {expression:?}"),
        })?;
        self.topic.results.insert(name, (expression.clone(), result.clone()));
        Ok((expression, result))
    }

    fn value(&mut self, name: &'a str, dice: &mut Dice) -> Result<String, SynthError> {
        let recipe = self.recipe;
        if let Some(&(from, to)) = recipe.numbers.get(name) {
            return Ok(self.topic.numbers.entry(name).or_insert_with(|| dice.between(from, to)).to_string());
        }
        if let Some((table, column)) = name.split_once('.') {
            let cell = recipe.tables.get(table).and_then(|known| {
                let row = *self.topic.rows.entry(table).or_insert_with(|| dice.pick::<Vec<_>>(&known.rows));
                known.columns.iter().position(|known| known == column).and_then(|column| row.get(column))
            });
            return Ok(cell.cloned().unwrap_or_default());
        }
        if let Some(known) = self.facts.get(name) {
            return Ok(known.clone());
        }
        let told = self.persona.and_then(|persona| persona.set.get(name)).or_else(|| recipe.facts.get(name));
        if let Some(phrasings) = told {
            let value = text(&self.one_of(phrasings, dice)?);
            self.facts.insert(name, value.clone());
            return Ok(value);
        }
        // After the recipe's check, only words remain.
        recipe.words.get(name).map_or(Ok(String::new()), |phrasings| Ok(text(&self.one_of(phrasings, dice)?)))
    }
}

fn filtered(slot: &Slot, value: String) -> String {
    slot.filters.iter().fold(value, |value, filter| filter.apply(&value))
}

/// Runs as plain text; a call becomes its result.
pub fn text(runs: &[Run]) -> String {
    let texts = runs.iter().map(|run| match run {
        Run::Own(text) | Run::Filled(text) => text.as_str(),
        Run::Call { result, .. } => result,
    });
    texts.collect()
}

/// Runs as the parts of an assistant's message: a call becomes two parts.
pub fn parts(runs: &[Run]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for run in runs {
        match run {
            Run::Own(text) | Run::Filled(text) => match parts.last_mut() {
                Some(Part { kind: PartKind::Text, text: before }) => before.push_str(text),
                _ if text.is_empty() => {}
                _ => parts.push(Part { kind: PartKind::Text, text: text.clone() }),
            },
            Run::Call { expression, result } => {
                parts.push(Part { kind: PartKind::Python, text: expression.clone() });
                parts.push(Part { kind: PartKind::PythonOutput, text: result.clone() });
            }
        }
    }
    parts
}
