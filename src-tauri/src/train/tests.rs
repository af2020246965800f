//! The manager with children that are scripts: what it makes of each end.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nc_core::checkpoint::home::Home;

use super::order::Line;
use super::*;
use crate::store::Store;
use crate::types::{Budget, StepPoint, TrainEvent, TrainPhase, TrainRun, TrainState};
use crate::worker::Tell;

struct Stage {
    folder: tempfile::TempDir,
    store: Arc<Store>,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&folder.path().join("data")).unwrap().0);
        Self { folder, store }
    }

    fn home(&self) -> Home {
        Home::at(self.folder.path())
    }

    /// A trainer whose child runs this shell script.
    fn trainer(&self, script: &str) -> (Arc<Trainer>, Receiver<TrainState>) {
        let program = self.folder.path().join("child");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let (told, states) = channel();
        let told = Mutex::new(told);
        let tell: Tell = Arc::new(move |event| {
            if let crate::types::AppEvent::Training { run } = event {
                let _ = told.lock().unwrap().send(run.state);
            }
        });
        (Trainer::new(self.store.clone(), self.home(), program, tell).unwrap(), states)
    }

    fn order(&self, name: &str) -> Order {
        Order {
            home: self.folder.path().to_owned(),
            gpu: None,
            name: name.into(),
            depth: 1,
            context: 64,
            data: vec!["/text".into()],
            conversations: None,
            budget: Budget::Steps { steps: 4 },
            seed: 1,
        }
    }
}

fn json(line: &Line) -> String {
    format!("echo '{}'", serde_json::to_string(line).unwrap())
}

fn phase() -> String {
    json(&Line::Phase { phase: TrainPhase::Pretraining })
}

fn step(step: u64) -> String {
    let point =
        StepPoint { step, loss: 1.0, smooth_loss: 1.0, bpb: 1.0, tokens: 64, tokens_per_second: 1.0, memory_bytes: 1, seconds: 1.0 };
    json(&Line::Event { event: TrainEvent::Step { phase: TrainPhase::Pretraining, point, progress: 0.5, eta_seconds: 9.0 } })
}

fn until(states: &Receiver<TrainState>, wanted: TrainState) {
    loop {
        let state = states.recv_timeout(Duration::from_secs(20)).expect("the state comes");
        if state == wanted {
            return;
        }
    }
}

#[test]
fn a_run_that_completes_is_followed_to_its_end() {
    let stage = Stage::new();
    let script = [phase(), "echo a driver says hello".into(), step(0), step(1), json(&Line::End { complete: true })].join("\n");
    let (trainer, states) = stage.trainer(&script);
    let (heard, events) = channel();
    let run = trainer.start(stage.order("a")).unwrap();
    trainer.watch(Box::new(move |event| drop(heard.send(event))));
    assert_eq!(run.state, TrainState::Starting);
    until(&states, TrainState::Finished);
    let run = trainer.current().unwrap();
    assert_eq!((run.state, run.step, run.progress, run.error), (TrainState::Finished, 2, 0.5, None));
    assert!(events.try_iter().any(|event| matches!(event, TrainEvent::History { .. })));
    assert!(trainer.live().is_none() && trainer.resume(None).is_err() && trainer.pause().is_err());
}

#[test]
fn a_crash_is_shown_and_can_be_resumed_and_remembered() {
    let stage = Stage::new();
    let (trainer, states) = stage.trainer(&[phase(), step(0), "kill -9 $$".into()].join("\n"));
    trainer.start(stage.order("a")).unwrap();
    until(&states, TrainState::Crashed);
    let error = trainer.current().unwrap().error.unwrap();
    assert!(error.message.contains("resumed") && error.detail.contains("signal"), "{error:?}");
    drop(trainer);

    // After a restart of the app it is still there, and a child that ends well completes it.
    let (trainer, states) = stage.trainer(&json(&Line::End { complete: true }));
    assert_eq!(trainer.current(), None);
    assert_eq!(trainer.runs().iter().map(|run: &TrainRun| run.state).collect::<Vec<_>>(), [TrainState::Crashed]);
    trainer.resume(Some("a")).unwrap();
    until(&states, TrainState::Finished);
    assert!(trainer.resume(Some("b")).is_err());
}

#[test]
fn pausing_and_stopping_wait_for_the_child_to_save() {
    // `read` waits for the order, then for the end of stdin, which is how the child is asked to stop.
    let script =
        ["read order".to_owned(), phase(), "while read more; do :; done".into(), step(3), json(&Line::End { complete: false })].join("\n");
    let stage = Stage::new();
    let (trainer, states) = stage.trainer(&script);
    trainer.start(stage.order("a")).unwrap();
    until(&states, TrainState::Running);
    let busy = trainer.start(stage.order("b")).unwrap_err();
    assert_eq!(busy.code, crate::error::ErrorCode::Busy);
    assert_eq!(trainer.in_progress(), ["a"]);
    assert_eq!(trainer.pause().unwrap().state, TrainState::Pausing);
    until(&states, TrainState::Paused);
    assert_eq!(trainer.current().unwrap().step, 4);

    trainer.resume(None).unwrap();
    until(&states, TrainState::Running);
    assert_eq!(trainer.stop().unwrap().state, TrainState::Stopping);
    until(&states, TrainState::Stopped);
}

#[test]
fn an_order_names_all_runs_that_come_of_it_and_taken_names_are_refused() {
    let stage = Stage::new();
    let (trainer, _states) = stage.trainer("exit 0");
    let order = Order { conversations: Some("/talks.jsonl".into()), ..stage.order("a") };
    assert_eq!(order.names(), ["a", "a-chat"]);
    fs::create_dir_all(stage.home().run("a-chat")).unwrap();
    assert!(trainer.start(order).is_err());
    assert!(trainer.start(stage.order("../a")).is_err());
    assert!(!Path::new(&stage.folder.path().join("a")).exists());
}
