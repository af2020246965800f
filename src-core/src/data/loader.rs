//! Batches of token ids for pretraining: documents are read, tokenised and packed by best fit, epoch after epoch, and
//! the loader's state can be saved after any batch and resumed exactly.

use serde::{Deserialize, Serialize};

use super::DataError;
use super::batch::{Batch, BatchSource};
use super::documents::{BatchReader, Position};
use super::encode::Encode;
use super::file::Split;
use super::files::DataSet;
use super::fingerprint::Fingerprint;
use super::packing::BestFit;
use super::short_epoch::{ShortEpoch, Step};
use super::waiting::{self, Document, Saved, WAITING};

/// Documents are read and tokenised this many at a time.
pub const REFILL: usize = 128;

/// Everything that a loader needs to resume exactly. Its size does not depend on the length of documents, and it
/// does not depend on the rows per batch, so a run may continue with fewer at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoaderState {
    /// The data set that was read.
    pub data: Fingerprint,
    /// The split that was read.
    pub split: Split,
    /// The epoch: how many times reading has started at the first document.
    pub epoch: u64,
    /// Where the next documents are read from.
    pub position: Position,
    /// The documents that wait to be packed, in order of arrival.
    waiting: Vec<Saved>,
    /// The digest of their tokens. Older states have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    waiting_digest: Option<String>,
}

/// What to do if the data has changed since a state was saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Changes {
    /// Reject it, and report the differences.
    #[default]
    Refuse,
    /// Continue from the same position if the files' names are the same; not bit for bit.
    Accept,
}

/// Reads, tokenises and packs the documents of a split, endlessly.
pub struct Loader<E> {
    reader: BatchReader,
    encoder: E,
    data: Fingerprint,
    epoch: u64,
    position: Position,
    short: ShortEpoch,
    waiting: BestFit<Document>,
    rows: usize,
    row_len: usize,
}

impl<E: Encode> Loader<E> {
    /// A loader of batches of `rows` rows of `row_len` tokens, from the first document of `split`. `data` is the fingerprint
    /// of `set`.
    pub fn new(set: DataSet, data: Fingerprint, split: Split, encoder: E, rows: usize, row_len: usize) -> Self {
        Self::at(set, data, split, encoder, (1, Position::default()), rows, row_len)
    }

    fn at(set: DataSet, data: Fingerprint, split: Split, encoder: E, from: (u64, Position), rows: usize, row_len: usize) -> Self {
        let (epoch, position) = from;
        let reader = BatchReader::new(set, split, position);
        Self { reader, encoder, data, epoch, position, short: ShortEpoch::default(), waiting: BestFit::default(), rows, row_len }
    }

    /// A loader that resumes from `state`, rereading the waiting documents.
    ///
    /// # Errors
    /// If `set` is not the data that the state was saved from, or the documents have different tokens: because of another
    /// tokenizer, or because a file changed. With [`Changes::Accept`] files of the same names are enough; if the waiting
    /// documents cannot be found again, reading continues from the start of the current file without them, and this is logged.
    pub fn resume(
        set: DataSet,
        data: Fingerprint,
        encoder: E,
        state: LoaderState,
        changes: Changes,
        rows: usize,
        row_len: usize,
    ) -> Result<Self, DataError> {
        let LoaderState { data: before, split, epoch, position, waiting: saved, waiting_digest } = state;
        let changed = before.differences(&data);
        if !changed.is_empty() && (changes == Changes::Refuse || !before.same_names(&data)) {
            return Err(DataError::OtherData { changed: changed.join("; ") });
        }
        // A row takes one more token than its inputs: the last target.
        let restored = waiting::restore(&set, split, &encoder, saved, row_len + 1).and_then(|documents| {
            let same = waiting_digest.is_none_or(|digest| digest == waiting::digest(&documents));
            if same { Ok(documents) } else { Err(DataError::OtherDocuments) }
        });
        let (position, documents) = match restored {
            Err(_) if changes == Changes::Accept && !changed.is_empty() => {
                tracing::warn!("the waiting documents have changed: reading continues from the start of the current file, without them");
                (Position { file: position.file, ..Position::default() }, Vec::new())
            }
            restored => (position, restored?),
        };
        let loader = Self::at(set, data, split, encoder, (epoch, position), rows, row_len);
        Ok(Self { waiting: documents.into_iter().collect(), ..loader })
    }

