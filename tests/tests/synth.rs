//! Conversations made from recipes are the same everywhere; those of a server are whole or not there, whatever it
//! answers, and its key is in no output.
//!
//! The server is a few lines on 127.0.0.1; each test gives it a script that says how to answer the n-th request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nc_core::tokenizer::{Content, Conversation, Role};
use nc_tests::workshop::{refusal, words};
use serde_json::{Value, json};

/// No five letters of it in a row are in anything that the program could have to say.
const KEY: &str = "sk-QZXJKVWQGHZPBVXKQJWZFQXVKJ";

/// A request as the server saw it.
#[derive(Clone, Debug)]
struct Request {
    path: String,
    authorization: Option<String>,
    body: Value,
}

struct Server {
    url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

type Script = dyn Fn(usize, &Request, TcpStream) + Send + Sync;

impl Server {
    /// Serves until the test's process ends, a thread and a connection for each request.
    fn start(script: impl Fn(usize, &Request, TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (seen, script): (_, Arc<Script>) = (Arc::clone(&requests), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
                std::thread::spawn(move || {
                    let Some(request) = read_request(&stream) else { return };
                    let mut seen = seen.lock().unwrap();
                    seen.push(request.clone());
                    let nth = seen.len() - 1;
                    drop(seen);
                    script(nth, &request, stream);
                });
            }
        });
        Self { url, requests }
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let (mut authorization, mut length) = (None, 0);
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => authorization = Some(value.trim().to_owned()),
            "content-length" => length = value.trim().parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { path, authorization, body: serde_json::from_slice(&body).ok()? })
}

fn send(mut stream: TcpStream, status: &str, headers: &str, body: &str) {
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    // The client may hang up at any point; that is its business.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
}

/// What a server answers whose model says `content`.
fn says(stream: TcpStream, content: &str) {
    send(stream, "200 OK", "", &json!({ "choices": [{ "message": { "role": "assistant", "content": content } }] }).to_string());
}

/// A conversation as a model writes it.
fn talk(number: usize) -> String {
    let messages = [json!({ "role": "user", "content": format!("Question {number}?") }), json!({ "role": "assistant", "content": "Yes." })];
    json!({ "messages": messages }).to_string()
}

fn honest() -> Server {
    Server::start(|nth, _, stream| says(stream, &talk(nth)))
}

/// A server that echoes the key with each refusal, as some do.
fn failing(status: &'static str, times: usize) -> Server {
    Server::start(move |nth, _, stream| match nth {
        nth if nth < times => send(stream, status, "Retry-After: 0\r\n", &format!("your key {KEY} is bad")),
        nth => says(stream, &talk(nth)),
    })
}

fn command(home: &Path, arguments: &[&str]) -> Command {
    let mut command = nc_tests::nc_core!(home);
    command.args(["data", "synth"]).args(arguments).stdin(Stdio::null()).env_remove("NC_API_KEY");
    command
}

fn run(home: &Path, arguments: &[&str]) -> Output {
    command(home, arguments).output().unwrap()
}

/// Arguments that ask `server`, one request at a time, and `more` of them.
fn asking<'a>(server: &'a Server, more: &[&'a str]) -> Vec<&'a str> {
    [&["--endpoint", &server.url, "--model", "m", "--yes", "--workers=1", "--json"], more].concat()
}

fn last_json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", words(output));
    let stdout = String::from_utf8(output.stdout.clone()).unwrap();
    serde_json::from_str(stdout.lines().last().expect("a line on stdout")).unwrap()
}

fn conversations(path: &Path) -> Vec<Conversation> {
    nc_core::data::read_conversations(path).unwrap()
}

/// Names in the folder that conversations go to.
fn listing(home: &Path) -> Vec<String> {
    nc_tests::workshop::Workshop::names(&home.join("data/conversations"))
}

fn assert_no_key(output: &Output) {
    let all = [&output.stdout[..], &output.stderr[..]].concat();
    // Dumps come in short rows: the whole key would not be found in one.
    for piece in KEY.as_bytes()[3..].windows(5) {
        let found = all.windows(piece.len()).any(|window| window == piece);
        assert!(!found, "{} of the key is in: {}", String::from_utf8_lossy(piece), String::from_utf8_lossy(&all));
    }
}

