//! The template language of phrasings.
//!
//! | written | means |
//! |---|---|
//! | `{name}` | a fact, word, number or result of that name |
//! | `{table.column}` | a cell of the row that was drawn from a table |
//! | `{name:cap}` | the same, through a [`Filter`]; several may follow one another |
//! | `{name()}` | a call to the calculator: the expression and its result as separate parts |
//! | `[this\|that\|]` | one of the alternatives, which may be empty and may hold anything of this table |
//! | `\{` | the character after the backslash, as it is |

use std::fmt;

/// A parsed phrasing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Its pieces, in order.
    pub pieces: Vec<Piece>,
    /// The line of the file that it starts in, counted from 1.
    pub line: usize,
}

/// A piece of a phrasing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text as it is.
    Text(String),
    /// A place to fill.
    Slot(Slot),
    /// Alternatives.
    Choice(Vec<Vec<Piece>>),
}

/// A place to fill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The name, with a dot between table and column.
    pub name: String,
    /// The filters of the value, in order.
    pub filters: Vec<Filter>,
    /// Whether it is written as a call to the calculator.
    pub call: bool,
}

/// A transformation of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The first letter as a capital.
    Cap,
    /// All letters as capitals.
    Upper,
    /// No capitals.
    Lower,
    /// The letters with commas between: `c,a,t`.
    Spell,
    /// The letters from last to first.
    Reverse,
    /// How many letters there are.
    Length,
    /// The first letter.
    First,
    /// The last letter.
    Last,
}

impl Filter {
    const ALL: [(&str, Self); 8] = [
        ("cap", Self::Cap),
        ("upper", Self::Upper),
        ("lower", Self::Lower),
        ("spell", Self::Spell),
        ("reverse", Self::Reverse),
        ("length", Self::Length),
        ("first", Self::First),
        ("last", Self::Last),
    ];

    /// The value, filtered.
    pub fn apply(self, value: &str) -> String {
        let mut chars = value.chars();
        match self {
            Self::Cap => chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default(),
            Self::Upper => value.to_uppercase(),
            Self::Lower => value.to_lowercase(),
            Self::Spell => chars.map(String::from).collect::<Vec<_>>().join(","),
            Self::Reverse => chars.rev().collect(),
            Self::Length => chars.count().to_string(),
            Self::First => chars.next().map(String::from).unwrap_or_default(),
            Self::Last => chars.next_back().map(String::from).unwrap_or_default(),
        }
    }
}

/// A syntax error in a phrasing.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Template {
    /// Parses a phrasing that starts in line `line`.
    pub fn parse(text: &str, line: usize) -> Result<Self, Malformed> {
        let mut chars = text.chars();
        let (pieces, end) = pieces(&mut chars, &[])?;
        debug_assert!(end.is_none(), "nothing ends a phrasing but its end");
        Ok(Self { pieces, line })
    }

    /// A phrasing of literal text.
    pub fn literal(text: &str) -> Self {
        Self { pieces: vec![Piece::Text(text.to_owned())], line: 0 }
    }

    /// Calls `visit` with every slot, including those of all alternatives.
    pub fn slots<E>(&self, visit: &mut dyn FnMut(&Slot) -> Result<(), E>) -> Result<(), E> {
        fn walk<E>(pieces: &[Piece], visit: &mut dyn FnMut(&Slot) -> Result<(), E>) -> Result<(), E> {
            pieces.iter().try_for_each(|piece| match piece {
                Piece::Text(_) => Ok(()),
                Piece::Slot(slot) => visit(slot),
                Piece::Choice(ways) => ways.iter().try_for_each(|way| walk(way, visit)),
            })
        }
        walk(&self.pieces, visit)
    }
}

