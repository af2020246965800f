//! A validated recipe: every phrasing can be parsed, every name in it is known, no fact refers to itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::error::{SynthError, closest};
use super::file::{self, File, Phrasings, Place, Shape, Slips};
use super::template::{Slot, Template, is_name};

/// The built-in recipe: conversations about the model itself.
const IDENTITY: &str = include_str!("../../../../assets/synth/identity.toml");

/// The source of conversations: facts and words, tables and numbers, and topics that use them.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub(super) path: PathBuf,
    pub(super) shape: Shape,
    pub(super) slips: Slips,
    /// Facts: one phrasing of each is used for a whole conversation.
    pub(super) facts: BTreeMap<String, Vec<Template>>,
    /// Alternative phrasings, redrawn at each occurrence.
    pub(super) words: BTreeMap<String, Vec<Template>>,
    /// Minimum and maximum; a number is fixed for a topic.
    pub(super) numbers: BTreeMap<String, (i64, i64)>,
    /// A row is fixed for a topic.
    pub(super) tables: BTreeMap<String, Table>,
    pub(super) personas: Vec<Persona>,
    pub(super) topics: Vec<Topic>,
}

/// Values that belong together, one row each.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// A system message and what it changes.
#[derive(Clone, Debug)]
pub(super) struct Persona {
    pub weight: u32,
    pub system: Vec<Template>,
    pub set: BTreeMap<String, Vec<Template>>,
    pub answer: Vec<Template>,
    /// Indices of the only topics that suit it; if empty, all without a language.
    pub topics: Vec<usize>,
}

impl Persona {
    /// Whether it can talk about topic `index`: one of those that it lists, else any in the language of its own words.
    pub fn suits(&self, index: usize, topic: &Topic) -> bool {
        if self.topics.is_empty() { topic.language.is_none() } else { self.topics.contains(&index) }
    }
}

/// A topic.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    pub name: String,
    pub weight: u32,
    pub place: Place,
    pub language: Option<String>,
    pub results: BTreeMap<String, Template>,
    pub first: Exchange,
    pub then: Vec<Exchange>,
}

/// A question and its answer.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub ask: Vec<Template>,
    pub answer: Vec<Template>,
}

impl Recipe {
    /// The built-in recipe: conversations about the model itself.
    ///
    /// # Errors
    /// None for the recipe as it is included.
    pub fn identity() -> Result<Self, SynthError> {
        Self::parse(IDENTITY, Path::new("identity.toml"))
    }

    /// Reads a TOML file.
    ///
    /// # Errors
    /// If the file cannot be read or is not a recipe; the message names the line.
    pub fn open(path: &Path) -> Result<Self, SynthError> {
        let bytes = std::fs::read(path).map_err(|source| SynthError::Read { path: path.to_path_buf(), source })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let line = line_of(error.as_bytes(), error.utf8_error().valid_up_to());
            SynthError::Broken { path: path.to_path_buf(), line, reason: "this is not UTF-8 text".into() }
        })?;
        Self::parse(&text, path)
    }

    /// Parses a recipe; errors refer to it as `path`.
    ///
    /// # Errors
    /// If it is not a recipe; the message names the line.
    pub fn parse(text: &str, path: &Path) -> Result<Self, SynthError> {
        let file: File = toml::from_str(text).map_err(|error| SynthError::Broken {
            path: path.to_path_buf(),
            line: line_of(text.as_bytes(), error.span().map_or(0, |span| span.start)),
            reason: error.message().lines().collect::<Vec<_>>().join(", "),
        })?;
        let recipe = Reader { text, path }.recipe(file)?;
        Checker { recipe: &recipe }.check()?;
        Ok(recipe)
    }

    /// Replaces all phrasings of a fact by `value`, which is text, not a template.
    ///
    /// # Errors
    /// If there is no such fact.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SynthError> {
        match self.facts.get_mut(name) {
            Some(phrasings) => {
                *phrasings = vec![Template::literal(value)];
                Ok(())
            }
            None => {
                let meant = closest(name, self.facts.keys().map(String::as_str));
                Err(SynthError::NoSuchFact { path: self.path.clone(), name: name.to_owned(), meant })
            }
        }
    }
}

/// The line of a byte, counted from 1.
fn line_of(text: &[u8], byte: usize) -> usize {
    1 + text[..byte.min(text.len())].iter().filter(|&&byte| byte == b'\n').count()
}