fn assets() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("assets")
}

#[test]
fn the_shipped_conversations_are_those_of_the_shipped_recipe() {
    let home = tempfile::tempdir().unwrap();
    let (facts, made) = (assets().join("synth/demo.toml"), home.path().join("demo.jsonl"));
    let shipped = std::fs::read(assets().join("conversations/demo.jsonl")).unwrap();
    let count = shipped.iter().filter(|&&byte| byte == b'\n').count().to_string();
    let arguments = ["--facts", facts.to_str().unwrap(), "--seed", "1", "-n", &count, "--out", made.to_str().unwrap()];
    let output = run(home.path(), &arguments);
    assert!(output.status.success(), "{}", words(&output));
    assert!(std::fs::read(&made).unwrap() == shipped, "make assets/conversations/demo.jsonl again: its README says how");
    let conversations = conversations(&made);
    assert!(shipped.len() < 1_500_000 && conversations.len() == 5000);
    let openings: std::collections::HashSet<String> =
        conversations.iter().map(|conversation| json!(&conversation.messages[..2]).to_string()).collect();
    assert_eq!(openings.len(), conversations.len(), "no two conversations begin alike");
}

#[test]
fn the_default_recipe_goes_to_the_home_and_takes_a_name() {
    let home = tempfile::tempdir().unwrap();
    let value = last_json(&run(home.path(), &["-n", "300", "--seed", "3", "--name", "Robin Hood", "--json"]));
    let path = home.path().join("data/conversations/identity.jsonl");
    assert_eq!((&value["conversations"], &value["path"]), (&300.into(), &json!(path)));
    assert_eq!(listing(home.path()), ["identity.jsonl"]);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("I am Robin Hood") && !text.contains("I am nc,"));
    assert_eq!(conversations(&path).len(), 300);

    let same = last_json(&run(home.path(), &["-n", "300", "--seed", "3", "--set", "name=Robin Hood", "--json"]));
    assert_eq!((same, std::fs::read_to_string(&path).unwrap()), (value, text));
}

#[test]
fn a_recipe_with_fewer_conversations_says_so() {
    let home = tempfile::tempdir().unwrap();
    let facts = home.path().join("few.toml");
    std::fs::write(&facts, "[[topic]]\nname = \"one\"\nask = [\"a\", \"b\"]\nanswer = \"c\"\n").unwrap();
    let output = run(home.path(), &["--facts", facts.to_str().unwrap(), "-n", "10"]);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("wrote 2 distinct") && told.contains("10 were asked for"), "{}", words(&output));
    assert_eq!(conversations(&home.path().join("data/conversations/few.jsonl")).len(), 2);
}

#[test]
fn bad_input_gets_a_sentence_and_leaves_the_file_as_it_was() {
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &[u8]| {
        std::fs::write(home.path().join(name), text).unwrap();
        home.path().join(name).to_str().unwrap().to_owned()
    };
    let kept = file("kept.jsonl", b"kept");
    let unknown = file("unknown.toml", b"[[topic]]\nname = \"x\"\nask = \"{who}\"\nanswer = \"y\"\n");
    let binary = file("binary.toml", b"a = 1\nb = \"\xff\"\n");
    let folder = home.path().to_str().unwrap().to_owned();
    for (arguments, says) in [
        (&["--facts", &unknown][..], "unknown.toml, line 3: nothing is called \"who\""),
        (&["--facts", &binary], "binary.toml, line 2: this is not UTF-8"),
        (&["--facts", "/no/such.toml"], "cannot read /no/such.toml"),
        (&["--set", "nme=x"], "did you mean \"name\"?"),
        (&["--set", "name"], "FACT=TEXT"),
        (&["--name", " "], "set to nothing"),
        (&["-n", "0"], "0 is not in"),
        (&["-n", "-3"], "invalid"),
        (&["--out", &folder], "is a folder"),
        (&["--model", "m"], "--endpoint"),
    ] {
        let arguments = if arguments[0] == "--out" { arguments.to_vec() } else { [arguments, &["--out", &kept]].concat() };
        let output = run(home.path(), &arguments);
        refusal(&format!("{arguments:?}"), &output);
        assert!(String::from_utf8_lossy(&output.stderr).contains(says), "{says}: {}", words(&output));
        assert_eq!(std::fs::read(&kept).unwrap(), b"kept");
    }
}