    /// The state after the last batch.
    pub fn state(&self) -> LoaderState {
        let waiting = self.waiting.in_order();
        LoaderState {
            data: self.data.clone(),
            split: self.reader.split(),
            epoch: self.epoch,
            position: self.position,
            waiting_digest: Some(waiting::digest(waiting.iter().copied())),
            waiting: waiting.into_iter().map(Saved::from).collect(),
        }
    }

    /// The epoch: how many times reading has started at the first document, at first 1.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The next batch. After an error the loader must not be used any more.
    pub fn next_batch(&mut self) -> Result<Batch, DataError> {
        let tokens = self.rows * self.row_len;
        let mut batch =
            Batch { rows: self.rows, row_len: self.row_len, inputs: Vec::with_capacity(tokens), targets: Vec::with_capacity(tokens) };
        // A row has one more token than its inputs: the last target.
        let mut row = Vec::with_capacity(self.row_len + 1);
        for _ in 0..self.rows {
            row.clear();
            while row.len() <= self.row_len {
                while self.refill()? {}
                let room = self.row_len + 1 - row.len();
                if let Some(document) = self.waiting.take(room) {
                    row.extend(document.tokens().iter().take(room).map(|token| *token as i32));
                }
            }
            batch.inputs.extend_from_slice(&row[..self.row_len]);
            batch.targets.extend_from_slice(&row[1..]);
        }
        Ok(batch)
    }

    /// Reads and tokenises the next documents if fewer than [`WAITING`] wait; returns whether it did.
    fn refill(&mut self) -> Result<bool, DataError> {
        if self.waiting.len() >= WAITING {
            return Ok(false);
        }
        for document in self.read()? {
            self.waiting.push(document);
        }
        Ok(true)
    }

    /// The next documents, from the start again after the last.
    fn read(&mut self) -> Result<Vec<Document>, DataError> {
        loop {
            let from = self.position;
            let step = match self.short.after(from) {
                Some(known) => known,
                None => {
                    let found = self.reader.next_batch(REFILL)?;
                    let documents = found.map(|found| waiting::encode(&self.encoder, found, self.row_len + 1));
                    let step = Step { documents, to: self.reader.position() };
                    self.short.record(from, &step);
                    step
                }
            };
            self.position = step.to;
            match step.documents {
                Some(documents) => return Ok(documents),
                // An epoch without any document would repeat for ever.
                None if from == Position::default() => return Err(DataError::EmptySplit { split: self.reader.split() }),
                None => {
                    self.reader.rewind();
                    self.position = Position::default();
                    self.epoch += 1;
                }
            }
        }
    }
}

