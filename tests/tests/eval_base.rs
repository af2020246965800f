//! `nc-core eval base` as a program: its parts, what it refuses, that it goes on where it was stopped, and the download of the bundle
//! from a server on 127.0.0.1.

use std::path::{Path, PathBuf};

use nc_tests::server::{Server, honest};
use nc_tests::torch::archive;
use nc_tests::workshop::Workshop;
use nc_tests::{golden_dirs, nc_core};
use serde_json::Value;

fn workshop() -> Workshop {
    let workshop = Workshop::new(|home| nc_core!(home));
    workshop.train("tiny", &["--num-iterations", "4", "--eval-every", "-1", "--save-every", "-1"]);
    workshop
}

fn bundle() -> PathBuf {
    golden_dirs()[0].join("core/bundle")
}

/// The JSON that the program prints.
fn answer(workshop: &Workshop, args: &[&str]) -> Value {
    let output = workshop.succeed(args);
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

#[test]
fn all_parts_are_evaluated_and_reported() {
    let workshop = workshop();
    let bundle = bundle();
    let bundle = bundle.to_str().unwrap();
    let (csv, answers) = (workshop.path("scores.csv"), workshop.path("answers.jsonl"));
    // The tiny model's context is 32 tokens: prompts longer than 320 are cropped.
    let args =
        ["eval", "base", "--bundle", bundle, "--crop", "320", "--csv", &csv, "--answers", &answers, "--split-tokens", "256", "--json"];
    let value = answer(&workshop, &args);
    assert_eq!((value["run"].as_str(), value["step"].as_u64()), (Some("tiny"), Some(4)));
    for split in ["train", "val"] {
        let bpb = value["bits_per_byte"][split]["bits_per_byte"].as_f64().unwrap();
        assert!((1.0..20.0).contains(&bpb), "{split}: {bpb}");
        assert_eq!(value["bits_per_byte"][split]["tokens"], 256);
    }
    // With 300 ids, one of the seven prompts does not fit in the context.
    let texts =
        |name: &str| value["samples"][name].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let continued = texts("continued");
    assert!(continued.len() == 6 && continued[0].starts_with("The capital of France is"), "{continued:?}");
    assert_eq!(texts("free").len(), 8);
    let core = &value["core"];
    let tasks = core["tasks"].as_array().unwrap();
    assert_eq!((tasks.len(), core["of"].as_u64(), core["complete"].as_bool()), (4, Some(4), Some(true)));
    // 27.5 % is what the bundle says of guessing.
    let first = &tasks[0];
    let centred = (first["accuracy"].as_f64().unwrap() - 0.275) / 0.725;
    assert!((first["centred"].as_f64().unwrap() - centred).abs() < 1e-12);
    let mean: f64 = tasks.iter().map(|task| task["centred"].as_f64().unwrap()).sum::<f64>() / 4.0;
    assert!((core["core"].as_f64().unwrap() - mean).abs() < 1e-12);
    let table = std::fs::read_to_string(&csv).unwrap();
    assert!(
        table.starts_with("Task,Accuracy,Centered,Items,Shots\nown_choices,") && table.lines().last().unwrap().starts_with("CORE,,"),
        "{table}"
    );
    let lines = std::fs::read_to_string(&answers).unwrap();
    let right = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).filter(|line| line["task"] == "own_choices");
    let right: Vec<bool> = right.map(|line| line["correct"].as_bool().unwrap()).collect();
    assert_eq!(right.len(), 12);
    assert_eq!(right.iter().filter(|right| **right).count() as f64 / 12.0, first["accuracy"].as_f64().unwrap());
    // Not sharing changes no answer, beyond a mean's last digits.
    let apart = workshop.path("apart.jsonl");
    workshop.succeed(&["eval", "base", "--eval", "core", "--bundle", bundle, "--crop", "320", "--answers", &apart, "--no-sharing"]);
    let picks = |text: &str| text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["picked"].clone()).collect::<Vec<_>>();
    assert_eq!(picks(&lines), picks(&std::fs::read_to_string(&apart).unwrap()));
}

