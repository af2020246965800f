//! Checkpoints of nanochat from its earlier months: which of them are imported, and as what.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use nc_core::checkpoint::TensorFile;
use nc_core::model::{Architecture, Config};
use nc_tests::nc_core;
use nc_tests::torch::{Tensor, dict, saved};
use nc_tests::workshop::{refusal, words};
use serde_json::{Value, json};

const VOCAB: usize = 300;

/// A checkpoint to write: which parts it has, and how it is stored.
#[derive(Clone, Copy)]
struct Old {
    /// Names of tensors beyond the classic ones, with their shapes.
    more: &'static [(&'static str, &'static [i64])],
    prefix: &'static str,
    rows: usize,
    class: &'static str,
    sequence_len: usize,
    window_pattern: Option<&'static str>,
}

/// As October 2025 wrote it, from a compiled model.
const OCTOBER: Old = Old { more: &[], prefix: "_orig_mod.", rows: VOCAB, class: "FloatStorage", sequence_len: 64, window_pattern: None };

const LAMBDAS: &[(&str, &[i64])] = &[("resid_lambdas", &[2]), ("x0_lambdas", &[2])];

fn config(architecture: Architecture) -> Config {
    Config {
        sequence_len: 64,
        vocab_size: VOCAB,
        n_layer: 2,
        n_head: 2,
        n_kv_head: 2,
        n_embd: 32,
        window_pattern: "L".into(),
        architecture,
    }
}

/// The number of a tensor's element: one that float16 and bfloat16 hold too.
fn element(seed: usize, i: usize) -> f32 {
    ((i * 29 + seed * 13) % 127) as f32 / 64.0 - 1.0
}

impl Old {
    fn write(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        let mut names: Vec<(String, Vec<i64>)> = Vec::new();
        for param in config(Architecture::CLASSIC).param_specs() {
            let rows = if param.shape[0] == config(Architecture::CLASSIC).padded_vocab() { self.rows } else { param.shape[0] };
            names.push((format!("{}{}", self.prefix, param.name), vec![rows as i64, param.shape[1] as i64]));
        }
        names.extend(self.more.iter().map(|(name, shape)| (format!("{}{name}", self.prefix), shape.to_vec())));

        let keys: Vec<String> = (0..names.len()).map(|i| i.to_string()).collect();
        let storages: Vec<Vec<u8>> = names.iter().enumerate().map(|(seed, (name, shape))| self.storage(seed, name, shape)).collect();
        let strides: Vec<Vec<i64>> =
            names.iter().map(|(_, shape)| vec![shape.get(1).copied().unwrap_or(1), 1][2 - shape.len()..].to_vec()).collect();
        let tensors: Vec<(&str, Tensor)> = names
            .iter()
            .zip(&keys)
            .zip(&strides)
            .map(|(((name, shape), key), strides)| {
                let stored = shape.iter().product();
                (name.as_str(), Tensor { class: self.class, key, stored, offset: 0, shape, strides })
            })
            .collect();
        let storages: Vec<&[u8]> = storages.iter().map(Vec::as_slice).collect();
        fs::write(folder.join("model_000123.pt"), saved(&dict(&tensors), &storages)).unwrap();

        let mut model = json!({
            "sequence_len": self.sequence_len, "vocab_size": VOCAB, "n_layer": 2, "n_head": 2, "n_kv_head": 2, "n_embd": 32,
        });
        if let Some(pattern) = self.window_pattern {
            model["window_pattern"] = pattern.into();
        }
        fs::write(folder.join("meta_000123.json"), json!({ "step": 123, "model_config": model }).to_string()).unwrap();
    }

    /// The bytes of a tensor: lambdas as the reference fills them in, all else by [`element`].
    fn storage(&self, seed: usize, name: &str, shape: &[i64]) -> Vec<u8> {
        let value = |i: usize| match name {
            _ if name.contains("resid_lambdas") => 1.0,
            _ if name.contains("x0_lambdas") => 0.0,
            _ => element(seed, i),
        };
        (0..shape.iter().product::<i64>() as usize)
            .flat_map(|i| match self.class {
                "FloatStorage" => value(i).to_le_bytes().to_vec(),
                "BFloat16Storage" => half::bf16::from_f32(value(i)).to_le_bytes().to_vec(),
                "HalfStorage" => half::f16::from_f32(value(i)).to_le_bytes().to_vec(),
                "LongStorage" => (value(i) as i64).to_le_bytes().to_vec(),
                other => panic!("no {other} is written"),
            })
            .collect()
    }

    /// Imports it as the run `d2`; the home folder and what was printed.
    fn import(&self) -> (tempfile::TempDir, std::process::Output) {
        let root = tempfile::tempdir().unwrap();
        self.write(&root.path().join("d2"));
        let mut command = nc_core!(root.path().join("home"));
        let output = command.args(["import", "--json"]).arg(root.path().join("d2")).stdin(Stdio::null()).output().unwrap();
        (root, output)
    }

    fn imported(&self) -> (tempfile::TempDir, Value) {
        let (root, output) = self.import();
        assert!(output.status.success(), "{}", words(&output));
        (root, serde_json::from_slice(&output.stdout).unwrap())
    }

