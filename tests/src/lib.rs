//! Helpers that the whole-program tests share: running the `nc-core` command, finding the golden cases, serving files.

use std::path::{Path, PathBuf};

use nc_core::model::Architecture;

pub mod drawn;
pub mod foreign;
pub mod golden;
pub mod importing;
pub mod memory;
pub mod passes;
pub mod python;
pub mod script;
pub mod server;
pub mod source;
pub mod table;
pub mod torch;
pub mod trained;
pub mod twin;
pub mod workshop;

/// The repository's own `tests/golden`, and `NC_GOLDEN_DIR` when it is set: every case in each is run.
pub fn golden_dirs() -> Vec<PathBuf> {
    let mut dirs = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")];
    if let Some(extra) = std::env::var_os("NC_GOLDEN_DIR").filter(|value| !value.is_empty()) {
        dirs.push(extra.into());
    }
    dirs
}

/// The model cases: the safetensors files of the [`golden_dirs`], sorted.
pub fn golden_models() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in golden_dirs() {
        let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        found.extend(files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "safetensors")));
    }
    found.sort();
    assert!(!found.is_empty(), "there is no golden model case");
    found
}

/// A folder with files of the DCLM bundle: the one that `NC_CORE_BUNDLE` names, or `../shared/core-bundle`. They are no part of the
/// repository; without them this says so and gives none.
pub fn core_bundle() -> Option<PathBuf> {
    let named = std::env::var_os("NC_CORE_BUNDLE").filter(|value| !value.is_empty()).map(PathBuf::from);
    let found = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/core-bundle"));
    if found.join("eval_data").is_dir() {
        return Some(found);
    }
    eprintln!("NOT COMPARED: {} is no evaluation bundle; NC_CORE_BUNDLE names a folder with one", found.display());
    None
}

/// Every combination of a model's parts, the current architecture first; each combination has other constants, those of
/// the classic one where there is no part.
pub fn architectures() -> Vec<Architecture> {
    (0..16u8)
        .map(|lacks| {
            let has = |part: u8| lacks & part == 0;
            let parts = Architecture { smear: has(1), value_embeds: has(2), lambdas: has(4), backout: has(8), ..Architecture::CURRENT };
            match lacks {
                0 => parts,
                15 => Architecture::CLASSIC,
                _ => {
                    let step = f32::from(lacks);
                    Architecture {
                        qk_gain: 0.8 + 0.05 * step,
                        rope_base: 1e4 * f64::from(lacks),
                        norm_eps: 1e-6 * step,
                        // One so wide that exponentials of whole rows could overflow.
                        softcap: if lacks == 5 { 500.0 } else { 10.0 + step },
                        ..parts
                    }
                }
            }
        })
        .collect()
}

/// A command that runs `nc-core` with `home` as its `NC_HOME`: `nc_core!(home)`.
///
/// It is a macro because Cargo names a binary's path only while it compiles a test of the same package; that is also
/// why this package has the binary `nc-core-tested`, whose whole text is a call of `nc_core::cli::main`.
#[macro_export]
macro_rules! nc_core {
    ($home:expr) => {
        $crate::command(env!("CARGO_BIN_EXE_nc-core-tested"), $home.as_ref())
    };
}

/// Behind `nc_core!`. `NC_RUNNER` names a program that starts the one it is given: Cargo's runner reaches the tests
/// only, not what they start, and `scripts/mesa26.sh` sets both.
#[doc(hidden)]
pub fn command(program: &str, home: &Path) -> std::process::Command {
    let mut command = match std::env::var_os("NC_RUNNER").filter(|value| !value.is_empty()) {
        Some(runner) => {
            let mut command = std::process::Command::new(runner);
            command.arg(program);
            command
        }
        None => std::process::Command::new(program),
    };
    command.env("NC_HOME", home).env_remove("NC_LOG").env_remove("RUST_BACKTRACE");
    command
}
