//! How long the database takes where it is large: `cargo test --release -p nanochat --lib store::speed -- --ignored
//! --nocapture` prints it. Nothing is asserted of time; `docs/LOG.md` keeps the figures.

use std::time::{Duration, Instant};

use super::testing::much;
use super::*;
use crate::types::SortKey;

/// Runs something often enough, and says how long it took.
fn measure<T>(what: &str, mut run: impl FnMut(usize) -> T) {
    const ROUNDS: usize = 60;
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|round| {
            let begun = Instant::now();
            std::hint::black_box(run(round));
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!("{what}: median {:.2} ms, greatest {:.2} ms", times[ROUNDS / 2].as_secs_f64() * 1e3, times[ROUNDS - 1].as_secs_f64() * 1e3);
}

#[test]
#[ignore = "a measurement"]
fn of_a_thousand_conversations() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(folder.path()).unwrap();
    let begun = Instant::now();
    let ids = store.import(&much(1000, 10)).unwrap().conversations;
    println!("importing 1,000 conversations of 10 messages: {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);
    println!("the file: {:.1} MB", store.bytes() as f64 / 1e6);
    measure("opening a conversation", |round| store.conversation(ids[round * 7919 % ids.len()]).unwrap());
    measure("listing all", |_| store.conversations(SortKey::Recent).unwrap());
    for query in ["e", "t", "wh", "whale", "the whale", "lantern harbour", "zzz"] {
        let hits = store.search(query).unwrap().len();
        measure(&format!("searching for {query:?}, {hits} hits"), |_| store.search(query).unwrap());
    }
    drop(store);
    measure("opening the database", |_| Store::open(folder.path()).unwrap());
}
