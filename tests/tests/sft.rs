//! Fine-tuning from the command line: what it learns, what it carries over from the run it begins with, that it goes on
//! to the bit, what it refuses, and what it never tells.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nc_tests::nc_core;
#[cfg(unix)]
use nc_tests::workshop::limit_file_size;
use nc_tests::workshop::{Workshop, refusal, words};
use serde_json::{Value, json};

/// A workshop with a base run of four steps.
fn workshop() -> Workshop {
    let workshop = Workshop::new(|home| nc_core!(home));
    workshop.train("base", &["--num-iterations", "4", "--warmup-steps", "2", "--eval-every", "-1", "--sample-every", "-1"]);
    workshop
}

/// A conversation a line, as short as the tiny model's rows of 32 tokens.
fn talks(count: usize) -> String {
    const NAMES: [&str; 6] = ["whale", "sea", "ship", "captain", "water", "old"];
    let line = |i: usize| {
        let (asked, answered) = (NAMES[i % 6], NAMES[(i * 7 + i / 6) % 6]);
        let conversation = json!({"messages": [
            {"role": "user", "content": format!("the {asked} {}?", i % 10)},
            {"role": "assistant", "content": format!("the {answered}{}", " was white".repeat(i % 3))},
        ]});
        format!("{conversation}\n")
    };
    (0..count).map(line).collect()
}

/// Arguments that fine-tune the base run as `run` on a file of conversations.
fn tuning<'a>(run: &'a str, file: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["sft", "--run", "base", "--model-tag", run, "--task", file], more].concat()
}

/// Steps with checkpoints and validations between them.
const STEPS: [&str; 8] = ["--num-iterations", "80", "--save-every", "2", "--eval-every", "6", "--eval-tokens", "256"];

fn config(workshop: &Workshop, run: &str) -> Value {
    serde_json::from_slice(&fs::read(workshop.run(run).join("config.json")).unwrap()).unwrap()
}

fn tensors(workshop: &Workshop, run: &str, step: u64, file: &str) -> Vec<u8> {
    fs::read(workshop.checkpoint(run, step).join(file)).unwrap()
}

fn losses(workshop: &Workshop, run: &str) -> Vec<f64> {
    workshop.metrics(run).iter().filter_map(|line| line["loss"].as_f64()).collect()
}

/// How many conversations of its one file a run trains on, as it recorded.
fn trained_on(workshop: &Workshop, run: &str) -> u64 {
    let file = config(workshop, run)["training"]["files"][0].clone();
    file["conversations"].as_u64().unwrap() - file["held_out"].as_u64().unwrap()
}

fn flip_a_byte(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Starts `run` and kills it when the second checkpoint is saved; anew where the kill comes after the third.
fn stop_after_step_4(workshop: &Workshop, run: &str, file: &str) {
    for _ in 0..10 {
        let mut running = workshop.start(&tuning(run, file, &STEPS));
        running.wait_for("/checkpoints/000004");
        drop(running);
        if !Workshop::names(&workshop.run(run).join("checkpoints")).iter().any(|name| name.as_str() > "000004") {
            return;
        }
        fs::remove_dir_all(workshop.run(run)).unwrap();
    }
    panic!("no kill came before the third checkpoint");
}

#[test]
fn a_repeated_conversation_is_learnt_and_the_run_is_one_like_any_other() {
    let workshop = workshop();
    let line = json!({"messages": [{"role": "user", "content": "the sea?"}, {"role": "assistant", "content": "the old white whale"}]});
    let file = workshop.file("one.jsonl", format!("{line}\n").repeat(40));
    let base = tensors(&workshop, "base", 4, "model.safetensors");
    let rates = ["--embedding-lr", "5", "--unembedding-lr", "0.2", "--matrix-lr", "0.3"];
    // The name of the base run, and that of the new one, go without saying.
    let options = ["--num-iterations", "30"];
    let output = workshop.succeed(&[&["sft", "--task", &file][..], &rates, &options].concat());
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("one.jsonl: 40 conversations, 39 of them duplicates, that begin with 1 different questions"), "{said}");
    for word in [
        "nothing is validated",
        "step 00029/00030",
        "loss ",
        "bpb ",
        "tok/s",
        "eta ",
        "saved ",
        "wrote ",
        "next: nc-core chat --run base-sft",
    ] {
        assert!(said.contains(word), "{word:?} is missing in {said}");
    }
    let losses = losses(&workshop, "base-sft");
    assert!(losses.len() == 30 && losses[29] < 0.3 * losses[0], "{losses:?}");

    let config = config(&workshop, "base-sft");
    assert_eq!((config["stage"].as_str(), config["from"]["run"].as_str()), (Some("sft"), Some("base")));
    assert_eq!((config["from"]["step"].as_u64(), config["training"]["moment_steps"].as_u64()), (Some(4), Some(4)));
    assert_eq!(tensors(&workshop, "base", 4, "model.safetensors"), base, "the run that it began with is as it was");

    let listed: Value = serde_json::from_slice(&workshop.succeed(&["info", "--json"]).stdout).unwrap();
    let listed = listed["runs"].as_array().unwrap().iter().find(|run| run["name"] == "base-sft");
    assert_eq!(listed, Some(&json!({"name": "base-sft", "steps": [30], "stage": "sft"})));
    workshop.succeed(&["generate", "--run", "base-sft", "--prompt", "the", "--max-tokens", "2"]);
    workshop.succeed(&["score", "--run", "base-sft", "--text", "the sea"]);
    // And it can be fine-tuned further: the moments count on.
    workshop.succeed(&["sft", "--run", "base-sft", "--task", &file, "--num-iterations", "2", "--eval-every", "-1"]);
    let further = self::config(&workshop, "base-sft-sft");
    assert_eq!((further["from"]["step"].as_u64(), further["training"]["moment_steps"].as_u64()), (Some(30), Some(34)));
}

