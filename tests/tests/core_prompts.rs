//! CORE's prompts and scored spans, token for token: beside what the reference's own code made of the same items
//! (`tests/python/core_prompts.py`).
//!
//! The small bundle in `tests/golden/core` is always compared. The files of the DCLM bundle are no part of this repository: a folder
//! `../shared/core-bundle` beside it, or the one that `NC_CORE_BUNDLE` names, is compared if it is there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nc_core::eval::core::{Bundle, CoreError, Item, Kind, Prompt, TASKS};
use nc_core::files::digest::hex;
use nc_core::tokenizer::Tokenizer;
use nc_tests::core_bundle;
use nc_tests::golden_dirs;
use rayon::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

#[derive(Deserialize)]
struct Task<I> {
    kind: Kind,
    shots: usize,
    rows: usize,
    items: Vec<I>,
}

#[derive(Deserialize)]
struct Whole {
    ids: Vec<Vec<u32>>,
    starts: Vec<usize>,
    ends: Vec<usize>,
}

fn folder() -> PathBuf {
    golden_dirs()[0].join("core")
}

fn golden<I: DeserializeOwned>(name: &str) -> BTreeMap<String, Task<I>> {
    serde_json::from_slice(&std::fs::read(folder().join(name)).unwrap()).unwrap()
}

fn tokenizer() -> Tokenizer {
    Tokenizer::from_file(&golden_dirs()[0].join("nanochat-native/tokenizer.json")).unwrap()
}

/// The digest of an item's sequences, as the script has it.
fn digest(prompts: &[Prompt]) -> String {
    let words = |ids: &[u32]| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let text: Vec<String> = prompts.iter().map(|prompt| format!("{}:{}:{}", prompt.start, prompt.ids.len(), words(&prompt.ids))).collect();
    hex(&Sha256::digest(text.join(";")))[..16].to_owned()
}

#[test]
fn prompts_of_the_small_bundle_are_the_references() {
    let (bundle, tokenizer) = (Bundle::open(&folder().join("bundle")).unwrap(), tokenizer());
    let mut golden = golden::<Whole>("own_prompts.json");
    assert_eq!(bundle.tasks().len(), golden.len());
    for facts in bundle.tasks() {
        let task = golden.remove(&facts.label).unwrap();
        let data = bundle.load(facts, None).unwrap();
        assert_eq!((facts.kind, facts.shots, data.items().len()), (task.kind, task.shots, task.rows), "{}", facts.label);
        for (index, want) in task.items.into_iter().enumerate() {
            let prompts = data.prompts(index, &tokenizer).unwrap();
            let texts = data.texts(index);
            assert_eq!(prompts.len(), want.ids.len(), "{} {index}", facts.label);
            for (prompt, ((ids, start), end)) in prompts.iter().zip(want.ids.iter().zip(want.starts).zip(want.ends)) {
                assert_eq!(&prompt.ids, ids, "{} {index}: {texts:?}", facts.label);
                // Where all options are the same, the reference's span begins at 0 and holds nothing.
                let start = if start == 0 { end } else { start };
                assert_eq!((prompt.start, prompt.ids.len()), (start, end), "{} {index}: {texts:?}", facts.label);
            }
        }
    }
}

#[test]
fn prompts_of_the_bundle_are_the_references() {
    let Some(path) = core_bundle() else { return };
    let (bundle, tokenizer) = (Bundle::open(&path).unwrap(), tokenizer());
    let golden = golden::<String>("bundle_prompts.json");
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for (label, task) in &golden {
        let facts = bundle.tasks().iter().find(|facts| facts.label == *label).unwrap();
        let data = bundle.load(facts, None).unwrap();
        assert_eq!((facts.kind, facts.shots, data.items().len()), (task.kind, task.shots, task.rows), "{label}");
        let wrong: Vec<usize> = task
            .items
            .par_iter()
            .enumerate()
            .filter(|&(index, want)| digest(&data.prompts(index, &tokenizer).unwrap()) != *want)
            .map(|(index, _)| index)
            .collect();
        assert!(wrong.is_empty(), "{label}: items {wrong:?} of {} differ", task.items.len());
        *kinds.entry(facts.kind.word()).or_default() += task.items.len();
    }
    assert!(kinds.len() == 3 && kinds.values().all(|&items| items >= 200), "{kinds:?}");
}

