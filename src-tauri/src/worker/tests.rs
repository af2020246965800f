//! The engine's thread with models that write what the test wants.

use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::*;
use crate::store::Asked;
use crate::types::{ChatSettings, Message, MessageState, PartKind, Reason, append};

use crate::tests::script::{Script, byte_token};

struct Stage {
    _folder: tempfile::TempDir,
    home: Home,
    store: Arc<Store>,
    worker: Worker,
    loads: Receiver<Loading>,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path());
        let store = Arc::new(Store::open(&folder.path().join("desktop")).unwrap().0);
        let (told, loads) = channel();
        let told = Mutex::new(told);
        let tell: Tell = Arc::new(move |event| {
            if let AppEvent::LoadState { state } = event {
                let _ = told.lock().unwrap().send(state.state);
            }
        });
        let worker = Worker::start(store.clone(), home.clone(), Arc::new(Gpus::new(None)), tell).unwrap();
        Self { _folder: folder, home, store, worker, loads }
    }

    fn conversation(&self) -> Id {
        let settings = ChatSettings { temperature: 0.0, seed: Some(1), max_tokens: 100_000, ..ChatSettings::default() };
        self.store.create(None, &settings).unwrap().summary.id
    }

    /// Asks, and gives the events as they come.
    fn ask(&self, asked: &Asked<'_>, model: &str) -> (Id, Receiver<AnswerEvent>) {
        let turn = self.worker.reserve().unwrap();
        let begun = self.store.begin(asked, model).unwrap();
        let id = begun.started.assistant.id;
        let (heard, events) = channel();
        turn.answer(begun, model, Box::new(move |event| drop(heard.send(event)))).unwrap();
        (id, events)
    }
}

/// Listens to the end; gives what was shown, and the message.
fn listen(events: &Receiver<AnswerEvent>) -> (Vec<AnswerEvent>, Message) {
    let mut all = Vec::new();
    loop {
        match events.recv_timeout(Duration::from_secs(60)).expect("an answer ends") {
            AnswerEvent::Done { message, .. } => return (all, message),
            event => all.push(event),
        }
    }
}

pub(super) fn text(message: &Message) -> String {
    message.parts.iter().map(|part| part.text.as_str()).collect()
}

/// A model that writes the alphabet without end.
pub(super) fn endless(context: usize) -> Script {
    Script::new(context, |tokens, from| {
        let next = |byte: u8| if byte == b'z' { b'a' } else { byte + 1 };
        let last = (b'a'..=b'z').find(|&byte| byte_token(byte) == from);
        let first = from == tokens.assistant_start;
        vec![last.map_or(if first { byte_token(b'a') } else { tokens.assistant_end }, |byte| byte_token(next(byte)))]
    })
}

#[test]
fn answers_are_shown_as_they_are_stored_and_models_change_on_demand() {
    let stage = Stage::new();
    Script::writing(256, "Hi, you.").install(stage.home.root(), "hi");
    Script::writing(256, "Sum: [4*2]").install(stage.home.root(), "sums");
    let id = stage.conversation();
    let (_, events) = stage.ask(&Asked::Send { conversation: id, parent: None, text: "Hello" }, "hi");
    let (seen, message) = listen(&events);
    assert_eq!(seen[0], AnswerEvent::Loading { model: "hi".into() });
    assert_eq!(seen[1], AnswerEvent::Reading);
    let mut shown = Vec::new();
    for event in &seen {
        if let AnswerEvent::Delta { parts, .. } = event {
            append(&mut shown, parts.clone());
        }
    }
    assert_eq!((text(&message), message.state), ("Hi, you.".into(), MessageState::Whole), "{seen:?}");
    assert_eq!(shown, message.parts, "what was shown is what is stored");
    let answer = message.answer.as_ref().unwrap();
    assert_eq!((answer.reason, answer.context, answer.model.as_str()), (Reason::Stop, 256, "hi"));
    assert!(answer.new_tokens == 9 && answer.context_used > 10 && answer.total_ms >= answer.first_token_ms);

    // The next turn goes on from the cache, and another model from its own loading.
    let (_, events) = stage.ask(&Asked::Send { conversation: id, parent: Some(message.id), text: "Again" }, "hi");
    let (_, second) = listen(&events);
    assert!(second.answer.unwrap().reused_tokens > 10);
    let (_, events) = stage.ask(&Asked::Again(message.id), "sums");
    let (seen, message) = listen(&events);
    assert_eq!(seen[0], AnswerEvent::Loading { model: "sums".into() });
    let kinds: Vec<_> = message.parts.iter().map(|part| (part.kind, part.text.as_str())).collect();
    assert_eq!(kinds[..3], [(PartKind::Text, "Sum: "), (PartKind::Python, "4*2"), (PartKind::PythonOutput, "8")], "{kinds:?}");
    assert_eq!(stage.worker.load_state().model.as_deref(), Some("sums"));
    use Loading::{Begun, Loaded};
    assert_eq!(stage.loads.try_iter().collect::<Vec<_>>(), [Begun, Loaded, Begun, Loaded]);
    stage.worker.unload().unwrap();
    assert_eq!(stage.worker.load_state(), LoadState::default());
}

