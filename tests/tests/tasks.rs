//! Tasks give the conversations that their files hold, whatever the files' format and layout, or say which file and row
//! is wrong without quoting it; and data sets of the hub end up whole in the cache or not at all.

use std::collections::{HashMap, HashSet};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nc_core::data::download::Patience;
use nc_core::data::download::hub::Hub;
use nc_core::tasks::hub;
use nc_core::tasks::{Mixture, Sources, Split, Task, TaskError, TaskSpec, open, open_mixture};
use nc_core::tokenizer::{Content, Conversation, PartKind, Role, Tokenizer, TrainOptions, Trained};
use nc_tests::server::{Answer, Request, Server, honest, refusal};
use nc_tests::table::{self, Column};
use serde_json::{Value, json};

const GSM8K: &str = "message m { optional binary question (STRING); optional binary answer (STRING); }";
const SMOLTALK: &str = "message m {
    optional group messages (LIST) { repeated group list { optional group element {
        optional binary content (STRING); optional binary role (STRING); } } }
    optional binary source (STRING); }";
const MMLU: &str = "message m { optional binary question (STRING); optional binary subject (STRING);
    optional group choices (LIST) { repeated group list { optional binary element (STRING); } } optional int64 answer; }";
const MMLU_NESTED: &str = "message m { optional group train {
    optional int64 answer; optional group choices (LIST) { repeated group list { optional binary element (STRING); } }
    optional binary question (STRING); optional binary subject (STRING); } }";

/// A folder for `--data`, and one for the cache.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn sources(&self) -> Sources {
        Sources { data: Some(self.path("data")), offline: true, cache: self.path("cache"), files: Default::default() }
    }

    /// Writes `rows` as lines.
    fn jsonl(&self, name: &str, rows: &[Value]) {
        let path = self.path("data").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
    }

    fn parquet(&self, name: &str, schema: &str, groups: &[Vec<Column>]) {
        table::write(&self.path("data").join(name), schema, groups);
    }

    fn open(&self, spec: &str, split: Split) -> Result<Box<dyn Task>, TaskError> {
        open(&spec.parse()?, split, &self.sources())
    }

    fn train(&self, spec: &str) -> Box<dyn Task> {
        self.open(spec, Split::Train).unwrap()
    }

    /// The sentence with which a task is refused.
    fn refused(&self, spec: &str) -> String {
        match self.open(spec, Split::Train) {
            Ok(_) => panic!("{spec} was opened"),
            Err(error) => {
                // As the command line shows it.
                let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
                format!("{error}{source}")
            }
        }
    }
}

fn all(task: &dyn Task) -> Vec<Conversation> {
    (0..task.len()).map(|index| task.example(index).unwrap()).collect()
}

/// What the user asks first in each conversation, sorted.
fn questions(task: &dyn Task) -> Vec<String> {
    let asked = |conversation: Conversation| match &conversation.messages.iter().find(|message| message.role == Role::User).unwrap().content
    {
        Content::Text(text) => text.clone(),
        Content::Parts(_) => panic!("a user speaks in parts"),
    };
    let mut questions: Vec<String> = all(task).into_iter().map(asked).collect();
    questions.sort();
    questions
}

fn problem(number: usize) -> (String, String) {
    (format!("What is {number}+1?"), format!("It is <<{number}+1={0}>>{0}.\n#### {0}", number + 1))
}

fn problems(numbers: std::ops::Range<usize>) -> Vec<Value> {
    let row = |(question, answer)| json!({ "question": question, "answer": answer });
    numbers.map(|number| row(problem(number))).collect()
}

fn problem_columns(numbers: std::ops::Range<usize>) -> Vec<Column> {
    let rows: Vec<_> = numbers.map(problem).collect();
    vec![
        Column::texts(1, &rows.iter().map(|(question, _)| Some(question.as_str())).collect::<Vec<_>>()),
        Column::texts(1, &rows.iter().map(|(_, answer)| Some(answer.as_str())).collect::<Vec<_>>()),
    ]
}