// ---- with a server ----

#[test]
fn good_answers_become_the_file_and_the_key_goes_nowhere_else() {
    let (home, server) = (tempfile::tempdir().unwrap(), honest());
    // At the most talkative level, even when the crate that dumps what is sent is named.
    for log in ["trace", "ureq_proto=trace,ureq_proto::util=trace,ureq=trace"] {
        let out = home.path().join(format!("{}.jsonl", log.len()));
        let arguments = asking(&server, &["-n", "5", "--out", out.to_str().unwrap()]);
        let output = command(home.path(), &arguments).env("NC_API_KEY", format!(" {KEY}\n")).env("NC_LOG", log).output().unwrap();
        assert_no_key(&output);
        let value = last_json(&output);
        assert_eq!((&value["conversations"], &value["bad_answers"]), (&5.into(), &0.into()));
        let told = String::from_utf8_lossy(&output.stderr);
        let host = server.url.trim_start_matches("http://").trim_end_matches("/v1");
        assert!(told.contains(host) && told.contains("with your key, which is not shown"), "{told}");
        // What is shown is what is sent, and what comes back is shown nowhere.
        let start = told.find("{\n").unwrap();
        let shown = serde_json::Deserializer::from_str(&told[start..]).into_iter::<Value>().next().unwrap().unwrap();
        assert!(server.requests().iter().any(|request| request.body == shown), "{shown}");
        assert!(!told.contains("Question "), "{told}");
        assert_eq!(conversations(&out).len(), 5);
    }
    for request in server.requests() {
        assert_eq!((request.path.as_str(), request.authorization), ("/v1/chat/completions", Some(format!("Bearer {KEY}"))));
        assert_eq!((&request.body["model"], request.body["messages"].as_array().unwrap().len()), (&json!("m"), 2));
        assert!(request.body["messages"][0]["content"].as_str().unwrap().contains("\n- name: "));
    }
}

#[test]
fn several_at_a_time_get_as_many() {
    let (home, server) = (tempfile::tempdir().unwrap(), honest());
    let arguments = ["--endpoint", &server.url, "--model", "m", "--yes", "-n", "40", "--workers", "8", "--json"];
    let value = last_json(&run(home.path(), &arguments));
    assert_eq!(value["conversations"], 40);
}

#[test]
fn personas_stand_before_what_the_server_wrote() {
    let (home, server) = (tempfile::tempdir().unwrap(), honest());
    let facts = home.path().join("p.toml");
    let recipe = "conversation.personas = 1.0\n[facts]\nname = \"nc\"\n[[topic]]\nname = \"one\"\nask = \"a\"\nanswer = \"b\"\n[[persona]]\nsystem = \"Be {name}.\"\n";
    std::fs::write(&facts, recipe).unwrap();
    last_json(&run(home.path(), &asking(&server, &["-n", "2", "--facts", facts.to_str().unwrap()])));
    for conversation in conversations(&home.path().join("data/conversations/p.jsonl")) {
        let roles: Vec<Role> = conversation.messages.iter().map(|message| message.role).collect();
        assert_eq!(roles, [Role::System, Role::User, Role::Assistant]);
        assert_eq!(conversation.messages[0].content, Content::Text("Be nc.".into()));
    }
    let asked = server.requests()[0].body["messages"][1]["content"].as_str().unwrap().to_owned();
    assert!(asked.contains("\"one\"") && asked.contains("Be nc."), "{asked}");
}

