//! The house of the library (`src/lib.rs`): which part may call which, that none of two files imports the other while it is
//! imported by it, and that only the command line knows options.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use nc_tests::source::{Source, modules};

/// Each floor, and those below it that it may import.
const FLOORS: [(&str, &[&str]); 18] = [
    ("files", &[]),
    ("weights", &[]),
    ("tools", &[]),
    ("tokenizer", &["files"]),
    ("data", &["tokenizer", "tools", "files"]),
    ("tasks", &["data", "tokenizer", "files"]),
    ("gpu", &["files"]),
    ("kernels", &["gpu", "weights"]),
    ("model", &["kernels", "gpu", "weights"]),
    ("optim", &["model", "kernels", "gpu"]),
    ("checkpoint", &["files", "weights"]),
    // Of `model` the configuration, of `data` what fetches files.
    ("interchange", &["checkpoint", "model", "data", "tokenizer", "files", "weights"]),
    ("engine", &["model", "kernels", "gpu", "weights", "tokenizer", "tools"]),
    ("eval", &["engine", "model", "gpu", "tasks", "data", "tokenizer", "files"]),
    (
        "train",
        &[
            "eval",
            "engine",
            "optim",
            "model",
            "kernels",
            "gpu",
            "interchange",
            "checkpoint",
            "tasks",
            "data",
            "tokenizer",
            "files",
            "weights",
        ],
    ),
    ("burn_twin", &["model", "gpu"]),
    ("bench", &["train", "engine", "optim", "model", "kernels", "gpu", "data", "weights"]),
    ("cli", &["*"]),
];

type Modules = BTreeMap<Vec<String>, Source>;

fn library() -> Modules {
    let found = modules(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../src-core/src"));
    assert!(found.len() > 200, "only {} modules", found.len());
    found
}

/// The modules that `module` names by paths.
fn named(modules: &Modules, module: &[String]) -> BTreeSet<Vec<String>> {
    let resolve = |path: Vec<String>| {
        let mut at: Vec<String> = if path[0] == "crate" { Vec::new() } else { module.to_vec() };
        for word in &path {
            match word.as_str() {
                "crate" | "self" => {}
                "super" => drop(at.pop()),
                word => {
                    at.push(word.to_owned());
                    if !modules.contains_key(&at) {
                        at.pop();
                        break;
                    }
                }
            }
        }
        at
    };
    let mut named: BTreeSet<Vec<String>> = modules[module].paths().into_iter().map(resolve).collect();
    named.remove(module);
    named
}

#[test]
fn arrows_point_down() {
    let modules = library();
    let floors: BTreeSet<&str> = modules.keys().filter_map(|module| module.first()).map(String::as_str).collect();
    assert_eq!(floors, FLOORS.iter().map(|(floor, _)| *floor).collect(), "the table of floors is not that of src/lib.rs");
    let mut wrong = Vec::new();
    for module in modules.keys().filter(|module| !module.is_empty()) {
        let below = FLOORS.iter().find(|(floor, _)| *floor == module[0]).unwrap().1;
        for other in named(&modules, module) {
            let good = other.is_empty() || other[0] == module[0] || below == ["*"] || below.contains(&other[0].as_str());
            if !good {
                wrong.push(format!("{} imports {}", module.join("::"), other.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Nothing in the table is higher than what it stands on.
    for (at, (floor, below)) in FLOORS.iter().enumerate() {
        for other in below.iter().filter(|other| **other != "*") {
            assert!(FLOORS[..at].iter().any(|(lower, _)| lower == other), "{floor} stands on {other}, which is not below it");
        }
    }
}

#[test]
fn no_two_files_import_each_other() {
    let modules = library();
    let arrows: BTreeMap<&Vec<String>, BTreeSet<Vec<String>>> = modules.keys().map(|module| (module, named(&modules, module))).collect();
    let mut circles = Vec::new();
    for (&module, others) in &arrows {
        // A module and one inside it are one thought in two files.
        let apart = |other: &&Vec<String>| !module.starts_with(other) && !other.starts_with(module);
        for other in others.iter().filter(apart).filter(|other| module < *other) {
            if arrows[other].contains(module) {
                circles.push(format!("{} and {}", module.join("::"), other.join("::")));
            }
        }
    }
    assert!(circles.is_empty(), "these import each other:\n{}", circles.join("\n"));
}

#[test]
fn only_the_command_line_names_options() {
    let mut found = Vec::new();
    for (_, source) in library().iter().filter(|(module, _)| module.first().is_none_or(|floor| floor != "cli")) {
        for string in source.strings.iter().filter(|string| names_an_option(string)) {
            found.push(format!("{}: {string}", source.file.display()));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Whether a text has a word like `--depth`.
fn names_an_option(text: &str) -> bool {
    text.match_indices("--").any(|(at, _)| {
        let before = text[..at].chars().next_back();
        !before.is_some_and(|letter| letter.is_alphanumeric() || letter == '-')
            && text[at + 2..].starts_with(|c: char| c.is_ascii_lowercase())
    })
}