#[test]
fn an_answer_stops_at_once_and_only_one_is_written_at_a_time() {
    let stage = Stage::new();
    endless(4096).install(stage.home.root(), "endless");
    let id = stage.conversation();
    let (message, events) = stage.ask(&Asked::Send { conversation: id, parent: None, text: "Go" }, "endless");
    while !matches!(events.recv_timeout(Duration::from_secs(60)).unwrap(), AnswerEvent::Delta { .. }) {}
    assert_eq!(stage.worker.answering(), Some(message));
    assert_eq!(stage.worker.reserve().err().map(|error| error.code), Some(ErrorCode::Busy));
    assert_eq!(stage.worker.load("endless").unwrap_err().code, ErrorCode::Busy);

    // Who comes later gets what there is, and then the rest.
    let (heard, later) = channel();
    let so_far = stage.worker.attach(message, Box::new(move |event| drop(heard.send(event)))).unwrap();
    assert!(stage.worker.attach(message + 1, Box::new(|_| {})).is_err());
    let first = later.recv_timeout(Duration::from_secs(60)).unwrap();
    stage.worker.stop(message + 1);
    let begun = Instant::now();
    stage.worker.stop(message);
    let (rest, whole) = listen(&later);
    println!("stopped after {:?}", begun.elapsed());
    let mut parts = so_far.parts;
    for event in std::iter::once(first).chain(rest) {
        if let AnswerEvent::Delta { parts: more, .. } = event {
            append(&mut parts, more);
        }
    }
    assert_eq!(parts, whole.parts, "nothing twice, nothing left out");
    let answer = whole.answer.as_ref().unwrap();
    assert_eq!((whole.state, answer.reason), (MessageState::Whole, Reason::Cancelled));
    assert!(answer.new_tokens < 4000);
    assert_eq!(stage.worker.answering(), None);
    // It stays in the conversation, and the next turn goes on from it.
    let asked = Asked::Send { conversation: id, parent: Some(whole.id), text: "More" };
    let (message, events) = stage.ask(&asked, "endless");
    while !matches!(events.recv_timeout(Duration::from_secs(60)).unwrap(), AnswerEvent::Delta { .. }) {}
    stage.worker.stop(message);
    assert!(listen(&events).1.answer.unwrap().reused_tokens > 0);
}

#[test]
fn every_end_has_its_reason() {
    let stage = Stage::new();
    endless(64).install(stage.home.root(), "short");
    let id = stage.conversation();
    let (_, events) = stage.ask(&Asked::Send { conversation: id, parent: None, text: "Go" }, "short");
    assert_eq!(listen(&events).1.answer.unwrap().reason, Reason::ContextFull);
    let few = ChatSettings { max_tokens: 5, top_k: 100_000, ..ChatSettings::default() };
    stage.store.set_chat_settings(id, &few).unwrap();
    let (_, events) = stage.ask(&Asked::Send { conversation: id, parent: None, text: "Go" }, "short");
    let (_, message) = listen(&events);
    assert_eq!((message.answer.unwrap().reason, message.parts[0].text.len()), (Reason::MaxTokens, 5));
    // A message that the context has no room for fails with a sentence, and the next is answered.
    let (_, events) = stage.ask(&Asked::Send { conversation: id, parent: None, text: &"long ".repeat(50) }, "short");
    let (_, message) = listen(&events);
    assert_eq!(message.state, MessageState::Failed);
    let error = message.answer.unwrap().error.unwrap();
    assert!(error.code == ErrorCode::BadInput && !error.message.contains("long long"), "{error:?}");
    let (_, events) = stage.ask(&Asked::Again(message.id), "short");
    assert_eq!(listen(&events).1.state, MessageState::Failed);
    let (_, events) = stage.ask(&Asked::Send { conversation: id, parent: None, text: "Go" }, "short");
    assert_eq!(listen(&events).1.state, MessageState::Whole);
}