#[test]
fn nonsense_is_asked_for_again_left_out_and_counted() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|nth, _, stream| match nth {
        0 => says(stream, "I would rather not."),
        1 => send(stream, "200 OK", "", "<html>"),
        2 => says(stream, "{\"messages\": [{\"role\": \"assistant\", \"content\": \"x\"}]}"),
        3 => says(stream, &talk(1)),
        4 => says(stream, &talk(1)),
        5 => says(stream, &"x".repeat(2 << 20)),
        _ => says(stream, &talk(2)),
    });
    // Without personas: a system message would make another conversation of what is said twice.
    let facts = home.path().join("plain.toml");
    std::fs::write(&facts, "[[topic]]\nname = \"one\"\nask = \"a\"\nanswer = \"b\"\n").unwrap();
    let output = run(home.path(), &asking(&server, &["-n", "3", "--facts", facts.to_str().unwrap()]));
    let value = last_json(&output);
    let counted = ["conversations", "bad_answers", "left_out", "asked"].map(|name| value[name].as_u64().unwrap());
    assert_eq!(counted, [2, 5, 1, 3], "{}", words(&output));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("rather not"), "{}", words(&output));
    assert_eq!(listing(home.path()), ["plain.jsonl"]);
}

#[test]
fn a_server_of_nothing_but_nonsense_is_given_up() {
    let (home, server) = (tempfile::tempdir().unwrap(), Server::start(|_, _, stream| says(stream, "no")));
    let sentence = refusal("nonsense", &run(home.path(), &asking(&server, &["-n", "100"])));
    assert!(sentence.contains("30 answers") && sentence.contains("no JSON object"), "{sentence}");
    assert_eq!((server.requests().len(), listing(home.path())), (30, vec![]));
    // Fewer than that are not enough to give up, but bring no file either.
    let sentence = refusal("nonsense", &run(home.path(), &asking(&server, &["-n", "2"])));
    assert!(sentence.contains("no usable conversation"), "{sentence}");
    assert_eq!((server.requests().len(), listing(home.path())), (36, vec![]));
}

#[test]
fn passing_failures_are_waited_out() {
    for status in ["429 Too Many Requests", "500 Oops", "503 Busy"] {
        let (home, server) = (tempfile::tempdir().unwrap(), failing(status, 3));
        let output = command(home.path(), &asking(&server, &["-n", "2"])).env("NC_API_KEY", KEY).output().unwrap();
        assert_eq!(last_json(&output)["conversations"], 2);
        assert_eq!(server.requests().len(), 5);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains(&format!("answered {}; trying again in 0.0 s", &status[..3])), "{told}");
        assert_no_key(&output);
    }
}

#[test]
fn what_was_got_before_a_failure_is_kept_and_gone_on_with() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|nth, _, stream| match nth {
        0..3 => says(stream, &talk(nth)),
        3..5 => send(stream, "500 Oops", "Retry-After: 0\r\n", KEY),
        _ => says(stream, &talk(nth)),
    });
    let arguments = asking(&server, &["-n", "6", "--tries", "2"]);
    let failed = command(home.path(), &arguments).env("NC_API_KEY", KEY).output().unwrap();
    let sentence = refusal("500s", &failed);
    assert!(sentence.contains("after 2 tries") && sentence.contains("answered 500"), "{sentence}");
    assert_no_key(&failed);
    assert_eq!(listing(home.path()), ["identity.jsonl.part"]);
    assert!(String::from_utf8_lossy(&failed.stderr).contains("3 conversations are kept in "), "{}", words(&failed));

    let value = last_json(&run(home.path(), &arguments));
    assert_eq!((&value["conversations"], &value["earlier"]), (&6.into(), &3.into()));
    assert_eq!(listing(home.path()), ["identity.jsonl"]);
    let bodies: Vec<Value> = server.requests().into_iter().map(|request| request.body).collect();
    assert_eq!(bodies[3], bodies[5], "the one that failed is asked again");
    assert!(bodies[..3].iter().all(|earlier| !bodies[5..].contains(earlier)), "those that were answered are not");

    // A file that may have cost something is not written over, and the server is not asked.
    let sentence = refusal("again", &run(home.path(), &arguments));
    assert!(sentence.contains("already exists"), "{sentence}");
    assert_eq!(server.requests().len(), 8);
}

#[test]
fn a_server_that_hangs_is_given_up_in_time() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|_, _, stream| {
        std::thread::sleep(Duration::from_secs(60));
        drop(stream);
    });
    let start = std::time::Instant::now();
    let sentence = refusal("a hang", &run(home.path(), &asking(&server, &["-n", "1", "--timeout", "1", "--tries", "2"])));
    assert!(sentence.contains("no answer in time") && start.elapsed() < Duration::from_secs(30), "{sentence}");
    assert_eq!((server.requests().len(), listing(home.path())), (2, vec![]));
}

