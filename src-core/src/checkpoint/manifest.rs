//! `state.json`: the last file of a checkpoint to be written, with the hashes of the others.
//!
//! `{"sha256": …, "format": 1, "step": …, "files": {NAME: {"sha256": …, "bytes": …}}, "tokenizer_sha256": …, "state": …}`.
//! `tokenizer_sha256` is null if the run has no tokenizer. The first field is the hash of every byte after its own closing quote,
//! so that this file is verified too.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::files::digest::hex;

/// The format that this version writes and reads.
const FORMAT: u64 = 1;

/// The longest `state.json`: older ones contain the token ids of the waiting documents.
pub(super) const LONGEST: u64 = 256 << 20;

/// The bytes before the file's own hash.
const OPENING: &[u8] = b"{\"sha256\":\"";

/// The content of `state.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    format: u64,
    pub step: u64,
    pub files: BTreeMap<String, FileRecord>,
    pub tokenizer_sha256: Option<String>,
    /// As raw text: only the loader interprets it, and it may be long.
    pub state: Box<RawValue>,
}

/// Length and hash of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileRecord {
    pub sha256: String,
    pub bytes: u64,
}

impl Manifest {
    pub(super) fn new(step: u64, files: BTreeMap<String, FileRecord>, tokenizer_sha256: Option<String>, state: Box<RawValue>) -> Self {
        Self { format: FORMAT, step, files, tokenizer_sha256, state }
    }

    /// The bytes of `state.json`.
    pub(super) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let body = serde_json::to_vec(self)?;
        let mut rest = b"\",".to_vec();
        rest.extend_from_slice(&body[1..]); // without its opening brace
        rest.push(b'\n');
        Ok([OPENING, digest(&rest).as_bytes(), &rest].concat())
    }

    /// Parses `state.json`; the error continues a sentence after the file's name.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let whole = || {
            let (claimed, rest) = bytes.strip_prefix(OPENING)?.split_at_checked(64)?;
            (digest(rest).as_bytes() == claimed).then_some(())
        };
        // A later format may be verified in another way, so its number is checked even if the hash is wrong.
        #[derive(Deserialize)]
        struct Format {
            format: u64,
        }
        let format = serde_json::from_slice::<Format>(bytes).map(|found| found.format);
        match format {
            Ok(format) if format != FORMAT => {
                return Err(format!("is of format {format}, and this version of nc-core reads format {FORMAT}"));
            }
            _ => whole().ok_or("is half-written or was altered: it does not fit its own sha256")?,
        }
        serde_json::from_slice(bytes).map_err(|error| format!("cannot be read: {error}"))
    }
}

fn digest(rest: &[u8]) -> String {
    hex(&Sha256::digest(rest))
}

#[cfg(test)]
mod tests {
    use serde_json::value::to_raw_value;
    use serde_json::{Value, json};

    use super::*;

    fn manifest(state: Value) -> Manifest {
        let record = FileRecord { sha256: "ab".into(), bytes: 7 };
        Manifest::new(12, [("model.safetensors".to_owned(), record)].into(), Some("cd".into()), to_raw_value(&state).unwrap())
    }

    #[test]
    fn state_comes_back_as_it_was_down_to_the_last_bit_of_a_number() {
        let state =
            json!({"z": u64::MAX, "a": i64::MIN, "f": [0.1 + 0.2, f64::MIN_POSITIVE / 8.0, 1e308, -0.0], "text": "\u{0}\"é", "none": null});
        let decoded = Manifest::decode(&manifest(state.clone()).encode().unwrap()).unwrap();
        assert_eq!(decoded.state.get(), state.to_string());
        let read: Value = serde_json::from_str(decoded.state.get()).unwrap();
        assert_eq!(read["f"][3].as_f64().unwrap().to_bits(), (-0.0f64).to_bits());
        assert_eq!((decoded.step, decoded.files["model.safetensors"].bytes), (12, 7));
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_noticed() {
        let bytes = manifest(json!({"rng": [1, 2, 3]})).encode().unwrap();
        assert!(serde_json::from_slice::<Value>(&bytes).is_ok(), "it is a JSON document");
        for length in 0..bytes.len() {
            assert!(Manifest::decode(&bytes[..length]).is_err(), "cut to {length} bytes");
        }
        for position in 0..bytes.len() {
            for bit in 0..8 {
                let mut altered = bytes.clone();
                altered[position] ^= 1 << bit;
                assert!(Manifest::decode(&altered).is_err(), "bit {bit} of byte {position}");
            }
        }
    }

    #[test]
    fn another_format_is_refused_by_its_number() {
        let error = Manifest::decode(br#"{"format": 7, "checksum": "of another kind"}"#).unwrap_err();
        assert!(error.contains("format 7") && error.contains("reads format 1"), "{error}");
    }
}