#[test]
fn finished_tasks_are_not_evaluated_again() {
    let workshop = workshop();
    let bundle = bundle();
    let bundle = bundle.to_str().unwrap();
    let args = |more: &[&'static str]| -> Vec<String> {
        let all = ["eval", "base", "--eval", "core", "--bundle", bundle, "-x", "6"];
        all.iter().chain(more).map(|&arg| arg.to_owned()).collect()
    };
    let said = |more: &[&'static str]| -> String {
        let args = args(more);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        String::from_utf8(workshop.succeed(&args).stdout).unwrap()
    };
    assert!(!said(&["--tasks", "own_schemas"]).contains("finished before"));
    let kept = workshop.run("tiny").join("eval/core-000004.json");
    let first = std::fs::read(&kept).unwrap();
    let all = said(&[]);
    let before: Vec<&str> = all.lines().filter(|line| line.contains("finished before")).collect();
    assert!(before.len() == 1 && before[0].starts_with("own_schemas: "), "{all}");
    assert!(all.contains("CORE"), "{all}");
    assert_ne!(std::fs::read(&kept).unwrap(), first);
    assert_eq!(said(&[]).matches("finished before").count(), 4);
    // Another number of items, other weights in memory, and the option make them new.
    assert_eq!(said(&["--crop", "300"]).matches("finished before").count(), 0);
    assert_eq!(said(&["--weights", "bf16"]).matches("finished before").count(), 0);
    assert_eq!(said(&["--again"]).matches("finished before").count(), 0);
    // A damaged file of scores costs time, nothing else.
    std::fs::write(&kept, b"{\"format\"").unwrap();
    assert_eq!(said(&[]).matches("finished before").count(), 0);
    assert_eq!(said(&[]).matches("finished before").count(), 4);
}

#[cfg(unix)]
#[test]
fn an_evaluation_can_be_stopped_and_goes_on() {
    let workshop = workshop();
    // A task that takes a while after one that does not.
    let folder = workshop.folder().join("bundle");
    copy(&bundle(), &folder);
    let many: String = (0..20_000).map(|i| format!("{{\"context\": \"{i} and {}\", \"continuation\": \"is {i}\"}}\n", i * 7)).collect();
    std::fs::write(folder.join("eval_data/own/modeling.jsonl"), many).unwrap();
    let args = ["eval", "base", "--eval", "core", "--bundle", folder.to_str().unwrap(), "--tasks", "own_schemas,own_modeling"];
    let mut running = workshop.start(&args);
    running.wait_for("own_schemas: accuracy");
    running.signal(2);
    let (code, _, said) = running.end();
    assert_eq!(code, Some(75), "{said}");
    assert!(said.contains("run the same command again to go on"), "{said}");
    let few = ["eval", "base", "--eval", "core", "--bundle", folder.to_str().unwrap(), "--tasks", "own_schemas"];
    let out = String::from_utf8(workshop.succeed(&few).stdout).unwrap();
    assert!(out.contains("own_schemas: ") && out.contains("finished before"), "{out}");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let place = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &place);
        } else {
            std::fs::copy(entry.path(), place).unwrap();
        }
    }
}

#[test]
fn what_is_wrong_is_said_in_a_sentence() {
    let workshop = workshop();
    let folder = workshop.folder().join("bundle");
    copy(&bundle(), &folder);
    let path = folder.to_str().unwrap();
    let refused = |more: &[&str]| workshop.refused(&[&["eval", "base", "--eval", "core"], more].concat());
    assert!(refused(&[]).contains("run `nc-core data download core`"));
    assert!(refused(&["--bundle", path, "--tasks", "piqa"]).contains("no task \"piqa\"; it has own_choices, "));
    let short = refused(&["--bundle", path, "--tasks", "own_choices", "--crop", "2"]);
    assert!(
        short.contains("own_choices, item 0: ") && short.contains("do not fit in 2, and cropping would remove what is scored"),
        "{short}"
    );
    let text = "word ".repeat(400);
    std::fs::write(folder.join("eval_data/own/modeling.jsonl"), format!("{{\"context\": \"{text}\", \"continuation\": \"x\"}}\n")).unwrap();
    let long = refused(&["--bundle", path, "--tasks", "own_modeling"]);
    assert!(long.contains("own_modeling, item 0: its prompt has ") && long.contains("the model can read 321"), "{long}");
    std::fs::remove_file(folder.join("eval_data/own/schemas.jsonl")).unwrap();
    let missing = refused(&["--bundle", path]);
    assert!(missing.contains("lacks 1 of 4 tasks: own_schemas") && missing.contains("--available"), "{missing}");
    let out = workshop.succeed(&["eval", "base", "--eval", "core", "--bundle", path, "--available", "-x", "3", "--crop", "300"]);
    assert!(String::from_utf8(out.stdout).unwrap().contains("mean of 3 of 4 tasks"));
}

