//! Importing from the Hugging Face hub, with a server on 127.0.0.1 in its place: honest, without the model, and broken.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use nc_tests::foreign::Foreign;
use nc_tests::nc_core;
use nc_tests::server::{Answer, Request, Server, honest, refusal as no_content};
use nc_tests::workshop::{Workshop, refusal, words};
use safetensors::Dtype;
use serde_json::{Value, json};

const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";

/// A repository: its files by path.
type Files = Vec<(String, Vec<u8>)>;

fn listing(files: &Files) -> Answer {
    let siblings: Vec<Value> = files.iter().map(|(path, _)| json!({ "rfilename": path })).collect();
    let body = json!({ "id": "who/what", "sha": REVISION, "siblings": siblings }).to_string().into_bytes();
    Answer {
        status: "200 OK",
        headers: vec![("Content-Type", "application/json".into()), ("Content-Length", body.len().to_string())],
        body,
    }
}

/// What an honest hub answers that has `files` as `who/what-d32`.
fn answer(files: &Files, request: &Request) -> Answer {
    if request.path.starts_with("/data/api/models/who/what-d32/revision/") {
        return listing(files);
    }
    let file = request.path.strip_prefix(&format!("/data/who/what-d32/resolve/{REVISION}/"));
    let file = file.and_then(|path| files.iter().find(|(known, _)| known == path));
    file.map_or_else(|| no_content("404 Not Found", vec![]), |(_, bytes)| honest(request, bytes, "v"))
}

/// A hub that answers honestly, but for what `bend` answers.
fn serve(
    files: Files,
    bend: impl Fn(&Request, &Answer, std::net::TcpStream) -> Option<std::net::TcpStream> + Send + Sync + 'static,
) -> Server {
    let files = Arc::new(files);
    Server::start(move |request, stream| {
        let honest = answer(&files, request);
        if let Some(stream) = bend(request, &honest, stream) {
            honest.send(stream);
        }
    })
}

fn command(home: &Path, server: &Server, args: &[&str]) -> Command {
    let mut command = nc_core!(home);
    command.args(args).env("HF_ENDPOINT", &server.url).stdin(Stdio::null());
    command
}

fn import(home: &Path, server: &Server, args: &[&str]) -> Value {
    let output = command(home, server, &[&["import", "--json"], args].concat()).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", words(&output));
    serde_json::from_str(String::from_utf8(output.stdout).unwrap().lines().last().unwrap()).unwrap()
}

fn refused(home: &Path, server: &Server, args: &[&str]) -> String {
    let said = refusal(&format!("{args:?}"), &command(home, server, &[&["import"], args].concat()).output().unwrap());
    assert_eq!(Workshop::names(&home.join("runs")), [""; 0]);
    said
}

/// The files of a folder.
fn files_of(folder: &Path) -> Files {
    Workshop::names(folder).into_iter().map(|name| (name.clone(), fs::read(folder.join(name)).unwrap())).collect()
}

fn sharded(folder: &Path) -> Files {
    Foreign::new().write_sharded(folder);
    [files_of(folder), vec![("README.md".into(), b"words".to_vec()), ("onnx/model.safetensors".into(), b"others".to_vec())]].concat()
}

fn weights(home: &Path, run: &str) -> Vec<u8> {
    let checkpoints = home.join("runs").join(run).join("checkpoints");
    let step = Workshop::names(&checkpoints).remove(0);
    fs::read(checkpoints.join(step).join("model.safetensors")).unwrap()
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/nanochat-native/base")
}

#[test]
fn a_model_in_several_files_is_fetched_once_and_imported() {
    let root = tempfile::tempdir().unwrap();
    let home = root.path().join("home");
    let files = sharded(&root.path().join("model"));
    let server = serve(files.clone(), |_, _, stream| Some(stream));
    let imported = import(&home, &server, &["hub:who/what-d32"]);
    assert_eq!((imported["run"].as_str(), imported["kind"].as_str()), (Some("what-d32"), Some("a Hugging Face folder")));
    import(&home, &server, &[root.path().join("model").to_str().unwrap(), "--name", "local"]);
    assert!(weights(&home, "what-d32") == weights(&home, "local"));
    let asked: Vec<String> = server.requests().iter().map(|request| request.path.rsplit('/').next().unwrap().to_owned()).collect();
    assert!(!asked.iter().any(|name| name == "README.md") && asked.len() == 1 + 4, "{asked:?}");
    assert!(server.requests()[0].path.ends_with("/api/models/who/what-d32/revision/main"));

    // The files are in the cache: the second import fetches no bytes, and the third asks nothing.
    import(&home, &server, &["hub:who/what-d32", "--name", "again"]);
    assert_eq!(server.requests().len(), 5 + 1);
    import(&home, &server, &["hub:who/what-d32", "--name", "offline", "--offline"]);
    assert_eq!(server.requests().len(), 5 + 1);
    assert!(weights(&home, "offline") == weights(&home, "local"));
    let cached = home.join("cache/hub/models--who--what-d32").join(REVISION);
    fs::remove_file(cached.join("model-00002-of-00002.safetensors")).unwrap();
    let output = command(&home, &server, &["import", "hub:who/what-d32", "--name", "x", "--offline"]).output().unwrap();
    assert!(refusal("a missing file", &output).contains("may not be fetched; run once without --offline"));
}

