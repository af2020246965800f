//! The app where something is wrong: it opens all the same, and says what is wrong in words.

use std::fs;

use serde_json::{Value, json};

use super::app::{self, App, BUTTON};
use super::models;
use super::screen::Screen;
use super::session;

const NOTHING: &[&str] = &[];

/// The last answer on the page holds these words.
fn last_answer(text: &str) -> Value {
    json!({ "role": "article", "last": true, "text": text, "seconds": 60 })
}

/// Says something to the endless model, and waits until it has said all that it may.
#[track_caller]
fn talk(screen: &mut Screen, text: &str) {
    screen.say(text);
    screen.see(last_answer(models::ALPHABET));
    screen.see(last_answer("It reached the limit of 512 tokens."));
}

#[test]
fn a_folder_that_cannot_be_written_to_is_named_in_the_window() {
    let mut screen = Screen::new();
    // Not by permissions: whoever runs this may be root.
    let mut app = App::start(&screen, NOTHING, &[("NC_HOME", "/dev/null/nowhere")]);
    app.wait(&mut screen);
    screen.see(json!({ "role": "heading", "name": "nanochat could not start" }));
    screen.see(json!({ "role": "document web", "text": "cannot keep anything in /dev/null/nowhere" }));
    screen.see(json!({ "role": BUTTON, "name": "Copy details" }));
    screen.ask("close", json!({}));
    assert_eq!(app.ended().code(), Some(2));
    assert!(app.stderr().contains("NC_HOME"), "{}", app.stderr());
}

#[test]
fn a_home_folder_that_is_read_only_is_named_in_the_window() {
    let mut screen = Screen::new();
    let folder = screen.data();
    fs::create_dir_all(&folder).unwrap();
    let script = format!("mount --bind {0} {0} && mount -o remount,bind,ro {0} && exec \"$0\"", folder.display());
    let app = App::start(&screen, &["unshare", "--map-root-user", "--mount", "sh", "-c", &script], &[]);
    app.wait(&mut screen);
    screen.see(json!({ "role": "document web", "text": format!("cannot keep anything in {}", folder.display()) }));
}

#[test]
fn without_a_display_there_is_a_sentence_instead_of_a_window() {
    let screen = Screen::new();
    let mut app = App::start(&screen, NOTHING, &[("DISPLAY", ":4711")]);
    assert_eq!(app.ended().code(), Some(2));
    assert!(app.stderr().contains("is there a display?"), "{}", app.stderr());
}

#[test]
fn without_a_home_variable_the_system_is_asked() {
    // The home folder of whoever runs this is not to be touched: a name space has another one in its place.
    let mut screen = Screen::new();
    let own = directories::UserDirs::new().unwrap().home_dir().to_owned();
    let script = format!("mount -t tmpfs none {} && unset HOME XDG_DATA_HOME NC_HOME && exec \"$0\"", own.display());
    // From a place that is not covered.
    let program = screen.home().join("nanochat");
    fs::copy(app::program(), &program).unwrap();
    let script = script.replace("$0", program.to_str().unwrap());
    let app = App::start(&screen, &["unshare", "--map-root-user", "--mount", "sh", "-c", &script], &[]);
    app.wait(&mut screen);
    screen.see(json!({ "role": "heading", "name": "A model of your own" }));
}

#[test]
fn without_a_gpu_it_opens_and_an_answer_says_why_it_fails() {
    let mut screen = Screen::new();
    models::endless().install(&screen.data(), "endless");
    let app = App::start(&screen, NOTHING, &[("VK_DRIVER_FILES", "/nonexistent"), ("VK_ICD_FILENAMES", "/nonexistent")]);
    app.wait(&mut screen);
    screen.say("Hello");
    screen.see(last_answer("no GPU driver was found; install your card's Vulkan driver"));
    screen.see(json!({ "role": BUTTON, "name": "Copy details" }));
    assert!(app.close(&mut screen).success());
}

#[test]
fn broken_runs_hide_neither_good_ones_nor_conversations() {
    let mut screen = Screen::new();
    models::endless().install(&screen.data(), "endless");
    let runs = screen.data().join("runs");
    for name in ["empty", "no-json", "no-model", "deep", "a-file-for-checkpoints", "loop"] {
        fs::create_dir(runs.join(name)).unwrap();
    }
    fs::write(runs.join("no-json/config.json"), [0xff, 0xfe, 0]).unwrap();
    fs::write(runs.join("no-model/config.json"), "{}").unwrap();
    fs::write(runs.join("deep/config.json"), "[".repeat(100_000)).unwrap();
    fs::copy(runs.join("endless/config.json"), runs.join("a-file-for-checkpoints/config.json")).unwrap();
    fs::write(runs.join("a-file-for-checkpoints/checkpoints"), "").unwrap();
    std::os::unix::fs::symlink(runs.join("loop"), runs.join("loop/checkpoints")).unwrap();
    std::os::unix::fs::symlink("itself", runs.join("itself")).unwrap();
    fs::write(runs.join("a-file"), "").unwrap();

    let app = App::open(&mut screen);
    talk(&mut screen, "Hello");
    screen.press(BUTTON, "Models");
    for name in ["endless", "empty", "no-json", "no-model", "deep", "a-file-for-checkpoints"] {
        screen.see(json!({ "role": "heading", "name": name, "hidden": true }));
    }
    assert!(app.close(&mut screen).success());

    // Nor does a folder of runs that is none.
    fs::rename(&runs, screen.data().join("old")).unwrap();
    fs::write(&runs, "").unwrap();
    let app = App::open(&mut screen);
    screen.see(json!({ "role": "article", "name": "You", "text": "Hello" }));
    assert!(app.close(&mut screen).success());
}

