//! Models from elsewhere, from the dialog to the first answer.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;

use nc_core::weights::Format;
use serde_json::{Value, json};
use tauri::ipc::{Channel, InvokeResponseBody};

use super::stage::Stage;
use crate::commands::models::model_import;
use crate::error::ErrorCode;
use crate::models::{Importer, inspect};
use crate::types::Fit;

/// A folder of the golden files.
fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name)
}

/// Chooses a folder in the dialog, and gives the token that the page gets.
fn pick(stage: &Stage, folder: PathBuf) -> Value {
    *stage.person.choice.lock().unwrap() = Some(folder);
    stage.call("model_pick", json!({ "folder": true })).unwrap()["token"].clone()
}

fn runs(stage: &Stage) -> usize {
    fs::read_dir(stage.path().join("runs"))
        .map_or(0, |entries| entries.flatten().filter(|entry| !entry.file_name().to_string_lossy().starts_with('.')).count())
}

#[test]
fn a_checkpoint_of_nanochat_is_inspected_imported_and_loaded() {
    let stage = Stage::new();
    let token = pick(&stage, golden("nanochat-native/base"));
    let plan = stage.call("model_inspect", json!({ "token": token })).unwrap();
    assert!(plan["parameters"].as_u64().unwrap() > 1000 && plan["memory_bytes"].as_u64() > plan["file_bytes"].as_u64(), "{plan}");
    assert_eq!((plan["format"].as_str(), plan["fit"].as_str(), runs(&stage)), (Some("a checkpoint of nanochat"), Some("fits"), 0));
    assert_eq!((&plan["precision"], &plan["weights"], plan["formats"][0]["format"].as_str()), (&json!("f32"), &json!("f32"), Some("f32")));
    assert_eq!(plan["formats"][0]["memory_bytes"], plan["memory_bytes"]);
    assert!(plan["file_bytes"].as_u64().unwrap() < 4 * plan["parameters"].as_u64().unwrap(), "its tables are in 16 bits: {plan}");
    let small = inspect(&golden("nanochat-native/base"), Some(1000)).unwrap();
    assert_eq!(
        (small.precision, small.weights, small.fit),
        (Format::F32, small.formats.iter().min_by_key(|each| each.memory_bytes).unwrap().format, Fit::TooLarge)
    );

    let (heard, events) = channel();
    let progress = Channel::new(move |body| {
        if let InvokeResponseBody::Json(json) = body {
            heard.send(serde_json::from_str::<Value>(&json).unwrap()).unwrap();
        }
        Ok(())
    });
    let model = model_import(stage.desktop(), token.as_str().unwrap().into(), "mine".into(), progress).unwrap();
    let last = events.try_iter().last().unwrap();
    assert!(last["done"] == last["total"] && last["total"].as_u64().unwrap() > 0, "{last}");
    let model = serde_json::to_value(model).unwrap();
    assert_eq!((&model["kind"], &model["parameters"], &model["problem"]), (&json!("imported"), &plan["parameters"], &Value::Null));
    assert!(model["source"].as_str().unwrap().ends_with(".pt"), "{model}");
    assert_eq!((&model["precision"], &model["formats"]), (&plan["precision"], &plan["formats"]));
    let state = stage.call("model_load", json!({ "name": "mine" })).unwrap();
    assert_eq!((&state["state"], &state["weights"]), (&json!("loaded"), &json!("f32")));

    let again = stage.call("model_import", json!({ "token": token, "name": "mine", "channel": "__CHANNEL__:1" })).unwrap_err();
    assert_eq!(again["code"], "bad_input", "the name is taken");
    assert_eq!(runs(&stage), 1);
}

#[test]
fn a_model_without_a_tokenizer_is_imported_and_said_to_be_mute() {
    let stage = Stage::new();
    let token = pick(&stage, golden("hf-classic"));
    let model = stage.call("model_import", json!({ "token": token, "name": "mute", "channel": "__CHANNEL__:1" })).unwrap();
    assert_eq!(model["problem"]["code"], "unsupported", "{model}");
    assert!(stage.call("model_load", json!({ "name": "mute" })).is_err());
}

#[test]
fn what_is_no_model_is_refused_and_what_is_cancelled_leaves_nothing() {
    let stage = Stage::new();
    let token = pick(&stage, stage.path().to_owned());
    let refused = stage.call("model_inspect", json!({ "token": token })).unwrap_err();
    assert_eq!(refused["code"], "unsupported", "{refused}");
    assert!(stage.call("model_import", json!({ "token": token, "name": "x", "channel": "__CHANNEL__:1" })).is_err());

    let importer = Importer::default();
    let home = &stage.desktop().home;
    let mut told = 0;
    let outcome = importer.run(home, &golden("nanochat-native/base"), "half", &mut |_| {
        told += 1;
        importer.cancel();
    });
    assert_eq!((outcome.unwrap_err().code, told, runs(&stage)), (ErrorCode::Cancelled, 1, 0));
    // The next one is not cancelled with it.
    importer.run(home, &golden("nanochat-native/base"), "whole", &mut |_| {}).unwrap();
    assert_eq!(runs(&stage), 1);
}