#[test]
fn a_folder_without_a_configuration_has_the_22_tasks() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(home.path().join("eval_data/commonsense_reasoning")).unwrap();
    std::fs::write(
        home.path().join("eval_data/commonsense_reasoning/copa.jsonl"),
        "{\"query\":\"q\",\"choices\":[\"a\",\"b\"],\"gold\":0}\n",
    )
    .unwrap();
    let bundle = Bundle::open(home.path()).unwrap();
    assert_eq!((bundle.tasks().len(), TASKS.len()), (22, 22));
    let missing = bundle.choose(None, false).unwrap_err();
    assert!(
        matches!(&missing, CoreError::MissingTasks { missing, of: 22, .. } if missing.len() == 21 && !missing.contains(&"copa".into())),
        "{missing}"
    );
    let there = bundle.choose(None, true).unwrap();
    assert_eq!(there.iter().map(|task| task.label.as_str()).collect::<Vec<_>>(), ["copa"]);
    assert_eq!(bundle.choose(Some(&["copa".to_owned()]), false).unwrap().len(), 1);
    assert!(
        bundle.choose(Some(&["coba".to_owned()]), true).unwrap_err().to_string().contains("no task \"coba\"; it has hellaswag_zeroshot, ")
    );
}

/// A copy of the small bundle with `text` in one of its files.
fn broken(file: &str, text: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    copy(&folder().join("bundle"), home.path());
    let path = home.path().join(file);
    std::fs::write(&path, text).unwrap();
    (home, path)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let place = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &place);
        } else {
            std::fs::copy(entry.path(), place).unwrap();
        }
    }
}

/// The error of opening the bundle, or of loading all of its tasks.
fn refusal(home: &Path) -> String {
    let all = |bundle: Bundle| bundle.choose(None, false)?.iter().try_for_each(|task| bundle.load(task, None).map(drop));
    Bundle::open(home).and_then(all).unwrap_err().to_string()
}

