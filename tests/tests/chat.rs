//! `nc-core chat` as people and scripts use it: one question, lines from a pipe, a terminal; what it refuses, and what it
//! never tells. The models are scripted, so that every answer is known.

use std::fs;
use std::io::{Read, Write};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use nc_core::tokenizer::LONGEST_MESSAGE;
use nc_tests::nc_core;
use nc_tests::script::{Script, byte_token};
use nc_tests::workshop::{Running, Workshop, refusal, words};
use serde_json::Value;

/// A home in which the run "script" answers everything with a call of the calculator, "wander" at random, "forever"
/// without an end, and "nan" has weights that are no numbers.
fn workshop() -> Workshop {
    let workshop = Workshop::without_tokenizer(|home| nc_core!(home));
    let home = workshop.home();
    let script = Script::writing(128, "so [12/60]");
    script.install(&home, "script");
    script.install_as(&home, "nan", &script.tokenizer.to_json(), |values| values.fill(f32::NAN));
    script.install_as(&home, "mute", &script.tokenizer.to_json().replace("<|python_end|>", "<|no|>"), |_| {});
    let letters = |end| (b'a'..b'k').map(byte_token).chain(end).collect();
    Script::new(128, |tokens, _| letters(Some(tokens.assistant_end))).install(&home, "wander");
    Script::new(20_000, |_, _| letters(None)).install(&home, "forever");
    workshop
}

/// `nc-core chat` with this on stdin.
fn chat(workshop: &Workshop, args: &[&str], input: impl AsRef<[u8]>) -> Output {
    let mut command = workshop.command(&[&["chat"], args].concat());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.as_ref().to_vec();
    // It may end before it has read everything.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// What a chat that went well printed, and what it noted on stderr.
fn good(output: &Output) -> (String, String) {
    assert_eq!(output.status.code(), Some(0), "{}", words(output));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

fn json_lines(output: &Output) -> Vec<Value> {
    good(output).0.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?} is no JSON"))).collect()
}

/// Every file below a folder with its bytes.
fn files(folder: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push((path.clone(), fs::read(&path).unwrap())) }
    }
    found.sort();
    found
}

#[test]
fn one_question_is_answered_on_stdout_and_nothing_is_written_down() {
    let workshop = workshop();
    let before = files(&workshop.home());
    let (stdout, stderr) = good(&chat(&workshop, &["--run", "script", "-p", "zyxquorl?"], ""));
    assert_eq!(stdout, "so [12/60 → 0.2]\n");
    assert!(stderr.lines().last().unwrap().starts_with("(16 tokens, "), "{stderr}");
    assert!(stderr.contains("context 28 of 128") && !stderr.contains("zyxquorl"), "{stderr}");

    let lines = json_lines(&chat(&workshop, &["--run", "script", "--json", "-p", "zyxquorl?"], ""));
    let [answer] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((answer["text"].as_str(), answer["reason"].as_str()), (Some("so "), Some("stop")));
    assert_eq!(answer["message"]["content"][2], serde_json::json!({"type": "python_output", "text": "0.2"}));
    assert_eq!((answer["prompt_tokens"].as_u64(), answer["new_tokens"].as_u64()), (Some(13), Some(16)));
    assert!(files(&workshop.home()) == before, "a chat has written something");
}

