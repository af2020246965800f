//! The clock of all running programs: between two of its ticks none of them runs unwatched.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::Engine;

/// The time between two ticks.
const TICK: Duration = Duration::from_millis(10);

/// A thread that advances an engine's epoch until it is dropped.
pub struct Ticker {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Starts to advance the epoch of `engine`.
    ///
    /// # Errors
    /// If there is no thread.
    pub fn start(engine: &Engine) -> std::io::Result<Self> {
        let engine = engine.clone();
        let (end, ended) = mpsc::channel();
        let tick = move || {
            while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                engine.increment_epoch();
            }
        };
        let thread = std::thread::Builder::new().name("python-clock".into()).spawn(tick)?;
        Ok(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.end.take());
        // It ends by itself; that it panicked is of no interest any more.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