#[test]
fn refusals_are_final_and_repeat_nothing_that_the_server_said() {
    for (status, hint) in [("401 No", "does not take the key"), ("404 None", "--model"), ("400 Bad", "--model"), ("402 Pay", "paid")] {
        let (home, server) = (tempfile::tempdir().unwrap(), failing(status, usize::MAX));
        let output = command(home.path(), &asking(&server, &["-n", "5"])).env("NC_API_KEY", KEY).env("NC_LOG", "trace").output().unwrap();
        let sentence = refusal(status, &output);
        assert!(sentence.contains(&status[..3]) && sentence.contains(hint), "{sentence}");
        assert_no_key(&output);
        assert_eq!((server.requests().len(), listing(home.path())), (1, vec![]));
    }
}

#[test]
fn a_redirect_does_not_get_the_key() {
    let home = tempfile::tempdir().unwrap();
    let other = honest();
    let place = format!("Location: {}/chat/completions\r\n", other.url);
    let server = Server::start(move |_, _, stream| send(stream, "307 Temporary Redirect", &place, ""));
    let output = command(home.path(), &asking(&server, &["-n", "1"])).env("NC_API_KEY", KEY).output().unwrap();
    assert!(refusal("a redirect", &output).contains("another address"));
    assert_eq!((server.requests().len(), other.requests().len()), (1, 0));
}

#[test]
fn an_empty_key_is_refused_before_anything_is_sent() {
    let (home, server) = (tempfile::tempdir().unwrap(), honest());
    let file = home.path().join("key");
    let file_name = file.to_str().unwrap();
    for empty in ["", " ", "\n", "\t \r\n"] {
        std::fs::write(&file, empty).unwrap();
        for (more, variable) in [(vec![], "NC_API_KEY"), (vec!["--key-env", "MY_KEY"], "MY_KEY"), (vec!["--key-file", file_name], "UNUSED")]
        {
            let arguments = asking(&server, &[&["-n", "1"], &more[..]].concat());
            let sentence = refusal(variable, &command(home.path(), &arguments).env(variable, empty).output().unwrap());
            assert!(sentence.contains("is empty"), "{sentence}");
        }
    }
    // Nor is one that was said to be there and is not; a key typed in the place of a name is not repeated.
    for more in [["--key-env", KEY], ["--key-file", KEY]] {
        let output = run(home.path(), &asking(&server, &[&["-n", "1"], &more[..]].concat()));
        refusal("no key", &output);
        assert_no_key(&output);
    }
    assert_eq!((server.requests().len(), listing(home.path())), (0, vec![]));
    // None at all is fine for a server on this machine.
    let value = last_json(&run(home.path(), &asking(&server, &["-n", "1"])));
    assert_eq!((&value["conversations"], server.requests()[0].authorization.as_ref()), (&1.into(), None));
}

#[test]
fn a_key_comes_from_where_it_was_said() {
    let (home, server) = (tempfile::tempdir().unwrap(), honest());
    let (file, out) = (home.path().join("key"), home.path().join("out.jsonl"));
    std::fs::write(&file, "sk-of-the-file\n").unwrap();
    for (more, key) in [(["--key-env", "MY_KEY"], "sk-of-mine"), (["--key-file", file.to_str().unwrap()], "sk-of-the-file")] {
        let arguments = asking(&server, &[&["-n", "1", "--out", out.to_str().unwrap()], &more[..]].concat());
        let output = command(home.path(), &arguments).env("NC_API_KEY", "sk-other").env("MY_KEY", "sk-of-mine").output().unwrap();
        last_json(&output);
        assert_eq!(server.requests().last().unwrap().authorization, Some(format!("Bearer {key}")));
        assert!(!String::from_utf8_lossy(&output.stderr).contains("sk-of"));
        std::fs::remove_file(&out).unwrap();
    }
}

