//! Ctrl-C while training or evaluating: the first stops after the step in progress, the second at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Failure, note};

/// Takes over Ctrl-C, and the signal that asks a process to end: the first one sets the flag that is returned.
pub fn after_this_step() -> Result<Arc<AtomicBool>, Failure> {
    after_this("step")
}

/// The same for what is called `what`.
pub fn after_this(what: &'static str) -> Result<Arc<AtomicBool>, Failure> {
    let interrupt = Arc::new(AtomicBool::new(false));
    let flag = interrupt.clone();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            stop_at_once();
        }
        note(&format!("\nstopping after this {what}; press Ctrl-C again to stop at once"));
    })?;
    Ok(interrupt)
}

/// Ends the process without waiting for the GPU's threads, which may be in the middle of a step. No checkpoint is
/// damaged: saving is safe against an end at any moment.
pub fn stop_at_once() -> ! {
    #[cfg(unix)]
    // SAFETY: `_exit` allocates nothing and runs none of our code.
    unsafe {
        libc::_exit(130)
    }
    #[cfg(not(unix))]
    std::process::exit(130)
}
