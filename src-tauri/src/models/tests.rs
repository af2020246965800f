//! Listing, deleting and installing models.

use nc_core::checkpoint::TensorSpec;
use nc_core::model::{Group, ParamSpec};
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

/// A whole file of weights that are all 0.
fn weights_in_16_bits(config: &Value) -> Vec<u8> {
    let config: Config = serde_json::from_value(config["model"].clone()).unwrap();
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for spec in config.param_specs() {
        let (word, width) = if spec.format(Format::Bf16) == Format::Bf16 { ("BF16", 2) } else { ("F32", 4) };
        let start = end;
        end += width * spec.len();
        header.insert(spec.name, json!({ "dtype": word, "shape": spec.shape, "data_offsets": [start, end] }));
    }
    let header = Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; end]].concat()
}

#[test]
fn models_are_listed_with_what_is_known_of_them() {
    let (_folder, home) = home();
    let run = Run::create(&home, "base", &config("base"), "{}").unwrap();
    let checkpoint = run.checkpoint_path(800);
    fs::create_dir_all(&checkpoint).unwrap();
    fs::write(checkpoint.join(MODEL_FILE), weights_in_16_bits(&config("base"))).unwrap();
    fs::write(run.metrics_path(), "{\"step\":1,\"val_bpb\":2.5}\n{\"step\":2,\"val_bpb\":1.25}\n{\"step\":3,\"loss\":1}\n{\"cut").unwrap();
    Run::create(&home, "empty", &config("sft"), "{}").unwrap();
    let damaged = Run::create(&home, "damaged", &json!({}), "{}").unwrap();
    fs::write(damaged.folder().join("config.json"), "{").unwrap();

    let (training, choices) = (["empty".to_owned()], Choices::from([("base".to_owned(), Format::Q8)]));
    let models = list(&home, Around { memory: Some(16 << 30), training: &training, choices: &choices }).unwrap();
    let of = |name: &str| models.iter().find(|model| model.name == name).unwrap();
    let base = of("base");
    assert_eq!((base.kind, base.chat, base.step, base.val_bpb), (ModelKind::Base, false, Some(800), Some(1.25)));
    assert_eq!((base.depth, base.n_embd, base.context, base.vocab_size), (2, 128, 256, 512));
    assert_eq!((base.precision, base.fit, &base.data), (Format::Bf16, Fit::Fits, &vec!["corpus".to_owned(), "a.txt".into()]));
    assert!(base.parameters > 300_000 && base.memory_bytes > base.parameters && base.problem.is_none());
    assert_eq!((base.weights, base.weights_choice), (Format::Q8, Some(Format::Q8)));
    let offered: Vec<_> = base.formats.iter().map(|each| (each.format, each.fit)).collect();
    assert_eq!(
        offered,
        [Format::Bf16, Format::F16, Format::Q8, Format::Q4].map(|format| (format, Fit::Fits)),
        "never more than the file has"
    );
    assert!(base.formats.iter().any(|each| each.format == Format::Q8 && each.memory_bytes == base.memory_bytes));
    assert_eq!((of("empty").weights, of("empty").formats.len(), of("damaged").formats.len()), (Format::F32, 5, 0));
    assert_eq!(base.from, Some(types::From { run: "base".into(), step: 7 }));
    assert_eq!((of("empty").training, &of("empty").problem), (true, &None));
    assert_eq!(of("damaged").problem.as_ref().unwrap().code, ErrorCode::Damaged);
    let none = Around { memory: None, training: &[], choices: &choices };
    assert!(list(&home, none).unwrap().iter().any(|model| model.name == "empty" && model.problem.is_some()));

    // A choice from before the file had 16 bits, and none.
    let wider = Choices::from([("base".to_owned(), Format::F32)]);
    assert_eq!(one(&home, "base", Around { choices: &wider, ..none }).unwrap().weights, Format::Bf16);
    let base = one(&home, "base", Around { memory: Some(100), choices: &Choices::new(), ..none }).unwrap();
    assert_eq!((base.weights, base.weights_choice, base.fit), (Format::Q4, None, Fit::TooLarge));
}

/// A usual model, and one whose rows are no whole blocks.
fn described(channels: usize) -> Config {
    let model = json!({
        "sequence_len": 2048, "vocab_size": 32768, "n_layer": 12, "n_head": channels / 8 / 13, "n_kv_head": channels / 8 / 13,
        "n_embd": channels, "window_pattern": "L"
    });
    let config: Config = serde_json::from_value(model).unwrap();
    config.validate().unwrap();
    config
}