#[test]
fn an_epoch_trains_on_every_conversation_and_shows_how_far_it_is() {
    let workshop = workshop();
    let file = workshop.file("talks.jsonl", talks(210));
    let output = workshop.succeed(&tuning("chat", &file, &["--eval-every", "-1", "--json"]));
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    let steps = value["num_iterations"].as_u64().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let trained = trained_on(&workshop, "chat");
    assert!((100..210).contains(&trained), "{trained}");
    assert!(said.contains(&format!("{trained} conversations in steps of 2 rows")) && said.contains("(100.0 %)"), "{said}");
    assert!(value["step"] == steps && value["interrupted"] == false && steps > 10, "{value}");
    let state: Value = serde_json::from_slice(&tensors(&workshop, "chat", steps, "state.json")).unwrap();
    let loader = &state["state"]["loader"];
    let consumed = loader["consumed"].as_u64().unwrap();
    assert!((trained..trained + 20).contains(&consumed) && loader["conversations"] == trained, "{consumed}");
    // The learning rate stays for half of the epoch and falls to almost nothing.
    let factors: Vec<f64> = workshop.metrics("chat").iter().filter_map(|line| line["lr_multiplier"].as_f64()).collect();
    assert!(factors[0] == 0.8 && factors[factors.len() / 4] == 0.8 && factors.windows(2).all(|pair| pair[0] >= pair[1]), "{factors:?}");
    assert!(factors[factors.len() - 1] < 0.2, "{factors:?}");
    // A complete run is left alone.
    let said = String::from_utf8(workshop.succeed(&["sft", "--resume", "--run", "chat"]).stdout).unwrap();
    assert!(said.contains(&format!("run chat is complete: all of its {steps} steps are done")), "{said}");
}

#[test]
fn tasks_are_mixed_as_often_as_asked_in_an_order_that_the_seed_decides() {
    let workshop = workshop();
    let file = workshop.file("talks.jsonl", talks(60));
    let twice = format!("{file}:2");
    let mixture = |run, seed| {
        let sizes = ["--max-seq-len", "64", "--total-batch-size", "128", "--num-iterations", "2", "--eval-tokens", "128"];
        let tasks = ["--task", &twice, "--task", "spelling:50", "--offline", "--seed", seed];
        workshop.succeed(&[&["sft", "--run", "base", "--model-tag", run][..], &tasks, &sizes].concat());
        let state: Value = serde_json::from_slice(&tensors(&workshop, run, 2, "state.json")).unwrap();
        assert_eq!(state["state"]["loader"]["conversations"], 2 * trained_on(&workshop, run) + 50);
        assert!(workshop.metrics(run)[0]["val_bpb"].as_f64().unwrap() > 0.0);
        losses(&workshop, run)
    };
    assert_eq!(mixture("a", "1"), mixture("b", "1"));
    assert_ne!(losses(&workshop, "a"), mixture("c", "2"));
    workshop.assert_same_runs("a", "b");
    let tasks = config(&workshop, "a")["training"]["tasks"].clone();
    assert_eq!(tasks, json!([twice, "spelling:50"]));
}

