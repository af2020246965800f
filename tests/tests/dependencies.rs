//! What the desktop app is built from: the library without its command line, and so without all that only that needs.

use std::process::Command;

/// What belongs to the command line, what opens connections, and what runs programs.
const COMMAND_LINE: [&str; 10] =
    ["clap", "ctrlc", "hf-hub", "indicatif", "rustls", "rustyline", "tiktoken-rs", "tracing-subscriber", "ureq", "wasmtime"];

/// What `cargo tree` prints of what `args` name, a package a line; nothing where something of it was never downloaded.
fn tree(args: &[&str]) -> Option<Vec<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let output = Command::new(cargo)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(args)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() || said.contains("--offline"), "{said}");
    let lines = String::from_utf8(output.stdout).unwrap();
    output.status.success().then(|| lines.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}

fn of_the_command_line(packages: &[String]) -> Vec<&String> {
    packages.iter().filter(|package| COMMAND_LINE.contains(&package.as_str())).collect()
}

#[test]
fn the_library_alone_has_no_command_line_and_no_network_client() {
    let alone = tree(&["--package", "nc-core", "--no-default-features"]).expect("its packages were downloaded to build this test");
    for expected in ["wgpu", "naga", "tokenizers"] {
        assert!(alone.iter().any(|package| package == expected), "{expected} is missing: {alone:?}");
    }
    assert_eq!(of_the_command_line(&alone), [""; 0]);
    let whole = tree(&["--package", "nc-core"]).unwrap();
    assert!(!of_the_command_line(&whole).is_empty(), "the names are those of no packages");
}

/// The app's other packages need not be here, as it is built by itself; its own tests look at all that it is built from.
#[test]
fn the_app_takes_the_library_alone() {
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../src-tauri/Cargo.toml")).unwrap();
    let line = manifest.lines().find(|line| line.starts_with("nc-core")).unwrap();
    assert_eq!(line, "nc-core = { workspace = true, default-features = false }");
    if let Some(packages) = tree(&["--package", "nanochat"]) {
        assert!(packages.iter().any(|package| package == "tauri"), "{packages:?}");
        assert_eq!(of_the_command_line(&packages), [""; 0]);
    }
}
