//! The store as a whole: branches, search, deletion, exchange, damage, and ends at any moment.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::testing::{conversation, say, store, turn};
use super::*;
use crate::types::{Answer, ChatSettings, ExportFormat, Id, Message, MessageState, Part, PartKind, Reason, Role, SortKey};

fn text(message: &Message) -> String {
    message.parts.iter().map(|part| part.text.as_str()).collect()
}

/// The texts of the chosen branch.
fn shown(store: &Store, id: Id) -> Vec<String> {
    let conversation = store.conversation(id).unwrap();
    let find = |id: &Id| conversation.tree.iter().find(|message| message.id == *id).map(text).unwrap();
    conversation.path.iter().map(find).collect()
}

fn integrity(store: &Store) -> String {
    store.lock().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap()
}

#[test]
fn branches_are_made_walked_and_never_lost() {
    let (_folder, store) = store();
    let id = conversation(&store);
    let (first, one) = say(&store, id, None, "What is the capital?", "Paris it is");
    let (_, two) = say(&store, id, Some(one), "Of which country?", "France");
    assert_eq!(shown(&store, id), ["What is the capital?", "Paris it is", "Of which country?", "France"]);

    let (none, other) = turn(&store, &Asked::Again(one), "Rome");
    assert_eq!((none, shown(&store, id)), (0, vec!["What is the capital?".to_owned(), "Rome".into()]));
    let (edited, _) = turn(&store, &Asked::Edit { message: first, text: "What is a whale?" }, "A mammal");
    assert_eq!(shown(&store, id), ["What is a whale?", "A mammal"]);

    // Back through the first answer to the leaf that was chosen below it.
    assert_eq!(*store.choose(one).unwrap().last().unwrap(), two);
    assert_eq!(shown(&store, id).len(), 4);
    assert_eq!(store.choose(edited).unwrap().len(), 2);
    assert_eq!(*store.choose(other).unwrap().last().unwrap(), other);

    let whole = store.conversation(id).unwrap();
    assert_eq!(whole.tree.len(), 7);
    let siblings = |id| whole.tree.iter().find(|message| message.id == id).unwrap().siblings.clone();
    assert_eq!((siblings(one), siblings(first)), (vec![one, other], vec![first, edited]));
    assert_eq!(whole.summary.title, "What is the capital?");
    // An answer cannot be edited, and an unanswered message takes none behind it.
    assert!(store.begin(&Asked::Edit { message: one, text: "x" }, "m").is_err());
    assert!(store.begin(&Asked::Send { conversation: id, parent: Some(first), text: "x" }, "m").is_err());
    assert!(store.begin(&Asked::Send { conversation: id, parent: None, text: " \n" }, "m").is_err());
    assert!(store.begin(&Asked::Again(99), "m").is_err() && store.choose(99).is_err());
    assert_eq!(integrity(&store), "ok");
}

#[test]
fn a_message_of_another_conversation_is_no_parent() {
    let (_folder, store) = store();
    let (one, two) = (conversation(&store), conversation(&store));
    let (_, answer) = say(&store, one, None, "Hello", "Hi");
    assert!(store.begin(&Asked::Send { conversation: two, parent: Some(answer), text: "x" }, "m").is_err());
    assert!(store.conversation(two).unwrap().tree.is_empty());
}

#[test]
fn seeds_differ_between_attempts_and_repeat_with_a_fixed_one() {
    let (_folder, store) = store();
    let fixed = ChatSettings { seed: Some(7), ..ChatSettings::default() };
    let id = store.create(None, &fixed).unwrap().summary.id;
    let begin = |asked: &Asked<'_>| store.begin(asked, "m").unwrap();
    let first = begin(&Asked::Send { conversation: id, parent: None, text: "Hi" });
    let again = begin(&Asked::Again(first.started.assistant.id));
    assert_eq!((first.seed, again.seed), (7, 8));
    store.set_chat_settings(id, &ChatSettings::default()).unwrap();
    let [a, b] = [0, 1].map(|_| begin(&Asked::Again(first.started.assistant.id)).seed);
    assert!(a != b && a <= limits::LARGEST_WHOLE);
}

use crate::limits;

