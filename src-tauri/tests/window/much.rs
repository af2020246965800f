//! Much to find things in: conversations made of the sample corpus, as lines to import.

use std::path::Path;

/// So many conversations of so many messages each, none like another, 60 to 1,200 characters long.
pub fn much(conversations: usize, messages: usize) -> String {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/corpus/00-text.jsonl");
    let text = std::fs::read_to_string(corpus).unwrap();
    let documents = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["text"].as_str().unwrap().to_owned());
    let words: Vec<String> = documents.flat_map(|document| document.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect();
    let mut at = 0;
    let mut message = |number: usize| {
        let count = 10 + number * 7919 % 190;
        let chosen: Vec<&str> = (0..count).map(|word| words[(at + word) % words.len()].as_str()).collect();
        at += count;
        chosen.join(" ")
    };
    let mut lines = String::new();
    for conversation in 0..conversations {
        let turns: Vec<_> = (0..messages)
            .map(|turn| {
                let role = if turn % 2 == 0 { "user" } else { "assistant" };
                serde_json::json!({ "role": role, "content": message(conversation * messages + turn) })
            })
            .collect();
        lines.push_str(&format!("{}\n", serde_json::json!({ "messages": turns })));
    }
    lines
}
