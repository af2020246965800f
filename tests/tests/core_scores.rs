//! Items of five tasks, scored by PyTorch independently of this code (`tests/python/core_scores.py`): the same answers from the model
//! that comes with the app. Needs the files of the DCLM bundle.

use nc_core::eval::core::{Bundle, TaskFacts};
use nc_tests::trained::{SHIPPED, install};
use nc_tests::workshop::Workshop;
use nc_tests::{core_bundle, nc_core, python};
use serde_json::{Value, json};

/// Two choices and four, contexts, one token to predict and several, examples and none. With its small vocabulary and context, the model
/// reads the longer tasks' prompts past what its positions reach.
const TASKS: [&str; 5] = ["copa", "openbook_qa", "winogrande", "lambada_openai", "bigbench_qa_wikidata"];
const ITEMS: usize = 60;

/// The least share of items with the same answer.
const SAME: f64 = 0.99;

#[test]
fn items_are_answered_as_by_pytorch() {
    let Some(folder) = core_bundle() else { return };
    let workshop = Workshop::without_tokenizer(|home| nc_core!(home));
    install(&workshop);
    let (file, bundle, items) = (workshop.path("answers.jsonl"), folder.to_str().unwrap(), ITEMS.to_string());
    let args = ["eval", "base", "--run", SHIPPED, "--eval", "core", "--bundle", bundle, "--tasks", &TASKS.join(","), "-x", &items];
    workshop.succeed(&[&args[..], &["--answers", &file]].concat());
    let ours: Vec<Value> = std::fs::read_to_string(&file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();

    let known = Bundle::open(&folder).unwrap();
    let task = |facts: &TaskFacts| json!([facts.label, facts.dataset_uri, facts.kind.word(), facts.shots, facts.delimiter]);
    let tasks: Vec<Value> = known.tasks().iter().filter(|facts| TASKS.contains(&facts.label.as_str())).map(task).collect();
    let step: u64 = Workshop::names(&workshop.run(SHIPPED).join("checkpoints"))[0].parse().unwrap();
    let question = json!({ "bundle": folder, "tasks": tasks, "items": ITEMS, "step": step });
    let theirs = python::ask("core_scores.py", &workshop.run(SHIPPED), &question);

    let (mut compared, mut different, mut right, mut worst) = (0, Vec::new(), 0, 0.0f64);
    for task in theirs.as_array().unwrap() {
        for (index, want) in task["items"].as_array().unwrap().iter().enumerate() {
            let got = ours.iter().find(|line| line["task"] == task["task"] && line["item"] == index).unwrap();
            compared += 1;
            right += usize::from(got["correct"] == true);
            if got["picked"] != want["picked"] || got["correct"] != want["correct"] {
                different.push(format!("{} {index}: {got}, {want}", task["task"]));
            }
            for (got, want) in got["means"].as_array().unwrap().iter().zip(want["means"].as_array().unwrap()) {
                if let (Some(got), Some(want)) = (got.as_f64(), want.as_f64()) {
                    worst = worst.max((got - want).abs() / want.abs().max(1.0));
                }
            }
        }
    }
    println!("{compared} items, {right} right, {} answered differently; the largest error of a mean loss is {worst:.1e}", different.len());
    assert_eq!(compared, TASKS.len() * ITEMS);
    assert!(different.len() as f64 <= (1.0 - SAME) * f64::from(compared as u32), "{}", different.join("\n"));
    assert!(worst < 1e-4, "a mean loss differs by {worst:e}");
    // Answers that were all wrong, or all right, would prove little.
    assert!(right > 50 && right < compared - 50, "{right} of {compared} right");
}