#[test]
fn a_damaged_database_is_set_aside_and_the_person_is_told() {
    let mut screen = Screen::new();
    models::endless().install(&screen.data(), "endless");
    let app = App::open(&mut screen);
    talk(&mut screen, "Hello");
    assert!(app.close(&mut screen).success());

    let file = screen.data().join("desktop/conversations.db");
    let mut bytes = fs::read(&file).unwrap();
    // Beyond the first page, so that it looks like a database at first sight.
    bytes[4096..].iter_mut().step_by(7).for_each(|byte| *byte = byte.wrapping_add(91));
    fs::write(&file, &bytes).unwrap();
    let app = App::open(&mut screen);
    screen.see(json!({ "role": "document web", "text": "Your conversations were damaged. The damaged file was kept as" }));
    assert_eq!(screen.ask("all", json!({ "role": BUTTON, "name": "Dismiss" })).as_array().unwrap().len(), 1, "it is said once");
    talk(&mut screen, "Hello again");
    assert!(app.close(&mut screen).success());
    let aside = fs::read_dir(screen.data().join("desktop")).unwrap().flatten().find(|entry| {
        let name = entry.file_name();
        name.to_string_lossy().starts_with("conversations.damaged-") && name.to_string_lossy().ends_with(".db")
    });
    assert_eq!(fs::read(aside.expect("it is kept").path()).unwrap(), bytes, "as it was");
}

#[test]
fn a_full_disk_ends_the_answer_in_words_and_loses_nothing() {
    let mut screen = Screen::new();
    models::endless().install(&screen.data(), "endless");
    app::long_answers(&mut screen);

    // A disk of its own that holds the models and little more.
    let data = screen.data();
    let stuff = screen.home().join("stuff");
    fs::rename(&data, &stuff).unwrap();
    fs::create_dir(&data).unwrap();
    let used: u64 = walk(&stuff);
    let script = format!(
        "mount -t tmpfs -o size={} none {1} && cp -a {2}/. {1} && exec \"$0\"",
        used + (320 << 10),
        data.display(),
        stuff.display()
    );
    let mut app = App::start(&screen, &["unshare", "--map-root-user", "--mount", "sh", "-c", &script], &[]);
    app.wait(&mut screen);
    for _ in 0..40 {
        screen.say("Fill it");
        screen.see(json!({ "role": "article", "last": true, "name": "endless" }));
        let ended = json!({ "role": "article", "last": true, "text": "The disk is full", "seconds": 3 });
        if screen.try_ask("find", ended).is_ok() {
            break;
        }
        let _ = screen.try_ask("press", json!({ "role": BUTTON, "name": "Stop", "seconds": 1 }));
    }
    screen.see(last_answer("The disk is full: free some space, then try again."));
    assert!(app.runs());
    screen.press(BUTTON, "New conversation");
    screen.see(json!({ "role": "heading", "name": "Ask endless something" }));
}

fn walk(folder: &std::path::Path) -> u64 {
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => walk(&entry.path()) + 4096,
        // Whole pages, as the disk counts.
        Ok(data) => data.len().next_multiple_of(4096),
        Err(_) => 0,
    };
    fs::read_dir(folder).unwrap().flatten().map(size).sum()
}

#[test]
fn closing_asks_while_a_model_is_trained_and_a_crash_of_the_run_is_shown() {
    let mut screen = Screen::new();
    models::endless().install(&screen.data(), "endless");
    app::long_answers(&mut screen);
    let mut app = App::open(&mut screen);
    screen.say("Hello");
    session::stop(&mut screen);
    session::train(&mut screen);
    screen.press(BUTTON, "Resume");
    screen.see(json!({ "role": BUTTON, "name": "Pause", "seconds": 60 }));
    session::learning(&mut screen);

    // The chat goes on beside it.
    screen.press(BUTTON, "nanochat");
    screen.say("Hello again");
    session::stop(&mut screen);

    screen.ask("close", json!({}));
    screen.see(json!({ "name": "Stop training and close?" }));
    screen.press(BUTTON, "Keep training");
    screen.press(BUTTON, "Train…");
    screen.see(json!({ "role": BUTTON, "name": "Pause" }));

    let children = children(&app);
    assert_eq!(children.len(), 1, "one process trains");
    // SAFETY: a plain system call to a process of ours.
    unsafe { libc::kill(children[0], libc::SIGKILL) };
    screen.see(json!({ "role": "document web", "text": "The run crashed. The app and your other models are unharmed." }));
    screen.see(json!({ "role": BUTTON, "name": "Copy details" }));
    screen.press(BUTTON, "Resume");
    screen.see(json!({ "role": BUTTON, "name": "Pause", "seconds": 60 }));
    session::learning(&mut screen);

    screen.ask("close", json!({}));
    screen.press(BUTTON, "Stop and close");
    assert!(app.ended().success());
}

/// The processes of the same program that the app has started.
fn children(app: &App) -> Vec<libc::pid_t> {
    let own = app.id();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<libc::pid_t>().ok());
    ids.filter(|id| {
        let child = fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| {
            let after = stat.rsplit(')').next().unwrap_or_default();
            after.split_whitespace().nth(1) == Some(own.to_string().as_str())
        });
        child && fs::read_to_string(format!("/proc/{id}/cmdline")).is_ok_and(|line| line.contains("--train-worker"))
    })
    .collect()
}
