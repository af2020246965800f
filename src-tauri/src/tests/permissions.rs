//! Who may call what.

use serde_json::{Value, json};
use tauri::WebviewWindowBuilder;

use super::stage::{Stage, call};

/// The commands that `capabilities/main.json` grants.
fn granted() -> Vec<String> {
    let capability: Value = serde_json::from_str(include_str!("../../capabilities/main.json")).unwrap();
    let permissions = capability["permissions"].as_array().unwrap();
    permissions.iter().map(|permission| permission.as_str().unwrap().strip_prefix("allow-").unwrap().replace('-', "_")).collect()
}

fn refused(outcome: &Result<Value, Value>) -> bool {
    outcome.as_ref().is_err_and(|error| error.as_str().is_some_and(|words| words.contains("not allowed") || words.contains("not found")))
}

/// Commands that wait for something that this test does not have, or end it.
const WAITING: [&str; 3] = ["app_close", "train_start", "train_resume"];

#[test]
fn the_page_may_call_each_command_and_nobody_else_any() {
    let stage = Stage::new();
    let other = WebviewWindowBuilder::new(&stage.app, "other", Default::default()).build().unwrap();
    let commands = granted();
    assert!(commands.len() > 40);
    for command in &commands {
        if !WAITING.contains(&command.as_str()) {
            let outcome = stage.call(command, json!({}));
            assert!(!refused(&outcome), "{command}: {outcome:?}");
        }
        assert!(refused(&call(&other, "tauri://localhost", command, json!({}))), "{command} from another window");
        assert!(refused(&call(&stage.window, "https://example.org", command, json!({}))), "{command} from an address");
    }
}

#[test]
fn nothing_else_can_be_called() {
    let stage = Stage::new();
    for command in [
        "no_such_command",
        "plugin:fs|read_file",
        "plugin:shell|execute",
        "plugin:path|resolve_directory",
        "plugin:event|emit",
        "plugin:event|listen",
        "plugin:window|create",
        "plugin:webview|create_webview_window",
        "plugin:webview|internal_toggle_devtools",
        "plugin:app|version",
        "plugin:resources|close",
        "plugin:image|from_path",
        "plugin:menu|new",
        "plugin:tray|new",
        "plugin:window|set_title",
    ] {
        let outcome = stage.call(command, json!({ "path": "/etc/passwd" }));
        assert!(outcome.is_err(), "{command}: {outcome:?}");
    }
}

#[test]
fn the_policy_lets_no_address_and_no_foreign_script_in() {
    let config: Value = serde_json::from_str(include_str!("../../tauri.conf.json")).unwrap();
    let policy = config["app"]["security"]["csp"].as_str().unwrap();
    for directive in
        ["default-src 'none'", "connect-src ipc:", "script-src 'self'", "object-src 'none'", "require-trusted-types-for 'script'"]
    {
        assert!(policy.split("; ").any(|part| part == directive), "{directive}");
    }
    for open in ["http", "*", "unsafe", "blob:", "ws:"] {
        assert!(!policy.contains(open), "{open}");
    }
    assert_eq!(config["build"].get("devUrl"), None, "a development server would listen");
    assert_eq!(config["app"]["withGlobalTauri"], false);
}
