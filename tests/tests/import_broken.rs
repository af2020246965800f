//! Importing what is broken or hostile: a sentence, within a second, and nothing is written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nc_tests::foreign::{CHANNELS, Foreign, ForeignTensor, VOCAB};
use nc_tests::nc_core;
#[cfg(target_os = "linux")]
use nc_tests::workshop::limit_refusal;
use nc_tests::workshop::{Workshop, refusal};
use safetensors::Dtype;
use serde_json::{Value, json};
#[cfg(target_os = "linux")]
use sha2::{Digest, Sha256};

/// A folder to spoil, and a home that must stay empty.
struct Spoiled(tempfile::TempDir);

impl Spoiled {
    fn new() -> Self {
        let spoiled = Self(tempfile::tempdir().unwrap());
        Foreign::new().write(&spoiled.folder(), Dtype::F32);
        spoiled
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("model")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// Asserts that it is refused, at once, in little memory and without a trace, and gives the sentence.
    fn refused(&self, what: &str) -> String {
        self.refused_at(what, &self.folder())
    }

    fn refused_at(&self, what: &str, path: &Path) -> String {
        let home = self.0.path().join("home");
        let mut command = nc_core!(home);
        command.arg("import").arg(path).stdin(Stdio::null());
        #[cfg(target_os = "linux")]
        limit_refusal(&mut command);
        let output = command.output().unwrap();
        let said = refusal(what, &output);
        assert_eq!(Workshop::names(&home), [""; 0], "{what}");
        assert!(output.stdout.is_empty(), "{what}");
        said
    }
}

#[test]
fn a_file_that_was_cut_anywhere_is_refused() {
    let spoiled = Spoiled::new();
    let whole = fs::read(spoiled.path("model.safetensors")).unwrap();
    for percent in 0..100 {
        spoiled.write("model.safetensors", &whole[..whole.len() * percent / 100]);
        spoiled.refused(&format!("{percent} % of the file"));
    }
    spoiled.write("model.safetensors", [&whole[..], b"\0"].concat());
    let said = spoiled.refused("a byte too many");
    assert!(said.contains("bytes of tensors where its header says"), "{said}");
}

#[test]
fn a_checkpoint_of_nanochat_that_was_cut_anywhere_is_refused() {
    let spoiled = Spoiled::new();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/nanochat-native/base/base_checkpoints/d4");
    let folder = spoiled.0.path().join("d4");
    fs::create_dir(&folder).unwrap();
    fs::copy(golden.join("meta_000010.json"), folder.join("meta_000010.json")).unwrap();
    let whole = fs::read(golden.join("model_000010.pt")).unwrap();
    for percent in (0..100).step_by(4) {
        fs::write(folder.join("model_000010.pt"), &whole[..whole.len() * percent / 100]).unwrap();
        spoiled.refused_at(&format!("{percent} % of the checkpoint"), &folder);
    }
    fs::write(folder.join("model_000010.pt"), &whole).unwrap();
    let meta: Value = serde_json::from_slice(&fs::read(golden.join("meta_000010.json")).unwrap()).unwrap();
    let refused = |what: &str, text: String| {
        fs::write(folder.join("meta_000010.json"), text).unwrap();
        spoiled.refused_at(what, &folder)
    };
    let with = |key: &str, value: Value| {
        let mut meta = meta.clone();
        meta["model_config"][key] = value;
        meta.to_string()
    };
    for (what, text, words) in [
        ("no model_config", json!({"step": 10}).to_string(), "model_config"),
        ("no JSON", "{".to_owned(), "cannot be read"),
        ("layers that are not there", with("n_layer", json!(5)), "is missing"),
        ("layers beyond counting", with("n_layer", json!(u64::MAX)), "goes up to"),
        ("another width", with("n_embd", json!(256)), "instead of"),
        ("another vocabulary", with("vocab_size", json!(700)), "instead of"),
        ("a part that nobody knows", with("engram", json!(true)), "engram"),
        ("heads that are text", with("n_head", json!("two")), "cannot be read"),
        ("not a number", meta.to_string().replace("1.25", "NaN"), "cannot be read"),
    ] {
        let said = refused(what, text);
        assert!(said.contains(words), "{what}: {said}");
    }
    fs::remove_file(folder.join("meta_000010.json")).unwrap();
    let said = spoiled.refused_at("no meta file", &folder);
    assert!(said.contains("meta_000010.json is missing"), "{said}");
}

#[test]
fn an_index_leads_nowhere_but_beside_itself() {
    let spoiled = Spoiled::new();
    fs::remove_file(spoiled.path("model.safetensors")).unwrap();
    let model = Foreign::new();
    let index = model.write_sharded(&spoiled.folder());
    let secret = spoiled.0.path().join("secret.safetensors");
    fs::write(&secret, Foreign::file(&model.tensors, Dtype::F32)).unwrap();
    let with = |edit: &dyn Fn(&mut serde_json::Map<String, Value>)| {
        let mut index = index.clone();
        edit(index["weight_map"].as_object_mut().unwrap());
        spoiled.write("model.safetensors.index.json", index.to_string());
    };
    let name = "model.layers.0.mlp.fc1.weight";
    for file in [
        "../../etc/passwd",
        "/etc/passwd",
        "../secret.safetensors",
        secret.to_str().unwrap(),
        "a/../../secret.safetensors",
        "..\\secret.safetensors",
        "",
        ".",
    ] {
        with(&|map| drop(map.insert(name.into(), file.into())));
        let said = spoiled.refused(file);
        assert!(said.contains("no file beside it"), "{file}: {said}");
    }
    with(&|map| drop(map.insert(name.into(), json!({"a": 1}))));
    assert!(spoiled.refused("no name at all").contains("no file beside it"));
    with(&|map| drop(map.insert("ghost".into(), "model-00001-of-00002.safetensors".into())));
    assert!(
        spoiled.refused("a tensor that is not there").contains("\"ghost\" is in model-00001-of-00002.safetensors, but it is not there")
    );
    with(&|map| drop(map.remove(name)));
    assert!(spoiled.refused("a tensor that is not listed").contains("does not name tensor"));
    with(&|map| drop(map.insert(name.into(), "model-00003-of-00003.safetensors".into())));
    assert!(spoiled.refused("a file that is not there").contains("model-00003-of-00003.safetensors is missing"));
    with(&|map| map.extend((0..2000).map(|i| (format!("t{i}"), format!("{i}.safetensors").into()))));
    assert!(spoiled.refused("two thousand files").contains("more than 1000 files"));
    spoiled.write("model.safetensors.index.json", "{\"weight_map\": [1]}");
    assert!(spoiled.refused("a list for a map").contains("cannot be read"));

    // The same tensor in both files: which one is meant?
    let (first, second) = model.tensors.split_at(model.tensors.len() / 2);
    spoiled.write("model.safetensors.index.json", index.to_string());
    spoiled.write("model-00002-of-00002.safetensors", Foreign::file(&[second, &first[..1]].concat(), Dtype::F32));
    let said = spoiled.refused("a tensor in two files");
    assert!(said.contains("\"model.embed_tokens.weight\" is in model-00001-of-00002.safetensors, but it is in model-00002"), "{said}");
    fs::remove_file(spoiled.path("model-00002-of-00002.safetensors")).unwrap();
    assert!(spoiled.refused("a missing file").contains("model-00002-of-00002.safetensors is missing"));
}

#[test]
fn tensors_that_are_not_the_models_are_refused_by_name() {
    let spoiled = Spoiled::new();
    let with = |edit: &dyn Fn(&mut Vec<ForeignTensor>)| {
        let mut tensors = Foreign::new().tensors;
        edit(&mut tensors);
        spoiled.write("model.safetensors", Foreign::file(&tensors, Dtype::F32));
    };
    let tensor = |name: &str, shape: &[usize]| ForeignTensor {
        name: name.to_owned(),
        shape: shape.to_vec(),
        values: vec![0.0; shape.iter().product()],
    };
    with(&|tensors| drop(tensors.pop()));
    assert!(spoiled.refused("one too few").contains("\"lm_head.weight\" is missing"));
    with(&|tensors| tensors.push(tensor("model.layers.0.self_attn.q_proj.bias", &[CHANNELS])));
    assert!(spoiled.refused("a bias").contains("q_proj.bias\" is not in the model"));
    with(&|tensors| tensors[0] = tensor("model.embed_tokens.weight", &[VOCAB - 1, CHANNELS]));
    assert!(spoiled.refused("a row short").contains("instead of [320, 32]"));
    with(&|tensors| tensors[1] = tensor("model.layers.0.self_attn.q_proj.weight", &[CHANNELS * CHANNELS]));
    assert!(spoiled.refused("a flat matrix").contains("[1024] instead of [32, 32]"));
    with(&|tensors| tensors.push(tensor("transformer.wte.weight", &[1])));
    assert!(spoiled.refused("two names of one").contains("two names"));

    let whole = Foreign::file(&Foreign::new().tensors, Dtype::F32);
    let length = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let header = String::from_utf8(whole[8..8 + length].to_vec()).unwrap();
    for (from, to, words) in [
        ("\"F32\"", "\"I64\"", "only F32, BF16, F16, I8, U8 are read"),
        ("\"F32\"", "\"F99\"", "header that cannot be read"),
        ("[300,32]", "[9223372036854775807,32]", "too large"),
        ("[300,32]", "[18446744073709551615]", "too large"),
        ("\"data_offsets\":[0,", "\"data_offsets\":[4,", "where byte 0 is next"),
    ] {
        let altered = header.replacen(from, to, 1);
        assert_ne!(altered, header, "{from}");
        spoiled.write("model.safetensors", [&(altered.len() as u64).to_le_bytes(), altered.as_bytes(), &whole[8 + length..]].concat());
        let said = spoiled.refused(to);
        assert!(said.contains(words), "{to}: {said}");
    }
    for length in [u64::MAX, 1 << 63, 5 << 20] {
        let mut bytes = whole.clone();
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        bytes.resize(bytes.len().max(6 << 20), 0);
        spoiled.write("model.safetensors", bytes);
        assert!(spoiled.refused("a header without end").contains("claims a header of"));
    }
}

#[test]
fn settings_that_make_no_model_are_refused() {
    let spoiled = Spoiled::new();
    let text = Foreign::new().settings.to_string();
    for (from, to, words) in [
        ("\"vocab_size\":300", "\"vocab_size\":NaN", "cannot be read"),
        ("\"vocab_size\":300", "\"vocab_size\":99999999999999999999999", "cannot be read"),
        ("\"vocab_size\":300", "\"vocab_size\":9223372036854775807", "goes up to"),
        ("\"vocab_size\":300", "\"vocab_size\":0", "vocab_size is 0"),
        ("\"hidden_size\":32", "\"hidden_size\":-32", "cannot be read"),
        ("\"num_hidden_layers\":2", "\"num_hidden_layers\":1e9", "cannot be read"),
        ("\"num_attention_heads\":2", "\"num_attention_heads\":3", "not a multiple"),
        ("\"rms_norm_eps\":1e-6", "\"rms_norm_eps\":1e999", "cannot be read"),
        ("\"rms_norm_eps\":1e-6", "\"rms_norm_eps\":-1", "norm_eps"),
        ("\"attention_bias\":false", "\"attention_bias\":true", "attention_bias"),
        ("\"model_type\":\"nanochat\"", "\"model_type\":\"llama\"", "model type \"llama\""),
        ("\"model_type\":\"nanochat\"", "\"model_type\":7", "cannot be read"),
        ("\"model_type\":\"nanochat\"", "\"kind\":\"nanochat\"", "no model_type"),
        ("\"model_type\":\"nanochat\"", "\"model_type\":\"nc-core\"", "format_version"),
        ("\"rope_type\":\"default\"", "\"rope_type\":\"yarn\"", "yarn"),
    ] {
        assert!(text.contains(from), "{from}");
        spoiled.write("config.json", text.replace(from, to));
        let said = spoiled.refused(to);
        assert!(said.contains(words), "{to}: {said}");
    }
    spoiled.write("config.json", format!("{}{text}", " ".repeat(100 << 20)));
    assert!(spoiled.refused("100 MiB of settings").contains("longer than"));
    spoiled.write("config.json", "[".repeat(1 << 20));
    assert!(spoiled.refused("a deep nest").contains("cannot be read"));
    fs::remove_file(spoiled.path("config.json")).unwrap();
    fs::create_dir(spoiled.path("config.json")).unwrap();
    assert!(spoiled.refused("a folder for a file").contains("config.json"));
}

#[test]
fn paths_without_a_model_are_answered_with_what_is_there() {
    let spoiled = Spoiled::new();
    let root = spoiled.0.path().to_path_buf();
    let at = |name: &str| root.join(name);
    assert!(spoiled.refused_at("nothing", &at("nothing")).contains("cannot read"));
    fs::create_dir(at("empty")).unwrap();
    let said = spoiled.refused_at("an empty folder", &at("empty"));
    assert!(said.contains("it is empty") && said.contains("model_NNNNNN.pt") && said.contains("config.json"), "{said}");
    fs::write(at("empty/notes.txt"), "").unwrap();
    assert!(spoiled.refused_at("notes", &at("empty")).contains("there is notes.txt"));
    let said = spoiled.refused_at("a file", &spoiled.path("model.safetensors"));
    assert!(said.contains("give the folder that it is in"), "{said}");
    fs::remove_file(spoiled.path("model.safetensors")).unwrap();
    assert!(spoiled.refused("no weights").contains("neither model.safetensors nor an index"));
    fs::create_dir_all(at("base/base_checkpoints/d4")).unwrap();
    assert!(spoiled.refused_at("empty stages", &at("base")).contains("no checkpoint in them"));
    fs::create_dir_all(at("run/checkpoints")).unwrap();
    fs::write(at("run/config.json"), "{\"format\": 1}").unwrap();
    assert!(spoiled.refused_at("a run of nothing", &at("run")).contains("describes no model"));
    let refused = |args: &[&str]| refusal(&format!("{args:?}"), &nc_core!(at("home")).args(args).output().unwrap());
    assert!(refused(&["import", at("base").to_str().unwrap(), "--name", "../x"]).contains("cannot be the name of a run"));
    assert!(refused(&["import", "hub:no-owner"]).contains("hub:OWNER/NAME"));
    let folder = Spoiled::new();
    let model = folder.folder();
    for option in [&["--step", "3"][..], &["--source", "sft"], &["--model-tag", "d4"]] {
        let said = refused(&[&["import", model.to_str().unwrap()], option].concat());
        assert!(said.contains("does not apply to a Hugging Face folder"), "{said}");
    }
}

/// A run of ours whose state was made to take gigabytes, by somebody who knows how to hash it.
#[cfg(target_os = "linux")]
#[test]
fn a_state_that_would_fill_the_memory_is_refused() {
    let spoiled = Spoiled::new();
    let source = spoiled.0.path().join("source");
    let output = nc_core!(source).args(["import", "--name", "run"]).arg(spoiled.folder()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let run = source.join("runs/run");
    let path = run.join("checkpoints/000000/state.json");
    let written = fs::read_to_string(&path).unwrap();
    let (head, rest) = written.split_at("{\"sha256\":\"".len() + 64);
    let state_at = rest.find("\"state\":").unwrap() + "\"state\":".len();
    let with = |state: &str| {
        let rest = [&rest[..state_at], state, "}\n"].concat();
        let digest: String = Sha256::digest(&rest).iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(&path, [&head[..head.len() - 64], &digest, &rest].concat()).unwrap();
    };
    with(&format!("[{}1]", "1,".repeat(13 << 20)));
    let said = spoiled.refused_at("a state of 26 MiB", &run);
    assert!(said.contains("is longer than the 25165824 bytes"), "{said}");
    // As long as is copied, in the values that would take the most memory.
    with(&format!("[{}{{}}]", "{\"\":1},".repeat(2_900_000)));
    let mut command = nc_core!(spoiled.0.path().join("home"));
    limit_refusal(&mut command);
    let output = command.arg("import").arg(&run).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let copied = spoiled.0.path().join("home/runs/run/checkpoints/000000/state.json");
    assert!(fs::read(copied).unwrap() == fs::read(&path).unwrap());
}

#[cfg(unix)]
#[test]
fn links_in_a_circle_and_pipes_are_refused() {
    use std::os::unix::fs::symlink;
    let spoiled = Spoiled::new();
    fs::remove_file(spoiled.path("model.safetensors")).unwrap();
    symlink("model.safetensors", spoiled.path("model.safetensors")).unwrap();
    assert!(spoiled.refused("a link to itself").contains("cannot read"));
    fs::remove_file(spoiled.path("model.safetensors")).unwrap();
    let pipe = std::ffi::CString::new(spoiled.path("model.safetensors").to_str().unwrap()).unwrap();
    // SAFETY: the path is a C string.
    assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
    assert!(spoiled.refused("a pipe").contains("not a plain file"));
    let (one, two) = (spoiled.0.path().join("one"), spoiled.0.path().join("two"));
    symlink(&one, &two).unwrap();
    symlink(&two, &one).unwrap();
    assert!(spoiled.refused_at("folders in a circle", &one).contains("cannot read"));
    // A link to a folder above: nothing here walks down.
    let base = spoiled.0.path().join("base");
    fs::create_dir_all(&base).unwrap();
    symlink("..", base.join("base_checkpoints")).unwrap();
    spoiled.refused_at("a folder in itself", &base);
}