#[test]
fn parquet_shards_and_lines_of_the_same_rows_give_the_same_task() {
    let (shards, lines) = (Place::new(), Place::new());
    shards.parquet("gsm8k/train-00000-of-00002.parquet", GSM8K, &[problem_columns(0..7), problem_columns(7..10)]);
    shards.parquet("gsm8k/train-00001-of-00002.parquet", GSM8K, &[problem_columns(10..15)]);
    lines.jsonl("openai/gsm8k/main/train.jsonl", &problems(0..15));
    let (shards, lines) = (shards.train("gsm8k"), lines.train("gsm8k"));
    assert_eq!(all(shards.as_ref()), all(lines.as_ref()));
    assert_eq!(shards.fingerprint(), lines.fingerprint());
    assert_eq!(shards.name(), "gsm8k");

    let mut expected: Vec<String> = (0..15).map(|number| problem(number).0).collect();
    assert_ne!(all(shards.as_ref()).iter().map(|made| json!(made)["messages"][0]["content"].clone()).collect::<Vec<_>>(), expected);
    expected.sort();
    assert_eq!(questions(shards.as_ref()), expected);
    for conversation in all(shards.as_ref()) {
        let Content::Parts(parts) = &conversation.messages[1].content else { panic!("no parts") };
        let kinds: Vec<PartKind> = parts.iter().map(|part| part.kind).collect();
        assert_eq!(kinds, [PartKind::Text, PartKind::Python, PartKind::PythonOutput, PartKind::Text]);
        assert_eq!(parts[3].text, format!("{0}.\n#### {0}", parts[2].text));
    }
}

#[test]
fn nested_messages_are_read() {
    let talks = [
        vec![("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello!")],
        vec![("user", "Ünïcode 🦀?"), ("assistant", ""), ("user", "More"), ("assistant", "No.")],
        vec![("user", ""), ("assistant", "You said nothing, so this row is left out.")],
    ];
    let field = |of: fn(&(&'static str, &'static str)) -> &'static str| -> Vec<Vec<&'static str>> {
        talks.iter().map(|talk| talk.iter().map(of).collect()).collect()
    };
    let columns = || {
        vec![
            Column::lists(4, 1, &field(|(_, content)| content)),
            Column::lists(4, 1, &field(|(role, _)| role)),
            Column::texts(1, &[Some("a"), None, Some("c")]),
        ]
    };
    let place = Place::new();
    place.parquet("smoltalk/train.parquet", SMOLTALK, &[columns(), columns()]);
    let task = place.train("smoltalk");
    assert_eq!(task.len(), 4);
    let said = |talk: &[(&str, &str)]| -> Value {
        json!({ "messages": talk.iter().map(|(role, content)| json!({ "role": role, "content": content })).collect::<Vec<_>>() })
    };
    let mut found: HashMap<String, usize> = HashMap::new();
    all(task.as_ref()).iter().for_each(|made| *found.entry(json!(made).to_string()).or_default() += 1);
    assert_eq!(found, HashMap::from([(said(&talks[0]).to_string(), 2), (said(&talks[1]).to_string(), 2)]));
}

#[test]
fn both_layouts_of_mmlu_are_read() {
    let rows = [("2+2?", vec!["1", "2", "3", "4"], 3), ("Red?", vec!["a colour", "b", "c", ""], 0)];
    let texts = |level| Column::texts(level, &rows.iter().map(|(question, ..)| Some(*question)).collect::<Vec<_>>());
    let choices = |level| Column::lists(level, level - 2, &rows.iter().map(|(_, choices, _)| choices.clone()).collect::<Vec<_>>());
    let answers = |level| Column::numbers(level, &rows.iter().map(|(.., answer)| *answer).collect::<Vec<_>>());
    let (flat, nested) = (Place::new(), Place::new());
    flat.parquet("mmlu/auxiliary_train.parquet", MMLU, &[vec![texts(1), texts(1), choices(3), answers(1)]]);
    nested.parquet("mmlu/auxiliary_train/train-00000-of-00001.parquet", MMLU_NESTED, &[vec![answers(2), choices(4), texts(2), texts(2)]]);
    let (flat, nested) = (flat.train("mmlu"), nested.train("mmlu"));
    assert_eq!(flat.fingerprint(), nested.fingerprint());
    let made: HashSet<String> =
        all(nested.as_ref()).iter().map(|made| json!(made)["messages"][1]["content"].as_str().unwrap().into()).collect();
    assert_eq!(made, HashSet::from(["A".to_owned(), "D".to_owned()]));
    assert!(questions(nested.as_ref())[0].starts_with("Multiple Choice question: 2+2?\n- 1=A\n- 2=B\n"));
}

