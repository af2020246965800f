//! `tokenizer.json`, the format of Hugging Face's `tokenizers`: reads files from other programs, and writes ours.
//!
//! The file can describe far more than a byte-level BPE. Anything that would make it encode differently from nc-core
//! is rejected by name, never ignored. What makes no difference is ignored: truncation and padding, which
//! transformers sets in each call, and everything about bytes without a token, because every byte must have one.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::split::SPLIT_PATTERN;
use super::vocabulary::Vocabulary;
use super::{BOS, TokenizerError};

/// The most values in a file: four for each token of the largest vocabulary, and some more. Each takes up to a
/// hundred bytes in memory.
const MOST_VALUES: usize = 5 << 18;

/// The longest description of a pre-tokenizer or a post-processor that is parsed, in bytes.
const LONGEST_PART: usize = 1 << 16;

#[derive(serde::Deserialize)]
struct File<'a> {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(borrow)]
    normalizer: Option<&'a RawValue>,
    #[serde(borrow)]
    pre_tokenizer: &'a RawValue,
    #[serde(borrow)]
    post_processor: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Model<'a>,
}

#[derive(serde::Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
}

#[derive(serde::Deserialize)]
struct Model<'a> {
    /// Older files omit it.
    #[serde(rename = "type", default = "bpe")]
    kind: String,
    #[serde(borrow)]
    dropout: Option<&'a RawValue>,
    #[serde(borrow)]
    continuing_subword_prefix: Option<&'a RawValue>,
    #[serde(borrow)]
    end_of_word_suffix: Option<&'a RawValue>,
    #[serde(default)]
    ignore_merges: bool,
    vocab: HashMap<String, u32>,
    merges: Vec<Merge>,
}

fn bpe() -> String {
    "BPE".to_owned()
}

/// A merge is a pair, or in older files both halves with a space between (no token contains a space: it is spelled `Ġ`).
enum Merge {
    Pair(String, String),
    Joined(String),
}

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Not derived: a derived implementation would first buffer the whole value, whatever its size.
        struct MergeVisitor;
        impl<'de> Visitor<'de> for MergeVisitor {
            type Value = Merge;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a merge, which is a pair of tokens")
            }

            fn visit_str<E>(self, text: &str) -> Result<Merge, E> {
                Ok(Merge::Joined(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<Merge, A::Error> {
                let mut half = || pair.next_element::<String>()?.ok_or_else(|| A::Error::custom("a merge is not a pair"));
                let (left, right) = (half()?, half()?);
                match pair.next_element::<IgnoredAny>()? {
                    None => Ok(Merge::Pair(left, right)),
                    Some(_) => Err(A::Error::custom("a merge is not a pair")),
                }
            }
        }
        deserializer.deserialize_any(MergeVisitor)
    }
}

/// Reads a vocabulary from `text`.
pub(super) fn read(text: &str) -> Result<Vocabulary, TokenizerError> {
    let unusable = |what: &str| Err(TokenizerError::Unusable(what.to_owned()));
    // Every value but the first follows one of these; some of them are inside text, which makes little difference.
    if text.bytes().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count() > MOST_VALUES {
        return unusable(&format!("it holds more than the {MOST_VALUES} values that are read"));
    }
    let file: File = serde_json::from_str(text)?;

    if file.normalizer.is_some_and(|part| !looked_into(part).is_ok_and(|part| is_nothing(&part, "normalizers"))) {
        return unusable("it has a normalizer, which nc-core does not support");
    }
    if file.model.dropout.is_some_and(|part| !looked_into(part).is_ok_and(|part| part.as_f64() == Some(0.0))) {
        return unusable("it has dropout, which nc-core does not support");
    }
    let mut affixes = [file.model.continuing_subword_prefix, file.model.end_of_word_suffix].into_iter().flatten();
    if file.model.kind != "BPE" || affixes.any(|affix| affix.get() != "\"\"") {
        return unusable("its model is not a byte-level BPE");
    }
    if !file.post_processor.map_or(Ok(true), |part| looked_into(part).map(|part| is_harmless(&part)))? {
        return unusable("it has a post-processor that adds other tokens than <|bos|> in front, which nc-core does not support");
    }
    check_split(&looked_into(file.pre_tokenizer)?)?;

    let whole_words = file.model.ignore_merges;
    let mut ordinary = file.model.vocab;
    let mut special = Vec::with_capacity(file.added_tokens.len());
    for token in file.added_tokens {
        if !token.special {
            return unusable(&format!("added token {} is not a special token", token.id));
        }
        // Some writers list special tokens among the ordinary ones too.
        if ordinary.remove(&token.content).is_some_and(|id| id != token.id) {
            return unusable(&format!("added token {} has another id in the vocabulary", token.id));
        }
        special.push((token.content, token.id));
    }
    let merges = file.model.merges.into_iter().enumerate().map(|(rank, merge)| match merge {
        Merge::Pair(left, right) => Ok((left, right)),
        Merge::Joined(text) => match text.split_once(' ') {
            Some((left, right)) => Ok((left.to_owned(), right.to_owned())),
            None => Err(TokenizerError::Unusable(format!("merge {rank} is not a pair"))),
        },
    });
    Ok(Vocabulary::new(ordinary, special, merges.collect::<Result<_, _>>()?)?.with_whole_words(whole_words))
}

