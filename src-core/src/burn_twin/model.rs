//! The model, top to bottom, in the order of the forward pass.
//!
//! Burn chooses the backend by the device, at run time, so the same code runs on the CPU and the GPU. A tensor's axes are
//! written after the line that makes it: B rows, T tokens per row, C channels, H query heads, K key and value heads,
//! D channels per head, V tokens of the vocabulary.

use std::collections::BTreeMap;

use burn::tensor::activation::{log_softmax, relu, sigmoid, softmax, tanh};
use burn::tensor::module::{embedding, linear};
use burn::tensor::{Bool, DType, Device, Gradients, Int, Tensor, TensorData};

use crate::model::Config;
use crate::model::config::{SMEAR_CHANNELS, VE_GATE_CHANNELS};

use super::parameters::find;
use super::{NamedTensors, TwinError};

/// Replaces a score of minus infinity, which shader languages cannot express: its exponential is 0.
const MASKED: f32 = -1e30;

/// The model in Burn, for rows of a fixed number of tokens.
pub struct Twin {
    config: Config,
    seq: usize,
    device: Device,
    /// By name. Vectors are matrices of one row, so that all parameters have the same type.
    pub(super) weights: BTreeMap<String, Tensor<2>>,
    cos: Tensor<4>,              // [1, 1, T, D/2]
    sin: Tensor<4>,              // [1, 1, T, D/2]
    masks: Vec<Tensor<4, Bool>>, // [1, 1, T, T] for each layer: true where a query must not see a key
}

/// The results of a batch.
pub struct Evaluation {
    /// Softcapped logits, `[B, T, V]`.
    pub logits: Vec<f32>,
    /// Loss of each token in nats, `[B, T]`; 0 where the target is −1.
    pub losses: Vec<f32>,
    /// Mean loss over the targets that are not −1.
    pub loss: f32,
    /// Gradient of the mean loss with respect to every parameter.
    pub gradients: NamedTensors,
}

impl Twin {
    /// The model of `config` with `parameters`, for rows of `seq` tokens, computing in `dtype` on `device`.
    ///
    /// Fails if the configuration is invalid or the parameters do not match it.
    pub fn new(config: &Config, parameters: &NamedTensors, seq: usize, device: &Device, dtype: DType) -> Result<Self, TwinError> {
        config.validate()?;
        let device = device.clone().autodiff();
        let mut weights = BTreeMap::new();
        for spec in config.param_specs() {
            let values = find(parameters, &spec)?;
            let columns = *spec.shape.last().unwrap_or(&1);
            let data = TensorData::new(values.to_vec(), [values.len() / columns, columns]);
            weights.insert(spec.name, Tensor::from_data(data, (&device, dtype)).require_grad());
        }
        let half = config.head_dim() / 2;
        let angle = |t: usize, j: usize| t as f64 * config.architecture.rope_base.powf(-(j as f64) / half as f64);
        let table = |f: fn(f64) -> f64| {
            let values: Vec<f64> = (0..seq).flat_map(|t| (0..half).map(move |j| f(angle(t, j)))).collect();
            Tensor::from_data(TensorData::new(values, [1, 1, seq, half]), (&device, dtype))
        };
        let mask = |window: usize| {
            let values: Vec<bool> = (0..seq).flat_map(|row| (0..seq).map(move |column| column > row || row - column > window)).collect();
            Tensor::from_data(TensorData::new(values, [1, 1, seq, seq]), &device)
        };
        Ok(Self {
            seq,
            weights,
            cos: table(f64::cos),
            sin: table(f64::sin),
            masks: config.window_sizes().into_iter().map(mask).collect(),
            config: config.clone(),
            device,
        })
    }

    /// Softcapped logits of every token, `[B, T, V]`.
    fn forward(&self, ids: &Tensor<2, Int>) -> Tensor<3> {
        let parts = &self.config.architecture;
        let embedded = self.norm(embedding(self.weight("transformer.wte.weight"), ids.clone())); // [B, T, C]
        let x0 = if parts.smear { self.smear(embedded) } else { embedded }; // [B, T, C]

        let mut x = x0.clone();
        let mut middle = None;
        for i in 0..self.config.n_layer {
            if parts.lambdas {
                x = x * self.scalar("resid_lambdas", i) + x0.clone() * self.scalar("x0_lambdas", i);
            }
            x = x.clone() + self.attention(i, self.norm(x), ids);
            x = x.clone() + self.mlp(i, self.norm(x));
            if parts.backout && i == self.config.middle_layer() {
                middle = Some(x.clone());
            }
        }
        if let Some(middle) = middle {
            x = x - middle * self.scalar("backout_lambda", 0);
        }

        let logits = linear(self.norm(x), self.weight("lm_head.weight").transpose(), None); // [B, T, padded V]
        let logits = logits.narrow(2, 0, self.config.vocab_size); // [B, T, V]
        tanh(logits / self.config.architecture.softcap) * self.config.architecture.softcap
    }

