//! nanochat on any GPU: tokenizer, training, evaluation and generation as WGSL compute shaders on wgpu.
//!
//! Modules call downwards only: `cli → bench → train → eval → engine → model → kernels → gpu`; `optim` builds on `kernels`;
//! `tasks` builds on `data`, and both `data` and `checkpoint` on `tokenizer` and `tools`; importing, a part of `checkpoint`, also
//! uses the configuration of a `model` and the downloads of `data`. `model` knows no tokenizer, `engine` no
//! training, `tasks` no model, `gpu` no tensor maths; `files` knows none of the others, and everything that reads files uses it.

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