/// A part of the file as a value, unless it is longer than any known one.
fn looked_into(part: &RawValue) -> Result<Value, TokenizerError> {
    if part.get().len() > LONGEST_PART {
        return Err(TokenizerError::Unusable(format!("it describes a part in more than {LONGEST_PART} bytes")));
    }
    Ok(serde_json::from_str(part.get())?)
}

/// Whether a part is absent, or an empty sequence under `key`.
fn is_nothing(part: &Value, key: &str) -> bool {
    part.is_null() || part["type"] == "Sequence" && part[key].as_array().is_some_and(|parts| parts.iter().all(|part| is_nothing(part, key)))
}

/// The steps of a pre-tokenizer, including those of nested sequences.
fn steps<'a>(part: &'a Value, found: &mut Vec<&'a Value>) {
    match part["pretokenizers"].as_array().filter(|_| part["type"] == "Sequence") {
        Some(parts) => parts.iter().for_each(|part| steps(part, found)),
        None => found.push(part),
    }
}

/// Whether a post-processor does nothing that nc-core does not do itself: a byte-level one only changes offsets, and
/// nc-core prepends `<|bos|>` to every text. Any other adds tokens.
fn is_harmless(post_processor: &Value) -> bool {
    match post_processor["type"].as_str() {
        None => post_processor.is_null(),
        Some("ByteLevel") => true,
        Some("Sequence") => post_processor["processors"].as_array().is_some_and(|all| all.iter().all(is_harmless)),
        Some("TemplateProcessing") => match post_processor["single"].as_array().map(Vec::as_slice) {
            Some([bos, text]) => bos["SpecialToken"]["id"] == BOS && text["Sequence"]["id"] == "A",
            Some([text]) => text["Sequence"]["id"] == "A",
            _ => false,
        },
        Some(_) => false,
    }
}

/// Text must be split by [`SPLIT_PATTERN`] and then converted to bytes, with nothing added.
fn check_split(pre_tokenizer: &Value) -> Result<(), TokenizerError> {
    let mut found = Vec::new();
    steps(pre_tokenizer, &mut found);
    let [split, spell] = found[..] else {
        return Err(TokenizerError::Unusable("it does not split text by a pattern and then into bytes".to_owned()));
    };
    if split["pattern"]["Regex"] != SPLIT_PATTERN || split["behavior"] != "Isolated" || split["invert"] == true {
        return Err(TokenizerError::Unusable("its split pattern is not nanochat's".to_owned()));
    }
    if spell["type"] != "ByteLevel" || spell["add_prefix_space"] != false || spell["use_regex"] != false {
        return Err(TokenizerError::Unusable("it does not spell split text in plain bytes".to_owned()));
    }
    Ok(())
}

/// Writes a vocabulary: always the same text for the same vocabulary.
pub(super) fn write(vocabulary: &Vocabulary) -> String {
    let added: Vec<Value> = vocabulary
        .special()
        .map(|(name, id)| {
            json!({
                "id": id, "content": name, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true
            })
        })
        .collect();
    let vocab: serde_json::Map<String, Value> = vocabulary.ordinary().map(|(spelling, id)| (spelling, id.into())).collect();
    let merges: Vec<(String, String)> = vocabulary.merges().collect();
    let byte_level = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false });
    let file = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                { "type": "Split", "pattern": { "Regex": SPLIT_PATTERN }, "behavior": "Isolated", "invert": false },
                byte_level.clone(),
            ],
        },
        "post_processor": null,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": vocabulary.whole_words(),
            "vocab": vocab,
            "merges": merges,
        },
    });
    format!("{file}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn post_processors_may_put_bos_in_front_and_nothing_else() {
        let bos = json!({"SpecialToken": {"id": "<|bos|>", "type_id": 0}});
        let text = json!({"Sequence": {"id": "A", "type_id": 0}});
        let template = |single: Value| json!({"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": {}});
        let byte_level = json!({"type": "ByteLevel", "trim_offsets": false});
        for harmless in [
            Value::Null,
            byte_level.clone(),
            template(json!([bos, text])),
            template(json!([text])),
            json!({"type": "Sequence", "processors": [byte_level, template(json!([bos, text]))]}),
        ] {
            assert!(is_harmless(&harmless), "{harmless}");
        }
        let eos = json!({"SpecialToken": {"id": "<|assistant_end|>", "type_id": 0}});
        for harmful in [
            template(json!([bos, text, eos])),
            template(json!([eos, text])),
            template(json!([bos])),
            json!({"type": "BertProcessing"}),
            json!({"type": "Sequence", "processors": [byte_level, template(json!([text, eos]))]}),
            json!({"type": "Sequence"}),
            json!("TemplateProcessing"),
        ] {
            assert!(!is_harmless(&harmful), "{harmful}");
        }
    }
}