#[test]
fn weights_and_moments_are_carried_over() {
    let workshop = workshop();
    let file = workshop.file("talks.jsonl", talks(60));
    // With learning rates of zero nothing moves.
    workshop.succeed(&tuning("still", &file, &["--num-iterations", "2", "--init-lr-frac", "0", "--eval-every", "-1"]));
    assert!(tensors(&workshop, "still", 2, "model.safetensors") == tensors(&workshop, "base", 4, "model.safetensors"));
    assert!(tensors(&workshop, "still", 2, "optimizer.safetensors") != tensors(&workshop, "base", 4, "optimizer.safetensors"));
    let one = ["--num-iterations", "1", "--eval-every", "-1"];
    workshop.succeed(&tuning("warm", &file, &one));
    workshop.succeed(&tuning("same", &file, &one));
    workshop.succeed(&tuning("cold", &file, &[&one[..], &["--no-load-optimizer"]].concat()));
    workshop.assert_same_runs("warm", "same");
    assert_eq!(losses(&workshop, "warm"), losses(&workshop, "cold"), "both begin with the same weights");
    for file in ["model.safetensors", "optimizer.safetensors"] {
        assert!(tensors(&workshop, "warm", 1, file) != tensors(&workshop, "cold", 1, file), "{file}");
    }
    // An earlier checkpoint, longer rows and another batch may be asked for.
    workshop.train("long", &["--num-iterations", "4", "--save-every", "2", "--eval-every", "-1", "--sample-every", "-1"]);
    let sizes = ["--step", "2", "--max-seq-len", "48", "--total-batch-size", "96", "--num-iterations", "1", "--eval-every", "-1"];
    workshop.succeed(&[&["sft", "--run", "long", "--task", &file][..], &sizes].concat());
    let config = config(&workshop, "long-sft");
    assert_eq!((config["from"]["step"].as_u64(), config["model"]["sequence_len"].as_u64()), (Some(2), Some(48)));
    let rate = |run| self::config(&workshop, run)["training"]["lr_scale"].as_f64().unwrap();
    assert!((rate("long-sft") / rate("long") - (96.0f64 / 128.0).sqrt()).abs() < 1e-12);
}