#[test]
fn validation_takes_the_first_of_the_shuffled_test_split() {
    let place = Place::new();
    place.jsonl("gsm8k/test.jsonl", &problems(0..500));
    place.jsonl("gsm8k/train.jsonl", &problems(1000..1003));
    let task = place.open("gsm8k:4", Split::Validation).unwrap();
    assert_eq!((task.len(), place.train("gsm8k:4").len()), (420, 12));
    let taken: HashSet<String> = questions(task.as_ref()).into_iter().collect();
    assert_eq!(taken.len(), 420);
    assert!((420..500).any(|number| taken.contains(&problem(number).0)), "the first 420 rows are no sample");
    assert!(questions(place.train("gsm8k").as_ref()).iter().all(|question| !taken.contains(question)));
}

#[test]
fn what_cannot_be_used_is_named_by_file_and_row_and_not_quoted() {
    let row = |question: Value, answer: &str| json!({ "question": question, "answer": answer });
    let good = row(json!("good"), "#### 1");
    for (bad, reason) in [
        (row(json!("secret"), "secret"), "line 2: its answer does not end"),
        (row(json!(["secret"]), "#### 1"), "line 2: it does not have strings `question` and `answer`"),
        (json!({ "question": "secret" }), "line 2: it does not have strings"),
        (json!(["secret"]), "line 2: it is no JSON object"),
    ] {
        let place = Place::new();
        place.jsonl("gsm8k/train.jsonl", &[good.clone(), bad]);
        let said = place.refused("gsm8k");
        assert!(said.contains("train.jsonl, ") && said.contains(reason) && !said.contains("secret"), "{said}");
    }

    let place = Place::new();
    place.jsonl("gsm8k/train.jsonl", &[good]);
    let path = place.path("data/gsm8k/train.jsonl");
    std::fs::write(&path, "\n{\"question\": \"secret\", ").unwrap();
    let said = place.refused("gsm8k");
    assert!(said.contains("line 2: the line ends too early") && !said.contains("secret") && !said.contains("column"), "{said}");
    std::fs::write(&path, "\n \n").unwrap();
    assert!(place.refused("gsm8k").contains("holds no conversation for gsm8k"));

    let columns = |answers: &[Option<&str>]| vec![Column::texts(1, &vec![Some("secret"); answers.len()]), Column::texts(1, answers)];
    let refused = |schema: &str, groups: &[Vec<Column>]| {
        let place = Place::new();
        place.parquet("gsm8k/train.parquet", schema, groups);
        let said = place.refused("gsm8k");
        assert!(said.contains("train.parquet") && !said.contains("secret") && !said.contains("115, 101, 99"), "{said}");
        said
    };
    let good = || columns(&[Some("#### 1"), Some("#### 2")]);
    assert!(refused(GSM8K, &[good(), columns(&[Some("#### 3"), None])]).contains("row 4: it does not have strings"));
    assert!(refused(GSM8K, &[]).contains("holds no conversation"));
    assert!(refused(&GSM8K.replace("answer", "reply"), &[good()]).contains("no column `answer` (its columns: question, reply)"));
    let not_utf8 = vec![Column::bytes(1, &[Some(b"secret\xff")]), Column::texts(1, &[Some("#### 1")])];
    assert!(refused(GSM8K, &[not_utf8]).contains("not a readable parquet file"));
    let numbers = vec![Column::numbers(1, &[1]), Column::texts(1, &[Some("#### 1")])];
    assert!(refused(&GSM8K.replace("binary question (STRING)", "int64 question"), &[numbers]).contains("row 1: it does not have strings"));
    let dates = vec![Column::numbers(1, &[1]), Column::texts(1, &[Some("#### 1")])];
    let said = refused(&GSM8K.replace("binary question (STRING)", "int64 question (TIMESTAMP(NANOS,true))"), &[dates]);
    assert!(said.contains("row 1: it does not have strings"), "{said}");
}