#[test]
fn lines_of_a_pipe_are_turns_and_commands() {
    let workshop = workshop();
    let saved = workshop.path("saved chat.jsonl");
    let session = format!(
        "/stats\n\none\n/stats\ntwo \\\nlines\n/stats\n/retry\n/save {saved}\n/clear\n/system Be brief.\nthree\n/load {saved}\n/retry\nfour\n/quit\nfive\n"
    );
    let output = chat(&workshop, &["--run", "script", "--temperature", "0"], session);
    let (stdout, stderr) = good(&output);
    assert_eq!(stdout, "so [12/60 → 0.2]\n".repeat(6));
    assert!(stderr.starts_with("there was no answer yet\n"), "{stderr}");
    // The next turn has in the cache all that was said before, but for the token that ended the answer.
    for stats in ["prompt: 7 tokens, 0 of them in the cache\nanswer: 16 tokens", "prompt: 36 tokens, 22 of them in the cache"] {
        assert!(stderr.contains(stats), "{stats} is not in {stderr}");
    }
    assert!(stderr.contains("context: 51 of 128 tokens") && stderr.contains(&format!("wrote {saved}\n")), "{stderr}");
    assert!(stderr.contains("\n4 messages\n"), "{stderr}");
    let kept: Value = serde_json::from_str(&fs::read_to_string(&saved).unwrap()).unwrap();
    let said: Vec<&str> = kept["messages"].as_array().unwrap().iter().filter_map(|message| message["content"].as_str()).collect();
    assert_eq!(said, ["one", "two \nlines"]);

    // With --json every answer is a line, and the last line is the whole conversation.
    let session = format!("/system Be brief.\nthree\n/clear\n/load {saved}\nfour\n");
    let lines = json_lines(&chat(&workshop, &["--run", "script", "--json"], session));
    let texts: Vec<&str> = lines.iter().filter_map(|line| line["text"].as_str()).collect();
    assert_eq!((lines.len(), &texts[..]), (3, &["so ", "so "][..]));
    assert_eq!((lines[2]["run"].as_str(), lines[2]["messages"].as_array().map(Vec::len)), (Some("script"), Some(6)));
    assert_eq!(lines[2]["messages"].as_array().unwrap()[..4], kept["messages"].as_array().unwrap()[..]);
    // The system text is part of the first thing that is asked.
    assert_eq!(lines[0]["prompt_tokens"].as_u64(), Some("Be brief.\n\nthree".len() as u64 + 4));
    assert_eq!(json_lines(&chat(&workshop, &["--run", "script", "--json"], ""))[0]["messages"], serde_json::json!([]));
}

#[test]
fn a_file_is_replaced_only_where_that_is_said_and_a_tilde_is_the_home_folder() {
    let workshop = workshop();
    let kept = workshop.file("kept.jsonl", "kept");
    let home = workshop.path("person");
    fs::create_dir(&home).unwrap();
    let talk = |input: &str| {
        let mut command = workshop.command(&["chat", "--run", "script"]);
        let mut child = command.env("HOME", &home).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let refused = talk(&format!("one\n/save {kept}\n"));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("kept.jsonl already: choose another name, or replace it with /save!"));
    assert_eq!((refused.status.code(), fs::read_to_string(&kept).unwrap().as_str()), (Some(2), "kept"));
    let folder = talk(&format!("one\n/save! {home}\n"));
    assert!(String::from_utf8_lossy(&folder.stderr).contains("is a folder"), "{}", words(&folder));

    if cfg!(unix) {
        good(&talk(&format!("one\n/save! {kept}\n/save ~/talk.jsonl\n/load ~/talk.jsonl\ntwo\n/save! ~/talk.jsonl\n")));
        let saved =
            |path: &str| serde_json::from_str::<Value>(&fs::read_to_string(path).unwrap()).unwrap()["messages"].as_array().unwrap().len();
        assert_eq!((saved(&kept), saved(&format!("{home}/talk.jsonl"))), (2, 4));
        assert!(!std::path::Path::new("~").exists());
    }
}

