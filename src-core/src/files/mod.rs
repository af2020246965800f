//! Helpers for files of any kind: JSON with Python's extensions, files that are not what their name
//! says, libraries that panic, digests, caches, and durable writes.

pub(crate) mod contained;
pub mod digest;
pub(crate) mod durable;
pub mod json;
pub mod kept;
pub(crate) mod plain;
pub(crate) mod shown;
mod stand_in;

pub use stand_in::StandIn;
