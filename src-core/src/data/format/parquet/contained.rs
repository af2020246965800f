//! Contains panics of the parquet library. It checks much of what a file claims, but panics at some of the rest: a truncated
//! page, a negative length. For the caller this is damage like any other, so it becomes an error,
//! and nothing is printed.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::Path;
use std::sync::Once;

use super::broken;
use crate::data::DataError;

thread_local! {
    /// Whether this thread is inside `contained`.
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// What `read` returns; an error if it panics. Its reader must not be used after that.
pub fn contained<T>(path: &Path, read: impl FnOnce() -> T) -> Result<T, DataError> {
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
    result.map_err(|_| broken(path, "its pages are damaged".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_that_names_the_file() {
        let path = Path::new("shard.parquet");
        assert_eq!(contained(path, || 7).unwrap(), 7);
        let error = contained(path, || contained(path, || panic!("inside")).map_or_else(|_: DataError| panic!("outside"), |(): ()| 0));
        assert!(error.unwrap_err().to_string().starts_with("shard.parquet is not a readable parquet file (its pages are damaged)"));
        assert!(!CONTAINED.get());
    }
}
