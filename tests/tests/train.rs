//! Training from the command line: what it records, what it begins with, how it fits the memory that there is, and what
//! it never tells.

use std::fs;
use std::sync::Arc;

use nc_tests::nc_core;
use nc_tests::workshop::{Running, Workshop, words};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::Value;

fn workshop() -> Workshop {
    Workshop::new(|home| nc_core!(home))
}

const QUIET: [&str; 4] = ["--eval-every", "-1", "--sample-every", "-1"];

fn validation(workshop: &Workshop, run: &str, step: u64) -> f64 {
    let line = workshop.metrics(run).into_iter().find(|line| line["step"] == step && !line["val_bpb"].is_null());
    line.unwrap_or_else(|| panic!("run {run} has no validation at step {step}"))["val_bpb"].as_f64().unwrap()
}

#[test]
fn training_learns_and_reports_every_step() {
    let workshop = workshop();
    // A batch this small calls for small learning rates; these are larger, for a test that is short.
    let rates = ["--embedding-lr", "5", "--unembedding-lr", "0.2", "--matrix-lr", "0.3", "--warmup-steps", "5"];
    let output = workshop.train("a", &[&rates[..], &["--num-iterations", "60", "--eval-every", "30", "--eval-tokens", "512"]].concat());
    let (first, last) = (validation(&workshop, "a", 0), validation(&workshop, "a", 60));
    assert!(last < 0.75 * first, "bits per byte went from {first} to {last}");
    let steps: Vec<u64> =
        workshop.metrics("a").iter().filter(|line| !line["loss"].is_null()).map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, (0..60).collect::<Vec<u64>>());
    let said = String::from_utf8(output.stdout).unwrap();
    for word in ["step 00059/00060", "loss ", "bpb ", "tok/s", "GFLOP/s", "eta ", "saved ", "wrote ", "next: nc-core generate --run a"] {
        assert!(said.contains(word), "{word:?} is missing in {said}");
    }
    assert_eq!(Workshop::names(&workshop.run("a").join("tensorboard")).len(), 1);
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_one_does_not() {
    let workshop = workshop();
    let options = ["--num-iterations", "3"].iter().chain(&QUIET).copied().collect::<Vec<_>>();
    for (run, seed) in [("a", "1"), ("b", "1"), ("c", "2")] {
        workshop.train(run, &[&options[..], &["--seed", seed]].concat());
    }
    workshop.assert_same_runs("a", "b");
    let weights = |run| fs::read(workshop.checkpoint(run, 3).join("model.safetensors")).unwrap();
    assert!(weights("a") != weights("c"));
}

/// Backout's gradient at these depths is rounding, of which AdamW makes steps of its whole learning rate: within a few hundred
/// of them λ passes 1, and the sign of every logit turns.
#[test]
fn backout_is_held_still_where_it_only_scales_the_stream() {
    let workshop = workshop();
    let lambda = |run: &str| {
        let file = fs::read(workshop.checkpoint(run, 40).join("model.safetensors")).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
        f32::from_le_bytes(tensors.tensor("backout_lambda").unwrap().data().try_into().unwrap())
    };
    for (run, depth, held) in [("one", "1", true), ("two", "2", true), ("three", "3", false)] {
        let text = workshop.text();
        let options = ["train", "--run", run, "--data", &text, "--depth", depth, "--aspect-ratio", "32", "--head-dim", "16"];
        let shape = ["--max-seq-len", "32", "--device-batch-size", "2", "--total-batch-size", "64", "--warmup-steps", "0"];
        workshop.succeed(&[&options[..], &shape, &["--num-iterations", "40", "--eval-every", "-1", "--sample-every", "-1"]].concat());
        assert_eq!(lambda(run) == 0.2, held, "at depth {depth} λ is {}", lambda(run));
        let losses: Vec<f64> = workshop.metrics(run).iter().filter_map(|line| line["loss"].as_f64()).collect();
        assert!(losses.iter().all(|loss| *loss < losses[0] + 0.5), "{losses:?}");
    }
}