impl<E: Encode + 'static> BatchSource for Loader<E> {
    type State = LoaderState;

    fn refill(&mut self) -> Result<bool, DataError> {
        Loader::refill(self)
    }

    fn next_batch(&mut self) -> Result<Batch, DataError> {
        Loader::next_batch(self)
    }

    fn state(&self) -> LoaderState {
        Loader::state(self)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::data::Digests;
    pub use crate::data::encode::tests::Bytes;
    use crate::data::packing::Packable;

    /// A folder with `count` documents of various lengths to train on.
    pub fn corpus(count: usize) -> (tempfile::TempDir, DataSet) {
        let dir = tempfile::tempdir().unwrap();
        let line = |i: usize| format!("{{\"text\": \"{}\"}}\n", format!("{i} ").repeat(1 + i * 7919 % 23));
        std::fs::write(dir.path().join("a.jsonl"), (0..count / 2).map(line).collect::<String>()).unwrap();
        std::fs::write(dir.path().join("b.jsonl"), (count / 2..count).map(line).collect::<String>()).unwrap();
        std::fs::write(dir.path().join("c.txt"), "held out").unwrap();
        let set = DataSet::open(&[dir.path().to_path_buf()]).unwrap();
        (dir, set)
    }

    /// The loader of training batches from the first document on.
    pub fn fresh<E: Encode>(set: &DataSet, encoder: E, rows: usize, row_len: usize) -> Loader<E> {
        Loader::new(set.clone(), print(set), Split::Train, encoder, rows, row_len)
    }

    /// A resumed loader.
    pub fn resume<E: Encode>(set: &DataSet, encoder: E, state: LoaderState, rows: usize, row_len: usize) -> Result<Loader<E>, DataError> {
        Loader::resume(set.clone(), print(set), encoder, state, Changes::Refuse, rows, row_len)
    }

    fn print(set: &DataSet) -> Fingerprint {
        set.fingerprint(&mut Digests::default()).unwrap()
    }

    fn resumed(set: &DataSet, state: &LoaderState, rows: usize) -> Loader<Bytes> {
        let saved = serde_json::from_str(&serde_json::to_string(state).unwrap()).unwrap();
        resume(set, Bytes, saved, rows, 64).unwrap()
    }

    #[test]
    fn a_resumed_loader_gives_the_same_batches_from_every_state_on() {
        let (_dir, set) = corpus(1500);
        let mut loader = fresh(&set, Bytes, 3, 64);
        let mut states = vec![loader.state()];
        let mut batches = Vec::new();
        for _ in 0..160 {
            batches.push(loader.next_batch().unwrap());
            states.push(loader.state());
        }
        assert!(loader.epoch() > 1, "the test must cross an epoch");
        for at in 0..=60 {
            let mut again = resumed(&set, &states[at], 3);
            assert_eq!(again.state(), states[at]);
            for (batch, state) in batches[at..].iter().zip(&states[at + 1..]).take(3) {
                assert_eq!(&again.next_batch().unwrap(), batch);
                assert_eq!(&again.state(), state);
            }
        }
        let mut again = resumed(&set, &states[60], 3);
        for batch in &batches[60..] {
            assert_eq!(&again.next_batch().unwrap(), batch);
        }
    }

    #[test]
    fn the_state_does_not_depend_on_the_rows_of_a_batch() {
        let (_dir, set) = corpus(1500);
        let mut whole = fresh(&set, Bytes, 4, 64);
        whole.next_batch().unwrap();
        let mut halves = resumed(&set, &whole.state(), 2);
        let (batch, first, second) = (whole.next_batch().unwrap(), halves.next_batch().unwrap(), halves.next_batch().unwrap());
        assert_eq!(batch.part(0..2), (&first.inputs[..], &first.targets[..]));
        assert_eq!(batch.part(2..4), (&second.inputs[..], &second.targets[..]));
        assert_eq!(whole.state(), halves.state());
    }

    #[test]
    fn rows_start_with_bos_and_targets_follow_inputs() {
        let (_dir, set) = corpus(900);
        let batch = fresh(&set, Bytes, 5, 64).next_batch().unwrap();
        assert_eq!((batch.inputs.len(), batch.targets_that_count()), (5 * 64, 5 * 64));
        for row in 0..5 {
            let (inputs, targets) = batch.part(row..row + 1);
            assert_eq!(inputs[0], 256);
            assert_eq!(inputs[1..], targets[..63]);
        }
    }

    #[test]
    fn few_documents_go_round_and_none_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        std::fs::write(&path, "all there is").unwrap();
        let set = DataSet::open(&[path]).unwrap();
        let mut loader = fresh(&set, Bytes, 1, 64);
        assert_eq!(loader.next_batch().unwrap().inputs[..4], [256, 97, 108, 108]);
        assert_eq!(loader.epoch(), WAITING as u64 + 4, "a document an epoch, five of them packed");
        let error = Loader::new(set.clone(), print(&set), Split::Val, Bytes, 1, 64).next_batch().unwrap_err();
        assert!(matches!(error, DataError::EmptySplit { split: Split::Val }), "{error}");
    }

    #[test]
    fn the_state_of_other_data_or_another_tokenizer_is_refused() {
        /// The same bytes by other numbers.
        struct Others;
        impl Encode for Others {
            fn encode_batch(&self, texts: &[String]) -> Vec<Vec<u32>> {
                texts.iter().map(|text| text.bytes().map(|byte| u32::from(byte ^ 1)).collect()).collect()
            }

            fn bos(&self) -> u32 {
                256
            }
        }

        let (dir, set) = corpus(200);
        let mut loader = fresh(&set, Bytes, 1, 8);
        loader.next_batch().unwrap();
        let state = loader.state();
        assert!(matches!(resume(&set, Others, state.clone(), 1, 8), Err(DataError::OtherDocuments)));
        // A word of the same length.
        let b = dir.path().join("b.jsonl");
        let text = std::fs::read_to_string(&b).unwrap();
        std::fs::write(&b, text.replacen("100 ", "001 ", 1)).unwrap();
        let changed = DataSet::open(&[dir.path().to_path_buf()]).unwrap();
        let error = resume(&changed, Bytes, state.clone(), 1, 8).err().unwrap().to_string();
        assert!(error.ends_with("b.jsonl was changed, though its size is the same"), "{error}");

        // Accepted, the documents that are still there wait on; a file of another name is no data of this run.
        let accepted = |set: &DataSet| Loader::resume(set.clone(), print(set), Bytes, state.clone(), Changes::Accept, 1, 8);
        let position = accepted(&changed).unwrap().state().position;
        assert_eq!((position.file, position.offset), (state.position.file, 0));
        std::fs::write(&b, &text).unwrap();
        std::fs::write(dir.path().join("c.txt"), "held out, otherwise").unwrap();
        let harmless = DataSet::open(&[dir.path().to_path_buf()]).unwrap();
        let went_on = accepted(&harmless).unwrap().state();
        assert_eq!((&went_on.waiting, went_on.position), (&state.waiting, state.position));
        std::fs::rename(&b, dir.path().join("b2.jsonl")).unwrap();
        let renamed = DataSet::open(&[dir.path().to_path_buf()]).unwrap();
        assert!(matches!(accepted(&renamed), Err(DataError::OtherData { .. })));
    }

    /// Documents far longer than a row among short ones: most waiting documents are long.
    #[test]
    fn neither_the_state_nor_what_is_held_grows_with_the_length_of_documents() {
        let dir = tempfile::tempdir().unwrap();
        let line = |i: usize| {
            let words = if i.is_multiple_of(5) { 20_000 } else { 3 };
            format!("{{\"text\": \"{}\"}}\n", format!("{i} ").repeat(words))
        };
        std::fs::write(dir.path().join("a.jsonl"), (0..300).map(line).collect::<String>()).unwrap();
        std::fs::write(dir.path().join("b.txt"), "held out").unwrap();
        let set = DataSet::open(&[dir.path().to_path_buf()]).unwrap();
        let mut loader = fresh(&set, Bytes, 4, 64);
        let mut largest = 0;
        for _ in 0..100 {
            loader.next_batch().unwrap();
            largest = largest.max(serde_json::to_string(&loader.state()).unwrap().len());
        }
        assert!(largest < 100 << 10, "{largest} bytes");
        assert!(loader.waiting.in_order().iter().all(|document| document.tokens().len() <= 65));
        let long = loader.waiting.in_order().iter().filter(|document| document.positions() > 10_000).count();
        assert!(long > WAITING / 2, "{long} long documents wait");
        let mut again = resumed(&set, &loader.state(), 4);
        for _ in 0..20 {
            assert_eq!(again.next_batch().unwrap(), loader.next_batch().unwrap());
        }
    }

    /// A state as it was written when it held the tokens of every document.
    #[test]
    fn a_state_with_tokens_goes_on_and_becomes_one_with_positions() {
        let (_dir, set) = corpus(1500);
        let mut loader = fresh(&set, Bytes, 3, 128);
        loader.next_batch().unwrap();
        let state = loader.state();
        let mut old = serde_json::to_value(&state).unwrap();
        let documents = loader.waiting.in_order();
        let whole = |document: &&Document| document.tokens().len() == document.positions();
        assert!(documents.iter().all(whole), "the test must not crop any");
        old["waiting"] = documents.iter().map(|document| serde_json::to_value(document.tokens()).unwrap()).collect();
        for key in ["waiting_digest", "contents"] {
            old.as_object_mut().unwrap().remove(key);
            old["data"].as_object_mut().unwrap().remove(key);
        }
        let mut again = resume(&set, Bytes, serde_json::from_value(old).unwrap(), 3, 128).unwrap();
        for _ in 0..80 {
            assert_eq!(again.next_batch().unwrap(), loader.next_batch().unwrap());
            // The next resume in the middle of the change.
            let saved = serde_json::from_str(&serde_json::to_string(&again.state()).unwrap()).unwrap();
            again = resume(&set, Bytes, saved, 3, 128).unwrap();
        }
    }

    /// Counts the texts that it is handed.
    struct Counting(std::sync::atomic::AtomicUsize);

    impl Encode for Counting {
        fn encode_batch(&self, texts: &[String]) -> Vec<Vec<u32>> {
            self.0.fetch_add(texts.len(), std::sync::atomic::Ordering::Relaxed);
            Bytes.encode_batch(texts)
        }

        fn bos(&self) -> u32 {
            256
        }
    }

    #[test]
    fn a_few_documents_are_tokenised_once() {
        let (_dir, set) = corpus(60);
        let mut loader = fresh(&set, Counting(0.into()), 2, 64);
        let mut plain = fresh(&set, Bytes, 2, 64);
        for _ in 0..50 {
            assert_eq!(loader.next_batch().unwrap(), plain.next_batch().unwrap());
        }
        assert!(loader.epoch() > 2);
        assert_eq!(loader.encoder.0.into_inner(), 60);
    }
}
