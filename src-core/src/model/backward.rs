//! The backward pass, bottom to top: the forward pass's lines in reverse, each with its gradient.
//!
//! Without lambdas the gradient of the stream is also that of x0: a layer only adds to it.

use crate::gpu::{DType, Gpu, GpuError, Memory, Recorder, Tensor};
use crate::kernels::matmul::Add;
use crate::kernels::{self, attention, axpy, backout, embedding, norm, relu2, residual, rotary, smear, value_gate};

use super::activations::Layer;
use super::{Activations, Config, Model};

/// Buffers of the backward pass, shared by all layers.
pub struct Gradients {
    /// Rows of the batch sorted by token, `[N]` u32; see [`embedding::segments`].
    pub order: Tensor,
    /// Where each token's rows start in `order`, `[V + 1]` u32.
    pub starts: Tensor,
    /// The weight of each token's loss, `[1]`: 1 / (targets of the batch · batches of the step).
    pub weight: Tensor,
    stream: Tensor,         // [N, C]    of the residual stream
    first: Option<Tensor>,  // [N, C]    of x0, from lambdas
    middle: Option<Tensor>, // [N, C]    of the stream after the middle layer, from backout
    normed: Tensor,         // [N, C]    of a norm's output
    mixed: Tensor,          // [N, H, D] of attention's output
    delta: Tensor,          // [N, H]
    q: Tensor,              // [N, H, D]
    k: Tensor,              // [N, K, D]
    v: Tensor,              // [N, K, D]
    hidden: Tensor,         // [N, 4C]
    scratch: Tensor,        // partial sums
}

impl Gradients {
    /// Buffers for batches of `batch` rows of `seq` tokens.
    pub fn allocate(gpu: &Gpu, config: &Config, batch: usize, seq: usize) -> Result<Self, GpuError> {
        let n = batch * seq;
        let (c, h, k, d) = (config.n_embd, config.n_head, config.n_kv_head, config.head_dim());
        let floats = |name: &str, shape: &[usize]| gpu.zeros(name, shape, DType::F32, Memory::Workspace);
        let parts = &config.architecture;
        Ok(Self {
            order: gpu.zeros("token order", &[n], DType::U32, Memory::Workspace)?,
            starts: gpu.zeros("token starts", &[config.padded_vocab() + 1], DType::U32, Memory::Workspace)?,
            weight: floats("loss weight", &[1])?,
            stream: floats("stream gradient", &[n, c])?,
            first: parts.lambdas.then(|| floats("x0 gradient", &[n, c])).transpose()?,
            middle: parts.backout.then(|| floats("middle gradient", &[n, c])).transpose()?,
            normed: floats("norm gradient", &[n, c])?,
            mixed: floats("attention output gradient", &[n, h, d])?,
            delta: floats("attention delta", &[n, h])?,
            q: floats("query gradient", &[n, h, d])?,
            k: floats("key gradient", &[n, k, d])?,
            v: floats("value gradient", &[n, k, d])?,
            hidden: floats("MLP gradient", &[n, 4 * c])?,
            scratch: floats("partial sums", &[kernels::scratch_len(n, k)])?,
        })
    }
}

impl Model {
    /// Records zeroing every parameter's gradient: once per step, before its first batch.
    pub fn record_clear(&self, rec: &mut Recorder) {
        self.parameters.clear_grads(rec);
    }

    /// Records the losses of a batch and their gradients, added to the parameters' gradients. Follows
    /// [`record_trunk`](Self::record_trunk); reads `acts.targets` and `grads`' `order`, `starts` and `weight`.
    pub fn record_backward(&self, rec: &mut Recorder, acts: &Activations, grads: &Gradients) {
        let dx = &grads.stream;
        self.record_losses_and_gradients(rec, acts, &grads.weight, &grads.normed); // [N, C]
        rec.clear(dx);
        if let Some(d_x0) = &grads.first {
            rec.clear(d_x0);
        }
        norm::backward(rec, &acts.output, &acts.output_scale, &grads.normed, dx); // [N, C]
        self.record_backout_backward(rec, acts, grads);

        for (i, layer) in acts.layers.iter().enumerate().rev() {
            if let Some(d_middle) = grads.middle.as_ref().filter(|_| i == self.config.middle_layer()) {
                axpy::forward(rec, 1.0, d_middle, dx);
            }
            self.record_mlp_backward(rec, i, layer, grads);
            self.record_attention_backward(rec, acts, i, layer, grads);
            self.record_mix_backward(rec, acts, i, grads);
        }
        if let Some(d_x0) = &grads.first {
            axpy::forward(rec, 1.0, dx, d_x0);
        }
        self.record_embedding_backward(rec, acts, grads);
    }

