//! Arguments that no honest page sends.

use serde_json::{Value, json};

use super::stage::Stage;

/// A text that no error may hold.
const SECRET: &str = "the-password-is-swordfish";

fn settings(change: impl FnOnce(&mut Value)) -> Value {
    let mut settings = json!({
        "system_prompt": "", "temperature": 0.6, "top_k": 50, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0, "seed": null, "max_tokens": 10
    });
    change(&mut settings);
    settings
}

fn request(change: impl FnOnce(&mut Value)) -> Value {
    let mut request = json!({
        "name": "mine", "depth": 2, "context": 256, "chat": false, "data": {"type": "shipped"}, "budget": {"type": "steps", "steps": 5}, "seed": 1
    });
    change(&mut request);
    json!({ "request": request })
}

#[test]
fn arguments_out_of_their_range_are_refused_in_words_that_repeat_nothing() {
    let stage = Stage::new();
    let made = stage.call("conversation_create", json!({ "title": null, "settings": null })).unwrap();
    let id = made["id"].clone();
    let huge = SECRET.repeat(200_000);
    let channel = "__CHANNEL__:1";
    let cases = [
        ("conversation_get", json!({ "id": SECRET })),
        ("conversation_get", json!({ "id": 1e300 })),
        ("conversation_get", json!({ "id": -1 })),
        ("conversation_get", json!({ "id": i64::MAX })),
        ("conversation_get", json!({ "id": null })),
        ("conversation_get", json!([])),
        ("conversation_get", Value::Null),
        ("conversation_rename", json!({ "id": id, "title": huge })),
        ("conversation_rename", json!({ "id": id, "title": " \n\t" })),
        ("conversation_rename", json!({ "id": id, "title": [SECRET] })),
        ("conversation_pin", json!({ "id": id, "pinned": "yes" })),
        ("conversations_list", json!({ "sort": SECRET })),
        ("conversations_search", json!({ "query": huge })),
        ("conversation_create", json!({ "title": huge, "settings": null })),
        ("conversation_create", json!({ "title": null, "settings": settings(|s| s["system_prompt"] = huge.as_str().into()) })),
        ("conversation_settings", json!({ "id": id, "settings": settings(|s| s["temperature"] = (-1).into()) })),
        ("conversation_settings", json!({ "id": id, "settings": settings(|s| s["top_k"] = (-1).into()) })),
        ("conversation_settings", json!({ "id": id, "settings": settings(|s| s["top_k"] = 1.5.into()) })),
        ("conversation_settings", json!({ "id": id, "settings": settings(|s| s["seed"] = 1e20.into()) })),
        ("conversation_settings", json!({ "id": id, "settings": settings(|s| s[SECRET] = 1.into()) })),
        ("conversation_settings", json!({ "id": id, "settings": {} })),
        ("conversation_delete", json!({ "id": 99 })),
        ("conversation_undelete", json!({ "id": 99 })),
        ("conversation_export", json!({ "ids": [], "format": "json", "all_branches": true })),
        ("conversation_export", json!({ "ids": [99], "format": "json", "all_branches": true })),
        ("conversation_export", json!({ "ids": [id], "format": "exe", "all_branches": true })),
        ("conversations_import", json!({ "token": "/etc/passwd" })),
        ("message_send", json!({ "conversation": id, "parent": null, "text": huge, "model": "m", "channel": channel })),
        ("message_send", json!({ "conversation": id, "parent": null, "text": " ", "model": "m", "channel": channel })),
        ("message_send", json!({ "conversation": id, "parent": null, "text": SECRET, "model": "../m", "channel": channel })),
        ("message_send", json!({ "conversation": id, "parent": null, "text": SECRET, "model": "", "channel": channel })),
        ("message_send", json!({ "conversation": id, "parent": null, "text": SECRET, "model": huge, "channel": channel })),
        ("message_send", json!({ "conversation": id, "parent": null, "text": SECRET, "model": ".", "channel": channel })),
        ("message_send", json!({ "conversation": id, "parent": null, "text": SECRET, "model": "m", "channel": SECRET })),
        ("message_choose", json!({ "message": 99 })),
        ("message_attach", json!({ "message": 99, "channel": channel })),
        ("model_load", json!({ "name": "../../etc" })),
        ("model_load", json!({ "name": "no-such-model" })),
        ("model_format_set", json!({ "name": "../../etc", "format": "q8" })),
        ("model_format_set", json!({ "name": "no-such-model", "format": "q8" })),
        ("model_format_set", json!({ "name": "no-such-model", "format": null })),
        ("model_format_set", json!({ "name": "m", "format": SECRET })),
        ("model_format_set", json!({ "name": "m", "format": 8 })),
        ("model_delete", json!({ "name": "" })),
        ("model_delete", json!({ "name": ".." })),
        ("model_delete", json!({ "name": "/" })),
        ("model_delete", json!({ "name": "a/../../b" })),
        ("model_delete", json!({ "name": "a\u{0}b" })),
        ("model_inspect", json!({ "token": "/etc/passwd" })),
        ("model_import", json!({ "token": "../x", "name": "mine", "channel": channel })),
        ("model_import", json!({ "token": "x", "name": "../mine", "channel": channel })),
        ("gpu_choose", json!({ "name": SECRET })),
        ("train_plan", request(|r| r["depth"] = 0.into())),
        ("train_plan", request(|r| r["depth"] = 1000.into())),
        ("train_plan", request(|r| r["context"] = (-1).into())),
        ("train_plan", request(|r| r["seed"] = u64::MAX.into())),
        ("train_start", request(|r| r["name"] = "../mine".into())),
        ("train_start", request(|r| r["name"] = "x".repeat(65).into())),
        ("train_start", request(|r| r["data"] = json!({"type": "picked", "tokens": ["/etc/passwd"]}))),
        ("train_start", request(|r| r["data"] = json!({"type": "picked", "tokens": []}))),
        ("train_start", request(|r| r["data"] = json!({"type": "shipped", "path": "/etc"}))),
        ("train_start", request(|r| r["budget"] = json!({"type": "minutes", "minutes": 0}))),
        ("train_start", request(|r| r["budget"] = json!({"type": "minutes", "minutes": null}))),
        ("train_history", json!({ "name": "../../x" })),
        ("train_resume", json!({ "name": "../x" })),
        ("settings_set", json!({ "patch": { "theme": SECRET } })),
        ("settings_set", json!({ "patch": { SECRET: 1 } })),
        ("settings_set", json!({ "patch": { "language": huge } })),
        ("settings_set", json!({ "patch": [SECRET] })),
    ];
    for (number, (command, arguments)) in cases.into_iter().enumerate() {
        let outcome = stage.call(command, arguments);
        let error = outcome.expect_err(&format!("case {number}, {command}, went through"));
        let words = error.to_string();
        assert!(words.len() < 2000, "case {number}, {command}: {} bytes", words.len());
        assert!(!words.contains("swordfish") || error.is_string(), "case {number}, {command}: {words}");
    }
    let after = stage.call("conversation_get", json!({ "id": id })).unwrap();
    assert_eq!((&after["tree"], &after["title"]), (&json!([]), &json!("")));
    assert_eq!(stage.call("train_runs", json!({})).unwrap(), json!([]));
    assert!(stage.desktop().store.format_choices().unwrap().is_empty());
    assert!(!stage.path().join("runs").exists() || std::fs::read_dir(stage.path().join("runs")).unwrap().count() == 0);
}