#[test]
fn a_published_checkpoint_of_nanochat_is_fetched_with_its_tokenizer() {
    let root = tempfile::tempdir().unwrap();
    let home = root.path().join("home");
    let mut files = [files_of(&golden().join("base_checkpoints/d4")), files_of(&golden().join("tokenizer"))].concat();
    files.push(("optim_000010_rank0.pt".into(), b"never asked for".to_vec()));
    let server = serve(files, |_, _, stream| Some(stream));
    let imported = import(&home, &server, &["hub:who/what-d32@refs/pr/7"]);
    assert_eq!(
        (imported["run"].as_str(), imported["tokenizer"].as_bool(), imported["step"].as_u64()),
        (Some("what-d32"), Some(true), Some(10))
    );
    let asked = server.requests();
    assert!(asked[0].path.contains("/revision/refs%2Fpr%2F7") || asked[0].path.contains("/revision/refs/pr/7"), "{}", asked[0].path);
    assert!(asked.iter().all(|request| !request.path.contains("optim_")));
    import(&home, &server, &[golden().to_str().unwrap(), "--name", "local"]);
    assert!(weights(&home, "what-d32") == weights(&home, "local"));
}

#[test]
fn a_repository_that_is_not_there_or_holds_no_model_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let home = root.path().join("home");
    let server = serve(vec![("README.md".into(), b"words".to_vec())], |_, _, stream| Some(stream));
    let said = refused(&home, &server, &["hub:who/else"]);
    assert!(said.contains("who/else") && said.contains("it answered 404") && said.contains("check the name"), "{said}");
    let said = refused(&home, &server, &["hub:who/what-d32"]);
    assert!(said.contains("holds no model") && said.contains("but README.md"), "{said}");
    let said = refused(&home, &server, &["hub:who/never", "--offline"]);
    assert!(said.contains("may not be fetched; run once without --offline"), "{said}");
    let asked = server.requests().len();
    refused(&home, &server, &["hub:../../etc"]);
    refused(&home, &server, &["hub:who/what-d32@../../x"]);
    refused(&home, &server, &["hub:who/what-d32", "--name", "a/b"]);
    assert_eq!(server.requests().len(), asked, "what is refused at once is not asked for");
}

#[test]
fn a_cut_or_altered_download_goes_on_and_a_web_page_is_no_model() {
    let root = tempfile::tempdir().unwrap();
    let home = root.path().join("home");
    let files = sharded(&root.path().join("model"));
    // The first answer for every file ends in its middle.
    let server = serve(files.clone(), |request, honest, stream| {
        if request.nth == 0 && !request.path.contains("/api/") {
            drop(honest.send_part(stream, honest.body.len() / 2));
            return None;
        }
        Some(stream)
    });
    import(&home, &server, &["hub:who/what-d32"]);
    import(&home, &server, &[root.path().join("model").to_str().unwrap(), "--name", "local"]);
    assert!(weights(&home, "what-d32") == weights(&home, "local"));
    assert!(server.requests().iter().any(|request| request.range.is_some()), "it continues where it was cut");

    // The second part of the model says no to the end; what came of the others is not a run.
    let other = root.path().join("other");
    let server = serve(files, |request, _, stream| {
        if request.path.ends_with("model-00002-of-00002.safetensors") {
            no_content("403 Forbidden", vec![]).send(stream);
            return None;
        }
        Some(stream)
    });
    let said = refused(&other, &server, &["hub:who/what-d32"]);
    assert!(said.contains("who/what-d32 could not be fetched") && said.contains("403"), "{said}");
}

#[test]
fn a_digest_that_differs_is_noticed() {
    let root = tempfile::tempdir().unwrap();
    let home = root.path().join("home");
    Foreign::new().write(&root.path().join("model"), Dtype::F32);
    let files = files_of(&root.path().join("model"));
    let server = serve(files, |request, honest, stream| {
        if request.path.ends_with("model.safetensors") && request.nth == 0 {
            // The hub says that the file is another.
            honest.clone().with("X-Linked-ETag", format!("\"{}\"", "ab".repeat(32))).send(stream);
            return None;
        }
        Some(stream)
    });
    import(&home, &server, &["hub:who/what-d32"]);
    assert!(server.requests().iter().filter(|request| request.path.ends_with("model.safetensors")).count() >= 2, "it was fetched anew");
}