#[test]
fn search_finds_titles_and_messages_by_the_beginnings_of_words() {
    let (_folder, store) = store();
    let id = conversation(&store);
    say(&store, id, None, "Tell me about wháles, please", "The blue whale sings <b>low</b> songs");
    let other = conversation(&store);
    say(&store, other, None, "Hello", "Hi");
    store.rename(other, "Whale songs").unwrap();

    let hits = store.search("whal").unwrap();
    assert_eq!(hits[0].conversation.id, other);
    assert_eq!((hits[0].message, hits.len()), (None, 4), "two titles, a question, an answer");
    let answer = hits.iter().find(|hit| hit.role == Some(Role::Assistant)).unwrap();
    let marked: Vec<&str> = answer.snippet.iter().filter(|piece| piece.matched).map(|piece| piece.text.as_str()).collect();
    assert_eq!((marked, answer.conversation.id), (vec!["whale"], id));
    assert_eq!(store.search("blue songs").unwrap().len(), 1, "every word must occur");
    for nothing in ["", " \"", "walrus", "* OR *"] {
        assert!(store.search(nothing).unwrap().is_empty(), "{nothing:?}");
    }
    assert!(store.search(&"x".repeat(limits::SEARCH_CHARS + 1)).is_err());
    // What is deleted is not found, and what is had back is.
    store.delete(id).unwrap();
    assert_eq!(store.search("whal").unwrap().len(), 1);
    store.undelete(id).unwrap();
    assert_eq!(store.search("whal").unwrap().len(), 4);
}

#[test]
fn lists_are_sorted_with_pinned_ones_on_top() {
    let (_folder, store) = store();
    let ids: Vec<Id> = ["b", "A", "c"].map(|title| store.create(Some(title), &ChatSettings::default()).unwrap().summary.id).into();
    let titles = |sort| store.conversations(sort).unwrap().into_iter().map(|summary| summary.title).collect::<Vec<_>>();
    assert_eq!(titles(SortKey::Title), ["A", "b", "c"]);
    // What is said after them is later by the clock that they are sorted by.
    let created = crate::types::now();
    while crate::types::now() == created {}
    say(&store, ids[0], None, "Hello", "Hi");
    assert_eq!(titles(SortKey::Recent)[0], "b");
    store.pin(ids[2], true).unwrap();
    assert_eq!(titles(SortKey::Title), ["c", "A", "b"]);
    store.delete(ids[2]).unwrap();
    assert!(store.delete(ids[2]).is_err() && store.rename(ids[2], "x").is_err() && store.conversation(ids[2]).is_err());
    assert_eq!(titles(SortKey::Title), ["A", "b"]);
}

#[test]
fn what_is_deleted_is_gone_from_the_disk_at_the_next_start() {
    let (folder, store) = store();
    let id = conversation(&store);
    say(&store, id, None, "the password is swordfish", "noted: swordfish");
    store.delete(id).unwrap();
    drop(store);
    let (store, _) = Store::open(folder.path()).unwrap();
    assert!(store.undelete(id).is_err() && store.search("swordfish").unwrap().is_empty());
    assert_eq!(integrity(&store), "ok");
    drop(store);
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        assert!(!bytes.windows(9).any(|window| window == b"swordfish"), "{}", path.display());
    }
}

#[test]
fn an_answer_that_was_cut_short_is_put_together_at_the_next_start() {
    let (folder, store) = store();
    let id = conversation(&store);
    let begun = store.begin(&Asked::Send { conversation: id, parent: None, text: "2+2?" }, "tiny").unwrap();
    let answer = begun.started.assistant.id;
    let call = [Part { kind: PartKind::Python, text: "2+2".into() }, Part { kind: PartKind::PythonOutput, text: "4".into() }];
    store.write(answer, 0, &[Part::text("It ")]).unwrap();
    store.write(answer, 1, &[Part::text("is ")]).unwrap();
    store.write(answer, 2, &call).unwrap();
    let (_, growing) = store.message(answer).unwrap();
    assert_eq!((growing.parts.len(), growing.state), (3, MessageState::Writing), "seen while it grows");
    drop(store);
    let (store, _) = Store::open(folder.path()).unwrap();
    let (_, message) = store.message(answer).unwrap();
    assert_eq!(message.state, MessageState::Interrupted);
    assert_eq!(message.answer.unwrap().reason, Reason::Interrupted);
    assert_eq!(message.parts, [&[Part::text("It is ")][..], &call].concat());
    assert_eq!(store.search("2").unwrap().len(), 3);
}

