//! nanochat on any GPU: tokenizer, training, evaluation and generation as WGSL compute shaders on wgpu.
//!
//! Modules call downwards only; `tests/tests/house.rs` checks what each of them imports:
//!
//! - `cli → bench → train → eval → engine → model → kernels → gpu`. `train` also uses `optim`, which updates the parameters of a `model`
//!   through `kernels`; `eval` also uses `tasks`.
//! - `train → tasks → data → tokenizer`. `engine` and `data` use `tokenizer` and `tools`.
//! - `train → interchange → checkpoint`. `interchange` reads and writes the files of other programs, so it also uses the
//!   configuration of a `model`, the `tokenizer` and the downloads of `data`; `checkpoint` is our own format and knows none
//!   of them.
//! - `files` and `weights` know none of the others. Everything that reads files uses `files`; `weights` says what a weight is in
//!   16, 8 or 4 bits, to kernels as well as to files.
//!
//! `model` knows no tokenizer, `engine` no training, `tasks` no model, `gpu` no tensor maths, and nothing below `cli` names an
//! option of the command line. The feature `cli` adds the command and everything that only it needs; the desktop app
//! is built without it.

pub mod bench;
#[cfg(feature = "burn")]
pub mod burn_twin;
pub mod checkpoint;
#[cfg(feature = "cli")]
pub mod cli;
pub mod data;
pub mod engine;
pub mod eval;
pub mod files;
pub mod gpu;
pub mod interchange;
pub mod kernels;
pub mod model;
pub mod optim;
pub mod tasks;
pub mod tokenizer;
pub mod tools;
pub mod train;
pub mod weights;
