//! Documents that wait to be packed: what is kept of them in memory, and in a saved state.
//!
//! A document may have any length, and best fit leaves the longest waiting. But a row takes at most its own length of
//! one, so only that many tokens are kept; for the rest the number is enough. A saved state contains no
//! tokens: only the position of each document, where resuming reads it again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::DataError;
use super::documents::{Found, Position};
use super::encode::Encode;
use super::file::Split;
use super::files::DataSet;
use super::format::{Place, Reader};
use super::packing::Packable;
use crate::files::digest::hex;

/// Texts are tokenised as soon as they have this many bytes in total, so that few surplus token ids are held at a time.
const ENCODED_AT_ONCE: usize = 4 << 20;

/// The fewest waiting documents while a row is packed: with more to choose from, less is cropped.
pub(super) const WAITING: usize = 1000;

/// A document that waits to be packed. Clones share its tokens.
#[derive(Clone, Debug)]
pub(super) struct Document {
    /// Its position; unknown for documents of older states.
    at: Option<At>,
    /// The number of its tokens, including `<|bos|>`.
    length: usize,
    /// The first tokens, as many as a row can take.
    tokens: Arc<[u32]>,
    digest: u64,
}

/// The position of a document in the files of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct At {
    file: usize,
    row_group: usize,
    offset: u64,
}

impl From<Position> for At {
    fn from(Position { file, row_group, offset, .. }: Position) -> Self {
        Self { file, row_group, offset }
    }
}

impl Document {
    /// A document of `bos` followed by `tokens`, of which a row can take `keep`.
    fn new(at: Option<At>, bos: u32, tokens: &[u32], keep: usize) -> Self {
        let kept = std::iter::once(bos).chain(tokens.iter().copied()).take(keep).collect();
        Self::kept(at, tokens.len() + 1, kept)
    }

    fn kept(at: Option<At>, length: usize, tokens: Arc<[u32]>) -> Self {
        let mut hash = Sha256::new();
        hash.update((length as u64).to_le_bytes());
        hash.update(bytemuck::cast_slice(&tokens));
        let digest = hash.finalize().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Self { at, length, tokens, digest }
    }

    /// Its first token ids, as many as a row can take.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }
}

impl Packable for Document {
    fn positions(&self) -> usize {
        self.length
    }
}

/// A waiting document in a saved state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Saved {
    /// All tokens, as in older states. First, because a list of three numbers could also be read as a position.
    Whole(Vec<u32>),
    /// Where to read it.
    At(At),
    /// The rest of one that was saved with its tokens.
    Kept { length: usize, tokens: Vec<u32> },
}

impl From<&Document> for Saved {
    fn from(document: &Document) -> Self {
        match document.at {
            Some(at) => Self::At(at),
            None => Self::Kept { length: document.length, tokens: document.tokens.to_vec() },
        }
    }
}

/// A digest of documents in their order, by which a state verifies them.
pub(super) fn digest<'a>(documents: impl IntoIterator<Item = &'a Document>) -> String {
    let mut hash = Sha256::new();
    documents.into_iter().for_each(|document| hash.update(document.digest.to_le_bytes()));
    hex(&hash.finalize()[..16])
}

/// Tokenises documents; `keep` is what a row can take of one.
pub(super) fn encode<E: Encode>(encoder: &E, found: Vec<Found>, keep: usize) -> Vec<Document> {
    let mut documents = Vec::with_capacity(found.len());
    let mut found = found.into_iter().peekable();
    while found.peek().is_some() {
        let (mut places, mut texts, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some(Found { at, text }) = found.next_if(|_| bytes < ENCODED_AT_ONCE) {
            bytes += text.len();
            places.push(At::from(at));
            texts.push(text);
        }
        let encoded = encoder.encode_batch(&texts);
        documents.extend(places.into_iter().zip(encoded).map(|(at, tokens)| Document::new(Some(at), encoder.bos(), &tokens, keep)));
    }
    documents
}

/// Rereads the documents of a state, in its order. Each file is read once, from start to end.
///
/// # Errors
/// If a file cannot be read, or has no document at a position.
pub(super) fn restore<E: Encode>(
    set: &DataSet,
    split: Split,
    encoder: &E,
    saved: Vec<Saved>,
    keep: usize,
) -> Result<Vec<Document>, DataError> {
    let wanted: BTreeSet<At> = saved.iter().filter_map(|saved| if let Saved::At(at) = saved { Some(*at) } else { None }).collect();
    let mut documents = BTreeMap::new();
    let mut open: Option<(usize, Reader)> = None;
    let (mut found, mut bytes) = (Vec::new(), 0);
    for At { file, row_group, offset } in wanted {
        let of = set.files_of(split).get(file).ok_or(DataError::OtherDocuments)?;
        let place = Place { row_group, offset };
        let reader = match open.take() {
            Some((number, mut reader)) if number == file => {
                reader.seek(place)?;
                reader
            }
            _ => Reader::open(of, place)?,
        };
        let (_, reader) = open.insert((file, reader));
        let text = reader.next_document()?.ok_or(DataError::OtherDocuments)?;
        bytes += text.len();
        found.push(Found { at: Position { file, row_group, offset, record: 0 }, text });
        if bytes >= ENCODED_AT_ONCE {
            documents.extend(encode(encoder, std::mem::take(&mut found), keep).into_iter().map(|document| (document.at, document)));
            bytes = 0;
        }
    }
    documents.extend(encode(encoder, found, keep).into_iter().map(|document| (document.at, document)));
    let again = |saved| match saved {
        Saved::At(at) => documents.get(&Some(at)).cloned().ok_or(DataError::OtherDocuments),
        Saved::Kept { length, tokens } => known(encoder, length, tokens),
        Saved::Whole(mut tokens) => {
            let length = tokens.len();
            tokens.truncate(keep);
            known(encoder, length, tokens)
        }
    };
    saved.into_iter().map(again).collect()
}

/// A document that was saved with its tokens.
fn known<E: Encode>(encoder: &E, length: usize, tokens: Vec<u32>) -> Result<Document, DataError> {
    if tokens.first() != Some(&encoder.bos()) || length < tokens.len() {
        return Err(DataError::OtherDocuments);
    }
    Ok(Document::kept(None, length, tokens.into()))
}
