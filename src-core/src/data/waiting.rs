//! Documents that wait to be packed: how much of them memory holds, and what a saved state says of them.
//!
//! A document may have any length, and best fit leaves the longest waiting. But a row can take no more of one than its own
//! length, so only that many tokens are kept; of the rest it is enough to know how many there are. A saved state holds no
//! tokens at all: it says where each document lies, and resuming reads it there again.

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

/// Texts are tokenised as soon as they have this many bytes together, so that few token ids are held that nobody keeps.
const ENCODED_AT_ONCE: usize = 4 << 20;

/// Fewer documents than this never wait while a row is packed: more to choose from, less cropped.
pub(super) const WAITING: usize = 1000;

/// A document that waits to be packed. Clones share its tokens.
#[derive(Clone, Debug)]
pub(super) struct Document {
    /// Where it lies; unknown of those that a state from before positions were saved holds.
    at: Option<At>,
    /// Its tokens, `<|bos|>` included.
    length: usize,
    /// The first of them, as many as a row can take.
    tokens: Arc<[u32]>,
    digest: u64,
}

/// Where a document lies among the files of a split.
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
    /// A document of `tokens`, which follow `bos`, of which a row can take `keep`.
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

    /// The first of its token ids, as many as a row can take.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }
}

impl Packable for Document {
    fn positions(&self) -> usize {
        self.length
    }
}

/// A waiting document as a state holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Saved {
    /// All tokens, as states held them once. First, because a list of three numbers could be read as a place, too.
    Whole(Vec<u32>),
    /// Where to read it.
    At(At),
    /// What is left of one that was saved with its tokens.
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

/// A digest of documents in their order, by which a state knows them again.
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

/// Reads the documents of a state again, in its order. Each file is read once, from front to back.
///
/// # Errors
/// When a file cannot be read, or holds no document where one was.
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
