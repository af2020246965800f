//! The command line on bad input and on any input: one sentence and exit code 2, nothing left behind; with `--json` one
//! document and nothing after it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nc_tests::nc_core;
use nc_tests::workshop::{Running, Workshop, refusal, words};
use serde_json::Value;

fn workshop() -> Workshop {
    Workshop::new(|home| nc_core!(home))
}

/// A workshop with a trained run `a`.
fn trained() -> Workshop {
    let workshop = workshop();
    workshop.train("a", &["--num-iterations", "2", "--save-every", "1", "--eval-every", "-1", "--sample-every", "-1"]);
    workshop
}

/// The options of the tiny model, with `option` set to `value`.
fn with<'a>(workshop: &'a Workshop, text: &'a str, option: &'a str, value: &'a str) -> Vec<&'a str> {
    let mut args = workshop.training("bad", text, &["--num-iterations", "1", "--eval-every", "-1", "--sample-every", "-1"]);
    if let Some(at) = args.iter().position(|arg| *arg == option) {
        args.drain(at..at + 2);
    }
    args.extend([option, value]);
    args
}

#[test]
fn options_that_make_no_run_are_refused_each_with_its_sentence() {
    let workshop = workshop();
    let text = workshop.text();
    let long = "x".repeat(300);
    let cases = [
        ("--adapter", "no-such-gpu", "there is no adapter `no-such-gpu`; available: 0 "),
        ("--adapter", "99", "there is no adapter `99`; available: 0 "),
        ("--depth", "0", "depth is 0; it must be at least 1"),
        ("--depth", "90000", "the largest depth that fits"),
        ("--depth", "18446744073709551615", "the largest depth that fits"),
        ("--depth", "1e30", "invalid value '1e30' for '--depth"),
        ("--aspect-ratio", "0", "the aspect ratio is 0"),
        ("--aspect-ratio", "18446744073709551615", "goes up to"),
        ("--head-dim", "0", "the head dimension is 0"),
        ("--head-dim", "15", "must be a multiple of 8"),
        ("--head-dim", "18446744073709551612", "goes up to"),
        ("--max-seq-len", "0", "must be at least 2"),
        ("--max-seq-len", "1", "must be at least 2"),
        ("--max-seq-len", "18446744073709551615", "goes up to 1048576"),
        ("--window-pattern", "XYZ", "must be one or more of the letters S (short) and L (full)"),
        ("--window-pattern", "", "must be one or more of the letters S (short) and L (full)"),
        ("--device-batch-size", "0", "--device-batch-size is 0; it must be at least 1"),
        ("--device-batch-size", "3", "is not a multiple of --device-batch-size 3 × --max-seq-len 32 = 96 tokens"),
        ("--device-batch-size", "18446744073709551615", "is not a multiple of"),
        ("--total-batch-size", "0", "--total-batch-size is 0; it must be at least 1"),
        ("--total-batch-size", "100", "is not a multiple of"),
        ("--total-batch-size", "18446744073709551552", "at most 268435456"),
        ("--num-iterations", "0", "--num-iterations is 0; it must be at least 1"),
        ("--num-iterations", "-5", "invalid value '-5' for '--num-iterations"),
        ("--num-iterations", "18446744073709551615", "at most 4294967296"),
        ("--embedding-lr", "nan", "--embedding-lr is NaN"),
        ("--unembedding-lr", "inf", "--unembedding-lr is inf"),
        ("--matrix-lr", "-1", "--matrix-lr is -1"),
        ("--scalar-lr", "1e300", "must be a number from 0 to 1e9"),
        ("--weight-decay", "-0.5", "--weight-decay is"),
        ("--warmdown-ratio", "2", "--warmdown-ratio is 2; it must be between 0 and 1"),
        ("--warmdown-ratio", "nan", "--warmdown-ratio is NaN"),
        ("--final-lr-frac", "nan", "--final-lr-frac is NaN"),
        ("--keep-last", "0", "invalid value '0' for '--keep-last"),
        ("--run", "a/b", "cannot be the name of a run: use only the letters"),
        ("--run", "..", "cannot be the name of a run"),
        ("--run", "", "cannot be the name of a run: it is empty"),
        ("--run", &long, "it is longer than 64 characters"),
        ("--from", "nothing", "cannot be used with"),
        ("--tokenizer", "/no/such/tokenizer.json", "there is no tokenizer at /no/such/tokenizer.json"),
        ("--tokenizer", &text, "not a readable tokenizer.json"),
    ];
    for (option, value, sentence) in cases {
        let said = workshop.refused(&with(&workshop, &text, option, value));
        assert!(said.contains(sentence), "{option} {value}: {said}");
        assert_eq!(Workshop::names(&workshop.home().join("runs")), [""; 0], "{option} {value} left a run");
    }
    for (option, value, sentence) in [
        ("--target-flops", "-3", "--target-flops is -3; it must be a number above 0"),
        ("--target-flops", "1", "shorter than one step"),
        ("--target-flops", "1e300", "--num-iterations is 18446744073709551615"),
        ("--target-param-data-ratio", "nan", "--target-param-data-ratio is NaN"),
        ("--target-param-data-ratio", "1e-30", "shorter than one step"),
    ] {
        let args = workshop.training("bad", &text, &[option, value]);
        let said = workshop.refused(&args);
        assert!(said.contains(sentence), "{option} {value}: {said}");
    }
    // A row whose activations could not be bound is refused before anything is allocated.
    let mut args = with(&workshop, &text, "--max-seq-len", "1048576");
    args.extend(["--device-batch-size", "1"]);
    args.retain(|arg| !["--total-batch-size", "128"].contains(arg));
    let at = args.iter().position(|arg| *arg == "--device-batch-size").unwrap();
    args.drain(at..at + 2);
    args.extend(["--total-batch-size", "1048576"]);
    let output = workshop.command(&args).output().unwrap();
    if output.status.code() != Some(0) {
        let said = refusal("a long row", &output);
        assert!(said.contains("the longest row that fits is --max-seq-len") || said.contains("at a time"), "{said}");
        assert_eq!(Workshop::names(&workshop.home().join("runs")), [""; 0]);
    }
}

