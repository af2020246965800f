//! Exported models: what Hugging Face's libraries and a reader of `docs/FORMAT.md` compute from them is what nc-core
//! computes, text becomes the same tokens there, and a folder is whole or not there at all.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use nc_core::checkpoint::home::Home;
use nc_core::checkpoint::{Run, TensorFile, load_model};
use nc_core::interchange::export::{Layout, Options, Origin, export};
use nc_core::model::{Architecture, Config};
use nc_core::tokenizer::{Content, Conversation, Message, Part, PartKind, Role, SPECIAL_TOKENS, Tokenizer, TrainOptions};
use nc_core::train::run_config;
use nc_core::weights::Format;
#[cfg(unix)]
use nc_tests::workshop::limit_file_size;
use nc_tests::workshop::{Workshop, refusal};
use nc_tests::{drawn, nc_core, python};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

mod numbers;

/// The largest difference between two computations of a logit.
const LOGIT: f32 = 1e-4;

/// A home without a tokenizer of its own.
fn workshop() -> Workshop {
    Workshop::without_tokenizer(|home| nc_core!(home))
}

/// A tokenizer that has seen the names of the special tokens so often that it merged as much of them as it can.
fn lured() -> Tokenizer {
    lured_to(330)
}

/// The same with a vocabulary of this size.
fn lured_to(vocab_size: usize) -> Tokenizer {
    let text = format!("{} and other words {}", SPECIAL_TOKENS.concat().repeat(50), nc_tests::workshop::text(40));
    let options = TrainOptions { vocab_size, ..TrainOptions::default() };
    Tokenizer::train([Ok::<_, std::io::Error>(text)], &options).unwrap().tokenizer
}

/// Golden folders that hold a tokenizer with its encodings.
fn golden_tokenizers() -> Vec<(PathBuf, Tokenizer)> {
    let folders = nc_tests::golden_dirs().into_iter().flat_map(|dir| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()));
    let found: Vec<_> = folders
        .filter(|folder| folder.join("tokenizer_cases.json").exists())
        .map(|folder| (folder.clone(), Tokenizer::from_file(&folder.join("tokenizer.json")).unwrap()))
        .collect();
    assert!(!found.is_empty(), "no golden tokenizer was found");
    found
}

/// A small model of three layers: `[heads, key and value heads]`.
fn config(tokenizer: &Tokenizer, [n_head, n_kv_head]: [usize; 2], architecture: Architecture) -> Config {
    Config {
        sequence_len: 96,
        vocab_size: tokenizer.vocab_size(),
        n_layer: 3,
        n_head,
        n_kv_head,
        n_embd: 64,
        window_pattern: "L".into(),
        architecture,
    }
}

/// Classic models, one with the constants of nanochat and one with others: name and configuration.
fn classic(tokenizer: &Tokenizer) -> [(&'static str, Config); 2] {
    let others = Architecture { rope_base: 20_000.0, norm_eps: 1e-6, softcap: 20.0, ..Architecture::CLASSIC };
    [("mha", config(tokenizer, [2, 2], Architecture::CLASSIC)), ("gqa", config(tokenizer, [4, 1], others))]
}

/// `count` ids of a vocabulary, always the same ones.
fn ids(count: usize, vocab: usize) -> Vec<u32> {
    (0..count).map(|i| ((i * i * 31 + i * 7 + 3) % vocab) as u32).collect()
}

/// Exports by the command and gives the folder.
fn exported(workshop: &Workshop, run: &str, format: &str, more: &[&str]) -> PathBuf {
    let folder = workshop.path(&format!("{run}-{format}{}", more.concat()));
    workshop.succeed(&[&["export", "--run", run, "--format", format, "--to", &folder][..], more].concat());
    folder.into()
}

fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Type, shape and bytes of every tensor of a file.
fn tensors(path: &Path) -> BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)> {
    let bytes = fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    tensors.iter().map(|(name, view)| (name.to_owned(), (view.dtype(), view.shape().to_vec(), view.data().to_vec()))).collect()
}

/// The same tensors with the same values, whatever their formats.
fn assert_same_values(one: &Path, other: &Path) {
    let (mut one, mut other) = (TensorFile::open(one).unwrap(), TensorFile::open(other).unwrap());
    let names: Vec<String> = one.specs().map(|spec| spec.name.clone()).collect();
    assert_eq!(names.len(), other.specs().len());
    for name in names {
        assert!(one.read(&name).unwrap() == other.read(&name).unwrap(), "{name}");
    }
}

