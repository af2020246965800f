//! Runs on disk: their folders, checkpoints, and locks.
//!
//! A run is a folder `runs/NAME` with `config.json`, `tokenizer.json`, `metrics.jsonl`, TensorBoard event files in
//! `tensorboard/`, and `checkpoints/NNNNNN/{model.safetensors, optimizer.safetensors, state.json}`. Training can be
//! killed at any moment, disks fill up and files get damaged: so a checkpoint appears whole or not at all, has a
//! hash of each of its files, and returns every byte that was saved.

mod create;
mod error;
pub(crate) mod header;
pub mod home;
mod load;
mod lock;
mod manifest;
mod name;
mod run;
mod save;
pub(crate) mod stored;
mod tensor_file;
pub(crate) mod tensor_source;

pub use error::{CheckpointError, Rejected, RunError};
pub use header::{FormatError, TensorSpec};
pub use load::{Checkpoint, ModelCheckpoint, load, load_latest_good, load_model};
pub use lock::RunLock;
pub use run::{Run, RunSummary};
pub use save::{Snapshot, save};
pub use tensor_file::{Mismatch, TensorFile, TensorFileError};
pub use tensor_source::{Sink, SourceError, StreamError, TensorRef, TensorSource};

/// The file of a checkpoint that holds the weights.
pub const MODEL_FILE: &str = "model.safetensors";
/// The file of a checkpoint that holds the optimizer's moments.
pub const OPTIMIZER_FILE: &str = "optimizer.safetensors";
/// The file of a checkpoint that describes the others and holds the rest of the state; written last.
pub const STATE_FILE: &str = "state.json";
