//! The real app in its window, on a display that nobody sees: driven by what a screen reader sees and by keys, as a person
//! would drive it. `NANOCHAT_BIN` names another executable to be tested, such as the one that is shipped.

#![cfg(target_os = "linux")]

mod app;
mod killed;
mod models;
mod much;
mod pictures;
mod screen;
mod sealed;
mod session;
mod speed;
mod trouble;
#[cfg(feature = "e2e")]
mod webdriver;

/// Models that write what a test wants.
#[path = "../../../tests/src/script.rs"]
#[allow(dead_code, reason = "shared with the tests of nc-core")]
mod script;
