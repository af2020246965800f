//! Tools that a model may call while it answers, and the sandbox for programs that it writes. A model's output is untrusted
//! text: a tool reads it with its own parser and bounds its cost, and no tool passes it to a code evaluator. Only evaluation runs
//! programs, in `python`, which gives them an interpreter and nothing else.

pub mod calculator;
#[cfg(feature = "python")]
pub mod python;