#[test]
fn without_a_driver_there_is_one_sentence_that_says_how_to_get_one() {
    let workshop = trained();
    let text = workshop.text();
    let blind = |args: &[&str]| {
        let mut command = workshop.command(args);
        command.env("VK_DRIVER_FILES", "/nonexistent").env("VK_ICD_FILENAMES", "/nonexistent");
        command.output().unwrap()
    };
    for args in [workshop.training("b", &text, &[]), vec!["generate", "--run", "a"], vec!["score", "--run", "a", "--text", "the sea"]] {
        let output = blind(&args);
        if cfg!(target_os = "linux") {
            let said = refusal("no driver", &output);
            assert!(said.contains("no GPU driver was found") && said.contains("install"), "{said}");
            assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1, "{}", words(&output));
        }
    }
    assert!(!workshop.run("b").exists());
    assert!(blind(&["info"]).status.success(), "what else there is can still be shown");
}

#[test]
fn runs_that_do_not_exist_are_answered_with_those_that_do() {
    let workshop = trained();
    fs::rename(workshop.run("a"), workshop.run("whales")).unwrap();
    for args in [&["train", "--resume", "--run", "wales"][..], &["generate", "--run", "wales"], &["score", "--run", "wales", "--text", "x"]]
    {
        let said = workshop.refused(args);
        assert!(said.contains("did you mean \"whales\""), "{said}");
    }
    for name in ["../runs/whales", "", "/"] {
        assert!(workshop.refused(&["generate", "--run", name]).contains("there is no run"), "{name}");
    }
    let said = workshop.refused(&["generate", "--run", "whales", "--step", "7"]);
    assert!(said.contains("has no checkpoint of step 7; it has 1, 2"), "{said}");
    workshop.succeed(&["generate", "--step", "1", "--max-tokens", "1"]);

    let empty = Workshop::without_tokenizer(|home| nc_core!(home));
    for args in [&["generate"][..], &["train", "--resume"], &["score", "--text", "x"]] {
        let said = empty.refused(args);
        assert!(said.contains("nc-core train"), "{said}");
    }
    assert!(!empty.home().exists(), "asking makes nothing");

    // An empty name is none: without it, the system says where a program's files are, and not the folder that one is in.
    let output = empty.command(&["generate", "--run", "none-of-this-name"]).env("NC_HOME", "").output().unwrap();
    let runs = refusal("an empty home", &output);
    let runs =
        runs.split_once("there is no run \"none-of-this-name\" in ").and_then(|(_, rest)| rest.split_once(';')).expect("it says where").0;
    assert!(Path::new(runs).is_absolute(), "{runs}");
}