#[test]
fn a_parquet_file_that_lost_bytes_is_refused() {
    let place = Place::new();
    place.parquet("gsm8k/train.parquet", GSM8K, &[problem_columns(0..50)]);
    let path = place.path("data/gsm8k/train.parquet");
    let whole = std::fs::read(&path).unwrap();
    for kept in [0, 3, 4, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..kept]).unwrap();
        let said = place.refused("gsm8k");
        assert!(said.contains("train.parquet is not a readable parquet file"), "{kept}: {said}");
    }
    // Bytes in the middle that are others: an error or other text, but never a panic.
    for at in (4..whole.len()).step_by(7) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        std::fs::write(&path, damaged).unwrap();
        let _ = place.open("gsm8k", Split::Train);
    }
}

#[test]
fn a_folder_without_the_data_is_named_with_what_it_lacks() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("data")).unwrap();
    let said = place.refused("mmlu");
    assert!(said.contains("holds no mmlu for training") && said.contains("auxiliary_train.parquet"), "{said}");
    let said = place.refused("nowhere/talks.jsonl");
    assert!(said.contains("talks.jsonl does not exist"), "{said}");
}

/// A mixture of local data, with a file of 40 conversations.
fn mixture(place: &Place, split: Split, seed: u64) -> Mixture {
    place.jsonl("gsm8k/train.jsonl", &problems(0..30));
    place.jsonl("gsm8k/test.jsonl", &problems(100..110));
    let talk = |number| json!({ "messages": [{ "role": "user", "content": format!("Talk {number}") }, { "role": "assistant", "content": "Yes." }] });
    place.jsonl("talks.jsonl", &(0..40).map(talk).collect::<Vec<_>>());
    let talks = place.path("data/talks.jsonl").display().to_string();
    let specs: Vec<TaskSpec> =
        ["gsm8k:4", "spelling:50", "spellingbee:60", &format!("{talks}:2")].iter().map(|spec| spec.parse().unwrap()).collect();
    open_mixture(&specs, split, &place.sources(), seed).unwrap()
}

#[test]
fn a_mixture_holds_every_conversation_as_often_as_asked_in_an_order_of_the_seed() {
    let place = Place::new();
    let train = mixture(&place, Split::Train, 1);
    let held_out = train.files()[0].held_out;
    assert!((1..10).contains(&held_out), "{held_out}");
    assert_eq!(train.len(), 4 * 30 + 50 + 60 + 2 * (40 - held_out));
    let mut times: HashMap<String, usize> = HashMap::new();
    questions(&train).into_iter().for_each(|question| *times.entry(question).or_default() += 1);
    assert!((0..30).all(|number| times[&problem(number).0] == 4));

    let validation = mixture(&place, Split::Validation, 1);
    assert_eq!(validation.len(), 10 + 50 + 60 + held_out);
    let measured: HashSet<String> = questions(&validation).into_iter().collect();
    let talk = |number| format!("Talk {number}");
    assert!((0..40).all(|number| times.get(&talk(number)).copied() == if measured.contains(&talk(number)) { None } else { Some(2) }));
    assert!(questions(&train).iter().all(|question| !measured.contains(question)), "something is in both splits");

    assert_eq!(all(&train), all(&mixture(&place, Split::Train, 1)));
    assert_eq!(train.fingerprint(), mixture(&place, Split::Train, 1).fingerprint());
    assert_ne!(all(&train), all(&mixture(&place, Split::Train, 2)));
    assert_ne!(train.fingerprint(), mixture(&place, Split::Train, 2).fingerprint());
}

