//! How quick the real window is. Nothing is asserted of time; `docs/LOG.md` keeps the figures.
//!
//! `cargo test --release -p nanochat --test window speed::start -- --ignored --nocapture` measures the start, of any
//! program that `NANOCHAT_BIN` names. `speed::pages` is driven from inside, so it wants `--features e2e`, and
//! `apt-get install webkit2gtk-driver`.

use std::time::Instant;

use serde_json::json;

use super::app::{self, App};
use super::models;
use super::much::much;
use super::screen::Screen;

/// Conversations, and messages of each.
const MUCH: (usize, usize) = (1000, 10);

/// Fills the database, which the app must have made, and must not have open.
fn fill(screen: &Screen) {
    let mut database = app::database(screen);
    let transaction = database.transaction().unwrap();
    let settings = json!({
        "max_tokens": 512, "temperature": 0.6, "top_k": 50, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0, "seed": null, "system_prompt": ""
    });
    for (line, number) in much(MUCH.0, MUCH.1).lines().zip(0_i64..) {
        let conversation: serde_json::Value = serde_json::from_str(line).unwrap();
        let time = 1_700_000_000_000 + 60_000 * number;
        let title = format!("Conversation {number}");
        let sql = "INSERT INTO conversation (title, titled, settings, created_at, updated_at) VALUES (?1, 1, ?2, ?3, ?3)";
        transaction.execute(sql, (title, settings.to_string(), time)).unwrap();
        let id = transaction.last_insert_rowid();
        let mut parent = None;
        for message in conversation["messages"].as_array().unwrap() {
            let text = message["content"].as_str().unwrap();
            let parts = json!([{ "type": "text", "text": text }]).to_string();
            let sql =
                "INSERT INTO message (conversation, parent, role, state, parts, text, created_at) VALUES (?1, ?2, ?3, 'whole', ?4, ?5, ?6)";
            transaction.execute(sql, (id, parent, message["role"].as_str().unwrap(), parts, text, time)).unwrap();
            parent = Some(transaction.last_insert_rowid());
        }
    }
    transaction.commit().unwrap();
    app::set(screen, &json!({ "onboarded": true }));
}

fn summary(what: &str, mut times: Vec<f64>) {
    times.sort_by(f64::total_cmp);
    println!("{what}: median {:.0} ms, greatest {:.0} ms of {}", times[times.len() / 2], times[times.len() - 1], times.len());
}

#[test]
#[ignore = "a measurement"]
fn start() {
    const STARTS: usize = 9;
    let mut screen = Screen::new();
    models::endless().install(&screen.data(), "endless");
    for (what, full) in [("with nothing in it", false), ("with 10,000 messages", true)] {
        if full {
            fill(&screen);
        }
        let (mut mapped, mut usable) = (Vec::new(), Vec::new());
        for _ in 0..STARTS {
            let begun = Instant::now();
            let app = App::start(&screen, &[] as &[&str], &[]);
            screen.ask("window", json!({}));
            mapped.push(begun.elapsed().as_secs_f64() * 1e3);
            screen.see(json!({ "role": app::FIELD, "name": "Message" }));
            usable.push(begun.elapsed().as_secs_f64() * 1e3);
            screen.ask("activate", json!({}));
            assert!(app.close(&mut screen).success());
        }
        summary(&format!("{what}, to the window"), mapped);
        summary(&format!("{what}, to a field that one can write in, as a screen reader sees it"), usable);
    }
}

#[cfg(feature = "e2e")]
#[test]
#[ignore = "a measurement"]
fn pages() {
    let mut screen = Screen::new();
    models::endless().install(&screen.data(), "endless");
    app::run_once(&mut screen);
    fill(&screen);
    let page = super::webdriver::Page::open(&screen);
    let times = |body: &str| -> Vec<f64> { serde_json::from_value(page.run(body)).unwrap() };
    page.run(WAIT);
    summary("scrolling the list", times(SCROLL));
    summary("searching, from the key to the frame with what it found", times(SEARCH));
    summary("opening a conversation, from the press to the frame with its messages", times(OPEN));
    println!(
        "first paint after {} ms of the page",
        page.run("return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null;")
    );
}

#[cfg(feature = "e2e")]
const WAIT: &str = "while (!document.querySelector('[data-row=\"5\"]')) await new Promise((resolve) => setTimeout(resolve, 20));";

/// The same as the browser tests of the pages do over a mock, here over the real database.
#[cfg(feature = "e2e")]
const SCROLL: &str = "
    const list = document.querySelector('nav [role=\"list\"]');
    const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
    const times = [];
    for (let step = 0; step < 40; step += 1) {
        const from = performance.now();
        list.scrollTop = ((step * 7919) % 1000) * (list.scrollHeight / 1000);
        await frame();
        await frame();
        const box = list.getBoundingClientRect();
        const middle = box.top + box.height / 2;
        const shown = [...list.querySelectorAll('[data-row]')].some((row) => Math.abs(row.getBoundingClientRect().top - middle) < 60);
        if (!shown) throw new Error('an empty place');
        times.push(performance.now() - from);
    }
    list.scrollTop = 0;
    return times;";

#[cfg(feature = "e2e")]
const SEARCH: &str = "
    const times = [];
    const input = document.querySelector('[data-search]');
    const set = (value) => { input.value = value; input.dispatchEvent(new Event('input', { bubbles: true })); };
    for (const word of ['peace', 'whale', 'nation', 'captain', 'congress', 'ocean', 'people', 'harbor', 'the', 'e', 'w', 'gov']) {
        set('');
        while (document.querySelector('mark')) await new Promise((resolve) => setTimeout(resolve, 20));
        await new Promise((resolve) => setTimeout(resolve, 150));
        const from = performance.now();
        set(word);
        for (;;) {
            await new Promise((resolve) => requestAnimationFrame(resolve));
            const mark = document.querySelector('mark');
            if (mark && mark.textContent.toLowerCase().startsWith(word)) break;
            if (performance.now() - from > 3000) throw new Error('nothing was found: ' + word);
        }
        times.push(performance.now() - from);
    }
    set('');
    while (document.querySelector('mark')) await new Promise((resolve) => setTimeout(resolve, 20));
    return times;";

#[cfg(feature = "e2e")]
const OPEN: &str = "
    const times = [];
    for (let row = 3; row < 13; row += 1) {
        await new Promise((resolve) => setTimeout(resolve, 150));
        const button = document.querySelector(`[data-row=\"${row}\"]`);
        const from = performance.now();
        button.click();
        for (;;) {
            await new Promise((resolve) => requestAnimationFrame(resolve));
            if (button.getAttribute('aria-current') && document.querySelectorAll('article').length === 10) break;
            if (performance.now() - from > 3000) throw new Error('it did not open');
        }
        times.push(performance.now() - from);
    }
    return times;";
