//! Many programs on several threads.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::error::PythonError;
use super::interpreter::{Interpreter, thread};
use super::limits::Limits;
use super::outcome::Run;

/// Runs `programs` on `jobs` threads, and passes each one's index and run to `each` as soon as it ends, in any order.
///
/// Once `stop` is set, no further program is started; those that run may take until their limit.
///
/// # Errors
/// If there is no thread for them.
pub fn run_all<P: AsRef<str> + Sync>(
    interpreter: &Interpreter,
    programs: &[P],
    limits: &Limits,
    jobs: usize,
    stop: &AtomicBool,
    each: &(dyn Fn(usize, Run) + Sync),
) -> Result<(), PythonError> {
    let next = AtomicUsize::new(0);
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(program) = programs.get(index) else { return };
            each(index, interpreter.execute(program.as_ref(), limits));
        }
    };
    std::thread::scope(|scope| {
        let mut started = 0;
        for _ in 0..jobs.clamp(1, programs.len().max(1)) {
            match thread().spawn_scoped(scope, work) {
                Ok(_) => started += 1,
                // Fewer threads do the same work.
                Err(error) if started == 0 => return Err(PythonError::Thread(error)),
                Err(_) => break,
            }
        }
        Ok(())
    })
}
