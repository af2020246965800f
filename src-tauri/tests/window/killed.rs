//! The app is killed while an answer is being shown: what was shown is kept, and so is all that was there before.

use serde_json::json;

use super::app::{self, App, BUTTON};
use super::models;
use super::screen::Screen;

/// Kills, unless the variable `NANOCHAT_KILLS` says how many. `worker::killed` does fifty without a window.
const KILLS: usize = 5;

/// What the answers are made of, or something of it in the middle of a line.
fn answer_in(text: &str) -> &str {
    text.split(|c: char| !c.is_ascii_lowercase()).max_by_key(|run| run.len()).unwrap_or_default()
}

#[test]
fn what_was_shown_survives_the_app() {
    let kills = std::env::var("NANOCHAT_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(KILLS);
    let mut screen = Screen::new();
    models::endless().install(&screen.data(), "endless");
    app::long_answers(&mut screen);

    let last = json!({ "role": "article", "name": "endless", "last": true, "seconds": 60 });
    let mut shown: Vec<String> = Vec::new();
    for round in 0..kills {
        let app = App::open(&mut screen);
        if round > 0 {
            screen.press(BUTTON, "New conversation");
        }
        screen.say(&format!("round {round}"));
        let mut see = last.clone();
        see["text"] = models::ALPHABET.into();
        screen.see(see);
        let text = screen.ask("read", last.clone());
        app.kill();
        shown.push(answer_in(text.as_str().unwrap()).to_owned());

        let database = app::database(&screen);
        let whole: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(whole, "ok");
        let stray: i64 = database.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0)).unwrap();
        assert_eq!(stray, 0);
    }
    println!("killed after {:?} characters", shown.iter().map(String::len).collect::<Vec<_>>());

    let app = App::open(&mut screen);
    screen.see(json!({ "role": "article", "name": "endless", "last": true, "text": "The app was closed while this was written." }));
    let text = screen.ask("read", last);
    assert!(answer_in(text.as_str().unwrap()).starts_with(shown.last().unwrap().as_str()), "what was shown is shown again");
    assert!(app.close(&mut screen).success());

    let database = app::database(&screen);
    let sql = "SELECT answer.text, answer.state FROM message AS answer JOIN message AS question ON question.id = answer.parent
        WHERE question.text = ?1";
    for (round, shown) in shown.iter().enumerate() {
        let (kept, state): (String, String) =
            database.query_row(sql, [format!("round {round}")], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!(state, "interrupted");
        assert!(shown.len() >= models::ALPHABET.len() && kept.starts_with(shown.as_str()), "{shown:?} was shown, {kept:?} is kept");
    }
}