/// Converts the file to a recipe, and rejects errors within single parts.
struct Reader<'a> {
    text: &'a str,
    path: &'a Path,
}

impl Reader<'_> {
    fn line<T>(&self, at: &Spanned<T>) -> usize {
        line_of(self.text.as_bytes(), at.span().start)
    }

    fn broken<T>(&self, at: &Spanned<T>, reason: impl Into<String>) -> SynthError {
        SynthError::Broken { path: self.path.to_path_buf(), line: self.line(at), reason: reason.into() }
    }

    fn template(&self, text: &Spanned<String>) -> Result<Template, SynthError> {
        Template::parse(text.get_ref(), self.line(text)).map_err(|malformed| self.broken(text, malformed.to_string()))
    }

    fn templates(&self, phrasings: &Phrasings, name: &Spanned<String>) -> Result<Vec<Template>, SynthError> {
        if phrasings.0.is_empty() {
            return Err(self.broken(name, format!("{:?} needs at least one phrasing", name.get_ref())));
        }
        phrasings.0.iter().map(|text| self.template(text)).collect()
    }

    fn phrasings(&self, map: BTreeMap<Spanned<String>, Phrasings>) -> Result<BTreeMap<String, Vec<Template>>, SynthError> {
        map.into_iter()
            .map(|(name, phrasings)| {
                let templates = self.templates(&phrasings, &name)?;
                Ok((self.name(name)?, templates))
            })
            .collect()
    }

    fn name(&self, name: Spanned<String>) -> Result<String, SynthError> {
        if is_name(name.get_ref()) {
            return Ok(name.into_inner());
        }
        Err(self.broken(&name, format!("{:?} is no name; names are letters, digits and underscores", name.get_ref())))
    }

    fn table(&self, name: &Spanned<String>, table: file::Table) -> Result<Table, SynthError> {
        if let Some(row) = table.rows.iter().find(|row| row.get_ref().len() != table.columns.len()) {
            let (has, wants) = (row.get_ref().len(), table.columns.len());
            return Err(self.broken(row, format!("this row has {has} cells and its table {wants} columns")));
        }
        if table.rows.is_empty() || table.columns.is_empty() {
            return Err(self.broken(name, format!("the table {:?} is empty", name.get_ref())));
        }
        let columns = table.columns.into_iter().map(|column| self.name(column)).collect::<Result<_, _>>()?;
        Ok(Table { columns, rows: table.rows.into_iter().map(Spanned::into_inner).collect() })
    }

    fn recipe(&self, file: File) -> Result<Recipe, SynthError> {
        let at_start = |reason: &str| SynthError::Broken { path: self.path.to_path_buf(), line: 1, reason: reason.into() };
        let shares = [
            ("conversation.personas", file.conversation.personas),
            ("conversation.follow_up", file.conversation.follow_up),
            ("slips.lower", file.slips.lower),
            ("slips.bare", file.slips.bare),
            ("slips.typo", file.slips.typo),
        ];
        if let Some((name, share)) = shares.iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            return Err(at_start(&format!("{name} is {share}; a share is from 0 to 1")));
        }
        if !file.conversation.exchanges.iter().any(|&weight| weight > 0) {
            return Err(at_start("conversation.exchanges must say how often a conversation has 1, 2, … exchanges, such as [3, 1]"));
        }
        if !file.topic.iter().any(|topic| topic.weight > 0 && topic.place != Place::Later) {
            return Err(at_start("there is no [[topic]] that a conversation could open with"));
        }
        let mut names = BTreeSet::new();
        if let Some(twice) = file.topic.iter().find(|topic| !names.insert(topic.name.get_ref().as_str())) {
            return Err(self.broken(&twice.name, format!("there are two topics {:?}", twice.name.get_ref())));
        }
        let numbers = file.numbers.into_iter().map(|(name, [from, to])| {
            if from > to {
                return Err(self.broken(&name, format!("the number {:?} is to be from {from} to {to}, which none is", name.get_ref())));
            }
            if from.unsigned_abs().max(to.unsigned_abs()) > 1 << 53 {
                return Err(self.broken(&name, format!("the number {:?} may become too large to compute with", name.get_ref())));
            }
            Ok((self.name(name)?, (from, to)))
        });
        let tables = file.tables.into_iter().map(|(name, table)| {
            let table = self.table(&name, table)?;
            Ok((self.name(name)?, table))
        });
        let topics = file.topic.iter().map(|topic| self.topic(topic)).collect::<Result<Vec<_>, _>>()?;
        let personas = file.persona.into_iter().map(|persona| self.persona(persona, &topics));
        Ok(Recipe {
            path: self.path.to_path_buf(),
            shape: file.conversation,
            slips: file.slips,
            facts: self.phrasings(file.facts)?,
            words: self.phrasings(file.words)?,
            numbers: numbers.collect::<Result<_, _>>()?,
            tables: tables.collect::<Result<_, _>>()?,
            personas: personas.collect::<Result<_, _>>()?,
            topics,
        })
    }

    fn topic(&self, topic: &file::Topic) -> Result<Topic, SynthError> {
        let exchange = |ask: &Phrasings, answer: &Phrasings| -> Result<Exchange, SynthError> {
            Ok(Exchange { ask: self.templates(ask, &topic.name)?, answer: self.templates(answer, &topic.name)? })
        };
        let results = topic.results.iter().map(|(name, expression)| Ok((self.name(name.clone())?, self.template(expression)?)));
        Ok(Topic {
            name: topic.name.get_ref().clone(),
            weight: topic.weight,
            place: topic.place,
            language: topic.language.clone(),
            results: results.collect::<Result<_, SynthError>>()?,
            first: exchange(&topic.ask, &topic.answer)?,
            then: topic.then.iter().map(|then| exchange(&then.ask, &then.answer)).collect::<Result<_, _>>()?,
        })
    }

    fn persona(&self, persona: file::Persona, topics: &[Topic]) -> Result<Persona, SynthError> {
        let listed = persona.topics.iter().map(|name| {
            let known = topics.iter().position(|topic| topic.name == *name.get_ref());
            known.ok_or_else(|| SynthError::Unknown {
                path: self.path.to_path_buf(),
                line: self.line(name),
                name: name.get_ref().clone(),
                meant: closest(name.get_ref(), topics.iter().map(|topic| topic.name.as_str())),
            })
        });
        let listed: Vec<usize> = listed.collect::<Result<_, _>>()?;
        if let (Some(first), false) =
            (persona.topics.first(), listed.is_empty() || listed.iter().any(|&index| topics[index].place != Place::Later))
        {
            return Err(self.broken(first, "none of this persona's topics may open a conversation"));
        }
        let all = |phrasings: &Phrasings| phrasings.0.iter().map(|text| self.template(text)).collect::<Result<Vec<_>, _>>();
        let system = all(&persona.system)?;
        if system.is_empty() {
            let reason = "a [[persona]] has no system message".to_owned();
            return Err(SynthError::Broken { path: self.path.to_path_buf(), line: 1, reason });
        }
        let answer = persona.answer.as_ref().map(all).transpose()?.unwrap_or_default();
        Ok(Persona { weight: persona.weight, system, set: self.phrasings(persona.set)?, answer, topics: listed })
    }
}

