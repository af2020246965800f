//! The `nc-core` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    nc_core::cli::main()
}
