//! Runs a loader on a separate thread, some batches ahead of training, so that the GPU never waits for data.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::DataError;
use super::batch::{Batch, BatchSource};

/// The default number of batches that are prefetched.
pub const AHEAD: usize = 4;

/// A batch, and the loader's state right after it, which a checkpoint saves to continue with the next batch.
#[derive(Clone, Debug)]
pub struct Prefetched<S> {
    /// The batch.
    pub batch: Batch,
    /// The state after it. It shares the waiting documents with other states.
    pub state: S,
}

/// A loader that runs on another thread. Dropping it stops the thread, at the latest after the current documents are
/// tokenised.
pub struct Prefetcher<S> {
    /// `None` only while dropping.
    batches: Option<Receiver<Result<Prefetched<S>, DataError>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl<S: Send + 'static> Prefetcher<S> {
    /// Starts the thread; at most `ahead` batches wait for the consumer ([`AHEAD`] is a good value).
    pub fn start(mut loader: impl BatchSource<State = S>, ahead: usize) -> Result<Self, DataError> {
        let (sender, batches) = sync_channel(ahead);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let work = move || {
            // The panic's message is dropped: it may contain the text that was being tokenised.
            let outcome = catch_unwind(AssertUnwindSafe(|| serve(&mut loader, &stopped, &sender)));
            if let Some(error) = outcome.unwrap_or(Some(DataError::Panicked)) {
                // If the consumer is gone, no error is needed.
                let _ = sender.send(Err(error));
            }
        };
        let thread = std::thread::Builder::new().name("data".into()).spawn(work).map_err(DataError::Thread)?;
        Ok(Self { batches: Some(batches), stop, thread: Some(thread) })
    }

    /// The next batch; waits for it if necessary. An error is the last item, and later calls return
    /// [`DataError::Stopped`].
    pub fn next_batch(&mut self) -> Result<Prefetched<S>, DataError> {
        match &self.batches {
            Some(batches) => batches.recv().unwrap_or(Err(DataError::Stopped)),
            None => Err(DataError::Stopped),
        }
    }
}

impl<S> Drop for Prefetcher<S> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Dropping the receiver wakes up a thread that waits to send a batch.
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            // Its panic, if any, was caught and sent.
            let _ = thread.join();
        }
    }
}

/// Makes batches until it is stopped; returns the error that ended it, if any.
fn serve<B: BatchSource>(
    loader: &mut B,
    stop: &AtomicBool,
    sender: &SyncSender<Result<Prefetched<B::State>, DataError>>,
) -> Option<DataError> {
    loop {
        // Refilling takes longest, especially the first time; done here, it can be interrupted.
        loop {
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            match loader.refill() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Some(error),
            }
        }
        match loader.next_batch() {
            Ok(batch) => sender.send(Ok(Prefetched { batch, state: loader.state() })).ok()?,
            Err(error) => return Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use super::*;
    use crate::data::encode::Encode;
    use crate::data::loader::tests::{Bytes, corpus, fresh, resume};

    #[test]
    fn batches_and_states_are_those_of_the_loader() {
        let (_dir, set) = corpus(1500);
        let mut plain = fresh(&set, Bytes, 3, 64);
        let mut ahead = Prefetcher::start(fresh(&set, Bytes, 3, 64), AHEAD).unwrap();
        for _ in 0..50 {
            let Prefetched { batch, state } = ahead.next_batch().unwrap();
            assert_eq!(batch, plain.next_batch().unwrap());
            assert_eq!(state, plain.state());
        }
    }

    /// The state must be valid before the next batch is requested: an early refill belongs to the next batch.
    #[test]
    fn a_run_stopped_after_any_prefetched_batch_goes_on_with_the_next() {
        let (_dir, set) = corpus(700);
        let mut ahead = Prefetcher::start(fresh(&set, Bytes, 2, 64), 1).unwrap();
        let steps: Vec<Prefetched<_>> = (0..30).map(|_| ahead.next_batch().unwrap()).collect();
        for pair in steps.windows(2) {
            let again = resume(&set, Bytes, pair[0].state.clone(), 2, 64).unwrap();
            let next = Prefetcher::start(again, AHEAD).unwrap().next_batch().unwrap();
            assert_eq!((next.batch, next.state), (pair[1].batch.clone(), pair[1].state.clone()));
        }
    }

    /// Counts its calls.
    struct Counting(Arc<AtomicUsize>);

    impl Encode for Counting {
        fn encode_batch(&self, texts: &[String]) -> Vec<Vec<u32>> {
            self.0.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(20));
            Bytes.encode_batch(texts)
        }

        fn bos(&self) -> u32 {
            Bytes.bos()
        }
    }

    #[test]
    fn dropping_stops_a_thread_that_waits_and_one_that_works() {
        let (_dir, set) = corpus(200);
        let mut waiting = Prefetcher::start(fresh(&set, Bytes, 1, 8), 1).unwrap();
        waiting.next_batch().unwrap();
        drop(waiting);

        // 1000 documents come from this set in ten batches of 100: dropped during the first, few may follow.
        let asked = Arc::new(AtomicUsize::new(0));
        let working = Prefetcher::start(fresh(&set, Counting(Arc::clone(&asked)), 1, 8), 1).unwrap();
        while asked.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        drop(working);
        let at_drop = asked.load(Ordering::SeqCst);
        assert!(at_drop < 5, "{at_drop}");
        assert_eq!(Arc::strong_count(&asked), 1, "the thread has ended, and its encoder with it");
    }

    struct Faulty;

    impl Encode for Faulty {
        fn encode_batch(&self, _texts: &[String]) -> Vec<Vec<u32>> {
            // Not `panic!`, whose message the test's output would show.
            std::panic::resume_unwind(Box::new("secret"))
        }

        fn bos(&self) -> u32 {
            0
        }
    }

    #[test]
    fn errors_and_panics_reach_the_consumer() {
        let (dir, set) = corpus(200);
        let mut faulty = Prefetcher::start(fresh(&set, Faulty, 1, 8), 1).unwrap();
        let error = faulty.next_batch().unwrap_err();
        assert!(matches!(error, DataError::Panicked) && !error.to_string().contains("secret"), "{error}");
        assert!(matches!(faulty.next_batch(), Err(DataError::Stopped)));

        std::fs::write(dir.path().join("b.jsonl"), "not JSON").unwrap();
        let mut broken = Prefetcher::start(fresh(&set, Bytes, 1, 8), 1).unwrap();
        assert!(matches!(broken.next_batch(), Err(DataError::BrokenLine { line: 1, .. })));
    }
}