fn weights(workshop: &Workshop, run: &str, step: u64) -> PathBuf {
    workshop.checkpoint(run, step).join("model.safetensors")
}

fn assert_close(what: &str, ours: &[Vec<f32>], theirs: &Value) {
    let theirs: Vec<Vec<f32>> = serde_json::from_value(theirs.clone()).unwrap();
    assert_eq!(ours.iter().map(Vec::len).collect::<Vec<_>>(), theirs.iter().map(Vec::len).collect::<Vec<_>>(), "{what}");
    let pairs = ours.iter().flatten().zip(theirs.iter().flatten());
    let worst = pairs.map(|(a, b)| if a.is_nan() || b.is_nan() { f32::NAN } else { (a - b).abs() }).fold(0.0, f32::max);
    let spread = ours.iter().flatten().fold(0.0f32, |most, logit| most.max(logit.abs()));
    println!("{what}: logits differ by {worst:.1e}, the largest is {spread:.1}");
    assert!(worst <= LOGIT, "{what}: logits differ by {worst:.1e}");
    assert!(spread > 0.1, "{what}: there is nothing to compare");
}

/// What transformers computes from an export of `run` is what nc-core computes: logits, and text written greedily.
fn assert_same_in_transformers(workshop: &Workshop, run: &str, config: &Config, tokenizer: &Tokenizer) {
    let folder = exported(workshop, run, "hf", &[]);
    let (text, saved) = ("the old sea", workshop.path(&format!("{run}-saved")));
    let prompt: Vec<u32> = [tokenizer.bos()].into_iter().chain(tokenizer.encode(text)).collect();
    let ids = ids(config.sequence_len, config.vocab_size);
    let new = config.sequence_len.min(48) - prompt.len();
    let question = json!({ "ids": ids, "prompt": prompt, "new": new, "save": saved, "texts": [] });
    let answer = python::ask("transformers_side.py", &folder, &question);

    assert_eq!(answer["class"], "NanoChatForCausalLM");
    for (what, names) in answer["loading"].as_object().unwrap() {
        assert_eq!(names, &json!([]), "{what}");
    }
    assert_close(run, &drawn::logits(&workshop.home(), run, &ids), &answer["logits"]);

    let args = ["generate", "--run", run, "--prompt", text, "--max-tokens", &new.to_string(), "--temperature", "0", "--json"];
    let ours: Value = serde_json::from_slice(&workshop.succeed(&args).stdout).unwrap();
    assert_eq!((&ours["ids"], &ours["text"]), (&answer["greedy"], &answer["text"]), "{run}: greedy text");

    // What transformers reads from our files is all that it would write itself.
    let (mut theirs, ours) = (json_file(&Path::new(&saved).join("config.json")), json_file(&folder.join("config.json")));
    theirs.as_object_mut().unwrap().remove("transformers_version").unwrap();
    assert_eq!(theirs, ours);
    assert_eq!(tensors(&Path::new(&saved).join("model.safetensors")), tensors(&folder.join("model.safetensors")));
}

#[test]
fn transformers_computes_what_we_compute() {
    let workshop = workshop();
    let tokenizer = lured();
    for (name, config) in classic(&tokenizer) {
        assert!(config.padded_vocab() > config.vocab_size);
        drawn::install(&workshop.home(), name, &config, &tokenizer);
        assert_same_in_transformers(&workshop, name, &config, &tokenizer);
    }
}

#[test]
fn a_classic_model_that_was_trained_here_is_the_same_in_transformers() {
    let workshop = Workshop::new(|home| nc_core!(home));
    let options = ["--architecture", "classic", "--num-iterations", "30", "--eval-every", "-1", "--sample-every", "-1"];
    workshop.train("trained", &options);
    let config: Config = serde_json::from_value(json_file(&workshop.run("trained").join("config.json"))["model"].clone()).unwrap();
    assert!(config.architecture.is_classic());
    let tokenizer = Tokenizer::from_file(&workshop.run("trained").join("tokenizer.json")).unwrap();
    assert_same_in_transformers(&workshop, "trained", &config, &tokenizer);
}

