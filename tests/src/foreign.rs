//! A small model in the form of Hugging Face's transformers, for tests that import it, break it, or serve it.

use std::fs;
use std::path::Path;

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

/// A tensor by name.
#[derive(Clone)]
pub struct ForeignTensor {
    /// Its name in the files of transformers.
    pub name: String,
    /// Rows and columns.
    pub shape: Vec<usize>,
    /// Numbers that float16 and bfloat16 hold as well as float32.
    pub values: Vec<f32>,
}

/// A model of the type `nanochat`.
pub struct Foreign {
    /// What `config.json` says.
    pub settings: Value,
    /// Its tensors.
    pub tensors: Vec<ForeignTensor>,
}

/// Ids of the model's vocabulary: not a multiple of 64.
pub const VOCAB: usize = 300;

/// Its channels.
pub const CHANNELS: usize = 32;

impl Default for Foreign {
    fn default() -> Self {
        Self::new()
    }
}

impl Foreign {
    /// A model of two layers.
    pub fn new() -> Self {
        let settings = json!({
            "architectures": ["NanoChatForCausalLM"], "model_type": "nanochat", "vocab_size": VOCAB, "hidden_size": CHANNELS,
            "intermediate_size": 4 * CHANNELS, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
            "max_position_embeddings": 64, "hidden_act": "relu2", "rms_norm_eps": 1e-6, "final_logit_softcapping": 15.0,
            "attention_bias": false, "tie_word_embeddings": false, "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
        });
        let mut tensors = Vec::new();
        let mut add = |name: String, rows: usize, columns: usize| {
            let seed = tensors.len();
            let values = (0..rows * columns).map(|i| ((i * 31 + seed * 17) % 127) as f32 / 64.0 - 1.0).collect();
            tensors.push(ForeignTensor { name, shape: vec![rows, columns], values });
        };
        add("model.embed_tokens.weight".into(), VOCAB, CHANNELS);
        for layer in 0..2 {
            let mut part = |name: &str, rows, columns| add(format!("model.layers.{layer}.{name}.weight"), rows, columns);
            part("self_attn.q_proj", CHANNELS, CHANNELS);
            part("self_attn.k_proj", CHANNELS / 2, CHANNELS);
            part("self_attn.v_proj", CHANNELS / 2, CHANNELS);
            part("self_attn.o_proj", CHANNELS, CHANNELS);
            part("mlp.fc1", 4 * CHANNELS, CHANNELS);
            part("mlp.fc2", CHANNELS, 4 * CHANNELS);
        }
        add("lm_head.weight".into(), VOCAB, CHANNELS);
        Self { settings, tensors }
    }

    /// The bytes of a safetensors file of `tensors`.
    pub fn file(tensors: &[ForeignTensor], dtype: Dtype) -> Vec<u8> {
        let bytes: Vec<Vec<u8>> = tensors
            .iter()
            .map(|tensor| match dtype {
                Dtype::F32 => tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect(),
                Dtype::BF16 => tensor.values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect(),
                Dtype::F16 => tensor.values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
                other => panic!("no tensors of {other} are made"),
            })
            .collect();
        let views = tensors
            .iter()
            .zip(&bytes)
            .map(|(tensor, bytes)| (tensor.name.clone(), TensorView::new(dtype, tensor.shape.clone(), bytes).unwrap()));
        safetensors::serialize(views, None).unwrap()
    }

    /// Writes `config.json` and one file of tensors.
    pub fn write(&self, folder: &Path, dtype: Dtype) {
        self.write_settings(folder);
        fs::write(folder.join("model.safetensors"), Self::file(&self.tensors, dtype)).unwrap();
    }

    /// Writes `config.json`, an index, and the tensors in two files; returns the index.
    pub fn write_sharded(&self, folder: &Path) -> Value {
        self.write_settings(folder);
        let (first, second) = self.tensors.split_at(self.tensors.len() / 2);
        let mut map = serde_json::Map::new();
        for (tensors, name) in [(first, "model-00001-of-00002.safetensors"), (second, "model-00002-of-00002.safetensors")] {
            fs::write(folder.join(name), Self::file(tensors, Dtype::F32)).unwrap();
            map.extend(tensors.iter().map(|tensor| (tensor.name.clone(), name.into())));
        }
        let index = json!({ "metadata": { "total_size": 1 }, "weight_map": map });
        fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
        index
    }

    fn write_settings(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("config.json"), self.settings.to_string()).unwrap();
    }

    /// The values of a tensor.
    pub fn values(&self, name: &str) -> &[f32] {
        &self.tensors.iter().find(|tensor| tensor.name == name).unwrap().values
    }
}