#[test]
fn json_brings_everything_back_and_jsonl_what_can_be_learnt() {
    let (_folder, store) = store();
    let settings = ChatSettings { system_prompt: "Be brief.".into(), temperature: 0.0, ..ChatSettings::default() };
    let id = store.create(Some("Sums"), &settings).unwrap().summary.id;
    let (first, one) = say(&store, id, None, "One?", "1");
    say(&store, id, Some(one), "Two?", "2 it is");
    turn(&store, &Asked::Edit { message: first, text: "Three?" }, "3");
    store.choose(one).unwrap();
    store.pin(id, true).unwrap();

    let all = store.export(&[id], ExportFormat::Json, true).unwrap();
    let imported = store.import(&all).unwrap();
    let (old, new) = (store.conversation(id).unwrap(), store.conversation(imported.conversations[0]).unwrap());
    assert_eq!((old.tree.len(), new.tree.len()), (6, 6));
    assert_eq!((&old.settings, &old.summary.title, old.summary.pinned), (&new.settings, &new.summary.title, new.summary.pinned));
    assert_eq!(shown(&store, id), shown(&store, new.summary.id));
    assert_eq!(store.export(&[id], ExportFormat::Json, false).unwrap().matches("\"role\"").count(), 4);

    let lines = store.export(&[id], ExportFormat::Jsonl, false).unwrap();
    assert_eq!(
        lines,
        "{\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":\"One?\"},{\"role\":\"assistant\",\"content\":\"1\"},{\"role\":\"user\",\"content\":\"Two?\"},{\"role\":\"assistant\",\"content\":\"2 it is\"}]}\n"
    );
    let called = r#"[{"role":"user","content":"Hi"},{"role":"assistant","content":"","tool_calls":[{"id":"secret"}]}]"#;
    let answered = r#"[{"role":"assistant","content":"secret"}]"#;
    let back = store.import(&format!("\u{FEFF}{lines}\nno json: secret\n{answered}\n{called}\n")).unwrap();
    assert_eq!(back.conversations.len(), 1);
    assert_eq!(back.skipped.iter().map(|skipped| skipped.line).collect::<Vec<_>>(), [3, 4, 5]);
    assert!(back.skipped[2].problem.contains("message 2 has `tool_calls`"), "{}", back.skipped[2].problem);
    assert!(!format!("{:?}", back.skipped).contains("secret"));
    let read = store.conversation(back.conversations[0]).unwrap();
    assert_eq!((read.settings.system_prompt.as_str(), read.tree.len(), read.summary.title.as_str()), ("Be brief.", 4, "One?"));

    let page = store.export(&[id], ExportFormat::Markdown, false).unwrap();
    assert!(page.starts_with("# Sums\n") && page.contains("\n## You\n\nTwo?\n\n## tiny\n\n2 it is\n"), "{page}");
    assert!(store.import("").is_err() && store.export(&[999], ExportFormat::Json, true).is_err());
}

#[test]
fn a_tree_that_breaks_the_rules_is_not_imported() {
    let (_folder, store) = store();
    let id = conversation(&store);
    say(&store, id, None, "One?", "1");
    let good = store.export(&[id], ExportFormat::Json, true).unwrap();
    let spoils: [(&str, &str); 4] = [
        ("\"role\": \"assistant\"", "\"role\": \"user\""),
        ("\"parent\": null", "\"parent\": 77"),
        ("\"temperature\": 0.6", "\"temperature\": 99"),
        ("\"version\": 1", "\"version\": 2"),
    ];
    for (from, to) in spoils {
        assert!(good.contains(from), "{from}");
        let outcome = store.import(&good.replace(from, to));
        assert!(outcome.map_or(true, |imported| imported.conversations.is_empty() && !imported.skipped.is_empty()), "{to}");
    }
    assert_eq!(store.conversations(SortKey::Recent).unwrap().len(), 1);
}

#[test]
fn times_and_titles_that_no_page_can_show_are_not_taken_over() {
    let (_folder, store) = store();
    let id = conversation(&store);
    say(&store, id, None, "One?", "1");
    let mut archive: serde_json::Value = serde_json::from_str(&store.export(&[id], ExportFormat::Json, true).unwrap()).unwrap();
    let odd = &mut archive["conversations"][0];
    (odd["created_at"], odd["updated_at"]) = (i64::MAX.into(), i64::MIN.into());
    odd["title"] = "a\u{7}\nb".into();
    odd["messages"][0]["created_at"] = 9_000_000_000_000_000_i64.into();
    let imported = store.import(&archive.to_string()).unwrap();
    let read = store.conversation(imported.conversations[0]).unwrap();
    let now = crate::types::now();
    assert!(read.summary.created_at <= now && read.summary.updated_at == 0 && read.tree[0].created_at <= now);
    assert_eq!(read.summary.title, "a b");
}

