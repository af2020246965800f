//! Folders of Hugging Face's transformers with the model type `nanochat`: the classic architecture under other
//! names. Also the folders that nc-core exports, which have the same files and our own names.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::assembled::{Assembled, Reading};
use super::shards::Shards;
use super::spelling::{self, Spelling};
use super::{Found, ImportError, Kind, Options, Provenance, Weights, json, nanochat, run_name};
use crate::files::json::{JsonError, from_value};
use crate::model::{Architecture, Config};

/// The file of settings.
pub(super) const CONFIG_FILE: &str = "config.json";

/// The file of generation settings, such as temperature, which are options here.
const GENERATION_FILE: &str = "generation_config.json";

/// The value of the key `model_type`.
#[derive(Deserialize)]
pub(super) struct ModelType {
    pub model_type: Option<String>,
}

/// The settings of the model type `nanochat`.
#[derive(Deserialize)]
struct Settings {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    intermediate_size: usize,
    max_position_embeddings: usize,
    #[serde(default = "relu2")]
    hidden_act: String,
    #[serde(default = "rms_norm_eps")]
    rms_norm_eps: f64,
    rope_parameters: Option<RopeParameters>,
    rope_theta: Option<f64>,
    #[serde(default = "softcap")]
    final_logit_softcapping: Option<f64>,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    tie_word_embeddings: bool,
}

#[derive(Deserialize)]
struct RopeParameters {
    rope_theta: Option<f64>,
    #[serde(alias = "type")]
    rope_type: Option<String>,
}

fn relu2() -> String {
    "relu2".to_owned()
}

fn rms_norm_eps() -> f64 {
    1e-6
}

fn softcap() -> Option<f64> {
    Some(f64::from(Architecture::CLASSIC.softcap))
}

/// Keys of older versions of the library, and their new names.
const LEGACY: [(&str, &str); 3] =
    [("logits_soft_cap", "final_logit_softcapping"), ("qkv_bias", "attention_bias"), ("rope_scaling", "rope_parameters")];

impl Settings {
    /// The settings in a file of any version; if it has a key under both names, the new one is used.
    fn of(mut keys: Map<String, Value>) -> Result<Self, JsonError> {
        for (old, new) in LEGACY {
            if let Some(value) = keys.remove(old) {
                keys.entry(new).or_insert(value);
            }
        }
        from_value(&Value::Object(keys))
    }

    /// The same as our configuration, with the given `vocab_size`.
    fn config(&self, path: &Path) -> Result<Config, ImportError> {
        let refused = |problem: String| Err(ImportError::refused(path, problem));
        if self.attention_bias {
            return refused("has biases in its attention (attention_bias), which nanochat's models do not have".into());
        }
        if self.hidden_act != "relu2" {
            return refused(format!("has the activation {:?}; nanochat's models have relu2", self.hidden_act));
        }
        if self.hidden_size.checked_mul(4) != Some(self.intermediate_size) {
            return refused(format!(
                "has an intermediate_size of {}; nanochat's models have four times the hidden_size, which is {}",
                self.intermediate_size, self.hidden_size
            ));
        }
        if self.head_dim.is_some_and(|dim| dim.checked_mul(self.num_attention_heads) != Some(self.hidden_size)) {
            return refused("has a head_dim that is not hidden_size / num_attention_heads".into());
        }
        let rope_type = self.rope_parameters.as_ref().and_then(|rope| rope.rope_type.as_deref()).unwrap_or("default");
        if rope_type != "default" {
            return refused(format!("has rotary embeddings of the type {rope_type:?}; only the default ones are read"));
        }
        let Some(softcap) = self.final_logit_softcapping else {
            return refused("has no cap on its logits (final_logit_softcapping is null), which nanochat's models have".into());
        };
        let rope_base = self.rope_parameters.as_ref().and_then(|rope| rope.rope_theta).or(self.rope_theta);
        let config = Config {
            sequence_len: self.max_position_embeddings,
            vocab_size: self.vocab_size,
            n_layer: self.num_hidden_layers,
            n_head: self.num_attention_heads,
            n_kv_head: self.num_key_value_heads.unwrap_or(self.num_attention_heads),
            n_embd: self.hidden_size,
            window_pattern: "L".into(),
            architecture: Architecture {
                rope_base: rope_base.unwrap_or(Architecture::CLASSIC.rope_base),
                norm_eps: self.rms_norm_eps as f32,
                softcap: softcap as f32,
                ..Architecture::CLASSIC
            },
        };
        config.validate().map_err(|source| ImportError::Config { path: path.to_path_buf(), source })?;
        Ok(config)
    }
}