    fn refused(&self, what: &str) -> String {
        let (root, output) = self.import();
        let said = refusal(what, &output);
        assert!(!root.path().join("home/runs").exists(), "{what}");
        said
    }
}

fn weights(root: &Path) -> TensorFile {
    TensorFile::open(&root.join("home/runs/d2/checkpoints/000123/model.safetensors")).unwrap()
}

fn logprobs(root: &Path) -> Vec<f64> {
    let ids = root.join("ids.json");
    fs::write(&ids, json!((0..40).map(|i| i * 37 % VOCAB).collect::<Vec<_>>()).to_string()).unwrap();
    let output = nc_core!(root.join("home")).args(["score", "--run", "d2", "--ids"]).arg(ids).output().unwrap();
    assert!(output.status.success(), "{}", words(&output));
    serde_json::from_value(serde_json::from_slice::<Value>(&output.stdout).unwrap()["logprobs"].take()).unwrap()
}

#[test]
fn the_first_checkpoints_are_classic_and_padded() {
    let (root, imported) = OCTOBER.imported();
    assert_eq!(
        (imported["architecture"].as_str(), imported["step"].as_u64(), imported["run"].as_str()),
        (Some("classic"), Some(123), Some("d2"))
    );
    assert!(imported["notes"].to_string().contains("rows of zeros"), "{imported}");
    let mut file = weights(root.path());
    for (seed, param) in config(Architecture::CLASSIC).param_specs().iter().enumerate() {
        let values = file.read(&param.name).unwrap();
        let stored = if param.shape[0] == 320 { VOCAB * 32 } else { param.len() };
        let right = |(i, value): (usize, &f32)| *value == if i < stored { element(seed, i) } else { 0.0 };
        assert!(values.len() == param.len() && values.iter().enumerate().all(right), "{}", param.name);
    }
    assert_eq!(logprobs(root.path()).len(), 39);
}

#[test]
fn types_prefixes_and_padding_make_no_difference() {
    let values = |old: Old| {
        let (root, _) = old.imported();
        let mut file = weights(root.path());
        let names: Vec<String> = file.specs().map(|spec| spec.name.clone()).collect();
        names.into_iter().map(|name| (file.read(&name).unwrap(), name)).collect::<Vec<_>>()
    };
    let plain = values(OCTOBER);
    assert!(plain == values(Old { prefix: "", ..OCTOBER }));
    assert!(plain == values(Old { class: "BFloat16Storage", ..OCTOBER }));
    assert!(plain == values(Old { class: "HalfStorage", window_pattern: Some("L"), ..OCTOBER }));
    let (root, imported) = Old { rows: 320, ..OCTOBER }.imported();
    assert!(!imported["notes"].to_string().contains("zeros"), "{imported}");
    assert_eq!(weights(root.path()).read("lm_head.weight").unwrap()[319 * 32], element(13, 319 * 32));
}

#[test]
fn lambdas_of_january_belong_to_the_classic_formulas() {
    let (root, imported) = Old { more: LAMBDAS, ..OCTOBER }.imported();
    assert_eq!(imported["architecture"], "classic with residual lambdas");
    assert_eq!(imported["model"]["architecture"]["rope_base"], 10000.0);
    // One of them alone: the reference fills in the other.
    let (half, imported) = Old { more: &LAMBDAS[1..], ..OCTOBER }.imported();
    assert!(imported["notes"].to_string().contains("resid_lambdas was filled in"), "{imported}");
    assert_eq!(weights(half.path()).read("resid_lambdas").unwrap(), [1.0, 1.0]);
    // Lambdas of 1 and 0 change nothing.
    let (classic, _) = OCTOBER.imported();
    let close = |one: Vec<f64>, other: Vec<f64>| one.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(close(logprobs(root.path()), logprobs(classic.path())));

    let said = Old { more: LAMBDAS, sequence_len: 2048, window_pattern: Some("SSSL"), ..OCTOBER }.refused("short windows");
    assert!(said.contains("windows of January 2026") && said.contains("1024 tokens"), "{said}");
}

#[test]
fn the_months_between_are_refused_with_what_they_have_and_lack() {
    const VALUES: &[(&str, &[i64])] = &[
        ("resid_lambdas", &[2]),
        ("x0_lambdas", &[2]),
        ("value_embeds.1.weight", &[320, 32]),
        ("transformer.h.1.attn.ve_gate.weight", &[2, 32]),
    ];
    let said = Old { more: VALUES, ..OCTOBER }.refused("February");
    assert!(said.contains("has value embeddings, residual lambdas but no smear, backout"), "{said}");
    assert!(said.contains("months between"), "{said}");
    let said = Old { more: &[("engram.weight", &[4, 4])], ..OCTOBER }.refused("an experiment");
    assert!(said.contains("\"_orig_mod.engram.weight\" is not in the model"), "{said}");
    let said = Old { class: "LongStorage", ..OCTOBER }.refused("whole numbers");
    assert!(said.contains("weights are in"), "{said}");
}