#[test]
fn the_widest_format_that_fits_is_chosen_and_never_more_than_the_file_has() {
    use Format::{Bf16, F16, F32, Q4, Q8};
    let config = described(832);
    let plain = |format| Own { format, bytes: config.weight_bytes(format).stored };
    let needed = |format| memory::inference_memory(&config, plain(format), format);
    // The least memory of which that is seven tenths.
    let room = |format| Some((needed(format) / 7 + 1) * 10);
    for format in Format::ALL {
        assert_eq!(fit(needed(format), room(format)), Fit::Fits);
        assert_ne!(fit(needed(format), room(format).map(|bytes| bytes - 20)), Fit::Fits);
    }
    let less = |format| room(format).map(|bytes| bytes - 20);
    let all = Some(1 << 50);
    let cases = [
        (F32, None, F32),
        (F32, all, F32),
        (F32, room(F32), F32),
        (F32, less(F32), Bf16),
        (F32, room(Bf16), Bf16),
        (F32, less(Bf16), Q8),
        (F32, room(Q8), Q8),
        (F32, less(Q8), Q4),
        (F32, room(Q4), Q4),
        (F32, less(Q4), Q4),
        (F32, Some(0), Q4),
        (Bf16, None, Bf16),
        (Bf16, all, Bf16),
        (Bf16, less(Bf16), Q8),
        (F16, all, F16),
        (F16, less(F16), Q8),
        (F16, less(Q8), Q4),
        (Q8, all, Q8),
        (Q8, less(Q8), Q4),
        (Q4, None, Q4),
        (Q4, all, Q4),
        (Q4, Some(0), Q4),
    ];
    for (own, memory, chosen) in cases {
        assert_eq!(memory::choose(&config, plain(own), memory), chosen, "{own} with {memory:?}");
        assert_eq!(memory::in_use(&config, plain(own), None, memory), chosen);
        assert_eq!(memory::in_use(&config, plain(own), Some(Q4), memory), Q4, "the person decides");
    }
    assert_eq!(memory::in_use(&config, plain(F32), Some(F32), Some(0)), F32);
    assert_eq!(memory::in_use(&config, plain(Q8), Some(F32), all), Q8, "a choice from when the file had more bits");

    // Where blocks do not fit the rows, fewer bits are no less memory.
    let odd = described(104);
    let own = Own::of(&odd, &[]);
    assert!(memory::inference_memory(&odd, own, Q4) > memory::inference_memory(&odd, own, Bf16));
    assert_eq!(memory::choose(&odd, own, Some(0)), Bf16);
}

#[test]
fn a_file_of_several_formats_counts_as_the_one_that_loses_nothing() {
    use Format::{Bf16, F16, F32, Q4, Q8};
    for config in [described(832), described(104)] {
        let file = |format: &dyn Fn(&ParamSpec) -> Format| {
            let tensors: Vec<_> = config
                .param_specs()
                .iter()
                .map(|spec| TensorSpec { format: format(spec), ..TensorSpec::plain(&spec.name, &spec.shape[..]) })
                .collect();
            Own::of(&config, &tensors)
        };
        for whole in Format::ALL {
            let own = file(&|spec| spec.format(whole));
            assert_eq!((own.format, own.bytes), (whole, config.weight_bytes(whole).stored));
        }
        let table = |spec: &ParamSpec| matches!(spec.group, Group::Wte | Group::ValueEmbeds);
        let nanochat = file(&|spec| if table(spec) { Bf16 } else { F32 });
        assert_eq!(nanochat.format, F32);
        assert!((config.weight_bytes(Bf16).stored..config.weight_bytes(F32).stored).contains(&nanochat.bytes));
        assert_eq!(file(&|spec| if table(spec) { F16 } else { spec.format(Bf16) }).format, Bf16);
        // Tables whose rows are no whole blocks are f32 in either.
        let mixed = file(&|spec| spec.format(if table(spec) { Q8 } else { Q4 })).format;
        assert_eq!(mixed, if config.n_embd == 104 { Q4 } else { Q8 });
        assert_eq!(Own::of(&config, &[]), Own { format: F32, bytes: config.weight_bytes(F32).stored });
    }
}

#[test]
fn what_no_gpu_holds_is_refused_with_what_would_help() {
    let config = described(832);
    let own = Own::of(&config, &[]);
    let refused = |format| memory::check(&config, own, format, Some(1000), "a GPU").unwrap_err();
    assert!(refused(Format::F32).message.contains("choose fewer bits, a smaller model"), "{}", refused(Format::F32));
    assert!(refused(Format::Q4).message.contains("choose a smaller model"), "{}", refused(Format::Q4));
    assert_eq!(refused(Format::Q4).code, ErrorCode::OutOfMemory);
    assert!(
        memory::check(&config, own, Format::F32, None, "a GPU").is_ok()
            && memory::check(&config, own, Format::F32, Some(1 << 40), "a GPU").is_ok()
    );
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
