//! Commands that wait hold up no other.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::stage::{Stage, call};
use crate::dialogs::{Dialogs, Kind};

/// A person who takes their time.
struct Hesitating {
    asked: Mutex<Sender<()>>,
    closed: Arc<Mutex<Receiver<()>>>,
}

impl Hesitating {
    fn wait(&self) -> Option<PathBuf> {
        self.asked.lock().unwrap().send(()).unwrap();
        self.closed.lock().unwrap().recv().ok();
        None
    }
}

impl Dialogs for Hesitating {
    fn open(&self, _kind: Kind) -> Option<PathBuf> {
        self.wait()
    }
    fn open_folder(&self) -> Option<PathBuf> {
        self.wait()
    }
    fn save(&self, _name: &str, _kind: Kind) -> Option<PathBuf> {
        self.wait()
    }
}

#[test]
fn open_dialogs_leave_the_app_at_work() {
    const OPEN: usize = 12;
    let (asked, heard) = channel();
    let (close, closed) = channel::<()>();
    let stage = Stage::with_dialogs(
        tempfile::tempdir().unwrap(),
        Box::new(Hesitating { asked: Mutex::new(asked), closed: Arc::new(Mutex::new(closed)) }),
    );
    std::thread::scope(|scope| {
        for _ in 0..OPEN {
            let window = stage.window.clone();
            scope.spawn(move || call(&window, "tauri://localhost", "model_pick", json!({ "folder": false })).unwrap());
        }
        for _ in 0..OPEN {
            heard.recv_timeout(Duration::from_secs(60)).expect("each dialog opens beside the others");
        }
        let (answered, answer) = channel();
        let window = stage.window.clone();
        scope.spawn(move || answered.send(call(&window, "tauri://localhost", "conversations_list", json!({ "sort": "recent" }))).unwrap());
        let list = answer.recv_timeout(Duration::from_secs(60)).expect("other commands are answered");
        assert_eq!(list, Ok(Value::Array(Vec::new())));
        drop(close);
    });
}