#[test]
fn a_damaged_database_is_set_aside_and_kept() {
    type Spoil = fn(&Path);
    let spoils: [Spoil; 4] = [
        |path| fs::write(path, b"this was a database once, and is a text now; ".repeat(100)).unwrap(),
        |path| {
            let mut bytes = fs::read(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle - 6000..middle + 6000].fill(0xA5);
            fs::write(path, bytes).unwrap();
        },
        |path| Connection::open(path).unwrap().pragma_update(None, "user_version", 99).unwrap(),
        |path| {
            fs::remove_file(path).unwrap();
            Connection::open(path).unwrap().execute_batch("CREATE TABLE message (x)").unwrap();
        },
    ];
    for (number, spoil) in spoils.into_iter().enumerate() {
        let (folder, store) = store();
        let id = conversation(&store);
        for _ in 0..50 {
            say(&store, id, None, &"many words ".repeat(50), "and as many again");
        }
        drop(store);
        spoil(&folder.path().join(FILE));
        let (store, recovered) = Store::open(folder.path()).unwrap();
        let recovered = recovered.unwrap_or_else(|| panic!("spoil {number} went unnoticed"));
        assert!(fs::metadata(&recovered.moved_to).unwrap().len() > 0 && !recovered.problem.is_empty());
        assert!(store.conversations(SortKey::Recent).unwrap().is_empty());
        say(&store, conversation(&store), None, "Hello", "Hi");
        drop(store);
        assert_eq!(Store::open(folder.path()).unwrap().1, None);
    }
}

#[test]
fn settings_are_patched_one_by_one_and_checked() {
    let (_folder, store) = store();
    let patched = store.patch_settings(serde_json::json!({ "theme": "dark", "font_size": 18 })).unwrap();
    assert_eq!((patched.font_size, store.settings().unwrap()), (18.0, patched));
    for wrong in [r#"{"theme": "pink"}"#, r#"{"font_size": 99}"#, r#"{"other": 1}"#, "[]", r#"{"defaults": {"temperature": 1}}"#] {
        assert!(store.patch_settings(wrong.parse().unwrap()).is_err(), "{wrong}");
    }
}

/// The child of the next test: writes answers without end into the folder that it is told of, and says on stdout which
/// batch of which message is committed, as the app would show it.
#[test]
fn writes_until_it_is_killed() {
    let Some(folder) = std::env::var_os("NANOCHAT_TEST_WRITE") else { return };
    let (store, _) = Store::open(Path::new(&folder)).unwrap();
    loop {
        let id = conversation(&store);
        let begun = store.begin(&Asked::Send { conversation: id, parent: None, text: "Write." }, "tiny").unwrap();
        let answer = begun.started.assistant.id;
        println!("\nbegun {id} {answer}");
        for batch in 0..40 {
            store.write(answer, batch, &[Part::text(format!("{batch} "))]).unwrap();
            println!("shown {answer} {batch}");
        }
        store.finish(answer, MessageState::Whole, None, &Answer { reason: Reason::Stop, ..Answer::begun("tiny", 1) }).unwrap();
    }
}

#[test]
fn what_was_shown_survives_being_killed_fifty_times() {
    let folder = tempfile::tempdir().unwrap();
    let mut begun: Vec<(Id, Id)> = Vec::new();
    let mut last_shown = std::collections::HashMap::new();
    for round in 0..50 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::writes_until_it_is_killed", "--nocapture"])
            .env("NANOCHAT_TEST_WRITE", folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Killed at another moment each time: after so many batches.
        let mut left = 5 + round * 7 % 90;
        let mut note = |line: &str| {
            let mut words = line.split(' ');
            let kind = words.next().unwrap_or_default();
            let numbers: Vec<i64> = words.map_while(|word| word.parse().ok()).collect();
            match (kind, numbers.as_slice()) {
                ("begun", &[id, answer]) => begun.push((id, answer)),
                ("shown", &[answer, batch]) => {
                    last_shown.insert(answer, batch);
                    return true;
                }
                _ => {}
            }
            false
        };
        while left > 0 {
            left -= i64::from(note(&lines.next().expect("the child ended by itself").unwrap()));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            note(&line);
        }
    }
    let (store, recovered) = Store::open(folder.path()).unwrap();
    assert_eq!((recovered, integrity(&store).as_str()), (None, "ok"));
    for (id, answer) in &begun {
        let whole = store.conversation(*id).unwrap();
        let message = whole.tree.iter().find(|message| message.id == *answer).expect("the answer is there");
        assert_ne!(message.state, MessageState::Writing);
        let batches = text(message).split_whitespace().count() as i64;
        let shown = last_shown.get(answer).map_or(0, |last| last + 1);
        assert!(batches >= shown, "{batches} batches of {shown} are there");
        assert!(text(message).split_whitespace().map(|word| word.parse::<i64>().unwrap()).eq(0..batches), "in order, none twice");
    }
    println!("{} answers, none lost", begun.len());
    assert!(begun.len() > 50);
}
