//! A person's session, from the first conversation to the next start.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};
use tauri::ipc::{Channel, InvokeResponseBody};

use super::script;
use super::stage::Stage;
use crate::commands::messages::{message_edit, message_send};
use crate::types::{Id, Started};

/// A channel as a page has one, and what comes out of it.
fn page<T: serde::Serialize>() -> (Channel<T>, Receiver<Value>) {
    let (heard, events) = channel();
    let channel = Channel::new(move |body| {
        if let InvokeResponseBody::Json(json) = body {
            let _ = heard.send(serde_json::from_str(&json).unwrap());
        }
        Ok(())
    });
    (channel, events)
}

fn to_the_end(events: &Receiver<Value>) -> Value {
    loop {
        let event = events.recv_timeout(Duration::from_secs(60)).expect("an answer ends");
        if event["type"] == "done" {
            return event["message"].clone();
        }
    }
}

fn say(stage: &Stage, conversation: Id, parent: Option<Id>, text: &str) -> (Started, Value) {
    let (channel, events) = page();
    let started = message_send(stage.desktop(), conversation, parent, text.into(), "tiny".into(), channel).unwrap();
    let answer = to_the_end(&events);
    (started, answer)
}

#[test]
fn chat_branch_search_export_and_find_it_all_again_after_a_restart() {
    let stage = Stage::new();
    script::Script::writing(512, "Hi <b>").install(stage.path(), "tiny");
    let start = stage.call("app_start", json!({})).unwrap();
    assert_eq!((&start["conversations"], &start["recovered"]), (&json!([]), &Value::Null));
    assert_eq!(start["models"][0]["name"], "tiny");
    assert_eq!(stage.call("models_list", json!({})).unwrap()[0]["fit"], "fits");

    let id = stage.call("conversation_create", json!({ "title": null, "settings": null })).unwrap()["id"].as_i64().unwrap();
    let (started, answer) = say(&stage, id, None, "Hello walrus");
    assert_eq!(started.conversation.title, "Hello walrus");
    assert_eq!((&answer["parts"][0]["text"], &answer["state"]), (&json!("Hi <b>"), &json!("whole")));
    assert_eq!(answer["answer"]["reason"], "stop");
    say(&stage, id, answer["id"].as_i64(), "And again");

    let first = started.user.unwrap().id;
    let (channel, events) = page();
    let edited = message_edit(stage.desktop(), first, "Hello whale".into(), "tiny".into(), channel).unwrap();
    to_the_end(&events);
    assert_eq!(edited.path.len(), 2);
    assert_eq!(stage.call("message_choose", json!({ "message": first })).unwrap().as_array().unwrap().len(), 4);

    let hits = stage.call("conversations_search", json!({ "query": "walr" })).unwrap();
    assert_eq!(hits.as_array().unwrap().len(), 2, "the title and the message: {hits}");
    let export = json!({ "ids": [id], "format": "jsonl", "all_branches": false });
    assert_eq!(stage.call("conversation_export", export.clone()).unwrap(), Value::Null, "the dialog was closed");
    *stage.person.choice.lock().unwrap() = Some(stage.path().to_owned());
    let exported = stage.call("conversation_export", export).unwrap();
    let file = stage.path().join(exported["name"].as_str().unwrap());
    assert_eq!(nc_core::data::read_conversations(&file).unwrap()[0].messages.len(), 4, "what one likes, one can train on");
    *stage.person.choice.lock().unwrap() = Some(file);
    let imported = stage.call("conversations_import", json!({ "token": null })).unwrap();
    assert_eq!(imported["conversations"].as_array().unwrap().len(), 1);

    stage.call("conversation_pin", json!({ "id": id, "pinned": true })).unwrap();
    stage.call("conversation_delete", json!({ "id": imported["conversations"][0] })).unwrap();
    stage.call("settings_set", json!({ "patch": { "theme": "dark" } })).unwrap();
    let before = stage.call("conversation_get", json!({ "id": id })).unwrap();

    let Stage { folder, app, .. } = stage;
    drop(app);
    let stage = Stage::in_folder(folder);
    let start = stage.call("app_start", json!({})).unwrap();
    assert_eq!(start["conversations"].as_array().unwrap().len(), 1);
    assert_eq!((&start["settings"]["theme"], &start["settings"]["last_model"]), (&json!("dark"), &json!("tiny")));
    assert_eq!(start["settings"]["last_conversation"], id);
    assert_eq!(stage.call("conversation_get", json!({ "id": id })).unwrap(), before);
}

