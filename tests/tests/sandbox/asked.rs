//! `nc-core eval chat` runs what a model wrote in the sandbox, and judges it.

use nc_tests::nc_core;
use nc_tests::trained::{self, SHIPPED};
use nc_tests::workshop::Workshop;
use serde_json::{Value, json};

use super::*;

#[test]
fn programs_of_a_model_are_run_and_counted() {
    let workshop = Workshop::without_tokenizer(|home| nc_core!(home));
    trained::install(&workshop);
    let problem = |number: usize| {
        let prompt = format!("def plus(x):\n    \"\"\"Add {number} to x.\"\"\"\n");
        let test = format!("def check(candidate):\n    assert candidate(1) == {}\n", 1 + number);
        json!({ "task_id": format!("own/{number}"), "prompt": prompt, "canonical_solution": format!("    return x + {number}\n"), "test": test, "entry_point": "plus" })
    };
    let problems: String = (0..3).map(|number| format!("{}\n", problem(number))).collect();
    std::fs::create_dir_all(workshop.folder().join("data/humaneval")).unwrap();
    workshop.file("data/humaneval/test.jsonl", problems);
    let (data, answers) = (workshop.path("data"), workshop.path("answers.jsonl"));
    let args = ["eval", "chat", "--run", SHIPPED, "--data", &data, "--tasks", "humaneval", "--max-new-tokens", "24", "--answers", &answers];
    // Without the interpreter, how to get it is said before anything is computed.
    assert!(workshop.refused(&args).contains("nc-core data download python"));
    let server = fetched::mirror();
    workshop.succeed(&["data", "download", "python", "--base-url", &server.url]);
    let output = workshop.succeed(&args);
    // The model that comes with the app knows no Python, and says something else.
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("HumanEval") && table.contains("ChatCORE needs ARC-Easy, ARC-Challenge, MMLU, GSM8K as well"), "{table}");
    let lines: Vec<Value> = std::fs::read_to_string(answers).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line["question"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
    for line in lines {
        assert_eq!((&line["task"], &line["right"]), (&json!("HumanEval"), &json!(false)));
        assert!(!line["given"][0].as_str().unwrap().is_empty(), "{line}");
    }
}

#[test]
fn the_judge_of_a_task_is_the_sandbox() {
    let problem = |name: &str, solution: &str, test: &str| json!({ "task_id": name, "prompt": "def f():\n", "canonical_solution": solution, "test": test, "entry_point": "f" });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.jsonl");
    let checks = "def check(candidate):\n    assert candidate() == 2\n";
    std::fs::write(&path, format!("{}\n{}\n", problem("a", "    return 2\n", checks), problem("b", "    return 3\n", checks))).unwrap();
    let judge = Box::new(|program: &str| Ok(run(program).outcome.is_finished()));
    let task = HumanEval::read(&[path]).unwrap().judged_by(judge);
    let solutions: Vec<String> = task.problems().iter().map(Problem::solution).collect();
    let judged = |index: usize, answer: &str| nc_core::tasks::Task::evaluate(&task, index, answer).unwrap();
    assert_eq!([judged(0, &solutions[0]), judged(1, &solutions[1])], [Some(true), Some(false)]);
    // An answer is judged as a program, whatever it is.
    for answer in ["", "I do not know.", "def f(:", "```python\nimport sys\nsys.exit(0)\n```", "while True: pass"] {
        assert_eq!(judged(0, answer), Some(false), "{answer}");
    }
    assert_eq!(judged(1, "Here it is:\n```python\ndef f():\n    return 2\n```\nGood luck!"), Some(true));
}