#[test]
fn a_home_that_cannot_be_written_to_is_named() {
    let workshop = workshop();
    let text = workshop.text();
    let file = workshop.file("home.txt", "a file");
    let tokenizer = workshop.home().join("tokenizer.json");
    // Nobody writes to /proc, not even root.
    for home in [file.as_str(), "/proc/nc-core"] {
        let mut args = workshop.training("bad", &text, &["--num-iterations", "1"]);
        args.extend(["--tokenizer", tokenizer.to_str().unwrap()]);
        for args in [args, vec!["train", "--resume"], vec!["generate"], vec!["tokenizer", "train", "--data", &text, "--vocab-size", "300"]]
        {
            let output = workshop.command(&args).env("NC_HOME", home).output().unwrap();
            let said = refusal(home, &output);
            assert!(said.contains(home) || said.contains("there is no run yet"), "{args:?}: {said}");
        }
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "a file");
}

#[test]
fn generate_and_score_refuse_what_they_cannot_use() {
    let workshop = trained();
    let long = "whale ".repeat(60);
    for (option, value, sentence) in [
        ("--temperature", "-1", "--temperature is -1; it must be a number from 0"),
        ("--temperature", "nan", "--temperature is NaN"),
        ("--temperature", "inf", "--temperature is inf"),
        ("--top-k", "-1", "invalid value '-1'"),
        ("--top-k", "301", "--top-k is 301; it must be at most the 300 tokens of the vocabulary; 0 draws from all"),
        ("--top-p", "0", "--top-p is 0; it must be more than 0"),
        ("--min-p", "2", "--min-p is 2"),
        ("--repetition-penalty", "0", "--repetition-penalty is 0"),
        ("--max-tokens", "1e30", "invalid value '1e30'"),
        ("--prompt", &long, "the model's context 32; shorten the prompt"),
    ] {
        let said = workshop.refused(&["generate", "--run", "a", option, value]);
        assert!(said.contains(sentence), "{option} {value}: {said}");
    }
    for (json, sentence) in [
        ("[1, 2, 300]", "there is no token 300: the vocabulary of run a has 300, counted from 0"),
        ("[1, 4294967296]", "must hold a JSON list of token ids"),
        ("[1, -2]", "must hold a JSON list of token ids"),
        ("[1, 2.5]", "must hold a JSON list of token ids"),
        ("{\"ids\": \"1 2\"}", "must hold a JSON list of token ids"),
        ("[1, 2", "must hold a JSON list of token ids"),
        ("", "must hold a JSON list of token ids"),
        ("[]", "give two tokens or more"),
        ("[7]", "give two tokens or more"),
    ] {
        let said = workshop.refused(&["score", "--run", "a", "--ids", &workshop.file("ids.json", json)]);
        assert!(said.contains(sentence), "{json}: {said}");
    }
    for args in [&["--ids", "/no/such/file"][..], &["--ids", "/"], &["--text", ""], &[]] {
        workshop.refused(&[&["score", "--run", "a"], args].concat());
    }
    // What can be used, at its edges.
    workshop.succeed(&["score", "--run", "a", "--ids", &workshop.file("ids.json", "{\"ids\": [0, 299]}")]);
    workshop.succeed(&["generate", "--run", "a", "--temperature", "1e-320", "--max-tokens", "40", "--top-k", "300"]);
    workshop.succeed(&["generate", "--run", "a", "--max-tokens", "0"]);
}

