//! `nc-core` again, as a binary of this package, so that Cargo builds it for the tests and tells them where it is.

use std::process::ExitCode;

fn main() -> ExitCode {
    nc_core::cli::main()
}