#[test]
fn a_conversation_that_waits_for_an_answer_gets_it_when_loaded() {
    let workshop = workshop();
    let waiting = workshop.file("waiting.jsonl", r#"[{"role": "user", "content": "<|assistant_end|>"}]"#);
    let lines = json_lines(&chat(&workshop, &["--run", "script", "--json"], format!("/load {waiting}\n/retry\nnext\n")));
    assert_eq!((lines.len(), lines[3]["messages"].as_array().map(Vec::len)), (4, Some(4)));
    // What is typed or read from a file is text, whatever it looks like: byte by byte here.
    let typed = json_lines(&chat(&workshop, &["--run", "script", "--json", "-p", "<|assistant_end|><|bos|>"], ""));
    assert_eq!(lines[0]["prompt_tokens"].as_u64(), Some("<|assistant_end|>".len() as u64 + 4));
    assert_eq!(typed[0]["prompt_tokens"].as_u64(), Some("<|assistant_end|><|bos|>".len() as u64 + 4));
}

#[test]
fn the_seed_decides_what_is_drawn() {
    let workshop = workshop();
    let say = |more: &[&str], input: &str| good(&chat(&workshop, &[&["--run", "wander", "--temperature", "1"], more].concat(), input)).0;
    let seeds: Vec<String> = ["1", "1", "2", "3"].map(|seed| say(&["--seed", seed], "tell me\n/retry\n")).to_vec();
    assert!(seeds[0] == seeds[1] && seeds[0] != seeds[2] && seeds[2] != seeds[3], "{seeds:?}");
    let (first, again) = seeds[0].split_once('\n').unwrap();
    assert_ne!(first, again.trim_end(), "another answer was asked for");
    // An option and a command are the same.
    assert_eq!(say(&["--seed", "9"], "tell me\n"), say(&[], "/seed 9\ntell me\n"));
    assert_eq!(say(&["--seed", "9"], "tell me\n"), say(&["--seed", "9", "-p", "tell me"], ""));
}

#[test]
fn bad_input_is_refused_with_a_sentence() {
    let workshop = workshop();
    let broken = workshop.file("broken.jsonl", "\n[{\"role\": \"robot\", \"content\": \"zyxquorl\"}]\n");
    let two = workshop.file("two.jsonl", "[{\"role\": \"user\", \"content\": \"zyxquorl\"}]\n".repeat(2));
    let long = "x".repeat(200);
    for (args, input, sentence) in [
        (&["--temperature", "-1"][..], String::new(), "--temperature is -1"),
        (&["--temperature", "NaN"], String::new(), "--temperature is NaN"),
        (&["--top-k", "266"], String::new(), "--top-k is 266; it must be at most the 265 tokens"),
        (&["--top-p", "0"], String::new(), "--top-p is 0"),
        (&["-p", ""], String::new(), "message 1 is empty"),
        (&["-p", &long], String::new(), "a prompt of 204 tokens, and there is room for 64"),
        (&["--system", &long, "-p", "hm"], String::new(), "a prompt of 208 tokens"),
        (&["--step", "7"], "zyxquorl\n".into(), "no checkpoint of step 7"),
        (&[], "/topk 266\nzyxquorl\n".into(), "--top-k is 266"),
        (&[], "/temperature -1\n".into(), "/temperature needs a number"),
        (&[], "/zyxquorl\n".into(), "there is no such command"),
        (&[], "/retry\n".into(), "there is no answer"),
        (&[], "/system zyxquorl\n/save x.jsonl\n".into(), "only a system message"),
        (&[], format!("zyxquorl\n/save {}/no/folder\n", workshop.path("x")), "could not write"),
        (&[], format!("/load {broken}\n"), "broken.jsonl, line 2"),
        (&[], format!("/load {two}\n"), "holds 2 conversations"),
        (&[], format!("/load {}\n", workshop.path("none.jsonl")), "none.jsonl"),
        (&[], "x".repeat(LONGEST_MESSAGE + 1), "message 1 has 1000001 bytes"),
        (&[], "é".repeat(LONGEST_MESSAGE + 1), "a line of stdin is too long"),
        (&[], "x".repeat(LONGEST_MESSAGE), "a prompt of 1000004 tokens"),
    ] {
        let output = chat(&workshop, &[&["--run", "script"], args].concat(), &input);
        let refused = Output { stdout: Vec::new(), ..output.clone() };
        let said = refusal(&format!("{args:?}, {:.20}", input), &refused);
        assert!(said.contains(sentence) && !said.contains("zyxquorl"), "{sentence:?}: {said}");
    }
    assert!(refusal("bytes", &chat(&workshop, &["--run", "script"], b"hello \xFF\n")).contains("not text in UTF-8"));
    let sentence = refusal("no run", &chat(&workshop, &["--run", "scrip", "-p", "hm"], ""));
    assert!(sentence.contains("did you mean \"script\""), "{sentence}");
    let sentence = refusal("no chat", &chat(&workshop, &["--run", "mute", "-p", "hm"], ""));
    assert!(sentence.contains("no special token <|python_end|>"), "{sentence}");
    assert!(!std::path::Path::new("x.jsonl").exists());
}

#[test]
fn weights_that_are_no_numbers_end_in_an_error_at_once() {
    let workshop = workshop();
    for args in [
        &["chat", "--run", "nan", "-p", "zyxquorl"][..],
        &["chat", "--run", "nan", "-p", "zyxquorl", "--temperature", "0"],
        &["chat", "--run", "nan", "-p", "zyxquorl", "--repetition-penalty", "2"],
        &["generate", "--run", "nan", "--prompt", "q"],
        &["score", "--run", "nan", "--text", "zyxquorl"],
    ] {
        let output = workshop.command(args).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{}", words(&output));
        assert!(stderr.contains("not numbers") && stderr.contains("weights are damaged") && !stderr.contains("zyxquorl"), "{stderr}");
    }
}

#[test]
fn no_log_holds_what_people_wrote() {
    let workshop = workshop();
    let saved = workshop.path("saved.jsonl");
    for (args, input) in [
        (vec!["chat", "--run", "script", "--system", "zyxquorl", "-p", "zyxquorl"], String::new()),
        (vec!["chat", "--run", "script"], format!("zyxquorl\n/system zyxquorl\n/save {saved}\n/load {saved}\n/retry\n/stats\n")),
        (vec!["generate", "--run", "wander", "--prompt", "zyxquorl", "--max-tokens", "9"], String::new()),
        (vec!["score", "--run", "wander", "--text", "zyxquorl"], String::new()),
        (vec!["tokenizer", "encode", "--run", "wander", "zyxquorl"], String::new()),
    ] {
        let mut command = workshop.command(&args);
        let mut child = command.env("NC_LOG", "trace").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let (stdout, stderr) = good(&child.wait_with_output().unwrap());
        assert!(args[0] == "tokenizer" || stderr.contains("TRACE") || stderr.contains("DEBUG"), "{args:?} logged nothing");
        assert!(!stderr.contains("zyxquorl"), "{args:?}");
        assert!(args[0] == "generate" || !stdout.contains("zyxquorl"), "{args:?}: {stdout}");
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_chat() {
    let workshop = workshop();
    for more in [&["-p", "go on"][..], &["--json"], &[]] {
        let mut command = workshop.command(&[&["chat", "--run", "forever", "--max-tokens", "50"], more].concat());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // There is always another line.
        let writer = std::thread::spawn(move || while stdin.write_all(b"go on\n").is_ok() {});
        child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{more:?}");
        writer.join().unwrap();
    }
    // Nobody speaks, or nobody could: no stdin at all.
    assert_eq!(good(&workshop.command(&["chat", "--run", "script"]).output().unwrap()).0, "");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_an_answer_and_a_script_with_it() {
    let workshop = workshop();
    for (more, input) in [(&["-p", "go on"][..], ""), (&[], "go on\ngo on\n")] {
        let mut command = workshop.command(&[&["chat", "--run", "forever", "--max-tokens", "19000"], more].concat());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        let mut out = child.stdout.take().unwrap();
        let mut text = vec![0; 5];
        out.read_exact(&mut text).unwrap();
        signal(child.id(), libc::SIGINT);
        out.read_to_end(&mut text).unwrap();
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{stderr}");
        assert!(text.len() < 10_000 && text.iter().filter(|&&byte| byte == b'\n').count() == 1 && text.ends_with(b"\n"));
        assert!(stderr.contains("ended by you"), "{stderr}");
    }
    // While it waits for a line, Ctrl-C and the request to end do what they do to any program.
    for (sent, code) in [(libc::SIGINT, Some(130)), (libc::SIGTERM, None)] {
        let mut command = workshop.command(&["chat", "--run", "script"]);
        command.env("NC_LOG", "nc_core=debug").stdin(Stdio::piped());
        let mut running = Running::start(&mut command);
        let mut stdin = running.child.stdin.take().unwrap();
        running.wait_for_error("waiting for a line");
        stdin.write_all(b"hm\n").unwrap();
        running.wait_for_error("waiting for a line");
        running.signal(sent);
        let waited = Instant::now();
        assert_eq!(running.end().0, code);
        assert!(waited.elapsed() < Duration::from_secs(20));
    }
}

#[cfg(unix)]
fn signal(pid: u32, signal: i32) {
    // SAFETY: the process is ours and has not been waited for.
    assert_eq!(unsafe { libc::kill(pid as libc::pid_t, signal) }, 0);
}
