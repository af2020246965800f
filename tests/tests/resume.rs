//! A run goes on to the bit: killed at any moment, interrupted, out of room, or set back to an older checkpoint, it ends
//! with the bytes of a run that nothing happened to.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nc_tests::nc_core;
#[cfg(unix)]
use nc_tests::workshop::limit_file_size;
use nc_tests::workshop::{Running, Workshop, refusal};

fn workshop() -> Workshop {
    Workshop::new(|home| nc_core!(home))
}

/// Ten steps of two batches, a checkpoint every other step.
const TEN: [&str; 12] = steps("10");

/// The same for another number of steps: as many as it takes that a signal comes before the last on a busy machine.
const THIRTY: [&str; 12] = steps("30");

const fn steps(number: &'static str) -> [&'static str; 12] {
    [
        "--num-iterations",
        number,
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
    ]
}

/// A fixed sequence of numbers that look random.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % most
    }
}

fn flip_a_byte(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Starts `run` and kills it when the second checkpoint is saved; anew where the kill comes after the third.
fn stop_after_step_4(workshop: &Workshop, run: &str) {
    for _ in 0..10 {
        let mut running = workshop.start(&workshop.training(run, &workshop.text(), &TEN));
        running.wait_for("/checkpoints/000004");
        drop(running);
        let saved = Workshop::names(&workshop.run(run).join("checkpoints"));
        if !saved.iter().any(|name| name.as_str() > "000004") {
            return;
        }
        fs::remove_dir_all(workshop.run(run)).unwrap();
    }
    panic!("no kill came before the third checkpoint");
}

#[test]
fn a_run_killed_at_random_moments_ends_with_the_same_bytes() {
    const KILLS: usize = 8;
    let workshop = workshop();
    let steps = steps("60");
    workshop.train("whole", &steps);
    let mut dice = Dice(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64);
    println!("dice: {}", dice.0);
    let text = workshop.text();
    let mut running = workshop.start(&workshop.training("killed", &text, &steps));
    // The first kill comes before anything is saved. Of the others each lets one checkpoint be saved, and comes in the
    // middle of saving the next, or at any moment.
    running.wait_for("training on");
    let mut went_on = 0;
    for kill in 0..KILLS {
        std::thread::sleep(Duration::from_micros(dice.below(20_000)));
        drop(running);
        running = workshop.start(&["train", "--resume", "--run", "killed"]);
        let begun = running.line().unwrap();
        went_on += usize::from(begun.contains("resuming at step"));
        running.wait_for(" | saved ");
        if kill % 2 == 0 {
            let checkpoints = workshop.run("killed").join("checkpoints");
            let saving = || Workshop::names(&checkpoints).iter().any(|name| name.starts_with(".tmp-"));
            while !saving() && running.child.try_wait().unwrap().is_none() {}
        } else {
            std::thread::sleep(Duration::from_micros(dice.below(40_000)));
        }
    }
    let (code, _, stderr) = running.end();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(went_on >= 5, "only {went_on} of {KILLS} runs went on from a checkpoint");
    workshop.assert_same_runs("whole", "killed");
    assert_eq!(Workshop::names(&workshop.run("killed").join("checkpoints")), ["000058", "000060"], "nothing half-written is left");
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_saves_says_how_to_go_on_and_ends_with_the_same_bytes() {
    let workshop = workshop();
    let text = workshop.text();
    workshop.train("whole", &THIRTY);
    for (run, signal) in [("int", libc::SIGINT), ("term", libc::SIGTERM)] {
        let mut running = workshop.start(&workshop.training(run, &text, &THIRTY));
        running.wait_for("step 00002/");
        running.signal(signal);
        let (code, stdout, stderr) = running.end();
        assert_eq!(code, Some(75), "{stderr}");
        assert!(stderr.contains("stopping after this step"), "{stderr}");
        assert!(stdout.contains("stopped at ") && stdout.contains(&format!("next: nc-core train --resume --run {run}")), "{stdout}");
        workshop.succeed(&["train", "--resume", "--run", run]);
        // Only the last two checkpoints of either remain: the one of the step that it stopped at made room for them.
        workshop.assert_same_runs("whole", run);
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_before_the_first_step_loses_nothing() {
    let workshop = workshop();
    let text = workshop.text();
    workshop.train("whole", &THIRTY);
    let mut running = workshop.start(&workshop.training("early", &text, &THIRTY));
    // Nothing is printed before the first step but that it begins.
    running.wait_for("training on");
    running.signal(libc::SIGINT);
    let (code, stdout, stderr) = running.end();
    assert_eq!(code, Some(75), "{stderr}");
    assert!(stdout.contains("next: nc-core train --resume --run early"), "{stdout}");
    workshop.succeed(&["train", "--resume", "--run", "early"]);
    workshop.assert_same_runs("whole", "early");
}

#[cfg(unix)]
#[test]
fn a_second_interrupt_ends_at_once_with_130() {
    let workshop = workshop();
    let text = workshop.text();
    // A step of 16,384 batches: the first interrupt has to wait for it.
    let mut args = workshop.training("slow", &text, &["--num-iterations", "2", "--eval-every", "-1"]);
    let at = args.iter().position(|arg| *arg == "--total-batch-size").unwrap();
    args[at + 1] = "1048576";
    let mut running = Running::start(workshop.command(&args).env("NC_LOG", "nc_core=debug"));
    running.wait_for_error("a step begins");
    running.signal(libc::SIGINT);
    running.wait_for_error("stopping after this step");
    assert!(running.child.try_wait().unwrap().is_none(), "the first interrupt waits");
    running.signal(libc::SIGINT);
    let (code, _, stderr) = running.end();
    // With the step completed it would be 75.
    assert_eq!(code, Some(130), "{stderr}");
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_a_long_validation_and_the_resumed_run_makes_up_for_it() {
    let workshop = workshop();
    let text = workshop.text();
    let args = workshop.training("long", &text, &["--num-iterations", "2", "--eval-every", "1", "--eval-tokens", "20000000"]);
    let mut running = Running::start(workshop.command(&args).env("NC_LOG", "nc_core=debug"));
    running.wait_for_error("validation begins");
    running.signal(libc::SIGINT);
    let (code, stdout, stderr) = running.end();
    assert_eq!(code, Some(75), "{stderr}");
    // All of it would take hours.
    assert!(stdout.contains("stopped at 0 of 2 steps"), "{stdout}");
    assert!(workshop.metrics("long").is_empty());
    let mut running = workshop.start(&["train", "--resume"]);
    running.wait_for("training on");
}

#[cfg(unix)]
#[test]
fn an_interrupt_in_the_last_step_leaves_nothing_out() {
    let workshop = workshop();
    let text = workshop.text();
    let mut args = workshop.training("last", &text, &["--num-iterations", "1", "--eval-every", "1", "--eval-tokens", "64"]);
    let at = args.iter().position(|arg| *arg == "--total-batch-size").unwrap();
    args[at + 1] = "16384";
    let mut running = workshop.start(&args);
    running.wait_for("step 00000 | validation");
    running.signal(libc::SIGINT);
    let (code, stdout, stderr) = running.end();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("trained 1 of 1 steps") || stdout.contains("stopped at 0 of 1 steps"), "{stdout}");
    workshop.succeed(&["train", "--resume"]);
    let steps: Vec<(u64, bool)> =
        workshop.metrics("last").iter().map(|line| (line["step"].as_u64().unwrap(), line["val_bpb"].is_null())).collect();
    assert_eq!(steps, [(0, false), (0, true), (1, false)]);
}

#[test]
fn a_run_that_is_complete_is_left_alone_and_says_so() {
    let workshop = workshop();
    workshop.train("done", &TEN);
    let metrics = || fs::read(workshop.run("done").join("metrics.jsonl")).unwrap();
    let before = metrics();
    let output = workshop.succeed(&["train", "--resume", "--run", "done"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("run done is complete: all of its 10 steps are done") && said.contains("next: "), "{said}");
    assert!(metrics() == before);
}

#[test]
fn a_resumed_run_takes_its_recorded_options_and_no_others() {
    let workshop = workshop();
    stop_after_step_4(&workshop, "a");
    let sentence = workshop.refused(&["train", "--resume", "--run", "a", "--matrix-lr", "0.5"]);
    assert!(sentence.contains("--resume") && sentence.contains("--matrix-lr"), "{sentence}");
    let config: serde_json::Value = serde_json::from_slice(&fs::read(workshop.run("a").join("config.json")).unwrap()).unwrap();
    let training = &config["training"];
    assert_eq!((training["num_iterations"].as_u64(), training["save_every"].as_u64()), (Some(10), Some(2)));
    assert_eq!((training["warmup_steps"].as_u64(), training["total_batch_size"].as_u64()), (Some(3), Some(128)));
    assert_eq!(training["data"][0].as_str(), Some(workshop.text().as_str()));
    // The only run need not be named, and it goes on from any folder.
    let output = workshop.command(&["train", "--resume"]).current_dir("/").output().unwrap();
    assert!(output.status.success(), "{}", nc_tests::workshop::words(&output));
}

#[test]
fn the_second_on_one_run_is_refused_with_the_pid_of_the_first() {
    let workshop = workshop();
    let text = workshop.text();
    let args = workshop.training("a", &text, &["--num-iterations", "1000000", "--eval-every", "-1", "--sample-every", "-1"]);
    let mut first = workshop.start(&args);
    first.wait_for("step 00000/");
    let pid = format!("pid {}", first.child.id());
    let sentence = workshop.refused(&["train", "--resume", "--run", "a"]);
    assert!(sentence.contains(&pid) && sentence.contains("in use"), "{sentence}");
    let sentence = workshop.refused(&args);
    assert!(sentence.contains("there is a run \"a\" already") && sentence.contains("--resume --run a"), "{sentence}");
    drop(first);

    // Of two that resume at the same moment one goes on, and the other is told who.
    let (one, other) = (workshop.start(&["train", "--resume", "--run", "a"]), workshop.start(&["train", "--resume", "--run", "a"]));
    let mut both = [one, other];
    let deadline = Instant::now() + Duration::from_secs(60);
    let loser = loop {
        match both.iter_mut().position(|running| running.child.try_wait().unwrap().is_some()) {
            Some(index) => break index,
            None => assert!(Instant::now() < deadline, "both train"),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let [one, other] = both;
    let (loser, winner) = if loser == 0 { (one, other) } else { (other, one) };
    let pid = format!("pid {}", winner.child.id());
    let (code, _, stderr) = loser.end();
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains(&pid), "{stderr}");
}

#[test]
fn a_damaged_checkpoint_is_passed_over_by_name_and_the_end_is_the_same() {
    let workshop = workshop();
    workshop.train("whole", &TEN);
    stop_after_step_4(&workshop, "a");
    flip_a_byte(&workshop.checkpoint("a", 4).join("model.safetensors"));

    let sentence = workshop.refused(&["generate", "--run", "a", "--prompt", "the"]);
    assert!(sentence.contains("step 4") && sentence.contains("model.safetensors was altered"), "{sentence}");
    let sentence = workshop.refused(&["score", "--run", "a", "--text", "the sea"]);
    assert!(sentence.contains("model.safetensors was altered"), "{sentence}");
    workshop.succeed(&["score", "--run", "a", "--step", "2", "--text", "the sea"]);

    let output = workshop.succeed(&["train", "--resume", "--run", "a"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("skipped: the checkpoint of step 4 is refused") && said.contains("model.safetensors was altered"), "{said}");
    assert!(said.contains("resuming at step 2"), "{said}");
    workshop.assert_same_runs("whole", "a");
}

#[test]
fn with_no_whole_checkpoint_there_is_a_sentence_and_nothing_is_removed() {
    let workshop = workshop();
    stop_after_step_4(&workshop, "a");
    flip_a_byte(&workshop.checkpoint("a", 4).join("optimizer.safetensors"));
    fs::remove_file(workshop.checkpoint("a", 2).join("state.json")).unwrap();
    let sentence = workshop.refused(&["train", "--resume", "--run", "a"]);
    assert!(sentence.contains("run \"a\" has no intact checkpoint"), "{sentence}");
    assert!(sentence.contains("optimizer.safetensors was altered") && sentence.contains("state.json is missing"), "{sentence}");
    assert_eq!(Workshop::names(&workshop.run("a").join("checkpoints")), ["000002", "000004"]);
    // The weights of step 4 are whole, and they are all that generating needs.
    workshop.succeed(&["generate", "--run", "a", "--max-tokens", "2"]);
}

#[test]
fn a_checkpoint_of_another_config_is_refused_with_its_tensors() {
    let workshop = workshop();
    stop_after_step_4(&workshop, "a");
    let path = workshop.run("a").join("config.json");
    let original = fs::read_to_string(&path).unwrap();
    let commands: [&[&str]; 3] =
        [&["train", "--resume", "--run", "a"], &["generate", "--run", "a"], &["score", "--run", "a", "--text", "the sea"]];
    for args in commands {
        fs::write(&path, original.replace("\"n_layer\": 1", "\"n_layer\": 2")).unwrap();
        let sentence = workshop.refused(args);
        assert!(sentence.contains("\"resid_lambdas\" is [1] instead of [2]") && sentence.contains("transformer.h.1."), "{sentence}");
        fs::write(&path, original.replace("\"vocab_size\": 300", "\"vocab_size\": 400")).unwrap();
        let sentence = workshop.refused(args);
        assert!(sentence.contains("400") && sentence.contains("300"), "{sentence}");
        fs::write(&path, original.replace("\"n_layer\": 1", "\"n_layer\": \"one\"")).unwrap();
        let sentence = workshop.refused(args);
        assert!(sentence.contains("config.json"), "{sentence}");
        fs::write(&path, &original[..original.len() / 2]).unwrap();
        let sentence = workshop.refused(args);
        assert!(sentence.contains("config.json"), "{sentence}");
    }
}

#[test]
fn another_tokenizer_in_the_runs_folder_is_refused_even_of_the_same_size() {
    let workshop = workshop();
    stop_after_step_4(&workshop, "a");
    let other = workshop.file("other.txt", nc_tests::workshop::text(300).replace("the", "zoological").replace("sea", "quartz"));
    for (size, words) in [("300", "is not the tokenizer that it was trained with"), ("290", "290")] {
        let own = workshop.run("a").join("tokenizer.json");
        workshop.succeed(&["tokenizer", "train", "--data", &other, "--vocab-size", size, "--out", own.to_str().unwrap()]);
        let commands: [&[&str]; 3] =
            [&["train", "--resume", "--run", "a"], &["generate", "--run", "a"], &["score", "--run", "a", "--text", "the sea"]];
        for args in commands {
            let sentence = workshop.refused(args);
            assert!(sentence.contains(words), "{size}: {sentence}");
        }
    }
    fs::remove_file(workshop.run("a").join("tokenizer.json")).unwrap();
    let sentence = workshop.refused(&["train", "--resume", "--run", "a"]);
    assert!(sentence.contains("tokenizer.json"), "{sentence}");
}

#[test]
fn other_data_is_refused() {
    let workshop = workshop();
    stop_after_step_4(&workshop, "a");
    workshop.file("text.txt", nc_tests::workshop::text(390));
    let sentence = workshop.refused(&["train", "--resume", "--run", "a"]);
    assert!(sentence.contains("the data is not what this run was trained on: text.txt had "), "{sentence}");
}

/// A limit on the size of files takes effect in the middle of writing a checkpoint, as a disk that fills up does.
#[cfg(unix)]
#[test]
fn without_room_for_a_checkpoint_the_ones_before_it_stay() {
    let workshop = workshop();
    workshop.train("whole", &TEN);
    stop_after_step_4(&workshop, "a");
    let mut command = workshop.command(&["train", "--resume", "--run", "a"]);
    limit_file_size(&mut command, 100 << 10);
    let sentence = refusal("no room", &command.output().unwrap());
    assert!(sentence.contains("checkpoint of step 6") && sentence.contains("make room and resume"), "{sentence}");
    assert_eq!(Workshop::names(&workshop.run("a").join("checkpoints")), ["000002", "000004"]);
    workshop.succeed(&["train", "--resume", "--run", "a"]);
    workshop.assert_same_runs("whole", "a");
}

/// The same on a disk that is full: a small one, mounted for this test alone, on which two checkpoints fit and no third.
#[cfg(target_os = "linux")]
#[test]
fn a_run_on_a_full_disk_goes_on_when_there_is_room() {
    use std::os::unix::process::CommandExt;
    const SCRIPT: &str = r#"
        mv "$DISK" "$DISK.aside" && mkdir "$DISK" && mount -t tmpfs -o size=$SIZE none "$DISK" || exit 77
        cp -r "$DISK.aside/." "$DISK"
        "$0" "$@"; echo "code $?"; ls "$DISK/checkpoints"
        mount -o remount,size=64m none "$DISK"
        "$0" "$@" > /dev/null; echo "code $?"
        cp -r "$DISK" "$COPY"
    "#;
    let workshop = workshop();
    workshop.train("whole", &TEN);
    stop_after_step_4(&workshop, "full");
    let resume = workshop.command(&["train", "--resume", "--run", "full"]);
    let mut script = std::process::Command::new("sh");
    script.args(["-c", SCRIPT]).arg(resume.get_program()).args(resume.get_args());
    script.envs(resume.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let bytes = |step| -> u64 {
        fs::read_dir(workshop.checkpoint("full", step)).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum()
    };
    let two_and_a_half = (bytes(2) + bytes(4)) * 5 / 4;
    script.env("DISK", workshop.run("full")).env("COPY", workshop.run("copy")).env("SIZE", two_and_a_half.to_string());
    // SAFETY: `unshare` and `mount` may be called between fork and exec.
    unsafe {
        script.pre_exec(|| {
            let (none, root) = (c"none".as_ptr(), c"/".as_ptr());
            let private = libc::unshare(libc::CLONE_NEWNS) == 0
                && libc::mount(none, root, std::ptr::null(), libc::MS_REC | libc::MS_PRIVATE, std::ptr::null()) == 0;
            if private { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        });
    }
    let output = match script.output() {
        Ok(output) if output.status.code() != Some(77) => output,
        _ => return eprintln!("not run: mounting needs root; the limit on file size shows the same for other users"),
    };
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(stdout.contains("code 2\n000002\n000004\ncode 0"), "{stdout}{stderr}");
    assert!(stderr.contains("error: the checkpoint of step 6 needs") && stderr.contains("make room and resume"), "{stderr}");
    workshop.assert_same_runs("whole", "copy");
}
