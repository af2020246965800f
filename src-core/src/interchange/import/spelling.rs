//! Finds the tokenizer of an imported model, and checks that it belongs to the model.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::stage::Stage;
use super::{ImportError, json};
use crate::files::plain::open_regular;
use crate::interchange::torch::{TorchFile, read_tiktoken};
use crate::model::Config;
use crate::tokenizer::{Tokenizer, TokenizerError};

/// The possible files of a tokenizer; the first is preferred.
pub(super) const FILES: [&str; 2] = ["tokenizer.pkl", "tokenizer.json"];

/// nanochat's file with the number of bytes of each token.
const BYTES_FILE: &str = "token_bytes.pt";

/// A tokenizer and the file that it was read from.
pub(super) struct Spelling {
    pub tokenizer: Tokenizer,
    path: PathBuf,
}

impl Spelling {
    /// Reads a `tokenizer.json`, or a `tokenizer.pkl` as nanochat saves it; or the one in a folder.
    pub fn open(path: &Path) -> Result<Self, ImportError> {
        if path.is_dir() {
            let none = || ImportError::refused(path, format!("holds neither {} nor {}", FILES[0], FILES[1]));
            return beside(path)?.ok_or_else(none);
        }
        let tokenizer = if is_pickle(path)? { read_tiktoken(path)? } else { Tokenizer::from_file(path)? };
        Ok(Self { tokenizer, path: path.to_path_buf() })
    }

    /// Checks that it is the tokenizer of a model: the same number of ids, and for each as many bytes as in `token_bytes.pt`
    /// next to it, if that exists.
    pub fn fit(&self, config: &Config) -> Result<(), ImportError> {
        let (has, wants) = (self.tokenizer.vocab_size(), config.vocab_size);
        if has != wants {
            return Err(self.other(format!("it has {has} ids and the model {wants}")));
        }
        self.check_bytes()
    }

    /// Checks that it has this hash, if one is known.
    pub fn check_hash(&self, sha256: Option<&str>) -> Result<(), ImportError> {
        match sha256 {
            Some(sha256) if sha256 != self.tokenizer.hash() => {
                Err(self.other("it is another one than the model was exported with: its sha256 is not the one in config.json".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Compares it with nanochat's own count of the bytes of each token.
    fn check_bytes(&self) -> Result<(), ImportError> {
        let path = self.path.with_file_name(BYTES_FILE);
        if path.symlink_metadata().is_err() {
            return Ok(());
        }
        let mut file = TorchFile::open(&path)?;
        let counts = match file.tensors() {
            [_] => file.integers(0)?,
            other => {
                return Err(ImportError::refused(&path, format!("holds {} tensors; it should hold the bytes of each token", other.len())));
            }
        };
        let own = self.tokenizer.token_bytes();
        if counts.len() != own.len() {
            return Err(self.other(format!("it has {} ids, and {} beside it has {}", own.len(), BYTES_FILE, counts.len())));
        }
        match counts.iter().zip(&own).position(|(count, own)| *count != i64::from(*own)) {
            Some(id) => Err(self.other(format!("its token {id} has {} bytes, and by {BYTES_FILE} beside it {}", own[id], counts[id]))),
            None => Ok(()),
        }
    }

    /// The same for a table that may have been saved with its padding: ids of the padding are not tokens, and are
    /// removed from the vocabulary. Returns a note if so.
    pub fn fit_padded(&self, config: &mut Config) -> Result<Option<String>, ImportError> {
        let (has, rows) = (self.tokenizer.vocab_size(), config.vocab_size);
        let unpadded = Config { vocab_size: has, ..config.clone() };
        if has < rows && unpadded.padded_vocab() == rows {
            *config = unpadded;
            self.check_bytes()?;
            return Ok(Some(format!("the last {} rows of the vocabulary are padding: no token has their ids", rows - has)));
        }
        self.fit(config).map(|()| None)
    }

    fn other(&self, why: String) -> ImportError {
        ImportError::OtherTokenizer { tokenizer: self.path.clone(), why }
    }
}

/// Whether a file is a pickle: by the first byte of protocols from 2 on, or else by its name.
fn is_pickle(path: &Path) -> Result<bool, ImportError> {
    let mut head = Vec::new();
    open_regular(path).and_then(|file| file.take(64).read_to_end(&mut head)).map_err(ImportError::io(path))?;
    let named = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("pkl"));
    Ok(head.first() == Some(&0x80) || named && head.trim_ascii_start().first() != Some(&b'{'))
}

/// Reads the tokenizer of a given file: a `tokenizer.json`, or a `tokenizer.pkl` as nanochat saves it. Nothing
/// in the pickle is executed. A folder means the tokenizer in it.
///
/// # Errors
/// If there is no such file, or it contains no tokenizer that nc-core can use.
pub fn open_tokenizer(path: &Path) -> Result<Tokenizer, ImportError> {
    match path.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(TokenizerError::Missing { path: path.to_path_buf() }.into()),
        _ => Ok(Spelling::open(path)?.tokenizer),
    }
}

/// The tokenizer in a folder, if one is there.
pub(super) fn beside(folder: &Path) -> Result<Option<Spelling>, ImportError> {
    let found = FILES.iter().map(|name| folder.join(name)).find(|path| path.symlink_metadata().is_ok());
    found.map(|path| Spelling::open(&path)).transpose()
}

/// The tokenizer of the model whose checkpoints are in `folder`: next to them, or in `tokenizer/` there, next to the models,
/// or next to the stages; or the one of the dataset that its experiment names.
pub(super) fn near(folder: &Path) -> Result<Option<Spelling>, ImportError> {
    if let Some(found) = beside(folder)? {
        return Ok(Some(found));
    }
    // A relative path has no parents beyond its first component.
    let folder = std::path::absolute(folder).map_err(ImportError::io(folder))?;
    for ancestor in folder.ancestors().take(3) {
        if let Some(found) = beside(&ancestor.join("tokenizer"))? {
            return Ok(Some(found));
        }
    }
    match experiment_tokenizer(&folder)? {
        Some(place) => beside(&place),
        None => Ok(None),
    }
}

/// The place of the tokenizer since September 2026, for the experiment that `folder` belongs to.
fn experiment_tokenizer(folder: &Path) -> Result<Option<PathBuf>, ImportError> {
    /// `meta.json` of an experiment.
    #[derive(Deserialize)]
    struct Meta {
        dataset: Option<String>,
    }
    // BASE/experiments/NAME/TAG/STAGE, and BASE/datasets/DATASET/tokenizer.
    let (Some(experiment), Some(base)) = (folder.ancestors().nth(2), folder.ancestors().nth(4)) else { return Ok(None) };
    let path = experiment.join("meta.json");
    if Stage::in_experiment(folder).is_none() || !path.is_file() {
        return Ok(None);
    }
    let meta: Meta = json::read(&path)?;
    // A name, not a path: the file is untrusted.
    let is_name = |name: &String| Path::new(name).file_name().is_some_and(|last| last == name.as_str());
    Ok(meta.dataset.filter(is_name).map(|dataset| base.join("datasets").join(dataset).join("tokenizer")))
}