#[test]
fn nothing_is_sent_elsewhere_without_a_key_or_in_the_open_or_unasked() {
    let (home, server) = (tempfile::tempdir().unwrap(), honest());
    // A name that never resolves (RFC 6761): were anything sent, another sentence would come.
    let elsewhere = |url: &'static str| vec!["--endpoint", url, "--model", "m", "--yes", "-n", "1"];
    let sentence = refusal("no key", &run(home.path(), &elsewhere("https://api.invalid/v1")));
    assert!(sentence.contains("api.invalid is not this machine"), "{sentence}");
    let output = command(home.path(), &elsewhere("http://api.invalid/v1")).env("NC_API_KEY", KEY).output().unwrap();
    assert!(refusal("in the open", &output).contains("for all to read"), "{}", words(&output));
    assert_no_key(&output);
    let with_key = format!("http://user:{KEY}@127.0.0.1/v1");
    let output = run(home.path(), &["--endpoint", &with_key, "--model", "m", "--yes"]);
    assert!(refusal("a password", &output).contains("name or password"));
    assert_no_key(&output);

    let unasked = ["--endpoint", &server.url, "--model", "m", "-n", "1"];
    let sentence = refusal("unasked", &run(home.path(), &unasked));
    assert!(sentence.contains("--yes") && sentence.contains("127.0.0.1"), "{sentence}");
    assert_eq!((server.requests().len(), listing(home.path())), (0, vec![]));
}

#[cfg(unix)]
#[test]
fn on_a_terminal_it_asks_first() {
    use std::fs::File;
    use std::os::fd::{FromRawFd, OwnedFd};
    for (answer, sent) in [("n\n", 0), ("\n", 0), ("y\n", 1)] {
        let (home, server) = (tempfile::tempdir().unwrap(), honest());
        let (mut ours, mut theirs) = (0, 0);
        // SAFETY: the two numbers are written, and nothing else is wanted.
        let opened = unsafe { libc::openpty(&mut ours, &mut theirs, std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut()) };
        assert_eq!(opened, 0);
        // SAFETY: both were opened just now and belong to nobody else.
        let (mut ours, theirs) = unsafe { (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) };
        let mut asked = command(home.path(), &["--endpoint", &server.url, "--model", "m", "-n", "1", "--out"]);
        asked.arg(home.path().join("out.jsonl")).stdin(theirs.try_clone().unwrap()).stderr(theirs).stdout(Stdio::null());
        let mut child = asked.spawn().unwrap();
        // The command holds the terminal's ends; ours must go for its end to be seen.
        drop(asked);
        let mut told = Vec::new();
        let mut block = [0; 4096];
        while !String::from_utf8_lossy(&told).contains("[y/N] ") {
            let read = ours.read(&mut block).unwrap();
            told.extend(&block[..read]);
        }
        assert_eq!(server.requests().len(), 0, "nothing is sent before the answer");
        assert!(String::from_utf8_lossy(&told).contains("\"model\": \"m\""), "it shows the request");
        ours.write_all(answer.as_bytes()).unwrap();
        // A terminal that nobody reads would fill up.
        while ours.read(&mut block).is_ok_and(|read| read > 0) {}
        let status = child.wait().unwrap();
        assert_eq!((status.code(), server.requests().len()), (Some(if sent == 1 { 0 } else { 2 }), sent), "{answer:?}");
        assert_eq!(home.path().join("out.jsonl").exists(), sent == 1);
        assert!(!home.path().join("out.jsonl.part").exists());
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_keeps_what_was_got() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|nth, _, stream| {
        if nth >= 2 {
            std::thread::sleep(Duration::from_secs(60));
        }
        says(stream, &talk(nth));
    });
    let arguments = asking(&server, &["-n", "5"]);
    let child = command(home.path(), &arguments).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let start = std::time::Instant::now();
    while server.requests().len() < 3 {
        assert!(start.elapsed() < Duration::from_secs(60), "no third request comes");
        std::thread::sleep(Duration::from_millis(10));
    }
    // SAFETY: a signal to a child that has not been waited for.
    unsafe { libc::kill(i32::try_from(child.id()).unwrap(), libc::SIGINT) };
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", words(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("identity.jsonl.part"), "{}", words(&output));
    let part = std::fs::read_to_string(home.path().join("data/conversations/identity.jsonl.part")).unwrap();
    let kept: Vec<Conversation> = part.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(kept.len(), 2);
}
