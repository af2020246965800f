//! A person's first session, from the page that nobody has seen to the next start.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::app::{self, App, BUTTON, FIELD};
use super::models;
use super::screen::Screen;

/// Makes a model that never ends, to be found later: on the first run there is none.
pub fn prepare(screen: &Screen) {
    models::endless().install(&spare(screen), "endless");
}

fn spare(screen: &Screen) -> std::path::PathBuf {
    screen.home().join("spare")
}

/// The last answer of `model` on the page.
fn answer(model: &str) -> Value {
    json!({ "role": "article", "name": model, "last": true, "seconds": 90 })
}

fn with(mut request: Value, key: &str, value: impl Into<Value>) -> Value {
    request[key] = value.into();
    request
}

/// Waits until the endless model's answer has begun, and stops it.
#[track_caller]
pub fn stop(screen: &mut Screen) {
    screen.see(with(answer("endless"), "text", models::ALPHABET));
    screen.press(BUTTON, "Stop");
    screen.see(with(answer("endless"), "text", "You stopped this answer."));
}

/// Asks the model that ships with the app, and waits for the whole answer.
#[track_caller]
pub fn ask(screen: &mut Screen, question: &str) {
    screen.say(question);
    screen.see(json!({ "role": "article", "name": "You", "last": true, "text": question }));
    screen.see(json!({ "role": BUTTON, "name": "Answer once more", "enabled": true, "seconds": 90, "within": answer("nanochat-small") }));
}

/// First run, model, chat, stop, regenerate, branch, search, export.
#[track_caller]
pub fn live(screen: &mut Screen) {
    // First run: the model that ships with the app.
    screen.see(json!({ "role": "heading", "name": "A model of your own" }));
    screen.press(BUTTON, "Use this one");
    ask(screen, "What is the capital of France?");
    assert_eq!(screen.ask("all", json!({ "role": "article" })).as_array().unwrap().len(), 2);

    // Another model turns up in the folder, and is chosen.
    fs::rename(spare(screen).join("runs/endless"), screen.data().join("runs/endless")).unwrap();
    screen.press(BUTTON, "Models");
    screen.see(json!({ "name": "endless" }));
    screen.press(BUTTON, "nanochat");
    screen.press(BUTTON, "Model: nanochat-small …");
    screen.press("radio menu item", "endless …");
    screen.see(json!({ "role": BUTTON, "name": "Model: endless …" }));

    // Settings of the conversation: as long as it likes.
    screen.press(BUTTON, "Settings of this conversation");
    screen.ask("focus", json!({ "role": FIELD, "name": "Longest answer" }));
    screen.keys(&["ctrl+a"]);
    screen.write("100000");
    screen.keys(&["Tab"]);
    screen.press(BUTTON, "Settings of this conversation");

    // Chat, stop, regenerate, and walk between the two answers.
    screen.say("Say the alphabet");
    stop(screen);
    screen.ask("press", json!({ "role": BUTTON, "name": "Answer once more", "within": answer("endless") }));
    stop(screen);
    screen.see(json!({ "name": "Version 2 of 2" }));
    screen.press(BUTTON, "Previous version");
    screen.see(json!({ "name": "Version 1 of 2" }));

    // A branch: the first message, said otherwise.
    screen.ask("press", json!({ "role": BUTTON, "name": "Edit", "within": { "role": "article", "name": "You" } }));
    screen.keys(&["ctrl+a"]);
    screen.write("Where do walruses sleep?");
    screen.keys(&["Return"]);
    stop(screen);
    screen.see(json!({ "role": "article", "name": "You", "text": "Where do walruses sleep?" }));
    assert_eq!(screen.ask("all", json!({ "role": "article" })).as_array().unwrap().len(), 2, "a branch begins");
    screen.press(BUTTON, "Previous version");
    screen.see(json!({ "role": "article", "name": "You", "text": "What is the capital of France?" }));
    assert_eq!(screen.ask("all", json!({ "role": "article" })).as_array().unwrap().len(), 4, "no turn is lost");

    // Search finds what is in the other branch, and goes there.
    screen.press(BUTTON, "New conversation");
    screen.ask("focus", json!({ "role": FIELD, "name": "Search" }));
    screen.write("walrus");
    screen.see(json!({ "role": "status bar", "text": "1 place found" }));
    screen.ask("press", json!({ "role": BUTTON, "name": "What is the capital of France?…", "within": { "name": "Conversations" } }));
    screen.see(json!({ "role": "article", "name": "You", "text": "Where do walruses sleep?" }));
    screen.press(BUTTON, "Clear search");

    export(screen, "Export as JSON, with all branches", "all.json");
    export(screen, "Export for training (JSONL)", "learn.jsonl");
}