#[test]
fn models_are_loaded_deleted_and_gpus_chosen() {
    let stage = Stage::new();
    script::Script::writing(128, "Hi").install(stage.path(), "tiny");
    let state = stage.call("model_load", json!({ "name": "tiny" })).unwrap();
    assert_eq!((&state["state"], &state["model"]), (&json!("loaded"), &json!("tiny")));
    assert!(state["memory_bytes"].as_u64().unwrap() > 100_000);
    let gpus = stage.call("gpus_list", json!({})).unwrap();
    let gpu = &gpus[0];
    assert_eq!((&gpu["chosen"], gpu["memory_bytes"].as_u64().unwrap() > 1 << 20), (&json!(true), true), "{gpu}");
    stage.call("gpu_choose", json!({ "name": gpu["name"] })).unwrap();
    assert_eq!(stage.call("app_start", json!({})).unwrap()["loaded"]["state"], "none", "another GPU has no model yet");
    stage.call("model_load", json!({ "name": "tiny" })).unwrap();
    stage.call("model_delete", json!({ "name": "tiny" })).unwrap();
    assert_eq!(stage.call("models_list", json!({})).unwrap(), json!([]));
    assert!(!stage.path().join("runs/tiny").exists());
}

#[test]
fn a_run_is_planned_before_it_is_started() {
    let stage = Stage::new();
    let request = |depth: u64, budget: Value| json!({ "request": { "name": "mine", "depth": depth, "context": 256, "chat": true, "data": {"type": "shipped"}, "budget": budget, "seed": 1 } });
    let plan = stage.call("train_plan", request(2, json!({ "type": "tokens", "tokens": 1_000_000 }))).unwrap();
    assert_eq!((&plan["problem"], &plan["fit"], &plan["n_embd"]), (&Value::Null, &json!("fits"), &json!(128)));
    let step = plan["tokens_per_step"].as_u64().unwrap();
    assert_eq!(plan["steps"].as_u64().unwrap(), 1_000_000_u64.div_ceil(step));
    assert_eq!(stage.call("train_plan", request(2, json!({ "type": "minutes", "minutes": 5 }))).unwrap()["steps"], Value::Null);
    let larger = stage.call("train_plan", request(6, json!({ "type": "steps", "steps": 5 }))).unwrap();
    assert!(larger["memory_bytes"].as_u64() > plan["memory_bytes"].as_u64() && larger["parameters"].as_u64() > plan["parameters"].as_u64());
    std::fs::create_dir_all(stage.path().join("runs/mine-chat")).unwrap();
    let taken = stage.call("train_plan", request(2, json!({ "type": "steps", "steps": 5 }))).unwrap();
    assert_eq!(taken["problem"]["code"], "bad_input");
}

#[test]
fn the_model_that_ships_with_the_app_is_installed_and_answers() {
    let stage = Stage::new();
    let shipped = stage.call("shipped_model", json!({})).unwrap();
    assert!(shipped["bytes"].as_u64().unwrap() < 20_000_000 && shipped["installed"] == false, "{shipped}");
    for _ in 0..2 {
        let model = stage.call("model_install_shipped", json!({})).unwrap();
        assert_eq!((&model["name"], &model["shipped"], &model["kind"]), (&shipped["name"], &json!(true), &json!("chat")));
    }
    assert_eq!(stage.call("shipped_model", json!({})).unwrap()["installed"], true);
    let greedy = json!({
        "system_prompt": "", "temperature": 0, "top_k": 50, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0, "seed": 1, "max_tokens": 64
    });
    let id = stage.call("conversation_create", json!({ "title": null, "settings": greedy })).unwrap()["id"].as_i64().unwrap();
    let (channel, events) = page();
    let name = shipped["name"].as_str().unwrap();
    message_send(stage.desktop(), id, None, "What is the capital of France?".into(), name.into(), channel).unwrap();
    let answer = to_the_end(&events);
    assert!(answer["parts"][0]["text"].as_str().unwrap().contains("Paris"), "{answer}");
}