/// Names in a phrasing other than facts, words, numbers and tables.
#[derive(Clone, Copy, Default)]
struct Extra<'a> {
    results: Option<&'a BTreeMap<String, Template>>,
    answer: bool,
}

/// Rejects unknown names, and facts that refer to themselves.
struct Checker<'a> {
    recipe: &'a Recipe,
}

impl Checker<'_> {
    fn check(&self) -> Result<(), SynthError> {
        let recipe = self.recipe;
        let none = Extra::default();
        for (name, phrasings) in recipe.facts.iter().chain(&recipe.words) {
            self.all(phrasings, none)?;
            self.no_cycle(name, phrasings)?;
        }
        for persona in &recipe.personas {
            self.all(&persona.system, none)?;
            for (name, phrasings) in &persona.set {
                self.all(phrasings, none)?;
                if !recipe.facts.contains_key(name) {
                    return Err(self.unknown(name, phrasings[0].line, recipe.facts.keys().cloned()));
                }
                self.no_cycle(name, phrasings)?;
            }
            self.all(&persona.answer, Extra { answer: true, ..none })?;
            if let Some(silent) = persona.answer.iter().find(|template| !names(template).contains("answer")) {
                return Err(self.broken(silent.line, "a persona's answer must hold {answer}".into()));
            }
        }
        for topic in &recipe.topics {
            let extra = Extra { results: Some(&topic.results), ..none };
            for (name, expression) in &topic.results {
                self.all(std::slice::from_ref(expression), none)?;
                if recipe.facts.contains_key(name) || recipe.words.contains_key(name) || recipe.numbers.contains_key(name) {
                    return Err(self.broken(expression.line, format!("{name:?} is already the name of something else")));
                }
            }
            for exchange in std::iter::once(&topic.first).chain(&topic.then) {
                self.all(&exchange.ask, extra)?;
                self.all(&exchange.answer, extra)?;
                if let Some(line) = exchange.ask.iter().find(|template| has_call(template)).map(|template| template.line) {
                    return Err(self.broken(line, "only an answer can call the calculator".into()));
                }
            }
        }
        Ok(())
    }

    fn broken(&self, line: usize, reason: String) -> SynthError {
        SynthError::Broken { path: self.recipe.path.clone(), line, reason }
    }

    fn unknown(&self, name: &str, line: usize, known: impl Iterator<Item = String>) -> SynthError {
        let known: Vec<String> = known.collect();
        let meant = closest(name, known.iter().map(String::as_str));
        SynthError::Unknown { path: self.recipe.path.clone(), line, name: name.to_owned(), meant }
    }

    fn all(&self, templates: &[Template], extra: Extra<'_>) -> Result<(), SynthError> {
        templates.iter().try_for_each(|template| template.slots(&mut |slot| self.slot(slot, template.line, extra)))
    }

    fn slot(&self, slot: &Slot, line: usize, extra: Extra<'_>) -> Result<(), SynthError> {
        let recipe = self.recipe;
        let is_result = extra.results.is_some_and(|results| results.contains_key(&slot.name));
        if slot.call && !is_result {
            let reason = format!("{{{}()}} calls the calculator, and no `let` of this topic has that name", slot.name);
            return Err(self.broken(line, reason));
        }
        let is_cell =
            |(table, column): (&str, &str)| recipe.tables.get(table).is_some_and(|table| table.columns.iter().any(|known| known == column));
        let known = is_result
            || (extra.answer && slot.name == "answer" && slot.filters.is_empty())
            || slot.name.split_once('.').is_some_and(is_cell)
            || recipe.facts.contains_key(&slot.name)
            || recipe.words.contains_key(&slot.name)
            || recipe.numbers.contains_key(&slot.name);
        if known {
            return Ok(());
        }
        let cells = recipe.tables.iter().flat_map(|(name, table)| table.columns.iter().map(move |column| format!("{name}.{column}")));
        let names = recipe.facts.keys().chain(recipe.words.keys()).chain(recipe.numbers.keys());
        let results = extra.results.into_iter().flat_map(BTreeMap::keys);
        Err(self.unknown(&slot.name, line, names.chain(results).cloned().chain(cells)))
    }

    /// Follows the names in the phrasings of `name`; none may lead back to it.
    fn no_cycle(&self, name: &str, phrasings: &[Template]) -> Result<(), SynthError> {
        let mut seen = BTreeSet::new();
        let mut waiting: Vec<(String, usize)> =
            phrasings.iter().flat_map(|template| names(template).into_iter().map(|next| (next, template.line))).collect();
        while let Some((next, line)) = waiting.pop() {
            if next == name {
                return Err(self.broken(line, format!("{name:?} is told in terms of itself")));
            }
            if !seen.insert(next.clone()) {
                continue;
            }
            let persona = self.recipe.personas.iter().filter_map(|persona| persona.set.get(&next));
            let phrasings = self.recipe.facts.get(&next).into_iter().chain(self.recipe.words.get(&next)).chain(persona).flatten();
            waiting.extend(phrasings.flat_map(|template| names(template).into_iter().map(|next| (next, template.line))));
        }
        Ok(())
    }
}

/// The names in a phrasing.
fn names(template: &Template) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let visited: Result<(), std::convert::Infallible> = template.slots(&mut |slot| {
        names.insert(slot.name.clone());
        Ok(())
    });
    let Ok(()) = visited;
    names
}

fn has_call(template: &Template) -> bool {
    template.slots(&mut |slot| if slot.call { Err(()) } else { Ok(()) }).is_err()
}