/// Pieces up to one of the characters in `ends`, which is consumed and returned, or to the end of the text.
fn pieces(chars: &mut std::str::Chars<'_>, ends: &[char]) -> Result<(Vec<Piece>, Option<char>), Malformed> {
    let (mut pieces, mut text) = (Vec::new(), String::new());
    let flush = |text: &mut String, pieces: &mut Vec<Piece>| {
        if !text.is_empty() {
            pieces.push(Piece::Text(std::mem::take(text)));
        }
    };
    while let Some(next) = chars.next() {
        match next {
            '\\' => text.push(chars.next().ok_or_else(|| Malformed("a backslash at the end escapes nothing".into()))?),
            '{' => {
                flush(&mut text, &mut pieces);
                pieces.push(Piece::Slot(slot(chars)?));
            }
            '[' => {
                flush(&mut text, &mut pieces);
                let mut ways = Vec::new();
                loop {
                    let (way, end) = self::pieces(chars, &['|', ']'])?;
                    ways.push(way);
                    match end {
                        Some('|') => {}
                        Some(_) => break,
                        None => return Err(Malformed("a [ is never closed; write \\[ for the character".into())),
                    }
                }
                pieces.push(Piece::Choice(ways));
            }
            end if ends.contains(&end) => {
                flush(&mut text, &mut pieces);
                return Ok((pieces, Some(end)));
            }
            '}' | ']' => return Err(Malformed(format!("a {next} closes nothing; write \\{next} for the character"))),
            other => text.push(other),
        }
    }
    flush(&mut text, &mut pieces);
    Ok((pieces, None))
}

/// The slot whose opening brace has been read.
fn slot(chars: &mut std::str::Chars<'_>) -> Result<Slot, Malformed> {
    let rest = chars.as_str();
    let end = rest.find('}').ok_or_else(|| Malformed("a { is never closed; write \\{ for the character".into()))?;
    let inside = &rest[..end];
    *chars = rest[end + 1..].chars();
    let mut words = inside.split(':').map(str::trim);
    let first = words.next().unwrap_or_default();
    let (name, call) = match first.strip_suffix("()") {
        Some(name) => (name, true),
        None => (first, false),
    };
    if !name.split('.').all(is_name) {
        return Err(Malformed(format!("{{{inside}}} is no name; names are letters, digits and underscores")));
    }
    let filters = words.map(|word| {
        let known = Filter::ALL.iter().find(|(name, _)| *name == word).map(|(_, filter)| *filter);
        known.ok_or_else(|| {
            let all = Filter::ALL.map(|(name, _)| name).join(", ");
            Malformed(format!("{{{inside}}} uses {word:?}, which is none of {all}"))
        })
    });
    let filters = filters.collect::<Result<Vec<_>, _>>()?;
    if call && !filters.is_empty() {
        return Err(Malformed(format!("{{{inside}}} is a call, whose result cannot be changed")));
    }
    Ok(Slot { name: name.to_owned(), filters, call })
}

/// Whether `name` is a valid name.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        let template = Template::parse(r"a \{b\} {x.y:upper:first} [one|{two()}|[in|]|]!", 7).unwrap();
        let slot = |name: &str, filters: &[Filter], call| Piece::Slot(Slot { name: name.into(), filters: filters.into(), call });
        let text = |text: &str| Piece::Text(text.into());
        let inner = Piece::Choice(vec![vec![text("in")], vec![]]);
        let choice = Piece::Choice(vec![vec![text("one")], vec![slot("two", &[], true)], vec![inner], vec![]]);
        let pieces = vec![text("a {b} "), slot("x.y", &[Filter::Upper, Filter::First], false), text(" "), choice, text("!")];
        assert_eq!(template, Template { pieces, line: 7 });
        let mut names = Vec::new();
        let mut note = |slot: &Slot| {
            names.push(slot.name.clone());
            Ok::<_, ()>(())
        };
        template.slots(&mut note).unwrap();
        assert_eq!(names, ["x.y", "two"]);
    }

    #[test]
    fn malformed_phrasings_are_refused_by_what_is_wrong() {
        for (text, says) in [
            ("{a", "{ is never closed"),
            ("a}", "} closes nothing"),
            ("[a|b", "[ is never closed"),
            ("a]", "] closes nothing"),
            ("{}", "no name"),
            ("{a b}", "no name"),
            ("{a.}", "no name"),
            ("{a:shout}", "none of cap, upper"),
            ("{a():cap}", "cannot be changed"),
            ("a\\", "escapes nothing"),
        ] {
            let error = Template::parse(text, 1).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn filters_work_on_characters_not_bytes() {
        let filtered = |filter: Filter| filter.apply("élan");
        assert_eq!([Filter::Cap, Filter::Upper, Filter::Spell, Filter::Reverse].map(filtered), ["Élan", "ÉLAN", "é,l,a,n", "nalé"]);
        assert_eq!([Filter::Length, Filter::First, Filter::Last].map(filtered), ["4", "é", "n"]);
        assert_eq!(Filter::ALL.map(|(_, filter)| filter.apply("")), ["", "", "", "", "", "0", "", ""]);
    }
}