/// Exports the conversation by the system's own dialog.
#[track_caller]
fn export(screen: &mut Screen, kind: &str, name: &str) {
    screen.press(BUTTON, "More for What is the capital of France?");
    screen.press("menu item", kind);
    let file = screen.home().join(name);
    let dialog = json!({ "role": "file chooser" });
    screen.ask("fill", json!({ "role": "text", "within": dialog, "text": file.to_str().unwrap() }));
    screen.ask("press", json!({ "role": BUTTON, "name": "Save", "within": dialog }));
    screen.see(json!({ "name": "Notices", "text": format!("Exported to {name}") }));
}

/// Trains for some steps.
#[track_caller]
pub fn train(screen: &mut Screen) {
    screen.press(BUTTON, "Train");
    screen.press(BUTTON, "Start training");
    screen.see(json!({ "role": BUTTON, "name": "Pause", "seconds": 60 }));
    learning(screen);
    screen.press(BUTTON, "Pause");
    screen.see(json!({ "role": BUTTON, "name": "Resume", "seconds": 60 }));
}

/// Waits until the model learns.
#[track_caller]
pub fn learning(screen: &mut Screen) {
    screen.see(json!({ "role": "landmark", "name": "my-model", "text": "learning the language · step ", "seconds": 300 }));
}

/// All messages as the database has them.
fn messages(screen: &Screen) -> Vec<(i64, Option<i64>, String, String, String)> {
    let database = app::database(screen);
    let mut statement = database.prepare("SELECT id, parent, role, state, parts FROM message ORDER BY id").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

/// What the page shows of the conversation.
fn shown(screen: &mut Screen) -> Vec<(String, String)> {
    let articles = screen.ask("all", json!({ "role": "article" }));
    let field = |article: &Value, field: &str| article[field].as_str().unwrap().to_owned();
    articles.as_array().unwrap().iter().map(|article| (field(article, "name"), field(article, "text"))).collect()
}

#[test]
fn from_the_first_run_to_the_next_start() {
    let mut screen = Screen::new();
    prepare(&screen);
    let app = App::open(&mut screen);
    live(&mut screen);

    let exported: Value = serde_json::from_str(&fs::read_to_string(screen.home().join("all.json")).unwrap()).unwrap();
    assert_eq!(exported["conversations"][0]["messages"].as_array().unwrap().len(), 7);
    let learnt = nc_core::data::read_conversations(Path::new(&screen.home().join("learn.jsonl"))).unwrap();
    assert_eq!(learnt.len(), 1);

    screen.ask("place", json!({ "to": [40, 30, 1010, 707] }));
    let (before, page) = (messages(&screen), shown(&mut screen));
    assert_eq!(before.len(), 7, "two questions, said a second time, and answers to all");
    let place = screen.ask("geometry", json!({}));
    assert!(app.close(&mut screen).success());
    assert_eq!(app::mode(&screen.data().join("desktop")), 0o700, "nobody else may look");

    let app = App::open(&mut screen);
    screen.see(with(answer("endless"), "text", models::ALPHABET));
    assert_eq!(messages(&screen), before);
    // A screen reader hears of the parts of a page one after another.
    screen.see(json!({ "role": "article", "name": "You", "text": &page[0].1 }));
    assert_eq!(shown(&mut screen), page, "the conversation is open where it was");
    assert_eq!(screen.ask("geometry", json!({})), place, "so is the window");
    screen.see(json!({ "role": BUTTON, "name": "Model: endless …" }));
    screen.press(BUTTON, "Previous version");
    screen.see(json!({ "role": "article", "name": "You", "text": "What is the capital of France?" }));
    assert!(app.close(&mut screen).success());
    assert!(!app_logs_hold(&screen, "walrus"), "nothing that was written is logged");
}

/// Whether stderr of any start holds a word.
fn app_logs_hold(screen: &Screen, word: &str) -> bool {
    let files = fs::read_dir(screen.home()).unwrap().flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(".tmp"));
    files.filter_map(|entry| fs::read_to_string(entry.path()).ok()).any(|text| text.contains(word))
}
