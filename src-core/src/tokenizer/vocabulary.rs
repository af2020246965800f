//! A vocabulary as data: the bytes of each id, and the order of merges. Every way to obtain a tokenizer
//! (a file, training) ends here, so what is checked here holds everywhere.

use std::collections::{HashMap, HashSet};

use super::{BOS, TokenizerError, bytes};

/// The meaning of one id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// Bytes of text.
    Bytes(Vec<u8>),
    /// A special token, which no text can produce, by its name.
    Special(String),
}

/// A checked vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Vocabulary {
    tokens: Vec<Token>,
    merges: Vec<(u32, u32)>,
    whole_words: bool,
}

impl Vocabulary {
    /// Checks and builds a vocabulary. `ordinary` maps a token's spelling in the byte alphabet to its id, `special` a
    /// special token's name; `merges` holds spellings, the first merge being done first.
    ///
    /// # Errors
    /// If ids are missing or used twice, a spelling is not of the byte alphabet, one of the 256 bytes has no token,
    /// `<|bos|>` is missing, or a merge refers to missing tokens.
    pub(super) fn new(
        ordinary: HashMap<String, u32>,
        special: Vec<(String, u32)>,
        merges: Vec<(String, String)>,
    ) -> Result<Self, TokenizerError> {
        let unusable = |what: String| Err(TokenizerError::Unusable(what));
        let size = ordinary.len() + special.len();
        let mut tokens: Vec<Option<Token>> = vec![None; size];
        let mut place = |id: u32, token: Token| match tokens.get_mut(id as usize) {
            None => Err(TokenizerError::Unusable(format!("id {id} is outside a vocabulary of {size}"))),
            Some(Some(_)) => Err(TokenizerError::Unusable(format!("id {id} stands for two tokens"))),
            Some(free) => {
                *free = Some(token);
                Ok(())
            }
        };

        for (spelling, &id) in &ordinary {
            match bytes::unspell(spelling) {
                Some(bytes) if !bytes.is_empty() => place(id, Token::Bytes(bytes))?,
                _ => return unusable(format!("token {id} is not spelled in the byte alphabet")),
            }
        }
        let mut names = HashSet::new();
        for (name, id) in &special {
            if name.is_empty() || !names.insert(name.as_str()) {
                return unusable(format!("special token {id} has no name of its own"));
            }
            place(*id, Token::Special(name.clone()))?;
        }
        if !names.contains(BOS) {
            return unusable(format!("it has no special token {BOS}"));
        }
        if let Some(byte) = (0..=255u8).find(|&byte| !ordinary.contains_key(&bytes::spell(&[byte]))) {
            return unusable(format!("byte {byte} has no token"));
        }

        // As many distinct ids below `size` as there are tokens: every place is taken.
        let tokens = tokens.into_iter().flatten().collect();
        let mut pairs = Vec::with_capacity(merges.len());
        let mut seen = HashSet::with_capacity(merges.len());
        for (rank, (left, right)) in merges.into_iter().enumerate() {
            let pair = ordinary.get(&left).zip(ordinary.get(&right)).filter(|_| ordinary.contains_key(&format!("{left}{right}")));
            match pair {
                Some((&left, &right)) if seen.insert((left, right)) => pairs.push((left, right)),
                Some(_) => return unusable(format!("merge {rank} occurs twice")),
                None => return unusable(format!("merge {rank} refers to tokens that are not in the vocabulary")),
            }
        }
        Ok(Self { tokens, merges: pairs, whole_words: false })
    }

    /// Looks a word up as a whole before merging its bytes. This only makes a difference if a token cannot be reached by
    /// merging.
    pub(super) fn with_whole_words(self, whole_words: bool) -> Self {
        Self { whole_words, ..self }
    }

    /// Whether a word is looked up as a whole before its bytes are merged.
    pub(super) fn whole_words(&self) -> bool {
        self.whole_words
    }

    /// The tokens, by id.
    pub(super) fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// The ordinary tokens with their spelling, in the order of their ids.
    pub(super) fn ordinary(&self) -> impl Iterator<Item = (String, u32)> {
        self.tokens.iter().zip(0..).filter_map(|(token, id)| match token {
            Token::Bytes(bytes) => Some((bytes::spell(bytes), id)),
            Token::Special(_) => None,
        })
    }

    /// The special tokens with their names, in the order of their ids.
    pub(super) fn special(&self) -> impl Iterator<Item = (&str, u32)> {
        self.tokens.iter().zip(0..).filter_map(|(token, id)| match token {
            Token::Bytes(_) => None,
            Token::Special(name) => Some((name.as_str(), id)),
        })
    }

    /// The merges as spellings, the first one being done first.
    pub(super) fn merges(&self) -> impl Iterator<Item = (String, String)> {
        self.merges.iter().map(|&(left, right)| (self.spelling(left), self.spelling(right)))
    }

    /// The merges as ids of both parts and the bytes of both together, the first one being done first.
    pub(super) fn merged(&self) -> impl Iterator<Item = (u32, u32, Vec<u8>)> {
        let bytes = |id: u32| match self.tokens.get(id as usize) {
            Some(Token::Bytes(bytes)) => bytes.as_slice(),
            _ => &[],
        };
        self.merges.iter().map(move |&(left, right)| (left, right, [bytes(left), bytes(right)].concat()))
    }

    fn spelling(&self, id: u32) -> String {
        match self.tokens.get(id as usize) {
            Some(Token::Bytes(bytes)) => bytes::spell(bytes),
            _ => String::new(),
        }
    }
}