/// The small bundle as an archive, with `more` entries.
fn zipped(more: &[(&str, &[u8])]) -> Vec<u8> {
    let mut entries: Vec<(String, Vec<u8>)> = Vec::new();
    fn gather(folder: &Path, name: &str, entries: &mut Vec<(String, Vec<u8>)>) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let name = format!("{name}/{}", entry.file_name().to_str().unwrap());
            if entry.path().is_dir() {
                gather(&entry.path(), &name, entries);
            } else {
                entries.push((name, std::fs::read(entry.path()).unwrap()));
            }
        }
    }
    gather(&bundle(), "eval_bundle", &mut entries);
    let all: Vec<(&str, &[u8])> = entries.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).chain(more.iter().copied()).collect();
    archive(&all)
}

#[test]
fn the_bundle_is_fetched_and_unpacked() {
    let workshop = workshop();
    let file = zipped(&[("__MACOSX/eval_bundle/core.yaml", b"no")]);
    let server = Server::start(move |request, stream| honest(request, &file, "1").send(stream));
    let args = ["data", "download", "core", "--base-url", &server.url, "--json"];
    let fetched = answer(&workshop, &args);
    let folder = workshop.home().join("data/eval_bundle");
    assert_eq!((fetched["folder"].as_str(), fetched["present"].as_bool()), (folder.to_str(), Some(false)));
    assert_eq!(server.requests()[0].path, "/data/eval_bundle.zip");
    for name in ["core.yaml", "eval_meta_data.csv", "eval_data/own/choices.jsonl"] {
        assert_eq!(std::fs::read(folder.join(name)).unwrap(), std::fs::read(bundle().join(name)).unwrap(), "{name}");
    }
    assert!(Workshop::names(&workshop.home().join("data")).iter().all(|name| name == "eval_bundle" || name.starts_with(".download")));
    assert_eq!(answer(&workshop, &args)["present"], true);
    assert_eq!(server.requests().len(), 1);
    let value = answer(&workshop, &["eval", "base", "--eval", "core", "-x", "2", "--json"]);
    assert_eq!(value["core"]["tasks"].as_array().unwrap().len(), 4);
}

#[test]
fn archives_that_are_none_leave_nothing_behind() {
    let workshop = Workshop::without_tokenizer(|home| nc_core!(home));
    let mut damaged = zipped(&[]);
    // In the content of a file, past its header.
    let at = damaged.windows(5).position(|window| window == b"query").unwrap();
    damaged[at] ^= 1;
    for (file, reason) in [
        (zipped(&[("eval_bundle/../../evil", b"x")]), "outside of its folder"),
        (zipped(&[("eval_bundle/C:evil", b"x")]), "outside of its folder"),
        (damaged, "its checksum or its length is another"),
        (archive(&[("eval_bundle/other", b"x")]), "it has no eval_bundle/core.yaml"),
    ] {
        let server = Server::start(move |request, stream| honest(request, &file, "1").send(stream));
        let said = workshop.refused(&["data", "download", "core", "--base-url", &server.url, "--tries", "1"]);
        assert!(said.contains(reason), "{reason}: {said}");
        assert!(!workshop.home().join("data/eval_bundle").exists() && !workshop.folder().join("evil").exists(), "{reason}");
        let _ = std::fs::remove_file(workshop.home().join("data/eval_bundle.zip"));
    }
}
