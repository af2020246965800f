//! A model that writes what a test wants: after each token another one, or one of several.
//!
//! Every token is embedded as a direction of its own, the block adds nothing to it, and the unembedding gives each next
//! token the logit that the script says. So all that surrounds a model can be tested, down to the order of its tokens.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::Path;

use nc_core::checkpoint::home::Home;
use nc_core::checkpoint::{Run, Snapshot, TensorRef, save};
use nc_core::gpu::Gpu;
use nc_core::model::{Architecture, Config, Model, ParamSpec, Parameters};
use nc_core::tokenizer::{ChatTokens, Tokenizer, TrainOptions};
use nc_core::weights::Format;
use serde_json::Value;
use serde_json::value::RawValue;

/// How a run that was never trained says that it was.
pub(crate) const TRAINING: &str = r#"{
    "data": [], "seed": 42, "num_iterations": 1, "device_batch_size": 1, "total_batch_size": null, "lr_scale": 1.0,
    "embedding_lr": 0.3, "unembedding_lr": 0.008, "matrix_lr": 0.02, "scalar_lr": 0.5, "weight_decay": 0.1, "warmup_steps": 3,
    "warmdown_ratio": 0.65, "final_lr_frac": 0.05, "eval_every": null, "eval_tokens": 256, "sample_every": null, "save_every": null,
    "keep_last": 1
}"#;

/// Channels: one for each token, in heads of a usual size.
const CHANNELS: usize = 320;

/// What the final norm makes of a direction: √C.
const NORMED: f32 = 17.888_544;

/// A model, the tokenizer it writes with, and the GPU it is on.
pub struct Script {
    /// Where it runs.
    pub gpu: Gpu,
    /// What it writes with.
    pub model: Model,
    /// What it spells with: [`bytes_tokenizer`].
    pub tokenizer: Tokenizer,
    /// The special tokens of that.
    pub tokens: ChatTokens,
    /// The model's parameters that are not zero.
    values: HashMap<&'static str, Vec<f32>>,
}

/// A tokenizer whose only tokens are the bytes and the special ones.
pub fn bytes_tokenizer() -> Tokenizer {
    let options = TrainOptions { vocab_size: 265, ..TrainOptions::default() };
    Tokenizer::train([Ok::<_, std::io::Error>("text".to_owned())], &options).unwrap().tokenizer
}

impl Script {
    /// A model of this context, in which the token `to` has the logit `logit(from, to)` after `from`: up to some 10, where
    /// the softcap begins to press.
    pub fn with_logits(context: usize, logit: impl Fn(u32, u32) -> f32) -> Self {
        let gpu = Gpu::open(std::env::var("NC_ADAPTER").ok().as_deref()).unwrap();
        let tokenizer = bytes_tokenizer();
        let vocab = tokenizer.vocab_size();
        let config = Config {
            sequence_len: context,
            vocab_size: vocab,
            n_layer: 1,
            n_head: 2,
            n_kv_head: 1,
            n_embd: CHANNELS,
            window_pattern: "L".into(),
            architecture: Architecture::CURRENT,
        };
        let parameters = Parameters::frozen(&gpu, &config, Format::F32).unwrap();
        let padded = config.padded_vocab();
        let (mut embedding, mut unembedding) = (vec![0.0; padded * CHANNELS], vec![0.0; padded * CHANNELS]);
        for from in 0..vocab {
            embedding[from * CHANNELS + from] = 1.0;
            for to in 0..vocab {
                unembedding[to * CHANNELS + from] = logit(from as u32, to as u32) / NORMED;
            }
        }
        // All else stays zero: the block is the identity.
        let values = HashMap::from([("resid_lambdas", vec![1.0]), ("transformer.wte.weight", embedding), ("lm_head.weight", unembedding)]);
        for spec in config.param_specs() {
            if let Some(values) = values.get(spec.name.as_str()) {
                parameters.upload(&gpu, &spec.name, &spec.shape, values).unwrap();
            }
        }
        let model = Model::new(&gpu, &config, parameters).unwrap();
        let tokens = tokenizer.chat_tokens().unwrap();
        Self { gpu, model, tokenizer, tokens, values }
    }

    /// A model in which one of the tokens that `after` gives for a token comes next, each as likely as the others.
    pub fn new(context: usize, after: impl Fn(&ChatTokens, u32) -> Vec<u32>) -> Self {
        let tokens = bytes_tokenizer().chat_tokens().unwrap();
        let next: Vec<Vec<u32>> = (0..265).map(|from| after(&tokens, from)).collect();
        Self::with_logits(context, |from, to| if next[from as usize].contains(&to) { 30.0 } else { 0.0 })
    }

    /// A model that writes this text, in which no token comes twice, and then the end of the assistant's answer. `[` and
    /// `]` stand for the special tokens around a call. After `<|assistant_start|>` comes the first one.
    pub fn writing(context: usize, text: &str) -> Self {
        let ids = |tokens: &ChatTokens| -> Vec<u32> {
            let special = |byte| match byte {
                b'[' => tokens.python_start,
                b']' => tokens.python_end,
                byte => byte_token(byte),
            };
            let inner = text.bytes().map(special);
            [tokens.assistant_start].into_iter().chain(inner).chain([tokens.assistant_end]).collect()
        };
        Self::new(context, |tokens, from| {
            let ids = ids(tokens);
            let at = ids.iter().position(|&id| id == from);
            vec![at.and_then(|at| ids.get(at + 1)).copied().unwrap_or(tokens.assistant_end)]
        })
    }

    /// Makes it the only checkpoint of a run, for tests of the program.
    pub fn install(&self, home: &Path, run: &str) {
        self.install_as(home, run, &self.tokenizer.to_json(), |_| {});
    }

    /// The same with another tokenizer, and with values that `edit` has changed.
    pub fn install_as(&self, home: &Path, run: &str, tokenizer_json: &str, edit: impl Fn(&mut [f32])) {
        let mut training: Value = TRAINING.parse().unwrap();
        training["total_batch_size"] = self.model.config.sequence_len.into();
        let config = serde_json::json!({ "format": 1, "model": self.model.config, "training": training });
        let run = Run::create(&Home::at(home), run, &config, tokenizer_json).unwrap();
        let values = |spec: &ParamSpec| self.values.get(spec.name.as_str()).cloned().unwrap_or_else(|| vec![0.0; spec.len()]);
        let specs = self.model.config.param_specs();
        let mut tensors: Vec<(&str, &[usize], Vec<f32>)> =
            specs.iter().map(|spec| (spec.name.as_str(), spec.shape.as_slice(), values(spec))).collect();
        tensors.iter_mut().for_each(|(_, _, values)| edit(values));
        let refs: Vec<TensorRef<'_>> = tensors.iter().map(|(name, shape, data)| TensorRef { name, shape, data }).collect();
        let snapshot = Snapshot { step: 1, model: &mut refs.as_slice(), optimizer: Some(&mut [].as_slice()), state: RawValue::NULL };
        save(&run.lock().unwrap(), snapshot, NonZeroUsize::new(1)).unwrap();
    }

    /// The ids of a text.
    pub fn ids(&self, text: &str) -> Vec<u32> {
        self.tokenizer.encode(text)
    }
}

/// The token of a byte: they come first in every vocabulary, in their order.
pub fn byte_token(byte: u8) -> u32 {
    u32::from(byte)
}
