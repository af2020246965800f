//! Pictures of each page of the real window in both themes, for the README.
//!
//! `NANOCHAT_PICTURES=$PWD/docs/images NANOCHAT_BIN=…/release/nanochat cargo test -p nanochat --test window pictures -- --ignored`
//! takes three minutes, for it trains a model to have something to show, and wants `apt-get install gir1.2-gtk-3.0`. Look at
//! what it has drawn before you keep it.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use super::app::{self, App, BUTTON};
use super::screen::Screen;
use super::session;

const THEMES: [(&str, &str); 2] = [("light", "Light"), ("dark", "Dark")];

/// What is asked in conversations of their own, and then in the one that is shown.
const BEFORE: [&str; 3] = ["Can you write code?", "Tell me something about the sea", "How many r are in strawberry?"];
const SHOWN: [&str; 3] = ["Who are you?", "What is the capital of France?", "What is 12 + 30?"];

/// How long the model learns that is shown.
const LEARNS: Duration = Duration::from_secs(90);

#[test]
#[ignore = "draws pictures"]
fn of_each_page_in_both_themes() {
    let folder = PathBuf::from(std::env::var_os("NANOCHAT_PICTURES").expect("NANOCHAT_PICTURES names the folder for the pictures"));
    let shoot = |screen: &mut Screen, page: &str, theme: &str| {
        // The focus leaves the button that led here, and whatever moves comes to rest.
        let window = screen.ask("geometry", json!({}));
        screen.ask("click", json!({ "at": [window[2].as_i64().unwrap() - 4, 300] }));
        sleep(Duration::from_millis(1500));
        screen.ask("picture", json!({ "file": folder.join(format!("{page}-{theme}.png")) }));
    };
    let mut screen = Screen::new();
    app::run_once(&mut screen);
    for (theme, _) in THEMES {
        app::set(&screen, &json!({ "theme": theme }));
        let app = App::open(&mut screen);
        screen.see(json!({ "role": BUTTON, "name": "Use this one" }));
        shoot(&mut screen, "welcome", theme);
        assert!(app.close(&mut screen).success());
    }

    let mut app = App::open(&mut screen);
    screen.press(BUTTON, "Use this one");
    for question in BEFORE {
        session::ask(&mut screen, question);
        screen.press(BUTTON, "New conversation");
    }
    for question in SHOWN {
        session::ask(&mut screen, question);
    }
    screen.press(BUTTON, "Train");
    screen.press(BUTTON, "Start training");
    session::learning(&mut screen);
    sleep(LEARNS);
    for (theme, name) in THEMES {
        screen.press(BUTTON, "Settings");
        screen.press("radio button", name);
        shoot(&mut screen, "settings", theme);
        screen.press(BUTTON, "Models");
        screen.see(json!({ "name": "my-model" }));
        shoot(&mut screen, "models", theme);
        screen.press(BUTTON, "Train…");
        screen.see(json!({ "role": BUTTON, "name": "Pause" }));
        shoot(&mut screen, "train", theme);
        screen.ask("press", json!({ "role": BUTTON, "name": format!("{}…", SHOWN[0]), "within": { "name": "Conversations" } }));
        screen.see(json!({ "role": "article", "name": "You", "text": SHOWN[0] }));
        shoot(&mut screen, "chat", theme);
    }
    screen.ask("close", json!({}));
    screen.press(BUTTON, "Stop and close");
    assert!(app.ended().success());
}
