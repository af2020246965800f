//! What files have in common, whatever they hold: JSON with Python's liberties, files that are something else than their name
//! says, digests, and files that only save time.

pub mod digest;
pub mod json;
pub mod kept;
mod stand_in;

pub use stand_in::StandIn;
