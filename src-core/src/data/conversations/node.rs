//! JSON as it is written: an object keeps every key, also duplicates, so that nothing in a line of
//! conversations is dropped unseen.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::files::json;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Number(f64),
    /// `NaN` or an infinity, as Python writes it.
    NotFinite(&'static str),
    Text(String),
    List(Vec<Node>),
    Object(Object),
}

impl Node {
    /// Whether it contains non-blank text at any depth.
    pub(super) fn holds_text(&self) -> bool {
        match self {
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::NotFinite(_) => false,
            Self::Text(text) => !text.is_empty(),
            Self::List(items) => items.iter().any(Self::holds_text),
            Self::Object(object) => object.0.iter().any(|(_, value)| value.holds_text()),
        }
    }
}

/// The keys of an object with their values, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Object(Vec<(String, Node)>);

impl Object {
    /// Removes and returns the value at `key`.
    pub(super) fn take(&mut self, key: &str) -> Option<Node> {
        let at = self.0.iter().position(|(found, _)| found == key)?;
        Some(self.0.remove(at).1)
    }

    /// The remaining keys and values.
    pub(super) fn rest(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Whether `key` occurs more than once.
    pub(super) fn has_twice(&self, key: &str) -> bool {
        self.rest().filter(|(found, _)| *found == key).count() > 1
    }

    /// The first key that occurs more than once.
    pub(super) fn twice(&self) -> Option<&str> {
        self.rest().map(|(key, _)| key).find(|key| self.has_twice(key))
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;
        impl<'de> Visitor<'de> for AnyValue {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
                Ok(Node::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
                Ok(Node::Number(value as f64))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
                Ok(Node::Number(value as f64))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
                Ok(Node::Number(value))
            }

            fn visit_str<E>(self, text: &str) -> Result<Node, E> {
                Ok(Node::Text(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Node, E> {
                Ok(Node::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Node::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
                let mut object = Object::default();
                while let Some(entry) = entries.next_entry()? {
                    object.0.push(entry);
                }
                Ok(match object.0.as_slice() {
                    [(key, Node::Text(text))] => json::word(key, text).map_or(Node::Object(object), Node::NotFinite),
                    _ => Node::Object(object),
                })
            }
        }
        deserializer.deserialize_any(AnyValue)
    }
}
