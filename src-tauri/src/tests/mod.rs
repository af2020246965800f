//! The commands as the pages call them, through the real permissions, with no display.

mod arguments;
mod built_from;
mod imports;
mod permissions;
mod session;
mod stage;
mod waiting;

/// Models that write what a test wants.
#[path = "../../../tests/src/script.rs"]
#[allow(dead_code, reason = "shared with the tests of nc-core")]
pub mod script;
