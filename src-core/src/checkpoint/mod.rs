//! Runs on disk: where they live, their checkpoints, and who holds them.

pub mod home;
