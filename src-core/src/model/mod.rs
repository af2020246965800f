//! The model: its configuration and what follows from it, its parameters, and the passes over them. Knows no tokenizer.

pub mod config;
pub mod flops;
pub mod spec;

pub use config::{Config, ConfigError};
pub use spec::{Group, ParamCounts, ParamSpec};
