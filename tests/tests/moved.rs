//! Data that is not where or what it was: a run saves what it has when the data ends it, finds its data in another place, and
//! says what changed.

use std::fs;

use nc_tests::nc_core;
use nc_tests::workshop::{Workshop, words};

fn workshop() -> Workshop {
    Workshop::new(|home| nc_core!(home))
}

/// So many steps, with checkpoints between them that are all kept.
fn steps<'a>(save_every: &'a str, number: &'a str) -> Vec<&'a str> {
    ["--num-iterations", number, "--save-every", save_every, "--keep-last", "9", "--eval-every", "-1", "--sample-every", "-1"].to_vec()
}

/// Lines of JSON with `count` documents.
fn documents(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("{{\"text\": \"{}\"}}", format!("whale {i} ").repeat(3 + i % 7))).collect()
}

/// Sets a run of twelve steps back to the sixth.
fn set_back(workshop: &Workshop, run: &str) {
    for step in ["000009", "000012"] {
        fs::remove_dir_all(workshop.run(run).join("checkpoints").join(step)).unwrap();
    }
}

#[test]
fn what_was_trained_before_a_broken_line_is_saved_and_the_mended_data_is_gone_on_with() {
    let workshop = workshop();
    let mut lines = documents(2000);
    fs::create_dir(workshop.path("data")).unwrap();
    workshop.file("data/b.jsonl", documents(5).join("\n"));
    let write = |lines: &[String]| workshop.file("data/a.jsonl", lines.join("\n"));
    let data = workshop.path("data");
    let whole = lines.clone();
    lines[1600].truncate(20);
    write(&lines);
    let options = steps("1000", "400");
    let sentence = workshop.refused(&workshop.training("a", &data, &options));
    assert!(sentence.contains("a.jsonl, line 1601: "), "{sentence}");
    let saved = Workshop::names(&workshop.run("a").join("checkpoints"));
    let step: u64 = saved.last().expect("what was trained is saved").parse().unwrap();
    assert!((2..399).contains(&step) && saved.len() == 1, "{saved:?}");
    assert_eq!(workshop.metrics("a").len() as u64, step, "every step that was made is logged");

    // The same again, as long as the line is broken.
    let again = workshop.refused(&["train", "--resume", "--run", "a"]);
    assert!(again.contains("a.jsonl, line 1601: "), "{again}");
    write(&whole);
    let sentence = workshop.refused(&["train", "--resume", "--run", "a"]);
    assert!(sentence.contains("a.jsonl had ") && sentence.contains("--changed-data") && sentence.contains("--from a"), "{sentence}");
    workshop.succeed(&["train", "--resume", "--run", "a", "--changed-data"]);

    // Nothing before the broken line has changed, so the run is the one that never met it.
    workshop.succeed(&workshop.training("b", &data, &options));
    let read = |run: &str| fs::read(workshop.checkpoint(run, 400).join("model.safetensors")).unwrap();
    assert!(read("a") == read("b"));
}

#[test]
fn data_that_was_moved_is_found_where_the_user_says_and_remembered() {
    let workshop = workshop();
    workshop.train("whole", &steps("3", "12"));
    workshop.train("a", &steps("3", "12"));
    set_back(&workshop, "a");
    fs::create_dir(workshop.path("elsewhere")).unwrap();
    let moved = workshop.path("elsewhere/text.txt");
    fs::rename(workshop.text(), &moved).unwrap();

    let sentence = workshop.refused(&["train", "--resume", "--run", "a"]);
    assert!(sentence.contains("text.txt does not exist") && sentence.contains("train --resume --run a --data PATH"), "{sentence}");
    // A file of that name with another text is not the data, and leaves no trace in the run.
    let other = workshop.file("text.txt", fs::read_to_string(&moved).unwrap().replacen("whale", "shark", 1));
    let sentence = workshop.refused(&["train", "--resume", "--run", "a", "--data", &other]);
    assert!(sentence.contains("text.txt was changed, though its size is the same"), "{sentence}");
    fs::remove_file(&other).unwrap();

    // A whole run, data apart, may go on in another home: on another machine, say.
    let home = workshop.home().join("runs");
    fs::rename(home.join("a"), home.join("b")).unwrap();
    let output = workshop.succeed(&["train", "--resume", "--run", "b", "--data", &moved]);
    assert!(words(&output).contains("resuming at step 6"), "{}", words(&output));
    let bytes = |run: &str, file: &str| fs::read(workshop.checkpoint(run, 12).join(file)).unwrap();
    for file in ["model.safetensors", "optimizer.safetensors"] {
        assert!(bytes("whole", file) == bytes("b", file), "{file}");
    }
    // It is remembered.
    set_back(&workshop, "b");
    workshop.succeed(&["train", "--resume", "--run", "b"]);
    assert!(bytes("whole", "model.safetensors") == bytes("b", "model.safetensors"));
}

#[test]
fn conversations_that_were_moved_are_found_in_the_folder_that_the_user_names() {
    let workshop = workshop();
    workshop.train("base", &["--num-iterations", "2", "--eval-every", "-1", "--sample-every", "-1"]);
    let talk = |i: usize| {
        format!("{{\"messages\": [{{\"role\": \"user\", \"content\": \"{i}?\"}}, {{\"role\": \"assistant\", \"content\": \"{i}\"}}]}}")
    };
    let file = workshop.file("talks.jsonl", (0..60).map(talk).collect::<Vec<_>>().join("\n"));
    let options = ["--num-iterations", "6", "--save-every", "3", "--eval-every", "-1", "--sample-every", "-1"];
    workshop.succeed(&[&["sft", "--run", "base", "--task", &file][..], &options].concat());
    let end = workshop.checkpoint("base-sft", 6);
    let whole = fs::read(end.join("model.safetensors")).unwrap();
    fs::remove_dir_all(&end).unwrap();
    fs::create_dir(workshop.path("there")).unwrap();
    fs::rename(&file, workshop.path("there/talks.jsonl")).unwrap();

    let sentence = workshop.refused(&["sft", "--resume", "--run", "base-sft"]);
    assert!(sentence.contains("talks.jsonl does not exist"), "{sentence}");
    workshop.succeed(&["sft", "--resume", "--run", "base-sft", "--data", &workshop.path("there")]);
    assert!(fs::read(end.join("model.safetensors")).unwrap() == whole);
}
