//! What a program may use.

use std::time::Duration;

/// What a program may use before it is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What it may compute and sleep, interpreter included. Where the system says what a thread computes, waiting for a core
    /// counts a quarter.
    pub time: Duration,
    /// Bytes of memory, of which the interpreter takes 18 MiB, 8 of them for its stack.
    pub memory: usize,
    /// Bytes written to both outputs together.
    pub output: usize,
}

/// The limits of nanochat's evaluation, which bounds output by memory alone, and 1 MiB of output.
impl Default for Limits {
    fn default() -> Self {
        Self { time: Duration::from_secs(5), memory: 256 << 20, output: 1 << 20 }
    }
}