#[test]
fn an_export_for_transformers_holds_the_weights_bit_for_bit_under_their_names() {
    let workshop = workshop();
    let tokenizer = lured();
    let (name, config) = &classic(&tokenizer)[1];
    drawn::install(&workshop.home(), name, config, &tokenizer);
    let folder = exported(&workshop, name, "hf", &[]);
    let files =
        ["chat_template.jinja", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    assert_eq!(Workshop::names(&folder), files);

    let (ours, mut theirs) = (tensors(&weights(&workshop, name, drawn::STEP)), tensors(&folder.join("model.safetensors")));
    for (name, (dtype, mut shape, mut bytes)) in ours {
        let renamed = name
            .replace("transformer.wte", "model.embed_tokens")
            .replace("transformer.h.", "model.layers.")
            .replace("attn.c_proj", "self_attn.o_proj")
            .replace("attn.c_", "self_attn.")
            .replace("self_attn.q.", "self_attn.q_proj.")
            .replace("self_attn.k.", "self_attn.k_proj.")
            .replace("self_attn.v.", "self_attn.v_proj.")
            .replace("c_fc", "fc1")
            .replace("mlp.c_proj", "mlp.fc2");
        if shape[0] == config.padded_vocab() {
            // The rows that pad the vocabulary stay here.
            shape[0] = config.vocab_size;
            bytes.truncate(4 * config.vocab_size * config.n_embd);
        }
        assert!(theirs.remove(&renamed).unwrap() == (dtype, shape, bytes), "{name} as {renamed}");
    }
    assert!(theirs.is_empty(), "{:?}", theirs.keys());
    // And the keys of the configuration are those of a folder that transformers itself wrote.
    for golden in nc_tests::golden_dirs().into_iter().map(|dir| dir.join("hf-classic/config.json")).filter(|path| path.exists()) {
        let keys = |path: &Path| {
            json_file(path).as_object().unwrap().keys().filter(|key| *key != "transformers_version").cloned().collect::<Vec<_>>()
        };
        assert_eq!(keys(&folder.join("config.json")), keys(&golden));
    }
}

#[test]
fn weights_in_several_files_are_the_same_model() {
    let workshop = workshop();
    let tokenizer = lured();
    let (name, config) = &classic(&tokenizer)[0];
    drawn::install(&workshop.home(), name, config, &tokenizer);
    let run = Run::open(&Home::at(workshop.home()), name).unwrap();
    let origin = Origin { run: (*name).to_owned(), val_bpb: None };
    let options = Options { layout: Layout::HuggingFace, format: Format::F32, shard_bytes: 100_000 };
    let to = PathBuf::from(workshop.path("parts"));
    let exported = export(&mut load_model(&run, None).unwrap(), config, &tokenizer, &origin, options, &to).unwrap();

    let parts: Vec<&String> = exported.files.iter().filter(|file| file.starts_with("model-")).collect();
    let index = json_file(&to.join("model.safetensors.index.json"));
    let mut all = BTreeMap::new();
    for part in &parts {
        for (name, tensor) in tensors(&to.join(part)) {
            assert_eq!(index["weight_map"][&name], json!(part));
            all.insert(name, tensor);
        }
    }
    let bytes: usize = all.values().map(|(_, _, bytes)| bytes.len()).sum();
    assert_eq!(index["metadata"], json!({ "total_parameters": bytes / 4, "total_size": bytes }));
    assert!(parts.len() > 4 && index["weight_map"].as_object().unwrap().len() == all.len(), "{parts:?}");
    assert!(all == tensors(&self::exported(&workshop, name, "hf", &[]).join("model.safetensors")));
    let ids = ids(20, config.vocab_size);
    let answer = python::ask("transformers_side.py", &to, &json!({ "ids": ids }));
    assert_close("parts", &drawn::logits(&workshop.home(), name, &ids), &answer["logits"]);
}

/// Texts that a tokenizer may trip over, drawn from a fixed seed.
fn texts() -> Vec<String> {
    let names = || proptest::sample::select(SPECIAL_TOKENS.to_vec()).prop_map(str::to_owned);
    let piece = prop_oneof![
        4 => "[ -~]{0,12}",
        3 => "\\PC{0,8}",
        2 => "[\\s\u{a0}\u{200b}\u{feff}\r\n\t]{0,6}",
        2 => "[0-9]{1,9}|'(s|T|ll|VE|re)|[a-zé]{1,9}",
        3 => names(),
        2 => names().prop_flat_map(|name| (0..name.len()).prop_map(move |cut| name[cut..].to_owned())),
        1 => any::<String>(),
    ];
    let text = proptest::collection::vec(piece, 0..9).prop_map(|pieces| pieces.concat());
    let mut runner = TestRunner::deterministic();
    (0..1500).map(|_| text.new_tree(&mut runner).unwrap().current()).collect()
}

/// Conversations of every form, some of which hold names of special tokens.
fn conversations() -> Vec<Conversation> {
    let part = |kind, text: &str| Part { kind, text: text.to_owned() };
    let counted = vec![
        part(PartKind::Text, "Let me count. "),
        part(PartKind::Python, "'strawberry'.count('r')"),
        part(PartKind::PythonOutput, "3"),
        part(PartKind::Text, "\n\nThree."),
        part(PartKind::Python, "1+2"),
        part(PartKind::Python, ""),
    ];
    let of = |messages: Vec<Message>| Conversation { messages };
    let (system, user, assistant) = (Role::System, Role::User, Role::Assistant);
    let mut all = vec![
        of(vec![Message::text(user, "Hello"), Message::text(assistant, "  Hi! \n")]),
        of(vec![
            Message::text(system, "Be kind.\n"),
            Message::text(user, " Hello"),
            Message::text(assistant, ""),
            Message::text(user, "{{ 1 }}"),
        ]),
        of(vec![Message::text(system, ""), Message::text(user, "<b>&amp;</b> 'x' \u{a0}\r\n é 漢字")]),
        of(vec![
            Message::text(user, "How many r?"),
            Message::new(assistant, Content::Parts(counted)),
            Message::text(user, "Thanks"),
            Message::new(assistant, Content::Parts(vec![])),
        ]),
    ];
    all.extend(SPECIAL_TOKENS.map(|name| of(vec![Message::text(user, format!("say {name}!"))])));
    all
}

/// What Python makes of texts and conversations is what nc-core makes of them.
fn assert_same_tokens(folder: &Path, tokenizer: &Tokenizer, texts: &[String]) {
    let prompts = |conversation: &Conversation| conversation.messages.last().is_some_and(|last| last.role == Role::User);
    let conversations = conversations();
    let asked: Vec<Value> = conversations
        .iter()
        .map(|conversation| json!({ "messages": conversation.messages, "add_generation_prompt": prompts(conversation) }))
        .collect();
    let answer = python::ask("transformers_side.py", folder, &json!({ "texts": texts, "conversations": asked }));
    for (number, text) in texts.iter().enumerate() {
        let ours = json!(tokenizer.encode(text));
        assert_eq!(answer["encoded"][number], ours, "tokenizers on {text:?}");
        assert_eq!(answer["wrapped"][number], ours, "transformers on {text:?}");
        assert_eq!(answer["pieces"][number].as_str(), Some(text.as_str()));
    }
    for (conversation, rendered) in conversations.iter().zip(answer["rendered"].as_array().unwrap()) {
        let named = SPECIAL_TOKENS.iter().find(|name| serde_json::to_string(conversation).unwrap().contains(*name));
        match named {
            Some(name) => {
                assert!(rendered.as_str().is_some_and(|words| words.contains(&format!("the special token {name}"))), "{rendered}")
            }
            None if prompts(conversation) => {
                assert_eq!(*rendered, json!(tokenizer.render_prompt(conversation).unwrap()), "{conversation:?}")
            }
            None => assert_eq!(*rendered, json!(tokenizer.render(conversation).unwrap().ids), "{conversation:?}"),
        }
    }
}

#[test]
fn python_makes_the_same_tokens_of_texts_and_conversations() {
    let workshop = workshop();
    for (number, (folder, tokenizer)) in golden_tokenizers().into_iter().enumerate() {
        let cases = json_file(&folder.join("tokenizer_cases.json"));
        let texts: Vec<String> = cases["encode"].as_array().unwrap().iter().map(|case| case["text"].as_str().unwrap().to_owned()).collect();
        let name = format!("golden-{number}");
        drawn::install(&workshop.home(), &name, &config(&tokenizer, [2, 2], Architecture::CLASSIC), &tokenizer);
        assert_same_tokens(&exported(&workshop, &name, "hf", &[]), &tokenizer, &texts);
    }
    let tokenizer = lured();
    drawn::install(&workshop.home(), "lured", &config(&tokenizer, [2, 2], Architecture::CURRENT), &tokenizer);
    assert_same_tokens(&exported(&workshop, "lured", "safetensors", &[]), &tokenizer, &texts());
}

#[test]
fn a_reader_of_the_format_page_computes_what_we_compute() {
    let workshop = workshop();
    let tokenizer = lured();
    let windows =
        Config { sequence_len: 192, window_pattern: "SSL".into(), n_layer: 4, ..config(&tokenizer, [4, 2], Architecture::CURRENT) };
    let mut models = vec![("windows", windows), ("odd", config(&tokenizer, [2, 2], Architecture::CURRENT))];
    models.extend(classic(&tokenizer));
    for (name, config) in models {
        drawn::install(&workshop.home(), name, &config, &tokenizer);
        let folder = exported(&workshop, name, "safetensors", &[]);
        let files = ["chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
        assert_eq!(Workshop::names(&folder), files);
        assert!(tensors(&folder.join("model.safetensors")) == tensors(&weights(&workshop, name, drawn::STEP)), "{name}: bit for bit");
        let tokenizer_json = |folder: &Path| fs::read_to_string(folder.join("tokenizer.json")).unwrap();
        assert_eq!(tokenizer_json(&folder), tokenizer_json(&workshop.run(name)));

        let ids = ids(config.sequence_len, config.vocab_size);
        let answer = python::ask("format.py", &folder, &json!({ "ids": [ids] }));
        assert_close(name, &drawn::logits(&workshop.home(), name, &ids), &answer["logits"][0]);
    }
}

#[test]
fn a_trained_run_says_where_it_comes_from_and_an_earlier_step_can_be_had() {
    let workshop = Workshop::new(|home| nc_core!(home));
    workshop
        .train("a", &["--num-iterations", "4", "--save-every", "2", "--eval-every", "4", "--eval-tokens", "256", "--sample-every", "-1"]);
    let folder = exported(&workshop, "a", "safetensors", &[]);
    let value = json_file(&folder.join("config.json"));
    let last = workshop.metrics("a").into_iter().rfind(|line| line["val_bpb"].is_number()).unwrap();
    assert_eq!(value["provenance"], json!({ "run": "a", "step": 4, "val_bpb": last["val_bpb"] }));
    let config = json_file(&workshop.run("a").join("config.json"));
    assert_eq!(value["nc_core"]["n_embd"], config["model"]["n_embd"]);
    let tokenizer = Tokenizer::from_file(&folder.join("tokenizer.json")).unwrap();
    assert_eq!(value["tokenizer_sha256"], tokenizer.hash());
    assert_same_tokens(&folder, &tokenizer, &["the white whale <|bos|>".to_owned()]);

    let earlier = exported(&workshop, "a", "safetensors", &["--step", "2"]);
    assert!(tensors(&earlier.join("model.safetensors")) == tensors(&weights(&workshop, "a", 2)));
    assert_eq!(json_file(&earlier.join("config.json"))["provenance"], json!({ "run": "a", "step": 2, "val_bpb": null }));
    // The only run need not be named, and programs are told what was written.
    let to = workshop.path("unnamed");
    let output = workshop.succeed(&["export", "--format", "safetensors", "--to", &to, "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let bytes: u64 = fs::read_dir(&to).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert_eq!((told["run"].as_str(), told["step"].as_u64(), told["bytes"].as_u64()), (Some("a"), Some(4), Some(bytes)));
    assert_eq!(told["files"], json!(Workshop::names(Path::new(&to))));
}

/// Imports an export and gives the weights of the new run.
fn imported(workshop: &Workshop, folder: &Path, name: &str) -> PathBuf {
    workshop.succeed(&["import", folder.to_str().unwrap(), "--name", name]);
    let steps = Workshop::names(&workshop.run(name).join("checkpoints"));
    assert_eq!(steps.len(), 1);
    workshop.run(name).join("checkpoints").join(&steps[0]).join("model.safetensors")
}

#[test]
fn an_export_that_is_imported_again_is_the_source_bit_for_bit() {
    let workshop = workshop();
    let home = workshop.home();
    // 320 is a multiple of 64: there is no padding that an export for transformers could lose.
    for (name, format, architecture, vocab_size) in [
        ("whole", "hf", Architecture::CLASSIC, 320),
        ("padded", "hf", Architecture::CLASSIC, 330),
        ("classic", "safetensors", Architecture::CLASSIC, 330),
        ("current", "safetensors", Architecture::CURRENT, 330),
    ] {
        let tokenizer = lured_to(vocab_size);
        let config = config(&tokenizer, [4, 2], architecture);
        drawn::install(&home, name, &config, &tokenizer);
        let folder = exported(&workshop, name, format, &[]);
        let again = format!("{name}-again");
        let theirs = tensors(&imported(&workshop, &folder, &again));
        let mut ours = tensors(&weights(&workshop, name, drawn::STEP));
        if name == "padded" {
            for table in ["transformer.wte.weight", "lm_head.weight"] {
                ours.get_mut(table).unwrap().2[4 * vocab_size * config.n_embd..].fill(0);
            }
        }
        assert!(ours == theirs, "{name}");
        let run = |name: &str| run_config(&Run::open(&Home::at(&home), name).unwrap()).unwrap().model;
        assert_eq!(run(&again), run(name));
        let file = |run: &str| fs::read(workshop.run(run).join("tokenizer.json")).unwrap();
        assert!(file(&again) == file(name), "{name}: tokenizer");

        // And what is exported from there is the same once more, but for the name that it goes by.
        let once_more = exported(&workshop, &again, format, &[]);
        for file in Workshop::names(&folder).iter().filter(|file| *file != "config.json" || format == "hf") {
            assert!(fs::read(folder.join(file)).unwrap() == fs::read(once_more.join(file)).unwrap(), "{name}: {file}");
        }
    }
}

#[test]
fn what_was_imported_can_leave_with_its_bits_per_byte_if_it_has_a_tokenizer() {
    let workshop = workshop();
    for dir in nc_tests::golden_dirs() {
        let (native, classic) = (dir.join("nanochat-native/base"), dir.join("hf-classic"));
        if native.exists() {
            let source = imported(&workshop, &native, "native");
            let folder = exported(&workshop, "native", "safetensors", &[]);
            assert_same_values(&folder.join("model.safetensors"), &source);
            // The reference keeps its embeddings in bf16, and so does the run.
            let stored = tensors(&source);
            assert_eq!((stored["transformer.wte.weight"].0, stored["lm_head.weight"].0), (Dtype::BF16, Dtype::F32));
            let provenance = &json_file(&folder.join("config.json"))["provenance"];
            let imported = &json_file(&workshop.run("native").join("config.json"))["imported"];
            assert_eq!((&provenance["val_bpb"], &provenance["step"]), (&imported["val_bpb"], &imported["step"]));
            assert!(provenance["val_bpb"].is_number(), "{provenance}");
            fs::remove_dir_all(workshop.run("native")).unwrap();
        }
        if classic.exists() {
            imported(&workshop, &classic, "classic");
            let sentence = workshop.refused(&["export", "--run", "classic", "--format", "hf", "--to", &workshop.path("to")]);
            assert!(sentence.contains("has no tokenizer") && !Path::new(&workshop.path("to")).exists(), "{sentence}");
            fs::remove_dir_all(workshop.run("classic")).unwrap();
        }
    }
}

#[test]
fn what_cannot_be_exported_is_a_sentence_and_nothing_is_written() {
    let workshop = workshop();
    let tokenizer = lured();
    let home = workshop.home();
    drawn::install(&home, "current", &config(&tokenizer, [2, 2], Architecture::CURRENT), &tokenizer);
    drawn::install(&home, "classic", &config(&tokenizer, [2, 2], Architecture::CLASSIC), &tokenizer);
    let short = Config { sequence_len: 256, window_pattern: "SL".into(), ..config(&tokenizer, [2, 2], Architecture::CLASSIC) };
    drawn::install(&home, "windows", &short, &tokenizer);
    for (name, file, text) in
        [("bare", "tokenizer.json", None), ("broken", "tokenizer.json", Some("{}")), ("damaged", "config.json", Some("{"))]
    {
        drawn::install(&home, name, &config(&tokenizer, [2, 2], Architecture::CLASSIC), &tokenizer);
        let path = workshop.run(name).join(file);
        text.map_or_else(|| fs::remove_file(&path), |text| fs::write(&path, text)).unwrap();
    }
    drawn::install(&home, "altered", &config(&tokenizer, [2, 2], Architecture::CLASSIC), &tokenizer);
    let path = weights(&workshop, "altered", drawn::STEP);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();

    let full = workshop.path("full");
    fs::create_dir(&full).unwrap();
    fs::write(Path::new(&full).join("notes"), "mine").unwrap();
    let file = workshop.file("file", "mine");
    let nowhere = workshop.path("no/such/folder");
    let to = workshop.path("to");
    let before = Workshop::names(workshop.folder());
    for (run, format, to, more, expected) in [
        ("clasic", "hf", &to, &[][..], "did you mean \"classic\"?"),
        ("classic", "hf", &full, &[], "full already exists and is not an empty folder"),
        ("classic", "hf", &file, &[], "file already exists and is not an empty folder"),
        ("classic", "hf", &nowhere, &[], "make it first"),
        ("classic", "hf", &to, &["--step", "7"], "has no checkpoint of step 7"),
        ("current", "hf", &to, &[], "use --format safetensors"),
        ("windows", "hf", &to, &[], "sees 128 of 256 tokens back"),
        ("bare", "safetensors", &to, &[], "tokenizer.json is missing"),
        ("broken", "safetensors", &to, &[], "tokenizer.json is not the tokenizer that it was trained with"),
        ("damaged", "safetensors", &to, &[], "config.json cannot be read"),
        ("altered", "safetensors", &to, &[], "model.safetensors was altered"),
    ] {
        let sentence = workshop.refused(&[&["export", "--run", run, "--format", format, "--to", to][..], more].concat());
        assert!(sentence.contains(expected), "{run}: {sentence}");
        assert_eq!(Workshop::names(workshop.folder()), before, "{sentence}");
    }
    assert_eq!((Workshop::names(Path::new(&full)), fs::read_to_string(&file).unwrap()), (vec!["notes".to_owned()], "mine".to_owned()));
    let sentence = workshop.refused(&["export", "--format", "hf", "--to", &to]);
    assert!(sentence.contains("say which run with --run NAME"), "{sentence}");
    // An empty folder is as good as none.
    fs::create_dir(&to).unwrap();
    workshop.succeed(&["export", "--run", "classic", "--format", "hf", "--to", &to]);
    assert!(Path::new(&to).join("model.safetensors").exists());
}

/// A limit on the size of files takes effect in the middle of writing, as a disk that fills up does.
#[cfg(unix)]
#[test]
fn without_room_nothing_is_left() {
    let workshop = workshop();
    let tokenizer = lured();
    drawn::install(&workshop.home(), "a", &config(&tokenizer, [2, 2], Architecture::CLASSIC), &tokenizer);
    let before = Workshop::names(workshop.folder());
    let to = workshop.path("to");
    for format in ["hf", "safetensors"] {
        let mut command = workshop.command(&["export", "--run", "a", "--format", format, "--to", &to]);
        limit_file_size(&mut command, 100 << 10);
        let sentence = refusal("no room", &command.output().unwrap());
        assert!(sentence.contains("the export needs") && sentence.contains("make room"), "{sentence}");
        assert_eq!(Workshop::names(workshop.folder()), before);
    }
}

#[test]
fn killed_in_the_middle_it_leaves_no_folder_of_that_name() {
    let workshop = workshop();
    let tokenizer = lured();
    // Some 150 MB: long enough in the writing to be met in the middle of it.
    let large = Config { n_embd: 1024, n_head: 8, n_kv_head: 8, ..config(&tokenizer, [2, 2], Architecture::CLASSIC) };
    drawn::install(&workshop.home(), "a", &large, &tokenizer);
    let to = PathBuf::from(workshop.path("to"));
    let unfinished =
        || Workshop::names(workshop.folder()).into_iter().filter(|name| name.starts_with(".to.unfinished-")).collect::<Vec<_>>();
    let halves = || unfinished().into_iter().map(|name| workshop.folder().join(name).join("model.safetensors"));
    for size in [1, 8 << 20, 40 << 20] {
        let mut child = workshop.command(&["export", "--run", "a", "--format", "hf", "--to", to.to_str().unwrap()]).spawn().unwrap();
        // Killed when it has written so much.
        while !halves().any(|half| fs::metadata(half).is_ok_and(|data| data.len() >= size)) {
            assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!to.exists(), "killed at {size} bytes");
        halves().for_each(|half| drop(fs::remove_file(half)));
    }
    workshop.succeed(&["export", "--run", "a", "--format", "hf", "--to", to.to_str().unwrap()]);
    assert!(to.join("tokenizer.json").exists() && SafeTensors::read_metadata(&fs::read(to.join("model.safetensors")).unwrap()).is_ok());
}
