//! Where nanochat keeps its checkpoints, in each of its layouts, and what a path into them stands for.

use std::fs;

use nc_tests::importing::{Place, copy, golden_with};
use nc_tests::nc_core;
use nc_tests::workshop::Workshop;
use serde_json::json;

/// A home folder to import into.
fn place() -> Place {
    Place::new(|home| nc_core!(home))
}

#[test]
fn a_checkpoint_is_found_by_its_base_its_stage_its_folder_and_its_file() {
    for golden in golden_with("checkpoint_expect.json") {
        let place = place();
        let stage = golden.join("base/base_checkpoints");
        let tag = &Workshop::names(&stage)[0];
        let files = Workshop::names(&stage.join(tag));
        let file = files.iter().find(|name| name.ends_with(".pt")).unwrap();
        let places = [golden.join("base"), stage.clone(), stage.join(tag), stage.join(tag).join(file)];
        for (i, path) in places.iter().enumerate() {
            let imported = place.import(path, &["--name", &format!("by-{i}")]);
            assert_eq!(imported["tokenizer"], true, "the tokenizer is found from {}", path.display());
            assert_eq!(imported["step"].as_u64(), file[6..12].parse().ok());
        }
        let bytes = |run: &str| fs::read(place.checkpoint_file(run, "model.safetensors")).unwrap();
        assert!((1..4).all(|i| bytes(&format!("by-{i}")) == bytes("by-0")));

        // The name is the model's, with the stage where that is not the first one.
        assert_eq!(place.import(&golden.join("base"), &["--source", "base", "--model-tag", tag])["run"], json!(tag));
        let said = place.refused(&golden.join("base"), &["--model-tag", tag]);
        assert!(said.contains("already") && said.contains("--name"), "{said}");
        let later = place.path("base/chatsft_checkpoints");
        copy(&stage, &later);
        copy(&golden.join("base/tokenizer"), &place.path("base/tokenizer"));
        assert_eq!(place.import(&place.path("base"), &[])["run"], json!(format!("{tag}-sft")));

        let said = place.refused(&golden.join("base"), &["--source", "rl"]);
        assert!(said.contains("no checkpoint of the stage rl; it has base"), "{said}");
        let said = place.refused(&golden.join("base"), &["--model-tag", "d99"]);
        assert!(said.contains("no model \"d99\"") && said.contains(tag.as_str()), "{said}");
        let said = place.refused(&golden.join("base"), &["--step", "77", "--name", "x"]);
        assert!(said.contains("no checkpoint of step 77"), "{said}");
    }
}

#[test]
fn an_experiment_of_nanochat_is_found_by_its_base_its_name_its_model_and_its_stage() {
    for golden in golden_with("checkpoint_expect.json") {
        let place = place();
        let stage = golden.join("base/base_checkpoints");
        let tag = &Workshop::names(&stage)[0];
        let experiment = place.path("nanochat/experiments/first");
        copy(&stage.join(tag), &experiment.join(tag).join("base"));
        // As since September 2026: the tokenizer is the dataset's.
        copy(&golden.join("base/tokenizer"), &place.path("nanochat/datasets/climbmix/tokenizer"));
        fs::write(experiment.join("meta.json"), r#"{"name": "first", "dataset": "climbmix"}"#).unwrap();
        let places = [place.path("nanochat"), experiment.clone(), experiment.join(tag), experiment.join(tag).join("base")];
        for (i, path) in places.iter().enumerate() {
            let imported = place.import(path, &["--name", &format!("by-{i}")]);
            assert_eq!(imported["tokenizer"], true, "the tokenizer is found from {}", path.display());
        }
        let bytes = |run: &str| fs::read(place.checkpoint_file(run, "model.safetensors")).unwrap();
        assert!((1..4).all(|i| bytes(&format!("by-{i}")) == bytes("by-0")));
        assert_eq!(place.import(&places[3], &[])["run"], json!(tag));

        copy(&experiment.join(tag).join("base"), &experiment.join(tag).join("chat"));
        assert_eq!(place.import(&experiment, &["--model-tag", tag])["run"], json!(format!("{tag}-sft")));
        assert_eq!(place.import(&experiment, &["--source", "base", "--name", "again"])["tokenizer"], true);
        let said = place.refused(&experiment, &["--source", "rl"]);
        assert!(said.contains("no checkpoint of the stage rl; it has sft, base"), "{said}");
        let said = place.refused(&experiment.join(tag), &["--model-tag", tag]);
        assert!(said.contains("--model-tag"), "{said}");

        copy(&experiment, &place.path("nanochat/experiments/second"));
        let said = place.refused(&place.path("nanochat"), &[]);
        assert!(said.contains("several experiments, first, second"), "{said}");
        // A dataset is named, and nothing else is looked at.
        fs::write(experiment.join("meta.json"), r#"{"dataset": "../datasets/climbmix"}"#).unwrap();
        assert_eq!(place.import(&experiment, &["--name", "elsewhere"])["tokenizer"], false);
        // As in July: the experiment has its own.
        copy(&golden.join("base/tokenizer"), &experiment.join("tokenizer"));
        assert_eq!(place.import(&experiment, &["--name", "july"])["tokenizer"], true);
    }
}

#[test]
fn published_checkpoints_lie_flat_beside_their_tokenizer() {
    for golden in golden_with("checkpoint_expect.json") {
        let place = place();
        let flat = place.path("nanochat d32!");
        let stage = golden.join("base/base_checkpoints");
        copy(&stage.join(&Workshop::names(&stage)[0]), &flat);
        copy(&golden.join("base/tokenizer"), &flat);
        fs::write(flat.join("optim_000010_rank0.pt"), "not even a file of torch").unwrap();
        let imported = place.import(&flat, &[]);
        assert_eq!((imported["run"].as_str(), imported["tokenizer"].as_bool()), (Some("nanochat-d32"), Some(true)));
        assert!(imported["notes"].to_string().contains("optim_"), "{imported}");
    }
}
