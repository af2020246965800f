//! Contains panics of libraries that read files. They check much of what a file claims, but panic at some of the rest, such as a
//! negative length. For the caller this is damage like any other, so it becomes an error, and nothing is printed.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// Whether this thread is inside `contained`.
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// A library panicked.
#[derive(Debug)]
pub struct Panicked;

/// What `read` returns; an error if it panics. Its reader must not be used after that.
pub fn contained<T>(read: impl FnOnce() -> T) -> Result<T, Panicked> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if !CONTAINED.get() {
                before(panic);
            }
        }));
    });
    let outer = CONTAINED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(read));
    CONTAINED.set(outer);
    result.map_err(|_| Panicked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_also_inside_another() {
        assert_eq!(contained(|| 7).unwrap(), 7);
        assert!(contained(|| contained(|| panic!("inside")).map_or_else(|Panicked| panic!("outside"), |(): ()| 0)).is_err());
        assert!(!CONTAINED.get());
    }
}
