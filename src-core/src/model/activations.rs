//! The activations of a pass over a batch, in GPU memory.
//!
//! Per layer and token a training pass keeps 9·C + 2·K·D floats and a few per head (docs/MEMORY.md), and less if the
//! model lacks parts; in a pass without gradients all layers share the same buffers.

use crate::gpu::{DType, Gpu, GpuError, Memory, Tensor};
use crate::kernels::attention::Operands;

use super::Config;
use super::stream::Stream;

/// Bytes of the rows of logits that are computed at a time, so that all logits never exist at once.
///
/// Each chunk makes one pass over `lm_head`'s gradient, so few large ones are better on GPUs. On a
/// CPU adapter a chunk should rather stay in the caches. On a GPU the size depends only on the adapter's total memory: it
/// determines the order of a sum, and a run must continue with the same bits whatever else the machine does.
fn logits_bytes(gpu: &Gpu) -> usize {
    const LEAST: u64 = 32 << 20;
    const MOST: u64 = 1 << 30;
    let memory = gpu.adapter_memory().filter(|_| !gpu.capabilities().cpu);
    memory.map_or(LEAST, |bytes| (bytes / 32).clamp(LEAST, MOST)) as usize
}

/// Rows of a chunk of logits are a multiple of this, so that a chunk of any tensor is aligned to 256 bytes.
const CHUNK_MULTIPLE: usize = 64;

/// Activations of one batch of `batch` rows of `seq` tokens; N = batch · seq.
pub struct Activations {
    /// Rows.
    pub batch: usize,
    /// Tokens per row, T.
    pub seq: usize,
    /// Token ids, `[N]` i32.
    pub ids: Tensor,
    /// Targets, `[N]` i32, −1 for none.
    pub targets: Tensor,
    /// Loss of each token in nats, `[N]`.
    pub losses: Tensor,
    pub(super) embedding: Tensor,             // [N, C]  wte[ids]; after the blocks, backout's output
    pub(super) embedded: Tensor,              // [N, C]  norm(wte[ids])
    pub(super) embedded_scale: Tensor,        // [N]
    pub(super) smear_sigmoid: Option<Tensor>, // [N]     with smear
    pub(super) stream: Stream,                // L + 1 of [N, C]
    pub(super) layers: Vec<Layer>,            // L
    pub(super) output: Tensor,                // [N, C]  the final norm
    pub(super) output_scale: Tensor,          // [N]
    pub(super) logits: Tensor,                // [rows of a chunk, padded V]
}

/// The activations of one layer.
#[derive(Clone)]
pub(super) struct Layer {
    pub attn_input: Tensor,   // [N, C]      norm before attention
    pub attn_scale: Tensor,   // [N]
    pub q: Tensor,            // [N, H, D]   rotated, normed, scaled
    pub q_scale: Tensor,      // [N, H]
    pub k: Tensor,            // [N, K, D]
    pub k_scale: Tensor,      // [N, K]
    pub v: Tensor,            // [N, K, D]   with its value embedding
    pub gate: Option<Tensor>, // [N, K]      of the value embedding, if the layer has one
    pub mixed: Tensor,        // [N, H, D]   attention's output before c_proj
    pub lse: Tensor,          // [N, H]
    pub mlp_input: Tensor,    // [N, C]      norm before the MLP
    pub mlp_scale: Tensor,    // [N]
    pub hidden: Tensor,       // [N, 4C]     relu²
}

impl Layer {
    /// What the layer's attention reads and writes.
    pub fn attention(&self) -> Operands<'_> {
        Operands { q: &self.q, k: &self.k, v: &self.v, o: &self.mixed, lse: &self.lse }
    }
}

/// Whether a pass saves what the backward pass needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Every layer keeps its own activations.
    ForBackward,
    /// Layers share them.
    Nothing,
}

impl Activations {
    /// Allocates the activations of a pass over `batch` rows of `seq` tokens.
    pub fn allocate(gpu: &Gpu, config: &Config, batch: usize, seq: usize, keep: Keep) -> Result<Self, GpuError> {
        let n = batch * seq;
        let (c, h, k, d) = (config.n_embd, config.n_head, config.n_kv_head, config.head_dim());
        let floats = |name: &str, shape: &[usize]| gpu.zeros(name, shape, DType::F32, Memory::Activations);
        let ids = |name: &str| gpu.zeros(name, &[n], DType::I32, Memory::Activations);
        let parts = &config.architecture;
        let gate = |wanted: bool| wanted.then(|| floats("value gate", &[n, k])).transpose();
        let layer = |gate: Option<Tensor>| -> Result<Layer, GpuError> {
            Ok(Layer {
                attn_input: floats("attention input", &[n, c])?,
                attn_scale: floats("attention input scale", &[n])?,
                q: floats("queries", &[n, h, d])?,
                q_scale: floats("query scale", &[n, h])?,
                k: floats("keys", &[n, k, d])?,
                k_scale: floats("key scale", &[n, k])?,
                v: floats("values", &[n, k, d])?,
                gate,
                mixed: floats("attention output", &[n, h, d])?,
                lse: floats("attention log-sum-exp", &[n, h])?,
                mlp_input: floats("MLP input", &[n, c])?,
                mlp_scale: floats("MLP input scale", &[n])?,
                hidden: floats("MLP hidden", &[n, 4 * c])?,
            })
        };
        let layers = match keep {
            Keep::ForBackward => (0..config.n_layer).map(|i| layer(gate(config.has_value_embed(i))?)).collect::<Result<_, _>>()?,
            Keep::Nothing => {
                let shared = layer(gate(parts.value_embeds)?)?;
                let gate = |i| shared.gate.clone().filter(|_| config.has_value_embed(i));
                (0..config.n_layer).map(|i| Layer { gate: gate(i), ..shared.clone() }).collect()
            }
        };
        let embedded = floats("normed embedding", &[n, c])?;
        // If nothing is added to it, the stream before the first layer is the embedding itself.
        let x0 = if parts.smear || !parts.lambdas { floats("residual stream", &[n, c])? } else { embedded.clone() };
        Ok(Self {
            batch,
            seq,
            ids: ids("token ids")?,
            targets: ids("targets")?,
            losses: floats("losses", &[n])?,
            embedding: floats("embedding", &[n, c])?,
            embedded,
            embedded_scale: floats("embedding scale", &[n])?,
            smear_sigmoid: parts.smear.then(|| floats("smear gate", &[n])).transpose()?,
            stream: Stream::allocate(config, x0, keep, |name| floats(name, &[n, c]))?,
            layers,
            output: floats("final norm", &[n, c])?,
            output_scale: floats("final norm scale", &[n])?,
            logits: floats("logits", &[chunk_rows(gpu, config, n), config.padded_vocab()])?,
        })
    }

    /// N, the number of tokens.
    pub fn tokens(&self) -> usize {
        self.batch * self.seq
    }
}

/// Rows of logits that are computed at a time for a batch of `tokens` tokens.
pub(super) fn chunk_rows(gpu: &Gpu, config: &Config, tokens: usize) -> usize {
    let row = 4 * config.padded_vocab();
    let most = logits_bytes(gpu).min(gpu.binding_limit() as usize) / row;
    (most / CHUNK_MULTIPLE * CHUNK_MULTIPLE).max(CHUNK_MULTIPLE).min(tokens)
}
