//! A classic model from the command line: it trains, goes on to the bit, samples, and is fine-tuned like any other.

use std::fs;

use nc_core::model::{Architecture, Config};
use nc_tests::nc_core;
use nc_tests::workshop::{Workshop, words};
use serde_json::{Value, json};

/// Ten steps with samples and validations between them, and a checkpoint every other step.
const TEN: [&str; 14] = [
    "--architecture",
    "classic",
    "--num-iterations",
    "10",
    "--save-every",
    "2",
    "--eval-every",
    "4",
    "--eval-tokens",
    "256",
    "--sample-every",
    "5",
    "--warmup-steps",
    "3",
];

fn workshop() -> Workshop {
    Workshop::new(|home| nc_core!(home))
}

fn config(workshop: &Workshop, run: &str) -> Value {
    serde_json::from_slice(&fs::read(workshop.run(run).join("config.json")).unwrap()).unwrap()
}

/// Starts `args`, which make `run`, and kills them when the second checkpoint is saved; anew where the kill comes after
/// the last.
fn stop_after_step_4(workshop: &Workshop, run: &str, args: &[&str]) {
    for _ in 0..10 {
        let mut running = workshop.start(args);
        running.wait_for("/checkpoints/000004");
        drop(running);
        if !workshop.checkpoint(run, 10).exists() {
            return;
        }
        fs::remove_dir_all(workshop.run(run)).unwrap();
    }
    panic!("no kill came before the last checkpoint");
}

#[test]
fn a_classic_run_trains_resumes_to_the_bit_and_samples() {
    let workshop = workshop();
    let text = workshop.text();
    workshop.train("whole", &TEN);
    stop_after_step_4(&workshop, "stopped", &workshop.training("stopped", &text, &TEN));
    let resumed = words(&workshop.succeed(&["train", "--resume", "--run", "stopped"]));
    assert!(resumed.contains("resuming at step"), "{resumed}");
    workshop.assert_same_runs("whole", "stopped");

    let recorded: Config = serde_json::from_value(config(&workshop, "whole")["model"].clone()).unwrap();
    assert_eq!((&recorded.architecture, recorded.window_pattern.as_str()), (&Architecture::CLASSIC, "L"));
    // The file holds the parameters of a classic model and no others.
    let bytes = fs::read(workshop.checkpoint("whole", 10).join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names: Vec<&str> = file.names();
    let specs = recorded.param_specs();
    let mut want: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    names.sort();
    want.sort();
    assert_eq!((names, want.len()), (want.clone(), 2 + 6 * recorded.n_layer));
    let losses: Vec<f64> = workshop.metrics("whole").iter().filter_map(|line| line["loss"].as_f64()).collect();
    assert!(losses.len() == 10 && losses[9] < losses[0], "{losses:?}");

    let generate = ["generate", "--run", "stopped", "--prompt", "the", "--max-tokens", "12", "--json"];
    let generated: Value = serde_json::from_slice(&workshop.succeed(&generate).stdout).unwrap();
    let whole: Value =
        serde_json::from_slice(&workshop.succeed(&generate.map(|arg| if arg == "stopped" { "whole" } else { arg })).stdout).unwrap();
    assert_eq!(generated["text"], whole["text"], "{generated}");
    let scored: Value =
        serde_json::from_slice(&workshop.succeed(&["score", "--run", "whole", "--text", "the white whale"]).stdout).unwrap();
    assert!(scored["logprobs"].as_array().is_some_and(|all| all.len() > 2 && all.iter().all(|one| one.as_f64() < Some(0.0))), "{scored}");
}

#[test]
fn a_classic_run_is_fine_tuned_with_its_moments_and_trained_further() {
    let workshop = workshop();
    let text = workshop.text();
    workshop.train("base", &TEN);
    let line = json!({"messages": [{"role": "user", "content": "the sea?"}, {"role": "assistant", "content": "the old whale"}]});
    let talks = workshop.file("talks.jsonl", format!("{line}\n").repeat(40));
    let tuning = |run: &'static str| {
        let steps = ["--num-iterations", "10", "--save-every", "2", "--eval-every", "-1"];
        [&["sft", "--run", "base", "--model-tag", run, "--task", &talks][..], &steps].concat()
    };
    workshop.succeed(&tuning("chat"));
    stop_after_step_4(&workshop, "stopped", &tuning("stopped"));
    workshop.succeed(&["sft", "--resume", "--run", "stopped"]);
    workshop.assert_same_runs("chat", "stopped");
    let tuned = config(&workshop, "chat");
    assert_eq!((tuned["from"]["step"].as_u64(), tuned["training"]["moment_steps"].as_u64()), (Some(10), Some(10)));
    assert_eq!(tuned["model"], config(&workshop, "base")["model"]);
    // The same steps without the moments of the base run lead elsewhere.
    workshop.succeed(&[&tuning("cold")[..], &["--no-load-optimizer"]].concat());
    let weights = |run: &str| fs::read(workshop.checkpoint(run, 10).join("model.safetensors")).unwrap();
    assert!(weights("cold") != weights("chat"));
    workshop.succeed(&["chat", "--run", "chat", "--prompt", "the sea?", "--max-tokens", "4"]);

    let further = ["train", "--from", "base", "--run", "further", "--data", &text, "--num-iterations", "2", "--total-batch-size", "128"];
    workshop.succeed(&[&further[..], &["--device-batch-size", "2", "--eval-every", "-1", "--sample-every", "-1"]].concat());
    assert_eq!(config(&workshop, "further")["model"], config(&workshop, "base")["model"]);
}

#[test]
fn the_architecture_is_one_of_two_and_a_resumed_run_has_its_own() {
    let workshop = workshop();
    let text = workshop.text();
    let refused = workshop.refused(&workshop.training("other", &text, &["--architecture", "modern"]));
    assert!(refused.contains("invalid value 'modern' for '--architecture <NAME>'"), "{refused}");
    let short = ["--num-iterations", "1", "--eval-every", "-1", "--sample-every", "-1"];
    workshop.train("current", &short);
    assert!(config(&workshop, "current")["model"].get("architecture").is_none());
    assert_eq!(config(&workshop, "current")["model"]["window_pattern"], "SSSL");
    for more in [&["--resume"][..], &["--from", "current", "--data", &text]] {
        let refused = workshop.refused(&[&["train", "--run", "current", "--architecture", "classic"][..], more].concat());
        assert!(
            refused.contains("'--architecture <NAME>' cannot be used with") || refused.contains("cannot be used with '--architecture"),
            "{refused}"
        );
    }
    // Windows are a choice of their own; so are sizes that leave no room for gates.
    let narrow = ["--architecture", "classic", "--window-pattern", "SL", "--aspect-ratio", "16"];
    let args =
        [&["train", "--run", "narrow", "--data", &text, "--depth", "1", "--head-dim", "16", "--max-seq-len", "32"][..], &narrow].concat();
    workshop.succeed(&[&args[..], &["--device-batch-size", "2", "--total-batch-size", "128"], &short].concat());
    let model = config(&workshop, "narrow")["model"].take();
    assert_eq!((model["window_pattern"].as_str(), model["n_embd"].as_u64()), (Some("SL"), Some(16)));
}
