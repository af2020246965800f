//! `tokenizer.pkl`: a pickled `tiktoken.Encoding`, which is a dict of a name, a split pattern, the ranks of all tokens
//! and the ids of the special ones.

use std::io::Read;
use std::path::Path;

use super::error::{PickleProblem, TorchError};
use super::pickle::{self, Global, Object, Pickle, Usage, Value};
use crate::files::StandIn;
use crate::files::plain::open_regular;
use crate::files::shown::short;
use crate::tokenizer::Tokenizer;

/// The only global that such a pickle uses.
const GLOBALS: &[Global] = &[Global { module: "tiktoken.core", name: "Encoding", usage: Usage::Class }];

/// Reads the tokenizer that nanochat stores with its checkpoints as `tokenizer.pkl`.
///
/// # Errors
/// If the file cannot be read, is not such a pickle, or contains a tokenizer that [`Tokenizer::from_ranks`] rejects.
pub fn read_tiktoken(path: &Path) -> Result<Tokenizer, TorchError> {
    let io = |source| TorchError::Io { path: path.to_path_buf(), source };
    let mut bytes = Vec::new();
    open_regular(path).and_then(|file| file.take(pickle::LONGEST as u64 + 1).read_to_end(&mut bytes)).map_err(io)?;
    match StandIn::of(&bytes) {
        Some(found) => Err(TorchError::StandIn { path: path.to_path_buf(), found }),
        None => tiktoken_from_bytes(&bytes, path),
    }
}

/// The same for bytes in memory; errors refer to them as `path`.
pub fn tiktoken_from_bytes(bytes: &[u8], path: &Path) -> Result<Tokenizer, TorchError> {
    let refused = |offset, problem| TorchError::Pickle { path: path.to_path_buf(), offset, problem };
    let pickle = Pickle::read(bytes, GLOBALS).map_err(|error| refused(error.offset, error.problem))?;
    let no_encoding = |problem: String| refused(bytes.len(), PickleProblem::NoEncoding(problem));
    let Encoding { pattern, ranks, special } = encoding(&pickle).map_err(no_encoding)?;
    Tokenizer::from_ranks(pattern, ranks, special).map_err(|source| TorchError::Tokenizer { path: path.to_path_buf(), source })
}

/// The parts of an encoding.
struct Encoding<'a> {
    pattern: &'a str,
    ranks: Vec<(&'a [u8], u32)>,
    special: Vec<(&'a str, u32)>,
}

fn encoding<'a>(pickle: &Pickle<'a>) -> Result<Encoding<'a>, String> {
    let state = match pickle.root() {
        Value::Object(index) => match pickle.object(index) {
            (_, Object::Instance { state: Some(state) }) => *state,
            _ => return Err("it holds something else".to_owned()),
        },
        _ => return Err("it holds something else".to_owned()),
    };
    // An encoding that is built into tiktoken is pickled as its name.
    let parts = pickle.dict(state).ok_or("it has no parts of its own")?;
    let part = |wanted: &str| {
        let found = parts.iter().find(|(key, _)| matches!(key, Value::Text(key) if *key == wanted));
        found.map(|(_, value)| *value).ok_or_else(|| format!("it has no {wanted}"))
    };
    let known = ["name", "pat_str", "mergeable_ranks", "special_tokens"];
    if let Some((Value::Text(key), _)) = parts.iter().find(|(key, _)| !matches!(key, Value::Text(key) if known.contains(key))) {
        return Err(format!("it has the unknown part {}", short(key)));
    }

    let Value::Text(pattern) = part("pat_str")? else { return Err("its pat_str is no text".to_owned()) };
    let ranks = pickle.dict(part("mergeable_ranks")?).ok_or("its mergeable_ranks are no dict")?;
    let ranks = ranks.iter().map(|(token, rank)| match (token, rank) {
        (Value::Bytes(token), Value::Int(rank)) => u32::try_from(*rank).ok().map(|rank| (*token, rank)),
        _ => None,
    });
    let special = pickle.dict(part("special_tokens")?).ok_or("its special_tokens are no dict")?;
    let special = special.iter().map(|(name, id)| match (name, id) {
        (Value::Text(name), Value::Int(id)) => u32::try_from(*id).ok().map(|id| (*name, id)),
        _ => None,
    });
    Ok(Encoding {
        pattern,
        ranks: ranks.collect::<Option<_>>().ok_or("a mergeable rank is not of bytes and a 32-bit number")?,
        special: special.collect::<Option<_>>().ok_or("a special token is not of a name and a 32-bit number")?,
    })
}
