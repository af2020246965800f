//! Token ids in a file, for `score` and `generate`.

use std::path::Path;

use serde::Deserialize;

use super::Failure;
use crate::model::Config;

#[derive(Deserialize)]
#[serde(untagged)]
enum Ids {
    List(Vec<u32>),
    Object { ids: Vec<u32> },
}

/// Reads a JSON list of token ids, or an object with the list `ids`.
pub fn read(path: &Path) -> Result<Vec<u32>, Failure> {
    let shown = path.display();
    let text = std::fs::read(path).map_err(|error| Failure::input(format!("cannot read {shown}: {error}")))?;
    let parsed = serde_json::from_slice(&text);
    let (Ids::List(ids) | Ids::Object { ids }) =
        parsed.map_err(|_| Failure::input(format!("{shown} must hold a JSON list of token ids, like [1, 2, 3]")))?;
    Ok(ids)
}

/// Rejects ids that are not in the vocabulary of a run's model.
pub fn check(ids: &[u32], model: &Config, run: &str) -> Result<(), Failure> {
    match ids.iter().find(|&&id| id as usize >= model.vocab_size) {
        Some(id) => {
            let size = model.vocab_size;
            Err(Failure::input(format!("there is no token {id}: the vocabulary of run {run} has {size}, counted from 0")))
        }
        None => Ok(()),
    }
}
