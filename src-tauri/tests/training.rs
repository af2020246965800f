//! The child that trains, as the app starts it: to its end, stopped in the middle, killed, and gone on with.

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

/// The child, and what it says.
struct Training {
    child: Child,
    orders: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Training {
    fn start(order: &Value) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_nanochat"))
            .arg("--train-worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut orders = child.stdin.take().unwrap();
        writeln!(orders, "{order}").unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, orders: Some(orders), lines }
    }

    /// The next line.
    fn next(&mut self) -> Option<Value> {
        self.lines.by_ref().map_while(Result::ok).find_map(|line| serde_json::from_str(&line).ok())
    }

    /// Reads until a step of this phase, and gives its number.
    fn until_step(&mut self, phase: &str, least: u64) -> u64 {
        loop {
            let line = self.next().expect("the child goes on");
            let event = &line["event"];
            if event["type"] == "step" && event["phase"] == phase && event["point"]["step"].as_u64().unwrap() >= least {
                return event["point"]["step"].as_u64().unwrap();
            }
        }
    }

    /// All lines to the end.
    fn finish(mut self) -> Vec<Value> {
        let mut all = Vec::new();
        while let Some(line) = self.next() {
            all.push(line);
        }
        self.child.wait().unwrap();
        all
    }
}

fn order(home: &Path, name: &str, budget: Value, chat: bool) -> Value {
    let text = home.join("text.txt");
    if !text.exists() {
        let document = "The whale is the largest animal there is, and it sings. ".repeat(40);
        fs::write(&text, vec![document; 40].join("\n\n")).unwrap();
    }
    let talks = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/conversations/demo.jsonl");
    json!({
        "home": home, "gpu": null, "name": name, "depth": 1, "context": 64, "data": [text],
        "conversations": chat.then_some(talks), "budget": budget, "seed": 1
    })
}

fn first_step(lines: &[Value], phase: &str) -> u64 {
    let begun = lines.iter().find(|line| line["event"]["type"] == "started" && line["event"]["phase"] == phase);
    begun.expect("the phase begins")["event"]["step"].as_u64().unwrap()
}

#[test]
fn a_run_is_stopped_killed_gone_on_with_and_completed() {
    let home = tempfile::tempdir().unwrap();
    let order = order(home.path(), "whale", json!({ "type": "steps", "steps": 60 }), true);

    let mut training = Training::start(&order);
    training.until_step("pretraining", 3);
    drop(training.orders.take());
    let lines = training.finish();
    assert_eq!(*lines.last().unwrap(), json!({ "line": "end", "complete": false }));
    let saved = lines.iter().filter(|line| line["event"]["type"] == "saved").map(|line| line["event"]["step"].as_u64().unwrap()).max();
    let stopped_at = saved.expect("a run that is stopped is saved");
    assert!((4..60).contains(&stopped_at));

    let mut training = Training::start(&order);
    let next = training.until_step("pretraining", 0);
    assert_eq!(next, stopped_at, "it continues where it stopped");
    training.until_step("pretraining", stopped_at + 14);
    training.child.kill().unwrap();
    training.child.wait().unwrap();

    let lines = Training::start(&order).finish();
    assert_eq!(*lines.last().unwrap(), json!({ "line": "end", "complete": true }));
    assert!(first_step(&lines, "pretraining") >= stopped_at && first_step(&lines, "fine_tuning") == 0);
    for wanted in ["validation", "sample", "step", "saved"] {
        assert!(lines.iter().any(|line| line["event"]["type"] == wanted), "there is no {wanted}");
    }
    for run in ["whale", "whale-chat"] {
        assert!(home.path().join("runs").join(run).join("checkpoints").is_dir());
    }
    // What is complete stays as it is.
    let again = Training::start(&order).finish();
    assert_eq!(*again.last().unwrap(), json!({ "line": "end", "complete": true }));
    assert!(!again.iter().any(|line| line["event"]["type"] == "step"));
}

#[test]
fn minutes_become_steps_by_measuring_and_a_wrong_order_fails_in_words() {
    let home = tempfile::tempdir().unwrap();
    let mut training = Training::start(&order(home.path(), "timed", json!({ "type": "minutes", "minutes": 1 }), false));
    let steps = loop {
        let line = training.next().expect("the child goes on");
        if line["event"]["type"] == "started" {
            break line["event"]["steps"].as_u64().unwrap();
        }
    };
    assert!(steps >= 20, "{steps}");
    drop(training.orders.take());
    training.finish();
    assert!(!home.path().join("runs/measured").exists());

    let mut wrong = order(home.path(), "wrong", json!({ "type": "steps", "steps": 5 }), false);
    wrong["data"] = json!(["/no/such/file.txt"]);
    let lines = Training::start(&wrong).finish();
    let last = lines.last().unwrap();
    assert_eq!((&last["line"], &last["error"]["code"]), (&json!("failed"), &json!("bad_input")));
    assert!(last["error"]["message"].as_str().unwrap().contains("/no/such/file.txt"));
    assert!(!home.path().join("runs/wrong").exists());
}