    fn record_backout_backward(&self, rec: &mut Recorder, acts: &Activations, grads: &Gradients) {
        if let (Some(middle), Some(d_middle)) = (acts.stream.middle(), &grads.middle) {
            let (lambda, d_lambda) = (self.parameters.get("backout_lambda"), self.parameters.grad("backout_lambda"));
            backout::backward(rec, middle, lambda, &grads.stream, d_middle, d_lambda, &grads.scratch);
        }
    }

    fn record_mix_backward(&self, rec: &mut Recorder, acts: &Activations, i: usize, grads: &Gradients) {
        let Some(d_x0) = &grads.first else { return };
        let (get, grad) = (|name| self.parameters.get(name), |name| self.parameters.grad(name));
        let inputs = residual::Inputs {
            x: acts.stream.before(i),
            x0: acts.stream.x0(),
            resid_lambdas: get("resid_lambdas"),
            x0_lambdas: get("x0_lambdas"),
        };
        let gradients =
            residual::Gradients { dx: &grads.stream, dx0: d_x0, d_resid_lambdas: grad("resid_lambdas"), d_x0_lambdas: grad("x0_lambdas") };
        residual::backward(rec, i, inputs, gradients, &grads.scratch);
    }

    /// From the gradient of x0 to that of the embedding table.
    fn record_embedding_backward(&self, rec: &mut Recorder, acts: &Activations, grads: &Gradients) {
        let (get, grad) = (|name| self.parameters.get(name), |name| self.parameters.grad(name));
        let d_x0 = grads.first.as_ref().unwrap_or(&grads.stream);
        let (d_embedded, d_embedding) = match &acts.smear_sigmoid {
            Some(sigmoid) => {
                let inputs = smear::Inputs { e: &acts.embedded, gate_w: get("smear_gate.weight"), lambda: get("smear_lambda") };
                let gradients =
                    smear::Gradients { dx: d_x0, de: &grads.normed, d_gate_w: grad("smear_gate.weight"), d_lambda: grad("smear_lambda") };
                smear::backward(rec, acts.seq, inputs, sigmoid, gradients, &grads.scratch);
                (&grads.normed, &grads.stream)
            }
            None => (d_x0, &grads.normed),
        }; // [N, C]
        rec.clear(d_embedding);
        norm::backward(rec, &acts.embedded, &acts.embedded_scale, d_embedded, d_embedding); // [N, C]
        embedding::backward(rec, &grads.order, &grads.starts, d_embedding, None, grad("transformer.wte.weight"));
    }

    fn record_mlp_backward(&self, rec: &mut Recorder, i: usize, layer: &Layer, grads: &Gradients) {
        let (dx, hidden) = (&grads.stream, &grads.hidden);
        self.linear_backward(rec, &layer.hidden, &self.mlp(i, "c_proj"), dx, hidden, Add::Nothing); // [N, 4C]
        relu2::backward(rec, &layer.hidden, hidden);
        self.linear_backward(rec, &layer.mlp_input, &self.mlp(i, "c_fc"), hidden, &grads.normed, Add::Nothing); // [N, C]
        norm::backward(rec, &layer.mlp_input, &layer.mlp_scale, &grads.normed, dx);
    }

    fn record_attention_backward(&self, rec: &mut Recorder, acts: &Activations, i: usize, layer: &Layer, grads: &Gradients) {
        let Gradients { stream: dx, normed: dh, mixed, delta, q: dq, k: dk, v: dv, .. } = grads;
        self.linear_backward(rec, &layer.mixed, &self.attn(i, "c_proj"), dx, mixed, Add::Nothing); // [N, H, D]
        let dims = self.attention(acts, i);
        attention::backward(rec, dims, layer.attention(), attention::Gradients { d_o: mixed, delta, dq, dk, dv });
        rotary::backward(rec, self.rotary(acts, self.config.n_head), &self.cos, &self.sin, &layer.q, &layer.q_scale, dq);
        rotary::backward(rec, self.rotary(acts, self.config.n_kv_head), &self.cos, &self.sin, &layer.k, &layer.k_scale, dk);
        let h = &layer.attn_input;
        self.linear_backward(rec, h, &self.attn(i, "c_q"), dq, dh, Add::Nothing); // [N, C]
        self.linear_backward(rec, h, &self.attn(i, "c_k"), dk, dh, Add::Into);
        self.linear_backward(rec, h, &self.attn(i, "c_v"), dv, dh, Add::Into);
        if let Some(gate) = &layer.gate {
            let table = format!("value_embeds.{i}.weight");
            let (w, d_w) = (self.parameters.get(&self.attn(i, "ve_gate")), self.parameters.grad(&self.attn(i, "ve_gate")));
            let inputs = value_gate::Inputs { ids: &acts.ids, table: self.parameters.weight(&table), w, h };
            value_gate::backward(rec, inputs, gate, value_gate::Gradients { dv, dh, d_w }, &grads.scratch);
            embedding::backward(rec, &grads.order, &grads.starts, dv, Some(gate), self.parameters.grad(&table));
        }
        norm::backward(rec, h, &layer.attn_scale, dh, dx);
    }
}