#[test]
fn every_conversation_renders_and_has_something_to_learn() {
    let place = Place::new();
    let options = TrainOptions { vocab_size: 300, max_chars: 1 << 20, doc_cap: 10_000 };
    let text = nc_tests::workshop::text(50);
    let Trained { tokenizer, .. } = Tokenizer::train([Ok::<_, std::io::Error>(text)], &options).unwrap();
    for split in [Split::Train, Split::Validation] {
        for conversation in all(&mixture(&place, split, 3)) {
            let rendered = tokenizer.render(&conversation).unwrap();
            assert!(rendered.mask.iter().any(|learnt| *learnt));
            let text = tokenizer.decode(&rendered.ids);
            let calls = json!(conversation).to_string().contains("\"python\"");
            assert_eq!(text.contains("<|python_start|>"), calls, "{text}");
        }
    }
}

const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";

/// What a hub has: paths and bytes, of `openai/gsm8k`.
#[derive(Clone)]
struct Files(Vec<(&'static str, Vec<u8>)>);

impl Files {
    fn new() -> Self {
        let bytes = |numbers| {
            let dir = tempfile::tempdir().unwrap();
            table::write(&dir.path().join("x.parquet"), GSM8K, &[problem_columns(numbers)]);
            std::fs::read(dir.path().join("x.parquet")).unwrap()
        };
        Self(vec![
            ("main/train-00001-of-00002.parquet", bytes(2000..4000)),
            ("README.md", b"hello".to_vec()),
            ("main/train-00000-of-00002.parquet", bytes(0..2000)),
            ("main/test-00000-of-00001.parquet", bytes(5000..5010)),
            ("socratic/train-00000-of-00001.parquet", bytes(6000..6001)),
        ])
    }

    /// What an honest hub answers.
    fn answer(&self, request: &Request) -> Answer {
        if request.path == "/data/api/datasets/openai/gsm8k/revision/main" {
            return listing(&self.0.iter().map(|(path, _)| *path).collect::<Vec<_>>());
        }
        let prefix = format!("/data/datasets/openai/gsm8k/resolve/{REVISION}/");
        let file = request.path.strip_prefix(&prefix).and_then(|path| self.0.iter().find(|(known, _)| *known == path));
        file.map_or_else(|| refusal("404 Not Found", vec![]), |(_, bytes)| honest(request, bytes, "v"))
    }
}

fn listing(paths: &[&str]) -> Answer {
    let siblings: Vec<Value> = paths.iter().map(|path| json!({ "rfilename": path })).collect();
    let body = json!({ "id": "openai/gsm8k", "sha": REVISION, "siblings": siblings }).to_string().into_bytes();
    Answer {
        status: "200 OK",
        headers: vec![("Content-Type", "application/json".into()), ("Content-Length", body.len().to_string())],
        body,
    }
}

fn is_listing(request: &Request) -> bool {
    request.path.contains("/api/")
}

/// Asks a hub at `url` for the training files of gsm8k.
fn fetch(url: &str, cache: &Path, offline: bool) -> Result<Vec<PathBuf>, TaskError> {
    let (first_wait, longest_wait) = (Duration::from_millis(5), Duration::from_millis(50));
    let patience = Patience { tries: 4, first_wait, longest_wait, stall: Duration::from_secs(1) };
    let hub = Hub { endpoint: url.into(), folder: cache.into(), offline, patience };
    hub::files(&hub, "gsm8k", "openai/gsm8k", &["main/train-"])
}

fn sentence(error: TaskError) -> String {
    let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
    format!("{error}{source}")
}

/// Fetches from a hub that `script` bends, and asserts that all came, whole, and nothing else.
fn must_fetch(script: impl Fn(&Files, &Request, TcpStream) + Send + Sync + 'static) -> Vec<Request> {
    let (files, cache) = (Files::new(), tempfile::tempdir().unwrap());
    let served = files.clone();
    let server = Server::start(move |request, stream| script(&served, request, stream));
    let paths = fetch(&server.url, cache.path(), false).unwrap();
    assert_cached(&files, cache.path(), &paths);
    server.requests()
}

fn assert_cached(files: &Files, cache: &Path, paths: &[PathBuf]) {
    let home = cache.join("openai--gsm8k").join(REVISION);
    assert_eq!(paths, [home.join("main/train-00000-of-00002.parquet"), home.join("main/train-00001-of-00002.parquet")]);
    assert!(std::fs::read(&paths[0]).unwrap() == files.0[2].1 && std::fs::read(&paths[1]).unwrap() == files.0[0].1);
    assert_eq!(std::fs::read_dir(home.join("main")).unwrap().count(), 2, "something is left beside the files");
}

#[test]
fn only_the_files_of_the_split_are_fetched_and_never_again() {
    let (files, cache) = (Files::new(), tempfile::tempdir().unwrap());
    let served = files.clone();
    let server = Server::start(move |request, stream| served.answer(request).send(stream));
    let paths = fetch(&server.url, cache.path(), false).unwrap();
    assert_cached(&files, cache.path(), &paths);
    assert_eq!(server.requests().len(), 3, "{:?}", server.requests());
    for offline in [false, true] {
        assert_eq!(fetch(&server.url, cache.path(), offline).unwrap(), paths);
    }
    assert_eq!(server.requests().len(), 3, "what is in the cache was asked for again");
}

#[test]
fn offline_nothing_is_asked_and_what_is_missing_is_named() {
    let (files, cache) = (Files::new(), tempfile::tempdir().unwrap());
    let served = files.clone();
    let server = Server::start(move |request, stream| served.answer(request).send(stream));
    let said = sentence(fetch(&server.url, cache.path(), true).unwrap_err());
    assert!(said.contains("gsm8k is not in the cache") && said.contains("may not be fetched"), "{said}");
    assert!(server.requests().is_empty());

    let paths = fetch(&server.url, cache.path(), false).unwrap();
    let fetched = server.requests().len();
    std::fs::remove_file(&paths[1]).unwrap();
    let said = sentence(fetch(&server.url, cache.path(), true).unwrap_err());
    assert!(said.contains("gsm8k is not in the cache"), "{said}");
    std::fs::write(&paths[1], &files.0[0].1[..1000]).unwrap();
    let said = sentence(fetch(&server.url, cache.path(), true).unwrap_err());
    assert!(said.contains("train-00001-of-00002.parquet is damaged"), "{said}");
    assert_eq!(server.requests().len(), fetched);

    // With the network back, only the damaged file is fetched.
    assert_cached(&files, cache.path(), &fetch(&server.url, cache.path(), false).unwrap());
    assert_eq!(server.requests().len(), fetched + 1);
}

#[test]
fn connections_that_are_cut_are_gone_on_with() {
    let requests =
        must_fetch(|files, request, stream| drop(files.answer(request).send_part(stream, if is_listing(request) { 1000 } else { 10_000 })));
    assert!(requests.iter().filter(|request| request.range.is_some()).count() > 2, "{requests:?}");
    let requests = must_fetch(|files, request, stream| match request.nth {
        0 => drop(files.answer(request).send_part(stream, 20)),
        _ => files.answer(request).send(stream),
    });
    assert_eq!(requests.iter().filter(|request| is_listing(request)).count(), 2);
}

#[test]
fn a_hub_in_trouble_is_asked_again() {
    let requests = must_fetch(|files, request, stream| match request.nth {
        0 => refusal("503 Service Unavailable", vec![]).send(stream),
        1 => refusal("429 Too Many Requests", vec![]).send(stream),
        _ => files.answer(request).send(stream),
    });
    assert_eq!(requests.len(), 9);
    let requests = must_fetch(|files, request, stream| match request.nth {
        0 if is_listing(request) => Answer { body: b"<html>".repeat(9), ..listing(&[]) }.send(stream),
        _ => files.answer(request).send(stream),
    });
    assert_eq!(requests.len(), 4);
}

#[test]
fn a_hub_that_says_nothing_is_left() {
    let start = Instant::now();
    let requests = must_fetch(|files, request, stream| match request.nth {
        0 => std::thread::sleep(Duration::from_secs(60)),
        _ => files.answer(request).send(stream),
    });
    assert_eq!(requests.len(), 6);
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

/// What a hub says that is no use, in the sentence for it; nothing may be left that looks like data.
fn must_fail(script: impl Fn(&Files, &Request, TcpStream) + Send + Sync + 'static) -> (String, Vec<Request>) {
    let (files, cache) = (Files::new(), tempfile::tempdir().unwrap());
    let server = Server::start(move |request, stream| script(&files, request, stream));
    let said = sentence(fetch(&server.url, cache.path(), false).unwrap_err());
    let home = cache.path().join("openai--gsm8k").join(REVISION).join("main");
    let left = std::fs::read_dir(home).into_iter().flatten().map(|entry| entry.unwrap().path());
    let left: Vec<PathBuf> = left.filter(|path| path.extension().is_some_and(|extension| extension == "parquet")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(std::fs::read_dir(cache.path().parent().unwrap().join("etc")).into_iter().flatten().count(), 0);
    (said, server.requests())
}

#[test]
fn what_the_hub_does_not_have_is_said_at_once() {
    let (said, requests) = must_fail(|_, _, stream| refusal("404 Not Found", vec![]).send(stream));
    assert!(said.contains("it answered 404") && said.contains("HF_ENDPOINT"), "{said}");
    assert_eq!(requests.len(), 1);

    let (said, _) = must_fail(|files, request, stream| match is_listing(request) {
        true => files.answer(request).send(stream),
        false => refusal("404 Not Found", vec![]).send(stream),
    });
    assert!(said.contains("gsm8k could not be fetched") && said.contains("404"), "{said}");

    let (said, _) = must_fail(|_, _, stream| listing(&["main/test-0.parquet", "train.parquet"]).send(stream));
    assert!(said.contains("openai/gsm8k on the hub has no file main/train-*.parquet"), "{said}");

    let (said, _) = must_fail(|_, _, stream| listing(&["main/train-/../../../../etc/x.parquet"]).send(stream));
    assert!(said.contains("has no file main/train-*.parquet"), "{said}");
}

#[test]
fn a_hub_that_stays_in_trouble_is_given_up() {
    let (said, requests) = must_fail(|_, _, stream| refusal("502 Bad Gateway", vec![]).send(stream));
    assert!(said.contains("4 tries, the last: it answered 502") && said.contains("later"), "{said}");
    assert_eq!(requests.len(), 4);
    let (said, requests) = must_fail(|_, _, stream| drop(stream));
    assert!(said.contains("4 tries") && said.contains("later"), "{said}");
    assert_eq!(requests.len(), 4);
    let (said, _) = must_fail(|files, request, stream| match is_listing(request) {
        true => files.answer(request).send(stream),
        false => Answer { body: b"<html>".repeat(2000), ..honest(request, &[0; 12_000], "v") }.send(stream),
    });
    assert!(said.contains("gsm8k could not be fetched"), "{said}");
}

/// `HF_ENDPOINT` is read from the environment, so the test runs itself again with it set.
#[test]
fn the_environment_names_another_hub() {
    const NAME: &str = "the_environment_names_another_hub";
    if let Some(cache) = std::env::var_os("NC_TEST_CACHE") {
        let sources = Sources { data: None, offline: false, cache: cache.into(), files: Default::default() };
        let train = open(&"gsm8k".parse().unwrap(), Split::Train, &sources).unwrap();
        let validation = open(&"gsm8k".parse().unwrap(), Split::Validation, &sources).unwrap();
        assert_eq!((train.len(), validation.len()), (4000, 10));
        return;
    }
    let (files, cache) = (Files::new(), tempfile::tempdir().unwrap());
    let server = Server::start(move |request, stream| files.answer(request).send(stream));
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([NAME, "--exact", "--nocapture"])
        .env("HF_ENDPOINT", format!("{}/", server.url))
        .env("NC_TEST_CACHE", cache.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(server.requests().len(), 4, "{:?}", server.requests());
    assert!(cache.path().join("hub/openai--gsm8k/listing.json").is_file());
}
