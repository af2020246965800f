//! Synthetic conversations: what a model should know about itself, and how it should talk.
//!
//! A [`Recipe`] is a TOML file of facts, words, numbers, tables and topics; [`Recipe::conversations`] draws from it, the
//! same conversations for the same seed, without a network. [`endpoint`] asks a server for more natural ones about the
//! same facts. Either way the result is JSON Lines of objects `{"messages": […]}`.
//!
//! `assets/synth/README.md` describes recipes.

mod compose;
mod dice;
mod distinct;
#[cfg(feature = "net")]
pub mod endpoint;
mod error;
mod file;
mod fill;
mod recipe;
mod slips;
mod store;
mod template;
#[cfg(test)]
mod tests;

pub use error::SynthError;
pub use recipe::Recipe;
pub use store::{Gathered, write};

/// The folder under `$NC_HOME/data` that conversations go to.
pub const CONVERSATIONS: &str = "conversations";
