//! Names the commands, so that each needs a permission, and lists the packages that the app is built from.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use serde_json::{Value, json};

/// Every command. What is not here cannot be called, and what is here only by a page to which `capabilities/` grants it.
const COMMANDS: &[&str] = &[
    "app_start",
    "app_events",
    "app_close",
    "settings_get",
    "settings_set",
    "limits",
    "about",
    "licences",
    "conversations_list",
    "conversations_search",
    "conversation_create",
    "conversation_get",
    "conversation_rename",
    "conversation_pin",
    "conversation_settings",
    "conversation_delete",
    "conversation_undelete",
    "conversation_export",
    "conversations_import",
    "message_send",
    "message_regenerate",
    "message_edit",
    "message_choose",
    "message_attach",
    "message_stop",
    "models_list",
    "model_load",
    "model_unload",
    "model_format_set",
    "model_delete",
    "model_pick",
    "model_inspect",
    "model_import",
    "import_cancel",
    "model_install_shipped",
    "shipped_model",
    "gpus_list",
    "gpu_choose",
    "train_pick_data",
    "train_plan",
    "train_start",
    "train_watch",
    "train_pause",
    "train_resume",
    "train_stop",
    "train_runs",
    "train_history",
];

fn main() {
    let manifest = tauri_build::AppManifest::new().commands(COMMANDS);
    tauri_build::try_build(tauri_build::Attributes::new().app_manifest(manifest)).expect("tauri.conf.json and capabilities/ are in order");
    let out = env::var_os("OUT_DIR").expect("cargo names a folder");
    fs::write(Path::new(&out).join("licences.json"), licences().to_string()).expect("the folder can be written to");
    println!("cargo::rerun-if-changed=../Cargo.lock");
}

/// The packages that are linked into the app on this target, by name. Asked of `cargo tree`, since only that leaves out
/// what other members of the workspace need.
fn licences() -> Value {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let target = env::var("TARGET").expect("cargo names the target");
    let output = Command::new(cargo)
        .args(["tree", "--package", env!("CARGO_PKG_NAME"), "--edges", "normal", "--prefix", "none", "--format", "{p}|{l}|{r}|"])
        .args(["--locked", "--offline", "--target", &target])
        .output()
        .expect("cargo can be run");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    // A set: the tree names a package wherever it is needed.
    let packages: BTreeSet<[&str; 4]> = lines.lines().filter_map(package).collect();
    let known = |text: &str, otherwise: Value| if text.is_empty() { otherwise } else { text.into() };
    let list = packages.into_iter().map(|[name, version, licence, repository]| {
        json!({
            "name": name,
            "version": version,
            "licence": known(licence, "see its source".into()),
            "repository": known(repository, Value::Null),
        })
    });
    list.collect()
}

/// Name, version, licence and source of a package that comes from elsewhere and is there at run time.
fn package(line: &str) -> Option<[&str; 4]> {
    let mut fields = line.split('|');
    let (package, licence, repository) = (fields.next()?, fields.next()?, fields.next()?);
    let (name, rest) = package.split_once(" v")?;
    let (version, note) = rest.split_once(' ').unwrap_or((rest, ""));
    // What has a note is ours, by its folder, or runs in the compiler only.
    note.is_empty().then_some([name, version, licence, repository])
}
