//! Training on this machine: one run at a time, in a child process of the same program, so that a chat goes on beside it
//! and a crash of the run is shown, not suffered.
//!
//! The child speaks JSON, a line at a time: its order on stdin, events on stdout. The order says what shall be there in
//! the end, not what to do next: the child looks how far the disk is and goes on from there. So to resume, after a
//! pause or a crash, is to give the same order again.

mod child;
mod history;
mod manager;
mod order;
mod plan;

pub use child::main as child_main;
pub use manager::Trainer;
pub use order::Order;
pub use plan::plan;

/// The argument that makes this program a child that trains.
pub const CHILD_ARGUMENT: &str = "--train-worker";

#[cfg(test)]
mod tests;