#[test]
fn a_run_killed_at_random_moments_ends_with_the_same_bytes() {
    const KILLS: usize = 6;
    let workshop = workshop();
    let file = workshop.file("talks.jsonl", talks(400));
    // By steps, and until every conversation was trained on: some 80 steps.
    let by_epoch = ["--save-every", "2", "--eval-every", "6", "--eval-tokens", "256"];
    for (mode, options) in [("steps", &STEPS[..]), ("epoch", &by_epoch[..])] {
        let (whole, killed) = (format!("{mode}-whole"), format!("{mode}-killed"));
        workshop.succeed(&tuning(&whole, &file, options));
        let mut seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        println!("seed: {seed}");
        let mut running = workshop.start(&tuning(&killed, &file, options));
        // The first kill comes before anything is saved: the weights and moments of the base run are loaded again.
        running.wait_for("training on");
        let mut went_on = 0;
        for kill in 0..KILLS {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            std::thread::sleep(Duration::from_micros((seed >> 33) % if kill == 0 { 1000 } else { 40_000 }));
            drop(running);
            running = workshop.start(&["sft", "--resume", "--run", &killed]);
            went_on += usize::from(running.line().unwrap().contains("resuming at step"));
            running.wait_for(" | saved ");
        }
        let (code, _, stderr) = running.end();
        assert_eq!(code, Some(0), "{stderr}");
        assert!(went_on >= 3, "only {went_on} of {KILLS} runs went on from a checkpoint");
        workshop.assert_same_runs(&whole, &killed);
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_saves_says_how_to_go_on_and_ends_with_the_same_bytes() {
    let workshop = workshop();
    let file = workshop.file("talks.jsonl", talks(60));
    workshop.succeed(&tuning("whole", &file, &STEPS));
    let mut running = workshop.start(&tuning("int", &file, &STEPS));
    running.wait_for("step 00002/");
    running.signal(libc::SIGINT);
    let (code, stdout, stderr) = running.end();
    assert_eq!(code, Some(75), "{stderr}");
    assert!(stderr.contains("stopping after this step"), "{stderr}");
    assert!(stdout.contains("stopped at ") && stdout.contains("next: nc-core sft --resume --run int"), "{stdout}");
    workshop.succeed(&["sft", "--resume", "--run", "int"]);
    workshop.assert_same_runs("whole", "int");
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_one_of_the_base_run_is_refused() {
    let workshop = workshop();
    let file = workshop.file("talks.jsonl", talks(60));
    workshop.succeed(&tuning("whole", &file, &STEPS));
    stop_after_step_4(&workshop, "a", &file);
    flip_a_byte(&workshop.checkpoint("a", 4).join("optimizer.safetensors"));
    let said = String::from_utf8(workshop.succeed(&["sft", "--resume", "--run", "a"]).stdout).unwrap();
    assert!(said.contains("skipped: the checkpoint of step 4 is refused") && said.contains("resuming at step 2"), "{said}");
    workshop.assert_same_runs("whole", "a");

    flip_a_byte(&workshop.checkpoint("base", 4).join("optimizer.safetensors"));
    let sentence = workshop.refused(&tuning("b", &file, &STEPS));
    assert!(sentence.contains("step 4") && sentence.contains("optimizer.safetensors was altered"), "{sentence}");
    assert!(!workshop.run("b").exists());
    // The weights are whole, and they are all that is needed without the moments.
    workshop.succeed(&tuning("b", &file, &["--no-load-optimizer", "--num-iterations", "1", "--eval-every", "-1"]));
}

#[test]
fn the_second_on_one_run_is_refused_with_the_pid_of_the_first() {
    let workshop = workshop();
    let file = workshop.file("talks.jsonl", talks(60));
    let mut first = workshop.start(&tuning("a", &file, &["--num-iterations", "1000000", "--eval-every", "-1"]));
    first.wait_for("step 00000/");
    let sentence = workshop.refused(&["sft", "--resume", "--run", "a"]);
    assert!(sentence.contains(&format!("pid {}", first.child.id())) && sentence.contains("in use"), "{sentence}");
    let sentence = workshop.refused(&tuning("a", &file, &[]));
    assert!(sentence.contains("there is a run \"a\" already") && sentence.contains("nc-core sft --resume --run a"), "{sentence}");
}

#[test]
fn other_conversations_another_stage_and_other_options_are_refused_on_resume() {
    let workshop = workshop();
    let file = workshop.file("talks.jsonl", talks(60));
    stop_after_step_4(&workshop, "base-sft", &file);
    let sentence = workshop.refused(&["sft", "--resume", "--run", "base-sft", "--matrix-lr", "0.5"]);
    assert!(sentence.contains("--resume") && sentence.contains("--matrix-lr"), "{sentence}");
    let sentence = workshop.refused(&["train", "--resume", "--run", "base-sft"]);
    assert!(sentence.contains("resume it with `nc-core sft --resume --run base-sft`"), "{sentence}");
    let sentence = workshop.refused(&["sft", "--resume", "--run", "base"]);
    assert!(sentence.contains("nc-core train --resume --run base") && sentence.contains("fine-tuned from it is base-sft"), "{sentence}");

    for other in [talks(58), talks(60).replace("white", "black")] {
        workshop.file("talks.jsonl", other);
        let sentence = workshop.refused(&["sft", "--resume", "--run", "base-sft"]);
        assert!(sentence.contains("was reading other conversations"), "{sentence}");
    }
    fs::remove_file(&file).unwrap();
    let sentence = workshop.refused(&["sft", "--resume", "--run", "base-sft"]);
    assert!(sentence.contains("talks.jsonl"), "{sentence}");
    // With the file back it goes on, from any folder.
    workshop.file("talks.jsonl", talks(60));
    let output = workshop.command(&["sft", "--resume", "--run", "base-sft"]).current_dir("/").output().unwrap();
    assert!(output.status.success(), "{}", words(&output));
}

/// A limit on the size of files takes effect in the middle of writing a checkpoint, as a disk that fills up does.
#[cfg(unix)]
#[test]
fn without_room_for_a_checkpoint_the_ones_before_it_stay() {
    let workshop = workshop();
    let file = workshop.file("talks.jsonl", talks(60));
    workshop.succeed(&tuning("whole", &file, &STEPS));
    stop_after_step_4(&workshop, "a", &file);
    let mut command = workshop.command(&["sft", "--resume", "--run", "a"]);
    limit_file_size(&mut command, 100 << 10);
    let sentence = refusal("no room", &command.output().unwrap());
    assert!(sentence.contains("checkpoint of step 6") && sentence.contains("make room and resume"), "{sentence}");
    assert_eq!(Workshop::names(&workshop.run("a").join("checkpoints")), ["000002", "000004"]);
    workshop.succeed(&["sft", "--resume", "--run", "a"]);
    workshop.assert_same_runs("whole", "a");
}

#[test]
fn faults_are_sentences_and_leave_no_run_behind() {
    let workshop = workshop();
    let good = talks(30);
    let talks = workshop.file("talks.jsonl", &good);
    let cases = [
        (workshop.path("missing.jsonl"), "missing.jsonl"),
        (workshop.file("empty.jsonl", ""), "empty.jsonl"),
        (workshop.file("half.jsonl", format!("{good}{{\"messages\": [\n")), "half.jsonl, line 31"),
        (
            workshop.file("role.jsonl", format!("{good}{}\n", r#"{"messages": [{"role": "robot", "content": "secret"}]}"#)),
            "role.jsonl, line 31",
        ),
        (workshop.file("first.jsonl", r#"{"messages": [{"role": "assistant", "content": "secret"}]}"#), "first.jsonl, line 1"),
        ("gsm9k".to_owned(), "did you mean \"gsm8k\"?"),
        ("gsm8k:0".to_owned(), "at least 1"),
    ];
    for (task, words) in &cases {
        let sentence = workshop.refused(&tuning("bad", task, &["--offline"]));
        assert!(sentence.contains(words) && !sentence.contains("secret"), "{task}: {sentence}");
    }
    let sentence = workshop.refused(&tuning("bad", "gsm8k", &["--offline"]));
    assert!(sentence.contains("gsm8k") && sentence.contains("--offline"), "{sentence}");
    let long = json!({"messages": [{"role": "user", "content": "x".repeat(500)}, {"role": "assistant", "content": "secret"}]});
    let mute = workshop.file("mute.jsonl", format!("{long}\n").repeat(3));
    let sentence = workshop.refused(&tuning("bad", &mute, &[]));
    assert!(sentence.contains("nothing to learn") && sentence.contains("--max-seq-len"), "{sentence}");

    for (option, value, words) in [
        ("--num-iterations", "0", "--num-iterations is 0"),
        ("--init-lr-frac", "-1", "--init-lr-frac is -1"),
        ("--warmup-ratio", "1.5", "--warmup-ratio is 1.5"),
        ("--warmdown-ratio", "NaN", "--warmdown-ratio is NaN"),
        ("--matrix-lr", "inf", "--matrix-lr is inf"),
        ("--total-batch-size", "100", "--total-batch-size 100 is not a multiple"),
        ("--total-batch-size", "0", "--total-batch-size is 0"),
        ("--device-batch-size", "0", "--device-batch-size is 0"),
        ("--max-seq-len", "0", "sequence_len is 0"),
        ("--step", "3", "no checkpoint of step 3"),
        ("--adapter", "no such adapter", "no such adapter"),
    ] {
        let sentence = workshop.refused(&tuning("bad", &talks, &[option, value]));
        assert!(sentence.contains(words), "{option} {value}: {sentence}");
    }
    let sentence = workshop.refused(&["sft", "--run", "bass", "--task", &talks]);
    assert!(sentence.contains("did you mean \"base\""), "{sentence}");
    let sentence = workshop.refused(&tuning("../bad", &talks, &[]));
    assert!(sentence.contains("cannot be the name of a run"), "{sentence}");
    assert_eq!(Workshop::names(&workshop.home().join("runs")), ["base"]);
}

#[test]
fn what_cannot_be_represented_is_refused_or_left_out_and_counted_and_a_weight_of_0_is_not_learnt() {
    let workshop = workshop();
    let call =
        json!({"messages": [{"role": "user", "content": "2+3?"}, {"role": "assistant", "content": "", "tool_calls": [{"id": "secret"}]}]});
    let calls = workshop.file("calls.jsonl", format!("{}{call}\n{call}\n", talks(30)));
    let short = ["--num-iterations", "1", "--eval-every", "-1"];
    let sentence = workshop.refused(&tuning("a", &calls, &short));
    assert!(
        sentence.contains("calls.jsonl, line 31: message 2 has `tool_calls`, which") && sentence.contains("--skip-unsupported"),
        "{sentence}"
    );
    let said = String::from_utf8(workshop.succeed(&tuning("a", &calls, &[&short[..], &["--skip-unsupported"]].concat())).stdout).unwrap();
    assert!(said.contains("calls.jsonl: 2 conversations are skipped") && said.contains("line 31") && !said.contains("secret"), "{said}");
    let training = config(&workshop, "a")["training"].clone();
    assert_eq!((&training["files"][0]["skipped"], &training["skip_unsupported"]), (&json!(2), &json!(true)));
    assert_eq!(training["files"][0]["conversations"], 30);

    let said_once = |weight: u32| {
        let answer = json!({"role": "assistant", "content": "the sea", "weight": weight});
        format!("{}\n", json!({"messages": [{"role": "user", "content": "the ship?"}, answer]})).repeat(3)
    };
    let sentence = workshop.refused(&tuning("b", &workshop.file("zero.jsonl", said_once(0)), &short));
    assert!(sentence.contains("nothing to learn"), "{sentence}");
    workshop.succeed(&tuning("b", &workshop.file("one.jsonl", said_once(1)), &short));
}

#[test]
fn a_run_that_does_not_say_what_it_holds_out_is_one_of_before() {
    let workshop = workshop();
    let file = workshop.file("talks.jsonl", talks(60));
    stop_after_step_4(&workshop, "a", &file);
    let path = workshop.run("a").join("config.json");
    let mut config = config(&workshop, "a");
    assert_eq!(config["training"]["held_out"], "by-question");
    config["training"].as_object_mut().unwrap().remove("held_out");
    fs::write(&path, config.to_string()).unwrap();
    // It held out other conversations, so this is not that run.
    let sentence = workshop.refused(&["sft", "--resume", "--run", "a"]);
    assert!(sentence.contains("was reading other conversations"), "{sentence}");
}

#[test]
fn a_tokenizer_without_chat_tokens_is_refused_by_what_it_lacks() {
    let workshop = Workshop::new(|home| nc_core!(home));
    let tokenizer = workshop.home().join("tokenizer.json");
    let json = fs::read_to_string(&tokenizer).unwrap();
    fs::write(&tokenizer, json.replace("<|assistant_end|>", "<|the_end|>")).unwrap();
    workshop.train("base", &["--num-iterations", "1", "--eval-every", "-1"]);
    let talks = workshop.file("talks.jsonl", talks(30));
    let sentence = workshop.refused(&tuning("bad", &talks, &[]));
    assert!(sentence.contains("no special token <|assistant_end|>"), "{sentence}");
    assert_eq!(Workshop::names(&workshop.home().join("runs")), ["base"]);
}

#[test]
fn few_conversations_are_all_trained_on_and_some_that_are_too_long_are_counted() {
    let workshop = workshop();
    let long = json!({"messages": [{"role": "user", "content": "x".repeat(500)}, {"role": "assistant", "content": "the sea"}]});
    let few = workshop.file("few.jsonl", format!("{}{long}\n{long}\n", talks(8)));
    let said = String::from_utf8(workshop.succeed(&tuning("a", &few, &[])).stdout).unwrap();
    assert!(said.contains("10 conversations in steps"), "{said}");
    assert!(said.contains("nothing is validated") && said.contains("conversations with nothing to learn"), "{said}");
    assert!(workshop.metrics("a").iter().all(|line| line["val_bpb"].is_null()));
}

#[test]
fn no_log_holds_what_people_wrote() {
    let workshop = workshop();
    let file = workshop.file("private.jsonl", talks(60).replace("the", "zyxquorl"));
    for args in
        [tuning("a", &file, &["--num-iterations", "4", "--eval-every", "2", "--save-every", "2"]), vec!["sft", "--resume", "--run", "a"]]
    {
        let output = workshop.command(&args).env("NC_LOG", "trace").output().unwrap();
        assert!(output.status.success(), "{}", words(&output));
        let said = words(&output);
        assert!(said.contains("TRACE") || said.contains("DEBUG"), "{args:?} logged nothing");
        assert!(!said.contains("zyxquorl"), "{args:?}");
    }
    for file in ["config.json", "metrics.jsonl", "checkpoints/000004/state.json"] {
        assert!(!fs::read_to_string(workshop.run("a").join(file)).unwrap().contains("zyxquorl"), "{file}");
    }
}