#[test]
fn scores_of_a_long_text_are_those_of_its_windows() {
    let workshop = trained();
    let ids: Vec<u32> = (0..80).map(|i| i * 37 % 300).collect();
    let score = |ids: &[u32]| -> Vec<f64> {
        let path = workshop.file("ids.json", serde_json::to_string(ids).unwrap());
        let output = workshop.succeed(&["score", "--run", "a", "--ids", &path]);
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        value["logprobs"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
    };
    let whole = score(&ids);
    assert_eq!(whole.len(), 79);
    assert!(whole.iter().all(|&logprob| logprob < 0.0 && logprob > -30.0));
    // The context is 32, and every window begins with the last token of the one before.
    for (start, end) in [(0, 33), (32, 65), (64, 80)] {
        assert_eq!(score(&ids[start..end]), whole[start..end - 1]);
    }
}

/// The last line of stdout, which must be one JSON object; nothing but JSON may be on stdout.
fn document(output: &Output) -> Value {
    let stdout = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{}", words(output));
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    let value: Value = serde_json::from_str(&stdout).unwrap();
    assert!(value.is_object(), "{value}");
    value
}

#[test]
fn with_json_every_subcommand_prints_one_document_and_nothing_else() {
    let workshop = workshop();
    let text = workshop.text();
    let json = |args: &[&str]| document(&workshop.command(&[args, &["--json"]].concat()).output().unwrap());
    let out = workshop.path("t.json");
    assert_eq!(json(&["tokenizer", "train", "--data", &text, "--vocab-size", "300", "--out", &out])["vocab_size"], 300);
    assert!(json(&["tokenizer", "eval", "--data", &text])["texts"].is_array());
    let ids = json(&["tokenizer", "encode", "the whale"])["ids"].clone();
    let ids: Vec<String> = ids.as_array().unwrap().iter().map(Value::to_string).collect();
    let decode: Vec<&str> = ["tokenizer", "decode"].into_iter().chain(ids.iter().map(String::as_str)).collect();
    assert_eq!(json(&decode)["text"], "the whale");
    assert!(json(&["data", "info", &text])["train"]["documents"].as_u64().unwrap() > 0);

    let training = ["--num-iterations", "4", "--save-every", "2", "--eval-every", "2", "--eval-tokens", "64", "--sample-every", "2"];
    let trained = json(&workshop.training("a", &text, &training));
    assert_eq!((trained["run"].as_str(), trained["step"].as_u64(), trained["interrupted"].as_bool()), (Some("a"), Some(4), Some(false)));
    assert!(trained["val_bpb"].as_f64().unwrap() > 0.0 && trained["loss"].as_f64().unwrap() > 0.0);
    let resumed = json(&["train", "--resume", "--run", "a"]);
    assert_eq!((resumed["step"].as_u64(), resumed["first_step"].as_u64()), (Some(4), Some(4)));
    let generated = json(&["generate", "--prompt", "the", "--max-tokens", "3", "--temperature", "0"]);
    assert_eq!((generated["prompt"].as_str(), generated["step"].as_u64()), (Some("the"), Some(4)));
    assert_eq!(
        json(&["score", "--text", "the sea"])["logprobs"].as_array().unwrap().len(),
        json(&["tokenizer", "encode", "the sea"])["ids"].as_array().unwrap().len()
    );
    let info = json(&["info"]);
    assert_eq!((info["runs"][0]["name"].as_str(), info["runs"][0]["steps"][1].as_u64()), (Some("a"), Some(4)));
    assert!(!info["adapters"].as_array().unwrap().is_empty());
}

#[cfg(unix)]
#[test]
fn with_json_an_interrupted_run_prints_its_document_too() {
    let workshop = workshop();
    let text = workshop.text();
    let args = workshop.training("a", &text, &["--num-iterations", "1000000", "--eval-every", "-1", "--sample-every", "-1", "--json"]);
    let running = Running::start(&mut workshop.command(&args));
    // Whatever is for people is on stderr, so the first step shows in the metrics.
    while fs::read(workshop.run("a").join("metrics.jsonl")).map_or(0, |lines| lines.len()) == 0 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    running.signal(libc::SIGINT);
    let (code, stdout, stderr) = running.end();
    assert_eq!(code, Some(75), "{stderr}");
    let value: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(value["interrupted"], true);
    assert_eq!(value["step"].as_u64().map(|step| workshop.checkpoint("a", step).is_dir()), Some(true));
}

/// Whoever reads may go, as `head` does; no training is lost for that, and nothing panics.
#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let workshop = workshop();
    let text = workshop.text();
    let deaf = |args: &[&str]| {
        let mut child = workshop.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        child.wait_with_output().unwrap()
    };
    let training = workshop.training("a", &text, &["--num-iterations", "3", "--eval-every", "1", "--eval-tokens", "64"]);
    for args in
        [&training[..], &["info"], &["generate", "--max-tokens", "5"], &["score", "--text", "the sea"], &["tokenizer", "encode", "sea"]]
    {
        let output = deaf(args);
        assert!(output.status.success() && !String::from_utf8_lossy(&output.stderr).contains("panicked"), "{args:?}: {}", words(&output));
    }
    assert!(workshop.checkpoint("a", 3).is_dir());
    // Nor is it one to close both.
    let mut child = workshop.command(&["train", "--resume", "--run", "a"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert!(child.wait().unwrap().success());
    // A result that cannot be written is a failure.
    if Path::new("/dev/full").exists() {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output: Output = Command::stdout(&mut workshop.command(&["info"]), full).output().unwrap();
        assert!(refusal("a full disk", &output).contains("cannot write to stdout"));
    }
}