    /// Adds to every token but the first a gated part of the previous one.
    fn smear(&self, x: Tensor<3>) -> Tensor<3> {
        let first = x.clone().narrow(1, 0, 1).zeros_like(); // [B, 1, C]
        let before = match self.seq {
            1 => first,
            _ => Tensor::cat(vec![first, x.clone().narrow(1, 0, self.seq - 1)], 1),
        }; // [B, T, C]
        let gate = sigmoid(self.project(x.clone().narrow(2, 0, SMEAR_CHANNELS), "smear_gate")); // [B, T, 1]
        x + before * gate * self.scalar("smear_lambda", 0)
    }

    /// Causal attention with grouped queries on `h` `[B, T, C]`.
    fn attention(&self, i: usize, h: Tensor<3>, ids: &Tensor<2, Int>) -> Tensor<3> {
        let [batch, seq, channels] = h.dims();
        let (heads, kv_heads, head_dim) = (self.config.n_head, self.config.n_kv_head, self.config.head_dim());
        let project =
            |part: &str, heads| self.project(h.clone(), &format!("transformer.h.{i}.attn.{part}")).reshape([batch, seq, heads, head_dim]);
        let q: Tensor<4> = project("c_q", heads); // [B, T, H, D]
        let k: Tensor<4> = project("c_k", kv_heads); // [B, T, K, D]
        let mut v: Tensor<4> = project("c_v", kv_heads); // [B, T, K, D]
        if self.config.has_value_embed(i) {
            let channels = h.clone().narrow(2, 0, VE_GATE_CHANNELS);
            let gate = sigmoid(self.project(channels, &format!("transformer.h.{i}.attn.ve_gate"))) * 3.0; // [B, T, K]
            let value = embedding(self.weight(&format!("value_embeds.{i}.weight")), ids.clone()); // [B, T, K·D]
            v = v + value.reshape([batch, seq, kv_heads, head_dim]) * gate.unsqueeze_dim(3);
        }

        let q = self.norm(self.rotate(q.swap_dims(1, 2))) * self.config.architecture.qk_gain; // [B, H, T, D]
        let k = self.norm(self.rotate(k.swap_dims(1, 2))) * self.config.architecture.qk_gain; // [B, K, T, D]
        let (k, v) = (self.for_every_query_head(k), self.for_every_query_head(v.swap_dims(1, 2))); // [B, H, T, D]
        let scores = q.matmul(k.transpose()) / (head_dim as f64).sqrt(); // [B, H, T, T]
        let mask = self.masks[i].clone().expand([batch, heads, seq, seq]);
        let mixed = softmax(scores.mask_fill(mask, MASKED), 3).matmul(v); // [B, H, T, D]
        let mixed = mixed.swap_dims(1, 2).reshape([batch, seq, channels]);
        self.project(mixed, &format!("transformer.h.{i}.attn.c_proj")) // [B, T, C]
    }

