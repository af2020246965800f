//! Fifty processes that are killed in the middle of an answer, over one database. They have no window, but the store, the
//! thread and the model are those of the app; `tests/window/killed.rs` does the same to the whole app.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nc_core::checkpoint::home::Home;
use rand::Rng;

use super::Worker;
use super::tests::{endless, text};
use crate::models::Gpus;
use crate::store::{Asked, Store};
use crate::types::{AnswerEvent, ChatSettings, MessageState, Reason, append};

const KILLS: usize = 50;

/// Names the home folder to the process that is killed.
const HOME: &str = "NANOCHAT_KILLED_HOME";

/// The process that is killed: it answers without end, and says on stdout what it shows, as it shows it.
#[test]
#[ignore = "started by the test below"]
fn process() {
    let Some(folder) = std::env::var_os(HOME) else { return };
    let home = Home::at(folder);
    let store = Arc::new(Store::open(&home.root().join("desktop")).unwrap().0);
    let settings = ChatSettings { temperature: 0.0, max_tokens: 100_000, ..ChatSettings::default() };
    let id = store.create(None, &settings).unwrap().summary.id;
    let worker = Worker::start(store.clone(), home, Arc::new(Gpus::new(None)), Arc::new(|_| {})).unwrap();
    let turn = worker.reserve().unwrap();
    let begun = store.begin(&Asked::Send { conversation: id, parent: None, text: "Go on" }, "endless").unwrap();
    let message = begun.started.assistant.id;
    let show = move |event| {
        if let AnswerEvent::Delta { parts, .. } = event {
            let line = serde_json::json!({ "message": message, "parts": parts });
            // As the page does: one cannot take back what was shown. Not by println!, which the test harness may hold.
            writeln!(std::io::stdout().lock(), "\n{line}").unwrap();
        }
    };
    turn.answer(begun, "endless", Box::new(show)).unwrap();
    std::thread::sleep(Duration::from_secs(120));
}

/// Runs the process and kills it after so many lines; gives the message and the parts that it has shown.
fn killed(home: &Path, lines: usize, later: Duration) -> (i64, Vec<crate::types::Part>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "worker::killed::process", "--ignored", "--nocapture", "--test-threads", "1"])
        .env(HOME, home)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let shown = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut shown = shown.filter_map(|line| serde_json::from_str::<serde_json::Value>(&line).ok().filter(|line| line.is_object()));
    let mut heard: Vec<serde_json::Value> = shown.by_ref().take(lines).collect();
    std::thread::sleep(later);
    child.kill().unwrap();
    // What it said before it was killed counts too.
    heard.extend(shown);
    child.wait().unwrap();
    let mut parts = Vec::new();
    for line in &heard {
        append(&mut parts, serde_json::from_value::<Vec<_>>(line["parts"].clone()).unwrap());
    }
    assert!(heard.len() >= lines, "it was killed while it wrote: {} of {lines}", heard.len());
    (heard[0]["message"].as_i64().unwrap(), parts)
}

#[test]
fn whatever_was_shown_is_kept_by_fifty_processes_that_are_killed() {
    let folder = tempfile::tempdir().unwrap();
    endless(16_384).install(folder.path(), "endless");
    let mut shown = Vec::new();
    for _ in 0..KILLS {
        let later = Duration::from_micros(rand::rng().random_range(0..60_000));
        shown.push(killed(folder.path(), rand::rng().random_range(1..8), later));
        let database = rusqlite::Connection::open(folder.path().join("desktop/conversations.db")).unwrap();
        let whole: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(whole, "ok");
        let stray: i64 = database.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0)).unwrap();
        assert_eq!(stray, 0);
    }
    let (store, recovered) = Store::open(&folder.path().join("desktop")).unwrap();
    assert_eq!(recovered, None);
    assert_eq!(store.conversations(crate::types::SortKey::Created).unwrap().len(), KILLS);
    for (message, parts) in &shown {
        let (conversation, stored) = store.message(*message).unwrap();
        assert_eq!(store.conversation(conversation).unwrap().path.len(), 2, "the question is there too");
        assert_eq!((stored.state, stored.answer.as_ref().unwrap().reason), (MessageState::Interrupted, Reason::Interrupted));
        let written = text(&stored);
        let seen: String = parts.iter().map(|part| part.text.as_str()).collect();
        assert!(!seen.is_empty() && written.starts_with(&seen), "{seen:?} was shown, and {written:?} is kept");
    }
    let total: usize = shown.iter().flat_map(|(_, parts)| parts).map(|part| part.text.len()).sum();
    println!("{KILLS} processes killed after {total} characters");
}
