//! Ctrl-C in a chat. It stops the answer, and at a terminal the chat continues. In a script
//! or with `--prompt`, it ends the program, with the exit code 130 that shells use for Ctrl-C.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cli::Failure;
use crate::cli::interrupt::stop_at_once;

/// Handles Ctrl-C.
#[derive(Default)]
pub struct Interrupt {
    answering: AtomicBool,
    cancel: AtomicBool,
}

impl Interrupt {
    /// Takes over Ctrl-C, also from a line editor, if there is one already; `person` says whether somebody types.
    pub fn listen(person: bool) -> Result<Arc<Self>, Failure> {
        let interrupt = Arc::new(Self::default());
        let heard = interrupt.clone();
        ctrlc::set_handler(move || heard.signalled(person))
            .map_err(|error| Failure::input(format!("Ctrl-C cannot be listened for: {error}")))?;
        #[cfg(unix)]
        // SAFETY: the default actions run nothing of ours. The handler takes over these signals too, but a program that
        // waits for a person must end when it is asked to.
        unsafe {
            libc::signal(libc::SIGTERM, libc::SIG_DFL);
            libc::signal(libc::SIGHUP, libc::SIG_DFL);
        }
        Ok(interrupt)
    }

    fn signalled(&self, person: bool) {
        let again = self.cancel.swap(true, Ordering::Relaxed);
        // Waiting for a line, or for a long prefill.
        if !person && (again || !self.answering.load(Ordering::Relaxed)) {
            stop_at_once();
        }
    }

    /// Runs `answer` with a flag that Ctrl-C sets to end it.
    pub fn during<T>(&self, answer: impl FnOnce(&AtomicBool) -> T) -> T {
        self.cancel.store(false, Ordering::Relaxed);
        self.answering.store(true, Ordering::Relaxed);
        let answered = answer(&self.cancel);
        self.answering.store(false, Ordering::Relaxed);
        answered
    }
}