/// Opens a folder of the model type `nanochat`.
pub(super) fn open(folder: &Path, options: &Options) -> Result<Found, ImportError> {
    const KIND: &str = "a Hugging Face folder";
    refuse_stages(options, KIND)?;
    let path = folder.join(CONFIG_FILE);
    let settings = Settings::of(json::read(&path)?).map_err(|error| ImportError::refused(&path, format!("cannot be read: {error}")))?;
    let mut config = settings.config(&path)?;
    let mut notes = Vec::new();
    if folder.join(GENERATION_FILE).exists() {
        notes.push(format!("{GENERATION_FILE} is ignored: how to sample is an option of each command"));
    }
    let spelling = find_tokenizer(folder, options)?;
    if let Some(spelling) = &spelling {
        notes.extend(spelling.fit_padded(&mut config)?);
    }
    let shared: &[(&str, &str)] = if settings.tie_word_embeddings { &[("lm_head.weight", "transformer.wte.weight")] } else { &[] };
    let shards = Shards::open(folder)?;
    let files = shards.names();
    let weights = Assembled::new(&config, Box::new(shards), &Reading { rename: &|name| Some(our_name(name)), filled: &[], shared })?;
    let provenance = Provenance { kind: Kind::HuggingFace, files, step: None, val_bpb: None };
    Ok(finish(folder, config, spelling, notes, weights, provenance))
}

/// The version of exported folders that is read; `docs/FORMAT.md` describes it.
const FORMAT_VERSION: u64 = 1;

/// The settings of an exported folder: our complete configuration, under one key.
#[derive(Deserialize)]
struct Exported {
    format_version: u64,
    nc_core: Config,
    tokenizer_sha256: Option<String>,
    #[serde(default)]
    provenance: ExportedFrom,
}

/// The checkpoint that was exported.
#[derive(Default, Deserialize)]
struct ExportedFrom {
    step: Option<u64>,
    val_bpb: Option<f64>,
}

/// Opens a folder that nc-core exported.
pub(super) fn open_exported(folder: &Path, options: &Options) -> Result<Found, ImportError> {
    refuse_stages(options, "an export of nc-core")?;
    let path = folder.join(CONFIG_FILE);
    let Exported { format_version, nc_core: config, tokenizer_sha256, provenance } = json::read(&path)?;
    if format_version != FORMAT_VERSION {
        let problem = format!("is of format version {format_version}, and this version of nc-core reads version {FORMAT_VERSION}");
        return Err(ImportError::refused(&path, problem));
    }
    config.validate().map_err(|source| ImportError::Config { path: path.clone(), source })?;
    let spelling = find_tokenizer(folder, options)?;
    if let Some(spelling) = &spelling {
        spelling.fit(&config)?;
        spelling.check_hash(tokenizer_sha256.as_deref())?;
    }
    let shards = Shards::open(folder)?;
    let files = shards.names();
    let rename = |name: &str| Some(name.to_owned());
    let weights = Assembled::new(&config, Box::new(shards), &Reading { rename: &rename, filled: &[], shared: &[] })?;
    let provenance = Provenance { kind: Kind::NcCore, files, step: provenance.step, val_bpb: provenance.val_bpb };
    Ok(finish(folder, config, spelling, Vec::new(), weights, provenance))
}

fn refuse_stages(options: &Options, kind: &'static str) -> Result<(), ImportError> {
    let unused = [("step", options.step.is_some()), ("source", options.source.is_some()), ("model_tag", options.model_tag.is_some())];
    match unused.into_iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(ImportError::NotApplicable { option, kind }),
        None => Ok(()),
    }
}

fn find_tokenizer(folder: &Path, options: &Options) -> Result<Option<Spelling>, ImportError> {
    match &options.tokenizer {
        Some(given) => Spelling::open(given).map(Some),
        None => spelling::beside(folder),
    }
}

fn finish(
    folder: &Path,
    model: Config,
    spelling: Option<Spelling>,
    notes: Vec<String>,
    weights: Assembled,
    provenance: Provenance,
) -> Found {
    Found {
        model,
        tokenizer: spelling.map(|spelling| spelling.tokenizer),
        name: run_name::name_after(folder),
        notes: [notes, nanochat::padding_note(&weights)].concat(),
        choices: Vec::new(),
        weights: Weights::Foreign(weights, provenance),
    }
}

