//! The forward pass, top to bottom (nanochat's `gpt.py`, state of July 2026). Steps for parts that a model lacks are left out.

use crate::gpu::{Recorder, Tensor};
use crate::kernels::attention::{self, Attention};
use crate::kernels::matmul::Add;
use crate::kernels::rotary::{self, Rotary};
use crate::kernels::{embedding, norm, relu2, smear, value_gate};

use super::activations::Layer;
use super::{Activations, Model};

impl Model {
    /// Records everything up to the final norm. Reads `acts.ids`.
    pub fn record_trunk(&self, rec: &mut Recorder, acts: &Activations) {
        embedding::forward(rec, &acts.ids, self.parameters.weight("transformer.wte.weight"), &acts.embedding); // [N, C]
        norm::forward(rec, &acts.embedding, &acts.embedded, &acts.embedded_scale, self.config.architecture.norm_eps); // [N, C]
        self.record_smear(rec, acts);

        for (i, layer) in acts.layers.iter().enumerate() {
            let x = self.record_mix(rec, &acts.stream, i); // [N, C]
            self.record_attention(rec, acts, i, layer, x);
            self.record_mlp(rec, i, layer, x);
            self.record_keep(rec, &acts.stream, i);
        }

        let x = self.record_backout(rec, &acts.stream, &acts.embedding); // [N, C]
        norm::forward(rec, x, &acts.output, &acts.output_scale, self.config.architecture.norm_eps); // [N, C]
    }

    /// The stream before the first layer: the embedding, with a share of the previous token's if the model has smear.
    fn record_smear(&self, rec: &mut Recorder, acts: &Activations) {
        let x0 = acts.stream.x0(); // [N, C]
        if let Some(sigmoid) = &acts.smear_sigmoid {
            let (gate_w, lambda) = (self.parameters.get("smear_gate.weight"), self.parameters.get("smear_lambda"));
            smear::forward(rec, acts.seq, smear::Inputs { e: &acts.embedded, gate_w, lambda }, x0, sigmoid);
        } else if !self.config.architecture.lambdas {
            // Layers add to the stream, and the norm's gradient needs the unchanged embedding.
            rec.copy(&acts.embedded, x0);
        }
    }

    /// `x += c_proj(attention(norm(x)))`.
    fn record_attention(&self, rec: &mut Recorder, acts: &Activations, i: usize, layer: &Layer, x: &Tensor) {
        let h = &layer.attn_input;
        norm::forward(rec, x, h, &layer.attn_scale, self.config.architecture.norm_eps); // [N, C]
        self.linear(rec, h, &self.attn(i, "c_q"), &layer.q, Add::Nothing); // [N, H·D]
        self.linear(rec, h, &self.attn(i, "c_k"), &layer.k, Add::Nothing); // [N, K·D]
        self.linear(rec, h, &self.attn(i, "c_v"), &layer.v, Add::Nothing); // [N, K·D]
        if let Some(gate) = &layer.gate {
            let table = self.parameters.weight(&format!("value_embeds.{i}.weight"));
            let w = self.parameters.get(&self.attn(i, "ve_gate"));
            value_gate::forward(rec, value_gate::Inputs { ids: &acts.ids, table, w, h }, &layer.v, gate);
        }
        rotary::forward(rec, self.rotary(acts, self.config.n_head), &self.cos, &self.sin, &layer.q, &layer.q_scale);
        rotary::forward(rec, self.rotary(acts, self.config.n_kv_head), &self.cos, &self.sin, &layer.k, &layer.k_scale);
        attention::forward(rec, self.attention(acts, i), layer.attention()); // [N, H, D]
        self.linear(rec, &layer.mixed, &self.attn(i, "c_proj"), x, Add::Into); // [N, C]
    }

    /// `x += c_proj(relu(c_fc(norm(x)))²)`.
    fn record_mlp(&self, rec: &mut Recorder, i: usize, layer: &Layer, x: &Tensor) {
        norm::forward(rec, x, &layer.mlp_input, &layer.mlp_scale, self.config.architecture.norm_eps); // [N, C]
        self.linear(rec, &layer.mlp_input, &self.mlp(i, "c_fc"), &layer.hidden, Add::Nothing); // [N, 4C]
        relu2::forward(rec, &layer.hidden);
        self.linear(rec, &layer.hidden, &self.mlp(i, "c_proj"), x, Add::Into); // [N, C]
    }

    pub(super) fn attn(&self, layer: usize, part: &str) -> String {
        format!("transformer.h.{layer}.attn.{part}.weight")
    }

    pub(super) fn mlp(&self, layer: usize, part: &str) -> String {
        format!("transformer.h.{layer}.mlp.{part}.weight")
    }

    pub(super) fn rotary(&self, acts: &Activations, heads: usize) -> Rotary {
        Rotary {
            seq: acts.seq,
            heads,
            head_dim: self.config.head_dim(),
            offset: 0,
            eps: self.config.architecture.norm_eps,
            gain: self.config.architecture.qk_gain,
        }
    }

    pub(super) fn attention(&self, acts: &Activations, layer: usize) -> Attention {
        Attention {
            batch: acts.batch,
            seq: acts.seq,
            heads: self.config.n_head,
            kv_heads: self.config.n_kv_head,
            head_dim: self.config.head_dim(),
            window: self.windows[layer],
        }
    }
}
