//! What files have in common, whatever they hold: JSON with Python's liberties, files that are something else than their name
//! says, digests, files that only save time, and writing so that nothing is lost.

pub mod digest;
pub(crate) mod durable;
pub mod json;
pub mod kept;
pub(crate) mod plain;
pub(crate) mod shown;
mod stand_in;

pub use stand_in::StandIn;
