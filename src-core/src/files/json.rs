//! JSON as Python writes it: with `NaN`, `Infinity` and `-Infinity` as values, though JSON has no such numbers.
//!
//! Text is parsed as strict JSON first. Only if that fails, and only if one of the three words occurs outside of a string,
//! it is parsed again with each of them replaced by a special object. A field that is not used may then
//! contain one; a field that is used rejects the object, whatever its type, and the error names the field. No other
//! extensions of JSON are allowed.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::{Deserializer, Value};
use serde_path_to_error::{Path, Segment};

/// Python's words. Of those with a common prefix, the longest comes first.
const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// The key of the object that replaces a word.
const KEY: &str = "nc-core: no JSON number";

/// Text that is not JSON, or JSON of another shape than expected.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// An error of the parser.
    #[error("{reason}{place}")]
    Json {
        /// The reason. It may quote a value of the text.
        reason: String,
        /// The position in the text.
        place: Place,
        /// Whether the text is JSON but not of the expected shape.
        data: bool,
    },
    /// A field that is used holds `NaN`, `Infinity` or `-Infinity`.
    #[error("`{field}` is {word}, which is not a number that can be used")]
    NotFinite {
        /// The path to the field, such as `loop_state.step`.
        field: String,
        /// The word.
        word: &'static str,
    },
}

/// A position in a text, both counted from 1; the line is 0 if there is no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column, in bytes.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 { Ok(()) } else { write!(f, " at line {} column {}", self.line, self.column) }
    }
}

impl JsonError {
    /// Whether the text is JSON, but not of the expected shape.
    pub fn is_data(&self) -> bool {
        matches!(self, Self::Json { data: true, .. } | Self::NotFinite { .. })
    }

    /// What is wrong, without the position. It may quote a value of the text if [`is_data`](Self::is_data).
    pub fn reason(&self) -> String {
        match self {
            Self::Json { reason, .. } => reason.clone(),
            Self::NotFinite { .. } => self.to_string(),
        }
    }

    /// The column in bytes from 1; 0 if unknown.
    pub fn column(&self) -> usize {
        match self {
            Self::Json { place, .. } => place.column,
            Self::NotFinite { .. } => 0,
        }
    }

    fn at(error: &serde_json::Error, place: Place) -> Self {
        let said = error.to_string();
        let reason = said.split(" at line ").next().unwrap_or(&said).to_owned();
        Self::Json { reason, place, data: error.is_data() }
    }
}

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> Self {
        Self::at(&error, Place { line: error.line(), column: error.column() })
    }
}

/// Parses a value from `text`. In a [`Value`], Python's words are objects that [`not_finite`] recognises.
///
/// # Errors
/// If the text is not JSON except for the words, not of the shape of `T`, or contains a word in a field that `T` uses.
pub fn from_slice<T: DeserializeOwned>(text: &[u8]) -> Result<T, JsonError> {
    let strict = match serde_json::from_slice(text) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let Some(Marked { text: marked, marks }) = mark(text) else { return Err(strict.into()) };
    let mut deserializer = Deserializer::from_slice(&marked);
    let read = serde_path_to_error::deserialize(&mut deserializer);
    let error = match read {
        Ok(value) => match deserializer.end() {
            Ok(()) => return Ok(value),
            Err(error) => error,
        },
        Err(error) => {
            let whole = serde_json::from_slice(&marked).unwrap_or(Value::Null);
            match blamed(error.path(), &whole) {
                Some(error) => return Err(error),
                None => error.into_inner(),
            }
        }
    };
    Err(JsonError::at(&error, original(&marks, Place { line: error.line(), column: error.column() })))
}

/// The same for a string.
///
/// # Errors
/// As [`from_slice`].
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, JsonError> {
    from_slice(text.as_bytes())
}

/// Converts a value from [`from_slice`].
///
/// # Errors
/// If it is not of the shape of `T`, or contains one of Python's words in a field that `T` uses.
pub fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T, JsonError> {
    serde_path_to_error::deserialize(value).map_err(|error| blamed(error.path(), value).unwrap_or_else(|| error.into_inner().into()))
}

/// Python's word that a value represents, if any.
pub fn not_finite(value: &Value) -> Option<&'static str> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    word(KEY, object.get(KEY)?.as_str()?)
}

/// Python's word that an object represents, by its only key and the text there, if any.
pub fn word(key: &str, text: &str) -> Option<&'static str> {
    WORDS.into_iter().find(|known| key == KEY && *known == text)
}