#[test]
fn a_run_begins_with_another_runs_weights_where_they_left_off() {
    let workshop = workshop();
    let options = ["--num-iterations", "20", "--warmup-steps", "2", "--eval-every", "10", "--eval-tokens", "512", "--sample-every", "-1"];
    workshop.train("first", &options);
    let text = workshop.text();
    let from = ["train", "--run", "second", "--from", "first", "--data", &text, "--device-batch-size", "2", "--total-batch-size", "128"];
    workshop.succeed(&[&from[..], &options].concat());
    assert_eq!(validation(&workshop, "second", 0), validation(&workshop, "first", 20));
    assert!(validation(&workshop, "second", 20) < validation(&workshop, "first", 20));
    let config: Value = serde_json::from_slice(&fs::read(workshop.run("second").join("config.json")).unwrap()).unwrap();
    assert_eq!((config["from"]["run"].as_str(), config["from"]["step"].as_u64()), (Some("first"), Some(20)));

    // The source decides the model, so options that would are refused.
    let sentence = workshop.refused(&["train", "--from", "first", "--run", "third", "--depth", "2"]);
    assert!(sentence.contains("--from") && sentence.contains("--depth"), "{sentence}");
    let sentence = workshop.refused(&["train", "--from", "frist", "--run", "third"]);
    assert!(sentence.contains("did you mean \"first\"?"), "{sentence}");
    assert_eq!(Workshop::names(&workshop.home().join("runs")), ["first", "second"]);
}

#[test]
fn a_run_from_another_that_is_killed_at_once_still_begins_with_its_weights() {
    let workshop = workshop();
    let options = ["--num-iterations", "6", "--warmup-steps", "2", "--save-every", "3", "--eval-every", "3", "--eval-tokens", "256"];
    workshop.train("first", &options);
    let text = workshop.text();
    let from = |run| {
        let args = ["train", "--run", run, "--from", "first", "--data", &text, "--device-batch-size", "2", "--total-batch-size", "128"];
        [&args[..], &options].concat()
    };
    workshop.succeed(&from("whole"));
    let mut running = workshop.start(&from("killed"));
    running.wait_for("training on");
    drop(running);
    workshop.succeed(&["train", "--resume", "--run", "killed"]);
    workshop.assert_same_runs("whole", "killed");
}

