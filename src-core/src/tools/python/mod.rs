//! A sandbox for generated Python: CPython compiled to WebAssembly, which runs inside this process on wasmtime.
//!
//! WebAssembly can only call what it is given, and this interpreter is given a clock, random numbers, an input and two
//! outputs (`wasi`). So a program reaches no network, no file, no other process and no environment variable, on every system
//! in the same way. [`Limits`] bound its time, memory and output. Whatever it does ends as an [`Outcome`], and costs that
//! program alone.
//!
//! The interpreter is a file that carries the standard library inside. An [`Interpreter`] compiles it once, which takes
//! seconds, and [`run_all`] runs programs on several threads.
//!
//! A program runs as by `exec(source, {})` in an interpreter of its own, so that `__name__` is `builtins`. Random numbers
//! and the order of sets are the same in every run; the clock is the real one.

mod batch;
mod clock;
mod driver;
mod error;
mod guest;
mod host;
mod interpreter;
mod limits;
mod outcome;
mod sections;
mod sign;
mod ticker;
mod wasi;

pub use batch::run_all;
pub use error::PythonError;
pub use interpreter::{FILE, Interpreter};
pub use limits::Limits;
pub use outcome::{Outcome, Run};
pub use sections::without_debug;
