//! The small JSON files of an export.

use serde_json::{Value, json};

use super::{ExportError, Origin};
use crate::model::Config;
use crate::tokenizer::Tokenizer;
use crate::weights::Format;

/// The version of the folder that `docs/FORMAT.md` describes.
const FORMAT_VERSION: u32 = 1;

/// The special tokens that other programs need.
pub(super) struct Ids {
    bos: u32,
    /// What ends an answer; a tokenizer without chat tokens has only `<|bos|>`, which ends a document.
    eos: u32,
    eos_name: &'static str,
}

impl Ids {
    /// Those of a tokenizer.
    pub fn of(tokenizer: &Tokenizer) -> Self {
        let bos = tokenizer.bos();
        match tokenizer.chat_tokens() {
            Ok(chat) => Self { bos, eos: chat.assistant_end, eos_name: "<|assistant_end|>" },
            Err(_) => Self { bos, eos: bos, eos_name: crate::tokenizer::BOS },
        }
    }

    /// All ids that end a text.
    fn ends(&self) -> Value {
        if self.eos == self.bos { json!(self.eos) } else { json!([self.eos, self.bos]) }
    }
}

/// PyTorch's name of a type of numbers, or our own for blocks.
fn torch_name(format: Format) -> &'static str {
    match format {
        Format::F32 => "float32",
        Format::Bf16 => "bfloat16",
        Format::F16 => "float16",
        Format::Q8 | Format::Q4 => format.word(),
    }
}

/// A float as the shortest decimal number that is read back as the same float.
fn shortest(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}

/// `config.json` as transformers writes it for the model type `nanochat`, except for its version.
pub(super) fn hugging_face(config: &Config, ids: &Ids, format: Format) -> Value {
    let parts = &config.architecture;
    json!({
        "architectures": ["NanoChatForCausalLM"],
        "attention_bias": false,
        "attention_dropout": 0.0,
        "bos_token_id": ids.bos,
        "dtype": torch_name(format),
        "eos_token_id": ids.eos,
        "final_logit_softcapping": shortest(parts.softcap),
        "hidden_act": "relu2",
        "hidden_size": config.n_embd,
        "initializer_range": 0.02,
        "intermediate_size": 4 * config.n_embd,
        "max_position_embeddings": config.sequence_len,
        "model_type": "nanochat",
        "num_attention_heads": config.n_head,
        "num_hidden_layers": config.n_layer,
        "num_key_value_heads": config.n_kv_head,
        "pad_token_id": ids.eos,
        "rms_norm_eps": shortest(parts.norm_eps),
        "rope_parameters": { "rope_theta": parts.rope_base, "rope_type": "default" },
        "tie_word_embeddings": false,
        "use_cache": true,
        "vocab_size": config.vocab_size,
    })
}

/// `generation_config.json`: the stop tokens for transformers. As here, a document ends where the next one begins.
pub(super) fn generation(ids: &Ids) -> Value {
    json!({ "bos_token_id": ids.bos, "eos_token_id": ids.ends(), "pad_token_id": ids.eos })
}

/// `tokenizer_config.json`: how transformers wraps `tokenizer.json`.
pub(super) fn tokenizer(config: &Config, ids: &Ids) -> Value {
    json!({
        "bos_token": crate::tokenizer::BOS,
        "clean_up_tokenization_spaces": false,
        "eos_token": ids.eos_name,
        "model_max_length": config.sequence_len,
        "pad_token": ids.eos_name,
        "tokenizer_class": "PreTrainedTokenizerFast",
    })
}

/// `config.json` of our own format.
pub(super) fn ours(
    config: &Config,
    ids: &Ids,
    format: Format,
    tokenizer: &Tokenizer,
    origin: &Origin,
    step: u64,
) -> Result<Value, ExportError> {
    let unwritable = |error: serde_json::Error| ExportError::Unwritable(error.to_string());
    // Through text, in which floats are the shortest decimals that read back as the same floats.
    let through_text = |text: Result<String, _>| text.and_then(|text| serde_json::from_str::<Value>(&text)).map_err(unwritable);
    let mut model = through_text(serde_json::to_string(config))?;
    // Explicit even if a run omits it, so that a reader need not know the default.
    model["architecture"] = through_text(serde_json::to_string(&config.architecture))?;
    Ok(json!({
        "model_type": "nc-core",
        "format_version": FORMAT_VERSION,
        "nc_core": model,
        "dtype": torch_name(format),
        "bos_token_id": ids.bos,
        "eos_token_id": ids.ends(),
        "tokenizer_sha256": tokenizer.hash(),
        "provenance": { "run": origin.run, "step": step, "val_bpb": origin.val_bpb },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Architecture;

    #[test]
    fn constants_keep_their_value_and_look_as_they_were_written() {
        for (number, text) in [(1e-6f32, "1e-6"), (15.0, "15.0"), (f32::EPSILON, "1.1920929e-7"), (0.1, "0.1")] {
            assert_eq!(json!(shortest(number)).to_string(), text);
            assert_eq!(shortest(number) as f32, number);
        }
    }

    #[test]
    fn our_configuration_is_read_back_the_same_with_its_architecture_spelled_out() {
        let options = crate::tokenizer::TrainOptions { vocab_size: 265, ..Default::default() };
        let tokenizer = Tokenizer::train([Ok::<_, std::io::Error>("text".to_owned())], &options).unwrap().tokenizer;
        let origin = Origin { run: "a".into(), val_bpb: Some(1.25) };
        for architecture in [Architecture::CURRENT, Architecture::CLASSIC] {
            let config = Config { architecture, ..Config::from_depth(2, 64, 32, 64, 265, "SL").unwrap() };
            let value = ours(&config, &Ids::of(&tokenizer), Format::Bf16, &tokenizer, &origin, 7).unwrap();
            assert_eq!(serde_json::from_value::<Config>(value["nc_core"].clone()).unwrap(), config);
            assert!(value["nc_core"]["architecture"]["qk_gain"].is_number());
            assert_eq!((value["bos_token_id"].as_u64(), &value["eos_token_id"]), (Some(256), &json!([260, 256])));
            assert_eq!(value["provenance"], json!({"run": "a", "step": 7, "val_bpb": 1.25}));
        }
    }
}
