//! Training data: from files of text to packed batches of token ids, ahead of the GPU.
//!
//! A [`DataSet`] lists the files and the [`Split`] of each; [`Documents`] reads their texts. A
//! [`Loader`](loader::Loader) packs tokenised documents into rows by best fit and can be stopped and resumed
//! exactly; a [`Prefetcher`](prefetch::Prefetcher) runs it on a separate thread.

pub mod batch;
pub mod conversations;
mod count;
mod documents;
#[cfg(feature = "net")]
pub mod download;
pub mod encode;
mod error;
mod file;
mod files;
mod fingerprint;
mod folder;
pub mod format;
pub mod loader;
mod names;
pub mod packing;
pub mod prefetch;
mod short_epoch;
pub mod synth;
mod waiting;

pub use conversations::{
    ConversationFileError, FoundConversations, LineError, Unsupported, read_conversation, read_conversations, read_conversations_with,
};
pub use count::{FileTally, Tally};
pub use documents::{BatchReader, Documents, Found, Position, documents};
pub use error::DataError;
pub use file::{DataFile, Format, PassedOver, Split};
pub use files::{DataSet, HELD_OUT_EVERY, ValidationBy};
pub use fingerprint::{Digests, Fingerprint};

/// The folder under `$NC_HOME/data` that the public shards go to.
pub const PUBLIC_SHARDS: &str = "climbmix";
/// A target that is not predicted.
pub const IGNORED: i32 = -1;
