//! Listing, deleting and installing models.

use serde_json::json;

use super::*;

fn config(stage: &str) -> Value {
    json!({
        "format": 1,
        "stage": stage,
        "model": {"sequence_len": 256, "vocab_size": 512, "n_layer": 2, "n_head": 1, "n_kv_head": 1, "n_embd": 128, "window_pattern": "SSSL"},
        "training": {"data": ["/somewhere/corpus", "/else/a.txt"]},
        "from": {"run": "base", "step": 7}
    })
}

fn home() -> (tempfile::TempDir, Home) {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::at(folder.path());
    (folder, home)
}

#[test]
fn models_are_listed_with_what_is_known_of_them() {
    let (_folder, home) = home();
    let run = Run::create(&home, "base", &config("base"), "{}").unwrap();
    let checkpoint = run.checkpoint_path(800);
    fs::create_dir_all(&checkpoint).unwrap();
    let header = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"BF16","shape":[9],"data_offsets":[4,22]}}"#;
    fs::write(checkpoint.join(MODEL_FILE), [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 22]].concat()).unwrap();
    fs::write(run.metrics_path(), "{\"step\":1,\"val_bpb\":2.5}\n{\"step\":2,\"val_bpb\":1.25}\n{\"step\":3,\"loss\":1}\n{\"cut").unwrap();
    Run::create(&home, "empty", &config("sft"), "{}").unwrap();
    let damaged = Run::create(&home, "damaged", &json!({}), "{}").unwrap();
    fs::write(damaged.folder().join("config.json"), "{").unwrap();

    let models = list(&home, Some(16 << 30), &["empty".into()]).unwrap();
    let of = |name: &str| models.iter().find(|model| model.name == name).unwrap();
    let base = of("base");
    assert_eq!((base.kind, base.chat, base.step, base.val_bpb), (ModelKind::Base, false, Some(800), Some(1.25)));
    assert_eq!((base.depth, base.n_embd, base.context, base.vocab_size), (2, 128, 256, 512));
    assert_eq!((base.precision.as_str(), base.fit, &base.data), ("bf16", Fit::Fits, &vec!["corpus".to_owned(), "a.txt".into()]));
    assert!(base.parameters > 300_000 && base.memory_bytes > 4 * base.parameters && base.problem.is_none());
    assert_eq!(base.from, Some(types::From { run: "base".into(), step: 7 }));
    assert_eq!((of("empty").training, &of("empty").problem), (true, &None));
    assert_eq!(of("damaged").problem.as_ref().unwrap().code, ErrorCode::Damaged);
    assert!(list(&home, None, &[]).unwrap().iter().any(|model| model.name == "empty" && model.problem.is_some()));
}

#[test]
fn what_fits_is_told_by_its_share() {
    let of = |needed| fit(needed, Some(1000));
    assert_eq!([of(0), of(700), of(701), of(950), of(951)], [Fit::Fits, Fit::Fits, Fit::Tight, Fit::Tight, Fit::TooLarge]);
    assert_eq!(fit(1, None), Fit::Unknown);
}

#[test]
fn a_model_is_deleted_whole_unless_it_is_in_use_and_nothing_else_is() {
    let (folder, home) = home();
    fs::write(folder.path().join("keep"), "").unwrap();
    let run = Run::create(&home, "a", &config("base"), "{}").unwrap();
    let lock = run.lock().unwrap();
    assert_eq!(delete(&home, "a").unwrap_err().code, ErrorCode::Busy);
    drop(lock);
    for name in ["", ".", "..", "../keep", "a/../../keep", "b"] {
        assert!(delete(&home, name).is_err(), "{name:?}");
    }
    delete(&home, "a").unwrap();
    assert_eq!(fs::read_dir(home.runs()).unwrap().count(), 0);
    // A damaged one can be got rid of too.
    let damaged = Run::create(&home, "c", &config("base"), "{}").unwrap();
    fs::write(damaged.folder().join("config.json"), "{").unwrap();
    delete(&home, "c").unwrap();
    assert!(folder.path().join("keep").exists());
    fs::create_dir(home.runs().join(".deleted-x-1")).unwrap();
    sweep(&home);
    assert_eq!(fs::read_dir(home.runs()).unwrap().count(), 0);
}
