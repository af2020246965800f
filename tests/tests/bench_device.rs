//! `nc-core bench device`: two whole files about an adapter, or a sentence and none.

use std::fs;
use std::path::Path;

use nc_tests::nc_core;
use nc_tests::workshop::Workshop;
use serde_json::Value;

fn workshop() -> Workshop {
    Workshop::without_tokenizer(|home| nc_core!(home))
}

/// The names in `folder` that are of a document, each with its ending.
fn documents(folder: &Path) -> Vec<String> {
    Workshop::names(folder).into_iter().filter(|name| name.starts_with("nc-core-device-")).collect()
}

fn numbers_above_zero(row: &Value, fields: &[&str]) {
    for field in fields {
        assert!(row[field].as_f64().is_some_and(|number| number > 0.0 && number.is_finite()), "{field} of {row}");
    }
}

#[test]
fn an_adapter_is_checked_and_measured_into_two_files() {
    let workshop = workshop();
    let folder = workshop.folder().join("tables");
    let to = folder.to_str().unwrap();
    let mut args = vec!["bench", "device", "--quick", "--budget", "240", "--json", "--to", to];
    let adapter = std::env::var("NC_ADAPTER").ok();
    args.extend(adapter.iter().flat_map(|name| ["--adapter", name]));
    let output = workshop.succeed(&args);

    let printed = String::from_utf8(output.stdout).unwrap();
    let document: Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
    let names = documents(&folder);
    assert_eq!(Workshop::names(&folder), names, "something else was left in the folder");
    let [json, markdown] = names.as_slice() else { panic!("{names:?}") };
    let written: Value = serde_json::from_str(&fs::read_to_string(folder.join(json)).unwrap()).unwrap();
    assert_eq!(written, document);

    assert_eq!((document["format"].as_u64(), document["quick"].as_bool()), (Some(1), Some(true)));
    assert!(json.contains(document["date"].as_str().unwrap()) && json.ends_with(".json") && markdown.ends_with(".md"));
    let name = document["adapter"]["name"].as_str().unwrap();
    assert!(!name.is_empty() && document["capabilities"]["invocations"].as_u64().unwrap() >= 64);
    let checks = document["checks"].as_array().unwrap();
    assert_eq!(checks.len(), nc_core::kernels::check::all().len());
    assert!(checks.iter().all(|check| check["passed"] == true && check["comparisons"].as_u64().unwrap() > 0), "{checks:?}");
    assert_eq!(document["checks_failed"], 0);
    numbers_above_zero(&document["roof"], &["copy", "read", "buffer_bytes", "f32_fma"]);

    let steps = document["steps"].as_array().unwrap();
    let kinds: Vec<(&str, u64)> = steps.iter().map(|step| (step["step"].as_str().unwrap(), step["batch"].as_u64().unwrap())).collect();
    assert_eq!(kinds, [("train", 1), ("prefill", 1), ("decode", 1), ("decode", 8), ("decode", 32)], "{}", document["skipped"]);
    steps.iter().for_each(|step| numbers_above_zero(step, &["seconds", "tokens_per_second", "flops_per_second", "share"]));
    let kernels = document["kernels"].as_array().unwrap();
    assert!(kernels.len() > 10, "{}", document["skipped"]);
    kernels.iter().for_each(|row| numbers_above_zero(row, &["seconds", "bytes_per_second", "share"]));

    let text = fs::read_to_string(folder.join(markdown)).unwrap();
    for words in [format!("# {name}"), "## Roof".into(), "## Checks".into(), "## Steps".into(), "## Kernels".into()] {
        assert!(text.contains(&words), "no {words:?} in\n{text}");
    }
    // Nothing about who measured it and where.
    let private = [workshop.folder().to_str().unwrap().to_owned(), std::env::var("HOME").unwrap_or_default()];
    for word in private.iter().filter(|word| word.len() > 3) {
        assert!(!text.contains(word) && !document.to_string().contains(word.as_str()), "{word}");
    }

    // The same day's files are not replaced unasked, and that is said before anything is measured.
    let before = fs::read(folder.join(json)).unwrap();
    let said = workshop.refused(&args);
    assert!(said.contains("already exists: add --force to replace it"), "{said}");
    assert_eq!((documents(&folder), fs::read(folder.join(json)).unwrap()), (names.clone(), before));
}

#[test]
fn a_folder_that_takes_no_files_is_refused_before_anything_is_measured() {
    let workshop = workshop();
    let file = workshop.file("a-file", "text");
    for to in [file.clone(), format!("{file}/below")] {
        let said = workshop.refused(&["bench", "device", "--to", &to]);
        assert!(said.contains("cannot write to the folder") && said.contains("choose another with --to"), "{said}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "text");
    assert_eq!(documents(workshop.folder()), [""; 0]);
}
