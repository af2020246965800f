//! Tools that a model may call while it answers. A model's output is untrusted text: a tool reads it with its own parser
//! and bounds its cost, and no tool passes it to a code evaluator.

pub mod calculator;