#[test]
fn a_model_is_loaded_and_answers_in_the_format_that_the_person_chose() {
    let stage = Stage::new();
    let model = stage.call("model_install_shipped", json!({})).unwrap();
    let name = &model["name"];
    let own = model["precision"].clone();
    assert_eq!((&model["weights"], &model["weights_choice"], &model["formats"][0]["format"]), (&own, &Value::Null, &own));
    let set = |format: Value| stage.call("model_format_set", json!({ "name": name, "format": format }));
    let loaded = || stage.call("app_start", json!({})).unwrap()["loaded"].clone();

    // What is not loaded stays so.
    assert_eq!(set(json!("q4")).unwrap()["weights"], "q4");
    assert_eq!(loaded()["state"], "none");
    set(Value::Null).unwrap();
    let whole = stage.call("model_load", json!({ "name": name })).unwrap();
    assert_eq!((&whole["state"], &whole["weights"]), (&json!("loaded"), &own));

    let turn = stage.desktop();
    let turn = turn.worker.reserve().unwrap();
    assert_eq!(set(json!("q8")).unwrap_err()["code"], "busy", "an answer is being written");
    drop(turn);
    assert_eq!((&stage.call("models_list", json!({})).unwrap()[0]["weights"], &loaded()), (&own, &whole));

    let model = set(json!("q8")).unwrap();
    assert_eq!((&model["weights"], &model["weights_choice"], &model["precision"]), (&json!("q8"), &json!("q8"), &own));
    assert!(model["memory_bytes"].as_u64() < model["formats"][0]["memory_bytes"].as_u64(), "{model}");
    let narrow = loaded();
    assert_eq!((&narrow["state"], &narrow["model"], &narrow["weights"]), (&json!("loaded"), name, &json!("q8")));
    assert!(narrow["memory_bytes"].as_u64() < whole["memory_bytes"].as_u64(), "{narrow} {whole}");
    let greedy = json!({
        "system_prompt": "", "temperature": 0, "top_k": 50, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0, "seed": 1, "max_tokens": 64
    });
    let id = stage.call("conversation_create", json!({ "title": null, "settings": greedy })).unwrap()["id"].as_i64().unwrap();
    let (channel, events) = page();
    message_send(stage.desktop(), id, None, "What is the capital of France?".into(), name.as_str().unwrap().into(), channel).unwrap();
    let answer = to_the_end(&events);
    assert!(answer["parts"][0]["text"].as_str().unwrap().contains("Paris"), "{answer}");

    // It is kept over a restart, and forgotten with the model.
    let Stage { folder, app, .. } = stage;
    drop(app);
    let stage = Stage::in_folder(folder);
    assert_eq!(stage.call("model_load", json!({ "name": name })).unwrap()["weights"], "q8");
    stage.call("model_delete", json!({ "name": name })).unwrap();
    let again = stage.call("model_install_shipped", json!({})).unwrap();
    assert_eq!((&again["weights"], &again["weights_choice"]), (&own, &Value::Null));
}

#[test]
fn the_app_says_what_it_is_made_of() {
    let stage = Stage::new();
    let licences = stage.call("licences", json!({})).unwrap();
    let licences = licences.as_array().unwrap();
    assert!(licences.len() > 100);
    assert!(licences.iter().all(|package| package["licence"].as_str().is_some_and(|licence| !licence.is_empty())));
    let about = stage.call("about", json!({})).unwrap();
    assert!(about["data_folder"].as_str().unwrap().ends_with("desktop") && about["database_bytes"].as_u64().unwrap() > 0);
}