#[test]
fn a_batch_that_does_not_fit_is_halved_and_the_step_keeps_its_tokens() {
    let workshop = workshop();
    let text = workshop.text();
    let train = |run, limit: Option<&str>| {
        // Eight rows of 128 tokens a step, and most of the memory is activations.
        let options = ["--depth", "1", "--aspect-ratio", "32", "--head-dim", "16", "--max-seq-len", "128", "--device-batch-size", "8"];
        let rest = ["--total-batch-size", "1024", "--num-iterations", "2", "--json"];
        let mut command = workshop.command(&[&["train", "--run", run, "--data", &text], &options[..], &rest, &QUIET].concat());
        if let Some(limit) = limit {
            command.env("NC_MEMORY_LIMIT", limit);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", words(&output));
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        (value["peak_memory"].as_u64().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    // The peak of the first run also counts what the autotuner tried.
    train("first", None);
    let (peak, said) = train("free", None);
    assert!(!said.contains("GPU memory is short"), "{said}");
    let limit = peak * 2 / 3;
    let (tight_peak, said) = train("tight", Some(&limit.to_string()));
    let rows =
        [4, 2, 1].into_iter().find(|rows| said.contains(&format!("batches of 8 rows: continuing with {rows}, {} per step", 8 / rows)));
    assert!(rows.is_some(), "{said}");
    assert!(tight_peak <= limit, "{tight_peak} of {limit} bytes");
    // The same tokens were trained on, and the losses differ by rounding only.
    for (free, tight) in workshop.metrics("free").iter().zip(&workshop.metrics("tight")) {
        assert_eq!(free["tokens"], tight["tokens"]);
        let (free, tight) = (free["loss"].as_f64().unwrap(), tight["loss"].as_f64().unwrap());
        assert!((free - tight).abs() < 1e-3, "{free} and {tight}");
    }

    let refused = |limit: &str| {
        let output = workshop.command(&workshop.training("none", &text, &["--num-iterations", "1"])).env("NC_MEMORY_LIMIT", limit).output();
        nc_tests::workshop::refusal(limit, &output.unwrap())
    };
    assert!(refused("1000").contains("out of GPU memory"), "no batch fits");
    assert!(refused("2 GB").contains("NC_MEMORY_LIMIT is \"2 GB\"; it must be a number of bytes"), "no number");
    assert!(!workshop.run("none").exists());
}

#[test]
fn a_resumed_run_keeps_the_rows_that_it_was_halved_to() {
    let workshop = workshop();
    let text = workshop.text();
    let options = ["--num-iterations", "4", "--save-every", "2", "--max-seq-len", "128", "--device-batch-size", "8"];
    let model = ["--depth", "1", "--aspect-ratio", "32", "--head-dim", "16", "--total-batch-size", "1024"];
    let args = |run| [&["train", "--run", run, "--data", &text], &options[..], &model, &QUIET].concat();
    workshop.succeed(&args("free"));
    let limit = "4000000";
    let output = workshop.command(&args("whole")).env("NC_MEMORY_LIMIT", limit).output().unwrap();
    let said = words(&output);
    assert!(output.status.success() && said.contains("GPU memory does not suffice for batches of 8 rows"), "{said}");
    let mut killed = Running::start(workshop.command(&args("killed")).env("NC_MEMORY_LIMIT", limit));
    killed.wait_for("/checkpoints/000002");
    drop(killed);
    workshop.succeed(&["train", "--resume", "--run", "killed"]);
    workshop.assert_same_runs("whole", "killed");
    let rows = |run| {
        let state: Value = serde_json::from_slice(&fs::read(workshop.checkpoint(run, 4).join("state.json")).unwrap()).unwrap();
        state["state"]["device_batch_size"].as_u64().unwrap()
    };
    assert!(rows("killed") < 8 && rows("killed") == rows("whole") && rows("free") == 8);
}

/// A parquet file with one column and one row.
fn write_parquet(path: &str, schema: &str) {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut file = SerializedFileWriter::new(fs::File::create(path).unwrap(), schema, Arc::default()).unwrap();
    let mut group = file.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&[ByteArray::from("some words")], None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    file.close().unwrap();
}

#[test]
fn faults_of_the_data_are_sentences_and_leave_no_run_behind() {
    let workshop = workshop();
    let lines: String = (0..200).map(|i| format!("{{\"text\": \"a line about whales, {i}\"}}\n")).collect();
    let cases = [
        (workshop.file("empty.txt", ""), "empty.txt is empty"),
        (workshop.file("blank.txt", " \n\n \n"), "blank.txt is empty"),
        (workshop.file("binary.txt", [b"words and then ".as_slice(), &[0, 1, 2, 255]].concat()), "is not UTF-8 text"),
        (workshop.file("latin.txt", b"caf\xe9 au lait ".repeat(50)), "is not UTF-8 text"),
        (workshop.file("broken.jsonl", format!("{lines}{{\"text\": \"half\n")), "broken.jsonl, line 201"),
        (workshop.file("other.jsonl", format!("{lines}\"secret words\"\n")), "other.jsonl, line 201"),
        (workshop.file("words.parquet", "no parquet at all"), "is not a readable parquet file"),
        (workshop.file("notes.md", "# notes"), "notes.md is not named as text; name it .txt"),
        (workshop.path("missing.txt"), "does not exist"),
        (workshop.file("one.txt", "one short document"), "no document for the validation split"),
    ];
    let foreign = workshop.path("foreign.parquet");
    write_parquet(&foreign, "message shard { required binary body (STRING); }");
    for (path, sentence) in
        cases.iter().map(|(path, sentence)| (path, *sentence)).chain([(&foreign, "has no column `text` (its columns: body)")])
    {
        let said = workshop.refused(&workshop.training("bad", path, &["--num-iterations", "2", "--eval-tokens", "64"]));
        assert!(said.contains(sentence), "{path}: {said}");
        assert!(!said.contains("secret"), "{said}");
        assert_eq!(Workshop::names(&workshop.home().join("runs")), [""; 0], "{path}");
    }
}

#[test]
fn without_a_tokenizer_one_is_trained_and_nothing_that_will_be_refused_waits_for_it() {
    let workshop = Workshop::without_tokenizer(|home| nc_core!(home));
    let text = workshop.text();
    let sentence = workshop.refused(&["train", "--data", &text, "--depth", "0"]);
    assert!(sentence.contains("depth is 0"), "{sentence}");
    assert!(!workshop.home().join("tokenizer.json").exists());
    // Text this short cannot fill the default vocabulary.
    let sentence = workshop.refused(&["train", "--data", &text, "--depth", "1", "--num-iterations", "1"]);
    assert!(sentence.contains("nc-core tokenizer train --data") && sentence.contains("--vocab-size"), "{sentence}");
    assert_eq!(Workshop::names(&workshop.home().join("runs")), [""; 0]);
    let possible = sentence.split("--vocab-size ").nth(1).unwrap().split('`').next().unwrap().to_owned();
    workshop.succeed(&["tokenizer", "train", "--data", &text, "--vocab-size", &possible]);
    let sentence = workshop.refused(&["tokenizer", "train", "--data", &text, "--vocab-size", "30000"]);
    assert!(sentence.contains(&format!("--vocab-size {possible} or less")), "{sentence}");
}

#[test]
fn no_log_holds_what_people_wrote() {
    let workshop = workshop();
    // Words that occur nowhere else, in every document and in the prompt.
    let text = nc_tests::workshop::text(200).replace("whale", "zyxquorl");
    let path = workshop.file("private.txt", &text);
    let traced = |args: &[&str]| {
        let output = workshop.command(args).env("NC_LOG", "trace").output().unwrap();
        assert!(output.status.success(), "{}", words(&output));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(stderr.contains("TRACE") || stderr.contains("DEBUG") || args[0] == "tokenizer", "{args:?} logged nothing");
        let told = stderr.find("zyxquorl").map(|at| stderr[at.saturating_sub(300)..].chars().take(400).collect::<String>());
        assert_eq!(told, None, "{args:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    traced(&["tokenizer", "train", "--data", &path, "--vocab-size", "320"]);
    let trained = traced(&workshop.training("a", &path, &["--num-iterations", "2", "--eval-every", "1", "--eval-tokens", "64"]));
    assert!(!trained.contains("zyxquorl"), "samples of an untrained model do not hold the text");
    traced(&["train", "--resume", "--run", "a"]);
    assert!(traced(&["generate", "--run", "a", "--prompt", "the zyxquorl", "--max-tokens", "2"]).starts_with("the zyxquorl"));
    assert!(!traced(&["score", "--run", "a", "--text", "the zyxquorl sea"]).contains("zyxquorl"));
    // Nor do the files that training writes for people to pass on.
    for file in ["config.json", "metrics.jsonl"] {
        assert!(!fs::read_to_string(workshop.run("a").join(file)).unwrap().contains("zyxquorl"), "{file}");
    }
    // A program that fails tells no more.
    let broken = workshop.file("broken.jsonl", "{\"text\": [\"zyxquorl\"]}\n\"zyxquorl\"\n");
    let output = workshop.command(&["data", "info", &broken]).env("NC_LOG", "trace").output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("zyxquorl"), "{}", words(&output));
}