/// The error for one of Python's words at `path`, or on the way to it: the object in its place may be read as a map.
fn blamed(path: &Path, mut value: &Value) -> Option<JsonError> {
    let mut field = String::new();
    for segment in path.iter() {
        if not_finite(value).is_some() {
            break;
        }
        value = match segment {
            Segment::Seq { index } => {
                field.push_str(&format!("[{index}]"));
                value.get(index)?
            }
            Segment::Map { key } => {
                field.push_str(if field.is_empty() { "" } else { "." });
                field.push_str(key);
                value.get(key)?
            }
            Segment::Enum { .. } | Segment::Unknown => return None,
        };
    }
    not_finite(value).map(|word| JsonError::NotFinite { field, word })
}

/// A text with objects in place of Python's words.
struct Marked {
    text: Vec<u8>,
    marks: Vec<Mark>,
}

/// One object.
struct Mark {
    /// Its offset.
    place: Place,
    /// How much longer it is than the word.
    longer: usize,
}

/// Replaces each word outside of strings by an object; `None` if there is no word. If the text has other errors, it still has
/// them afterwards.
fn mark(text: &[u8]) -> Option<Marked> {
    let mut marked = Vec::new();
    let mut marks = Vec::new();
    let (mut copied, mut at, mut in_string) = (0, 0, false);
    // Where the line begins in the replaced text, as if all of the text before were copied.
    let (mut line, mut line_start, mut grown) = (1, 0, 0);
    while at < text.len() {
        match text[at] {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'\n' => (line, line_start) = (line + 1, at + grown + 1),
            b'-' | b'I' | b'N' if !in_string => {
                if let Some(word) = WORDS.into_iter().find(|word| text[at..].starts_with(word.as_bytes())) {
                    let object = format!("{{\"{KEY}\":\"{word}\"}}");
                    let longer = object.len() - word.len();
                    marks.push(Mark { place: Place { line, column: at + grown - line_start + 1 }, longer });
                    marked.extend_from_slice(&text[copied..at]);
                    marked.extend_from_slice(object.as_bytes());
                    grown += longer;
                    at += word.len();
                    copied = at;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    if marks.is_empty() {
        return None;
    }
    marked.extend_from_slice(&text[copied..]);
    Some(Marked { text: marked, marks })
}

/// The position in the original text for a position in the replaced text.
fn original(marks: &[Mark], place: Place) -> Place {
    let before = marks.iter().filter(|mark| mark.place.line == place.line && mark.place.column < place.column);
    // An error inside an object is one at the word.
    let longer: usize = before.map(|mark| mark.longer.min(place.column - mark.place.column)).sum();
    Place { column: place.column - longer, ..place }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use serde::Deserialize;
    use serde::de::IgnoredAny;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Meta {
        step: u64,
        #[serde(default)]
        val_bpb: Option<f64>,
        name: Option<String>,
        #[serde(default)]
        inner: HashMap<String, Vec<f64>>,
    }

    fn refused<T: DeserializeOwned + fmt::Debug>(text: &str) -> String {
        from_str::<T>(text).expect_err(text).to_string()
    }

    #[test]
    fn words_of_python_are_read_where_nobody_reads_them() {
        let text = r#"{"a": NaN, "step": 7, "b": [Infinity, -Infinity, {"c": NaN}], "val_bpb": null}"#;
        let meta: Meta = from_str(text).unwrap();
        assert_eq!((meta.step, meta.val_bpb, meta.name, meta.inner.len()), (7, None, None, 0));
        for text in ["NaN", " -Infinity\n", "[NaN,NaN]", "{\"x\":\tInfinity\n}"] {
            from_str::<IgnoredAny>(text).unwrap();
        }
    }

    #[test]
    fn a_field_that_is_read_refuses_them_by_name() {
        for (text, expected) in [
            (r#"{"step": NaN}"#, "`step` is NaN, which is not a number that can be used"),
            (r#"{"step": 1, "val_bpb": Infinity}"#, "`val_bpb` is Infinity, which is not a number that can be used"),
            (r#"{"step": 1, "name": -Infinity}"#, "`name` is -Infinity, which is not a number that can be used"),
            (r#"{"step": 1, "inner": NaN}"#, "`inner` is NaN, which is not a number that can be used"),
            (r#"{"step": 1, "inner": {"x": [1.5, NaN]}}"#, "`inner.x[1]` is NaN, which is not a number that can be used"),
        ] {
            assert_eq!(refused::<Meta>(text), expected);
            let value: Value = from_str(text).unwrap();
            assert_eq!(from_value::<Meta>(&value).unwrap_err().to_string(), expected);
        }
        // Other errors are reported as usual.
        assert_eq!(refused::<Meta>(r#"{"x": NaN, "step": -1}"#), "invalid value: integer `-1`, expected u64 at line 1 column 21");
        assert_eq!(refused::<Meta>(r#"{"x": NaN}"#), "missing field `step` at line 1 column 10");
        assert_eq!(refused::<Meta>(r#"{"step": 1, "x": NaN, "step": 1}"#), "duplicate field `step` at line 1 column 28");
    }

    #[test]
    fn values_keep_them_apart_from_all_else() {
        let value: Value = from_str(r#"["NaN", NaN, {"NaN": 1}, -Infinity, null]"#).unwrap();
        let words: Vec<_> = value.as_array().unwrap().iter().map(not_finite).collect();
        assert_eq!(words, [None, Some("NaN"), None, Some("-Infinity"), None]);
        assert_eq!(value[0], "NaN");
    }

    #[test]
    fn nothing_else_is_allowed() {
        for text in [
            "nan",
            "NAN",
            "Nan",
            "inf",
            "infinity",
            "+Infinity",
            "+NaN",
            "-NaN",
            "--Infinity",
            "- Infinity",
            "NaN NaN",
            "NaNNaN",
            "1NaN",
            "NaN1",
            "[NaN,]",
            "{NaN: 1}",
            "{\"a\": NaN,}",
            "[NaN // comment\n]",
            "/* */ NaN",
            "[NaN",
            "\"NaN",
            "['NaN']",
            "[NaN 1]",
            "[1 NaN]",
            "[01, NaN]",
            "[NaN, 1e999]",
            "{\"a\": NaN} {}",
            "xNaN",
            "trueNaN",
            "Infinity.0",
            "NaNs",
        ] {
            assert!(from_str::<Value>(text).is_err(), "{text}");
        }
        // In strings they are text.
        let text = r#"["NaN", "\"Infinity", "\\", "-Infinity\\\" NaN"]"#;
        assert_eq!(from_str::<Value>(text).unwrap(), serde_json::from_str::<Value>(text).unwrap());
        assert!(mark(text.as_bytes()).is_none());
    }

    #[test]
    fn errors_are_placed_in_the_text_as_it_was() {
        for (text, place) in [
            ("[NaN, Infinity, x]", Place { line: 1, column: 17 }),
            ("[NaN,\n NaN, x]", Place { line: 2, column: 7 }),
            ("[NaN\n,\n x, NaN]", Place { line: 3, column: 2 }),
        ] {
            match from_str::<Value>(text).unwrap_err() {
                JsonError::Json { reason, place: found, data } => {
                    assert_eq!((reason.as_str(), found, data), ("expected value", place, false))
                }
                other => panic!("{other}"),
            }
        }
        assert!(from_slice::<Value>(b"[NaN, \"\xff\"]").is_err());
    }

    /// Any JSON, with `words` at some of its leaves.
    fn json(words: bool) -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<i32>().prop_map(|number| number.to_string()),
            "[a-zN\\\\\" -]{0,8}".prop_map(|text| serde_json::to_string(&text).unwrap()),
            Just("\"NaN\"".to_owned()),
            prop::sample::select(WORDS.to_vec()).prop_map(move |word| if words { word.to_owned() } else { "0".to_owned() }),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(" ,"))),
                prop::collection::vec(("[a-cN\\\\\"]{0,3}", inner), 0..4).prop_map(|items| {
                    let items: Vec<String> =
                        items.iter().map(|(key, item)| format!("{}: {item}", serde_json::to_string(key).unwrap())).collect();
                    format!("{{{}}}", items.join(",\n"))
                }),
            ]
        })
    }

    /// Python's words in a value, in order.
    fn words(value: &Value, found: &mut Vec<&'static str>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| words(item, found)),
            Value::Object(items) if not_finite(value).is_none() => items.values().for_each(|item| words(item, found)),
            _ => found.extend(not_finite(value)),
        }
    }

    proptest! {
        #[test]
        fn strict_json_is_read_as_ever(text in json(false)) {
            prop_assert_eq!(from_str::<Value>(&text).unwrap(), serde_json::from_str::<Value>(&text).unwrap());
            prop_assert!(mark(text.as_bytes()).is_none());
        }

        #[test]
        fn words_are_found_where_they_stand(text in json(true)) {
            let value: Value = from_str(&text).unwrap();
            from_str::<IgnoredAny>(&text).unwrap();
            let marks = mark(text.as_bytes()).map_or(0, |marked| marked.marks.len());
            let mut found = Vec::new();
            words(&value, &mut found);
            // A duplicate key hides its earlier value.
            prop_assert!(found.len() <= marks, "{text}");
            prop_assert!(text.matches("\": ").count() > 0 || found.len() == marks, "{text}");
        }
    }
}