/// The reference's name of a tensor. An unknown one keeps its name, and is then rejected as not part of the model.
fn our_name(name: &str) -> String {
    match name {
        "model.embed_tokens.weight" => return "transformer.wte.weight".to_owned(),
        "lm_head.weight" => return name.to_owned(),
        _ => {}
    }
    let parts = [
        ("self_attn.q_proj.weight", "attn.c_q.weight"),
        ("self_attn.k_proj.weight", "attn.c_k.weight"),
        ("self_attn.v_proj.weight", "attn.c_v.weight"),
        ("self_attn.o_proj.weight", "attn.c_proj.weight"),
        ("mlp.fc1.weight", "mlp.c_fc.weight"),
        ("mlp.fc2.weight", "mlp.c_proj.weight"),
    ];
    let ours = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.')).and_then(|(layer, part)| {
        let (_, ours) = parts.iter().find(|(theirs, _)| *theirs == part)?;
        Some(format!("transformer.h.{layer}.{ours}"))
    });
    ours.unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::json::from_str;

    const SETTINGS: &str = r#"{"model_type": "nanochat", "vocab_size": 512, "hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
        "intermediate_size": 512, "max_position_embeddings": 256, "rms_norm_eps": 1e-06, "hidden_act": "relu2",
        "rope_parameters": {"rope_theta": 20000.0, "rope_type": "default"}, "final_logit_softcapping": 20.0, "attention_bias": false}"#;

    fn config(from: &str, to: &str) -> Result<Config, String> {
        let text = SETTINGS.replace(from, to);
        assert!(from.is_empty() || text != SETTINGS, "{from}");
        let settings = from_str(&text).and_then(Settings::of).map_err(|error| error.to_string())?;
        settings.config(Path::new("config.json")).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_of_every_age_are_understood() {
        let config_of = |from, to| config(from, to).unwrap();
        let now = config_of("", "");
        assert_eq!((now.n_kv_head, now.architecture.rope_base, now.architecture.softcap, now.architecture.norm_eps), (4, 2e4, 20.0, 1e-6));
        assert!(now.architecture.is_classic());
        let legacy_cap = config_of("final_logit_softcapping", "logits_soft_cap");
        let legacy_rope =
            config_of("\"rope_parameters\": {\"rope_theta\": 20000.0, \"rope_type\": \"default\"}", "\"rope_theta\": 20000.0");
        let legacy_bias = config_of("attention_bias", "qkv_bias");
        let both = config_of("\"attention_bias\": false", "\"attention_bias\": false, \"logits_soft_cap\": 9.0, \"rope_scaling\": null");
        assert_eq!(both, now);
        assert_eq!([&legacy_cap, &legacy_rope, &legacy_bias], [&now; 3]);
        assert_eq!(config_of("\"attention_bias\": false", "\"num_key_value_heads\": 2").n_kv_head, 2);
        let unread = "\"attention_bias\": false, \"initializer_range\": NaN, \"task_specific_params\": {\"best\": [-Infinity]}";
        assert_eq!(config_of("\"attention_bias\": false", unread), now);
    }

    #[test]
    fn what_is_no_nanochat_is_refused_by_name() {
        for (from, to, words) in [
            ("\"attention_bias\": false", "\"attention_bias\": true", "attention_bias"),
            ("\"attention_bias\": false", "\"qkv_bias\": true", "attention_bias"),
            ("relu2", "gelu", "activation \"gelu\""),
            ("\"intermediate_size\": 512", "\"intermediate_size\": 500", "intermediate_size of 500"),
            ("\"rope_type\": \"default\"", "\"rope_type\": \"yarn\"", "\"yarn\""),
            ("20.0, \"attention", "null, \"attention", "no cap"),
            ("20.0, \"attention", "-3, \"attention", "softcap is -3"),
            ("1e-06", "NaN", "`rms_norm_eps` is NaN, which is not a number"),
            ("20000.0", "Infinity", "`rope_parameters.rope_theta` is Infinity"),
            ("\"hidden_size\": 128", "\"hidden_size\": -Infinity", "`hidden_size` is -Infinity"),
            ("\"hidden_size\": 128", "\"hidden_size\": 18446744073709551615", "intermediate_size"),
            ("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 9223372036854775807", "goes up to 1000"),
            ("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 1e300", "expected usize"),
            ("\"num_attention_heads\": 4", "\"num_attention_heads\": 0", "n_head is 0"),
            ("\"vocab_size\": 512", "\"vocab_size\": -1", "expected usize"),
            ("\"vocab_size\": 512", "\"vocab_size\": 99999999999999999999", "expected usize"),
            ("20000.0", "1e308", "rope_base"),
        ] {
            let error = config(from, to).expect_err(to);
            assert!(error.contains(words), "{to}: {error}");
        }
    }

    #[test]
    fn names_are_those_of_the_reference() {
        assert_eq!(our_name("model.layers.12.mlp.fc2.weight"), "transformer.h.12.mlp.c_proj.weight");
        assert_eq!(our_name("model.layers.0.self_attn.o_proj.weight"), "transformer.h.0.attn.c_proj.weight");
        assert_eq!(our_name("model.layers.0.self_attn.q_proj.bias"), "model.layers.0.self_attn.q_proj.bias");
    }
}