#[test]
fn a_model_that_cannot_be_loaded_fails_the_answer_and_nothing_else() {
    let stage = Stage::new();
    Script::writing(128, "Fine").install(stage.home.root(), "fine");
    Script::writing(128, "Bad").install(stage.home.root(), "bad");
    let weights = stage.home.run("bad").join("checkpoints/000001/model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let id = stage.conversation();
    for model in ["bad", "missing"] {
        let (_, events) = stage.ask(&Asked::Send { conversation: id, parent: None, text: "Hello" }, model);
        let (_, message) = listen(&events);
        assert_eq!(message.state, MessageState::Failed);
        let error = message.answer.unwrap().error.unwrap();
        assert!(matches!(error.code, ErrorCode::Damaged | ErrorCode::NotFound), "{error:?}");
        let state = stage.worker.load_state();
        assert_eq!((state.state, state.error), (Loading::Failed, Some(error)));
        assert!(stage.worker.load(model).is_err());
    }
    let (_, events) = stage.ask(&Asked::Send { conversation: id, parent: None, text: "Hello" }, "fine");
    assert_eq!(text(&listen(&events).1), "Fine");
    assert_eq!(stage.worker.load("fine").unwrap().state, Loading::Loaded);
}

#[test]
fn a_model_that_no_memory_holds_is_refused_before_it_is_read() {
    let stage = Stage::new();
    Script::writing(128, "Fine").install(stage.home.root(), "huge");
    let file = stage.home.run("huge").join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    // Some 10^12 parameters.
    (config["model"]["n_layer"], config["model"]["n_embd"]) = (512.into(), 16_256.into());
    (config["model"]["n_head"], config["model"]["n_kv_head"]) = (127.into(), 127.into());
    std::fs::write(&file, config.to_string()).unwrap();
    let error = stage.worker.load("huge").unwrap_err();
    assert_eq!(error.code, ErrorCode::OutOfMemory, "{error:?}");
    assert!(error.message.contains(" GB of memory, and "), "{error}");
    let id = stage.conversation();
    let (_, events) = stage.ask(&Asked::Send { conversation: id, parent: None, text: "Hello" }, "huge");
    assert_eq!(listen(&events).1.answer.unwrap().error.unwrap(), error);
}

#[test]
fn an_answer_whose_conversation_is_deleted_ends_and_is_there_when_that_is_taken_back() {
    let stage = Stage::new();
    endless(4096).install(stage.home.root(), "endless");
    let id = stage.conversation();
    let (message, events) = stage.ask(&Asked::Send { conversation: id, parent: None, text: "Go" }, "endless");
    while !matches!(events.recv_timeout(Duration::from_secs(60)).unwrap(), AnswerEvent::Delta { .. }) {}
    stage.store.delete(id).unwrap();
    stage.worker.stop(message);
    let (_, told) = listen(&events);
    assert_eq!(told.answer.unwrap().reason, Reason::Cancelled);
    stage.store.undelete(id).unwrap();
    let (_, stored) = stage.store.message(message).unwrap();
    assert_eq!((stored.state, stored.parts.is_empty()), (MessageState::Whole, false));
}

#[test]
fn a_turn_that_comes_to_nothing_frees_the_thread() {
    let stage = Stage::new();
    drop(stage.worker.reserve().unwrap());
    drop(stage.worker.reserve().unwrap());
    assert_eq!(stage.worker.answering(), None);
}