#[test]
fn broken_files_are_named_with_the_line() {
    let good = std::fs::read_to_string(folder().join("bundle/eval_data/own/choices.jsonl")).unwrap();
    let lines = |edit: &dyn Fn(&mut Vec<&str>)| {
        let mut lines: Vec<&str> = good.lines().collect();
        edit(&mut lines);
        lines.join("\n")
    };
    let data = "eval_data/own/choices.jsonl";
    for (text, line, reason) in [
        (lines(&|all| all[4] = "{\"query\": \"q\""), 5, "it is no JSON object (column 13)"),
        (lines(&|all| all[4] = ""), 5, "it is no JSON object (column 0)"),
        (lines(&|all| all[0] = "{\"query\": \"q\", \"choices\": \"a\", \"gold\": 0}"), 1, "`choices`: expected a sequence"),
        (
            lines(&|all| all[11] = "{\"query\": \"q\", \"choices\": [\"a\"], \"gold\": 1}"),
            12,
            "`gold` is 1, and there are 1 options, counted from 0",
        ),
        (lines(&|all| all[2] = "{\"choices\": [\"a\"], \"gold\": 0}"), 3, "missing field `query`"),
    ] {
        let (home, path) = broken(data, text.as_bytes());
        assert_eq!(refusal(home.path()), format!("{}, line {line}: {reason}", path.display()));
    }
    let (home, path) = broken(data, b"{\"query\": \"\xff\", \"choices\": [\"a\"], \"gold\": 0}\n");
    assert_eq!(refusal(home.path()), format!("{}, line 1: it is not UTF-8 text", path.display()));
    for (file, text, reason) in [
        (data, "", "it holds no item"),
        (data, "<!DOCTYPE html>\n", "it is a web page"),
        ("core.yaml", "icl_tasks:\n", "it has 0 tasks"),
        (
            "core.yaml",
            "icl_tasks:\n- label: a\n  dataset_uri: a.jsonl\n  num_fewshot: [0]\n  icl_task_type: schema\n",
            "no random baseline for the task a",
        ),
        (
            "core.yaml",
            "icl_tasks:\n- label: own_schemas\n  dataset_uri: ../a.jsonl\n  num_fewshot: [0]\n  icl_task_type: schema\n",
            "dataset_uri is no path inside the bundle",
        ),
        (
            "core.yaml",
            "icl_tasks:\n- label: own_schemas\n  dataset_uri: a.jsonl\n  num_fewshot: []\n  icl_task_type: schema\n",
            "num_fewshot is empty",
        ),
        (
            "core.yaml",
            "icl_tasks:\n- label: own_schemas\n  dataset_uri: a.jsonl\n  num_fewshot: [0]\n  icl_task_type: poem\n",
            "line 5: icl_task_type is not multiple_choice",
        ),
        ("core.yaml", "icl_tasks: [\n", "line 1: expected `icl_tasks:`"),
        ("eval_meta_data.csv", "Eval Task,Baseline\n", "there is no column \"Random baseline\""),
        ("eval_meta_data.csv", "Eval Task,Random baseline\nown_choices,many\n", "line 2: its random baseline is no number"),
        ("eval_meta_data.csv", "Eval Task,Random baseline\nown_choices,5\n", "has no random baseline for the task own_choices_zeroshot"),
    ] {
        let (home, path) = broken(file, text.as_bytes());
        let said = refusal(home.path());
        let named = said.contains(reason) && (reason.contains("baseline for") || said.starts_with(&path.display().to_string()));
        assert!(named, "{file}, {text:?}: {said}");
    }
    let (home, _) = broken("other", b"");
    std::fs::remove_file(home.path().join(data)).unwrap();
    let said = refusal(home.path());
    assert!(said.ends_with("lacks 2 of 4 tasks: own_choices, own_choices_zeroshot"), "{said}");
    assert!(refusal(&home.path().join("eval_data")).ends_with("is no evaluation bundle: it has no folder eval_data"));
}

#[test]
fn lines_of_windows_are_read() {
    let good = std::fs::read_to_string(folder().join("bundle/eval_data/own/choices.jsonl")).unwrap();
    let (home, _) = broken("eval_data/own/choices.jsonl", good.replace('\n', "\r\n").as_bytes());
    let items = |folder: &Path| -> Vec<Item> {
        let bundle = Bundle::open(folder).unwrap();
        bundle.load(&bundle.tasks()[0], None).unwrap().items().to_vec()
    };
    assert_eq!(items(home.path()), items(&folder().join("bundle")));
}

#[test]
fn prompts_are_cropped_at_their_beginning() {
    let (bundle, tokenizer) = (Bundle::open(&folder().join("bundle")).unwrap(), tokenizer());
    let data = bundle.load(&bundle.tasks()[0], Some(8)).unwrap();
    assert_eq!(data.items().len(), 8);
    let whole = data.prompts(0, &tokenizer).unwrap();
    let longest = whole.iter().map(|prompt| prompt.ids.len()).max().unwrap();
    assert_eq!(data.cropped(0, &tokenizer, longest).unwrap(), whole);
    let least = whole.iter().map(|prompt| prompt.ids.len() - prompt.start).max().unwrap();
    for room in [longest - 1, least + 1] {
        for (prompt, whole) in data.cropped(0, &tokenizer, room).unwrap().iter().zip(&whole) {
            let kept = whole.ids.len().min(room);
            assert_eq!(prompt.ids, whole.ids[whole.ids.len() - kept..]);
            assert_eq!(prompt.ids[prompt.start..], whole.ids[whole.start..]);
        }
    }
    let refused = data.cropped(0, &tokenizer, least).unwrap_err();
    assert!(matches!(refused, CoreError::TooLong { index: 0, room, .. } if room == least), "{refused}");
}