    /// Rotates pairs of channels (one of the first half, one of the last) of `x` `[B, heads, T, D]` by −θ.
    fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        let half = self.config.head_dim() / 2;
        let (x1, x2) = (x.clone().narrow(3, 0, half), x.narrow(3, half, half));
        let y1 = x1.clone() * self.cos.clone() + x2.clone() * self.sin.clone();
        let y2 = x2 * self.cos.clone() - x1 * self.sin.clone();
        Tensor::cat(vec![y1, y2], 3)
    }

    /// Repeats each head of `x` `[B, K, T, D]` for the H/K query heads that read it.
    fn for_every_query_head(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, kv_heads, seq, head_dim] = x.dims();
        let group = self.config.n_head / kv_heads;
        let x: Tensor<5> = x.unsqueeze_dim(2); // [B, K, 1, T, D]
        x.expand([batch, kv_heads, group, seq, head_dim]).reshape([batch, kv_heads * group, seq, head_dim])
    }

    /// `c_proj(relu(c_fc·h)²)`.
    fn mlp(&self, i: usize, h: Tensor<3>) -> Tensor<3> {
        let hidden = relu(self.project(h, &format!("transformer.h.{i}.mlp.c_fc"))); // [B, T, 4C]
        self.project(hidden.clone() * hidden, &format!("transformer.h.{i}.mlp.c_proj")) // [B, T, C]
    }

    /// Loss of each token, `[B, T]`: minus the log-probability of its target, 0 where that is −1.
    fn cross_entropy(&self, logits: Tensor<3>, targets: &[i32]) -> Tensor<2> {
        let [batch, seq, _] = logits.dims();
        let known: Vec<i32> = targets.iter().map(|&target| target.max(0)).collect();
        let known = Tensor::<3, Int>::from_data(TensorData::new(known, [batch, seq, 1]), &self.device);
        let ignored: Vec<bool> = targets.iter().map(|&target| target < 0).collect();
        let ignored = Tensor::<2, Bool>::from_data(TensorData::new(ignored, [batch, seq]), &self.device);
        let picked: Tensor<2> = log_softmax(logits, 2).gather(2, known).squeeze_dim(2);
        (-picked).mask_fill(ignored, 0.0)
    }

    /// Logits, the loss of each token, and their mean over the targets that are not −1, still on the device.
    fn losses(&self, ids: &[i32], targets: &[i32]) -> Result<(Tensor<3>, Tensor<2>, Tensor<1>), TwinError> {
        self.check(ids, targets)?;
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids.to_vec(), [ids.len() / self.seq, self.seq]), &self.device);
        let count = targets.iter().filter(|&&target| target >= 0).count();
        let logits = self.forward(&ids);
        let losses = self.cross_entropy(logits.clone(), targets);
        let loss = losses.clone().sum() / count.max(1) as f64;
        Ok((logits, losses, loss))
    }

    /// The mean loss of a batch and its gradients, still on the device.
    pub(super) fn loss_and_gradients(&self, ids: &[i32], targets: &[i32]) -> Result<(Tensor<1>, Gradients), TwinError> {
        let (_, _, loss) = self.losses(ids, targets)?;
        let gradients = loss.backward();
        Ok((loss, gradients))
    }

    /// Runs the model forward and backward over rows of tokens. `ids` and `targets` are `[B, T]`; a target of −1 is
    /// ignored.
    pub fn evaluate(&self, ids: &[i32], targets: &[i32]) -> Result<Evaluation, TwinError> {
        let (logits, losses, loss) = self.losses(ids, targets)?;
        let gradients = loss.backward();
        let gradients = self
            .config
            .param_specs()
            .into_iter()
            .map(|spec| {
                let gradient = self.weights[&spec.name].grad(&gradients).ok_or_else(|| TwinError::NoGradient(spec.name.clone()))?;
                Ok((spec.name, (spec.shape, gradient.try_into_vec_as()?)))
            })
            .collect::<Result<_, TwinError>>()?;
        let loss = loss.try_into_vec_as::<f32>()?[0];
        Ok(Evaluation { logits: logits.try_into_vec_as()?, losses: losses.try_into_vec_as()?, loss, gradients })
    }

    /// Burn would silently read past its tables, so an invalid batch is rejected here.
    fn check(&self, ids: &[i32], targets: &[i32]) -> Result<(), TwinError> {
        if ids.is_empty() || !ids.len().is_multiple_of(self.seq) || ids.len() != targets.len() {
            let (ids, targets, seq) = (ids.len(), targets.len(), self.seq);
            return Err(TwinError::Batch(format!("{ids} ids and {targets} targets are not whole rows of {seq} tokens")));
        }
        let vocab = self.config.vocab_size as i64;
        let outside = |least: i64, token: i32| i64::from(token) < least || i64::from(token) >= vocab;
        match ids.iter().find(|&&id| outside(0, id)).or_else(|| targets.iter().find(|&&target| outside(-1, target))) {
            Some(token) => Err(TwinError::Batch(format!("the token {token} is outside the vocabulary of {vocab}"))),
            None => Ok(()),
        }
    }

    /// A parameter by its name.
    fn weight(&self, name: &str) -> Tensor<2> {
        self.weights[name].clone()
    }

    /// Element `i` of a vector of parameters, `[1, 1, 1]`.
    fn scalar(&self, name: &str, i: usize) -> Tensor<3> {
        self.weight(name).narrow(1, i, 1).unsqueeze()
    }

    /// `x·Wᵀ` with the matrix `{name}.weight` `[out, in]`.
    fn project(&self, x: Tensor<3>, name: &str) -> Tensor<3> {
        linear(x, self.weight(&format!("{name}.weight")).transpose(), None)
    }

    /// `x / sqrt(mean(x²) + eps)` over the last axis.
    fn norm<const R: usize>(&self, x: Tensor<R>) -> Tensor<R> {
        let mean_square = (x.clone() * x.clone()).mean_dim(R - 1);
        x / (mean_square + self.config.architecture.norm_eps).sqrt()
    }
}
