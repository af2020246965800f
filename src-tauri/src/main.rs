//! The program `nanochat`.

// A window of its own is enough on Windows; no console beside it.
#![cfg_attr(not(debug_assertions), windows_subsystem = "windows")]

fn main() -> std::process::ExitCode {
    nanochat_app::run()
}
