//! The forward pass over new tokens of cached sequences: prefill, with many of them, and decode, with one.
//!
//! The same arithmetic as [`forward`](super::forward), for tokens whose past is in a [`Cache`] and not in the batch.

use crate::gpu::{DType, Gpu, GpuError, Memory, Recorder, Tensor};
use crate::kernels::attention::{Cached, CachedOperands};
use crate::kernels::attention_decode;
use crate::kernels::cross_entropy::{self, Chunk};
use crate::kernels::embed_smear::{self, Smear};
use crate::kernels::kv_cache::{self, Cursor, Gate, Projected, Store, Stored};
use crate::kernels::matmul::{Add, linear};
use crate::kernels::matvec::{self, Finish, Norm};
use crate::kernels::precision::Inputs;
use crate::kernels::weight::Weight;
use crate::kernels::{attention, norm, relu2};

use super::cache::LayerCache;
use super::stream::Stream;
use super::{Architecture, Cache, Config, Keep, Model};

/// The alignment of views, in elements.
const BORDER: usize = 64;

/// Buffers of a pass over `sequences` sequences with up to `fresh` new tokens each; N = sequences · fresh.
pub struct CachedPass {
    /// Sequences of the pass, S.
    pub sequences: usize,
    /// New tokens of each, at most [`Cache::LONGEST_PASS`].
    pub fresh: usize,
    /// The position of each sequence, [`Cursor`]s of S sequences.
    pub cursors: Tensor,
    /// New token ids, `[N]` i32.
    pub ids: Tensor,
    /// Softcapped logits of every token, `[N, padded V]`, if the pass computes them.
    pub logits: Option<Tensor>,
    pub(super) stream: Stream, // L + 1 of [N, C]
    pub(super) h: Tensor,      // [N, C]      norm of the stream
    pub(super) scale: Tensor,  // [N]
    heads: Tensor,             // projections: [N, (H + 2K) · D], or [N, H, D], [N, K, D] and [N, K, D] one after another
    q: Tensor,                 // [N, H, D]
    pub(super) mixed: Tensor,  // [N, H, D]   attention's output; after the blocks, backout's
    hidden: Tensor,            // [N, 4C]
}

/// What a pass is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Extending the cache.
    Cache,
    /// Also the logits of every new token.
    Logits,
}

/// Where a pass ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// At the last layer's keys and values.
    Cache,
    /// At the residual stream after the last layer.
    Stream,
}

impl CachedPass {
    /// With at least this many new tokens per sequence, sharing loaded keys between them pays.
    pub const SHARED_KEYS: usize = 16;

    /// Allocates the buffers of a pass.
    pub fn allocate(gpu: &Gpu, config: &Config, sequences: usize, fresh: usize, want: Want) -> Result<Self, GpuError> {
        assert!((1..=Cache::LONGEST_PASS).contains(&fresh), "a pass of {fresh} new tokens");
        let n = sequences * fresh;
        let (c, h, k, d) = (config.n_embd, config.n_head, config.n_kv_head, config.head_dim());
        let floats = |name: &str, shape: &[usize]| gpu.zeros(name, shape, DType::F32, Memory::Activations);
        let logits = || floats("logits", &[n, config.padded_vocab()]);
        Ok(Self {
            sequences,
            fresh,
            cursors: Cursor::allocate(gpu, sequences)?,
            ids: gpu.zeros("new token ids", &[n], DType::I32, Memory::Activations)?,
            logits: (want == Want::Logits).then(logits).transpose()?,
            stream: Stream::allocate(config, floats("residual stream", &[n, c])?, Keep::Nothing, |name| floats(name, &[n, c]))?,
            h: floats("normed stream", &[n, c])?,
            scale: floats("norm scale", &[n])?,
            heads: floats("projections", &[n * (h + 2 * k) * d + 2 * BORDER])?,
            q: floats("queries", &[n, h, d])?,
            mixed: floats("attention output", &[n, h, d])?,
            hidden: floats("MLP hidden", &[n, 4 * c])?,
        })
    }

    /// The same buffers for a pass of one sequence with fewer new tokens.
    pub fn shorter(&self, fresh: usize) -> Self {
        assert!(self.sequences == 1 && (1..=self.fresh).contains(&fresh), "{fresh} of {} new tokens", self.fresh);
        self.part(1, fresh)
    }

    /// The same buffers for a pass of other sequences, of which there are no more, with no more new tokens in all.
    pub fn part(&self, sequences: usize, fresh: usize) -> Self {
        let n = sequences * fresh;
        assert!(
            (1..=self.sequences).contains(&sequences) && (1..=Cache::LONGEST_PASS).contains(&fresh) && n <= self.sequences * self.fresh,
            "{sequences} sequences of {fresh} new tokens in buffers for {} of {}",
            self.sequences,
            self.fresh
        );
        let head = |tensor: &Tensor| {
            let rest = &tensor.shape()[1..];
            tensor.view(0, &[&[n], rest].concat())
        };
        Self {
            sequences,
            fresh,
            cursors: self.cursors.view(0, &[sequences, self.cursors.shape()[1]]),
            ids: head(&self.ids),
            logits: self.logits.as_ref().map(head),
            stream: self.stream.map(head),
            h: head(&self.h),
            scale: head(&self.scale),
            heads: self.heads.clone(),
            q: head(&self.q),
            mixed: head(&self.mixed),
            hidden: head(&self.hidden),
        }
    }
}

impl Model {
    /// Records a pass: reads the cursors and ids of `pass`, extends `cache`, and writes the logits if requested.
    ///
    /// Position plus count of each cursor must be within the cache's capacity; a row of the cache belongs to one sequence.
    ///
    /// Without logits, the last layer ends with its keys and values: nothing reads what comes after them.
    pub fn record_cached(&self, rec: &mut Recorder, pass: &CachedPass, cache: &Cache) {
        self.record_cached_to(rec, pass, cache, if pass.logits.is_some() { End::Stream } else { End::Cache });
        if let Some(logits) = &pass.logits {
            let x = self.record_backout(rec, &pass.stream, &pass.mixed); // [N, C]
            let softcap = Finish::Softcap(self.config.architecture.softcap);
            self.project_normed(rec, pass, x, self.parameters.weight("lm_head.weight"), logits, softcap); // [N, V]
        }
    }

    /// Records a pass up to its end.
    pub(super) fn record_cached_to(&self, rec: &mut Recorder, pass: &CachedPass, cache: &Cache, end: End) {
        let (get, weight) = (|name: &str| self.parameters.get(name), |name: &str| self.parameters.weight(name));
        let Architecture { smear, norm_eps, .. } = self.config.architecture;
        let smear = smear.then(|| Smear { cursors: &pass.cursors, gate_w: get("smear_gate.weight"), lambda: get("smear_lambda") });
        embed_smear::forward(rec, &pass.ids, weight("transformer.wte.weight"), norm_eps, smear, pass.stream.x0()); // [N, C]

        for i in 0..self.config.n_layer {
            let x = self.record_mix(rec, &pass.stream, i); // [N, C]
            self.record_store(rec, pass, cache, i, x);
            if end == End::Cache && i + 1 == self.config.n_layer {
                return;
            }
            self.record_cached_attention(rec, pass, cache, i, x);
            let (fc, proj) = (self.mlp(i, "c_fc"), self.mlp(i, "c_proj"));
            self.project_normed(rec, pass, x, weight(&fc), &pass.hidden, Finish::Relu2); // [N, 4C]
            project(rec, &pass.hidden, None, weight(&proj), x, Finish::Into); // [N, C]
            self.record_keep(rec, &pass.stream, i);
        }
    }

    /// Adds the keys and values of `norm(x)` to the cache, and leaves its queries in the pass.
    fn record_store(&self, rec: &mut Recorder, pass: &CachedPass, cache: &Cache, i: usize, x: &Tensor) {
        let (heads, kv_heads, head_dim) = (self.config.n_head, self.config.n_kv_head, self.config.head_dim());
        let LayerCache { keys, values, ring } = &cache.layers[i];
        let projected = self.record_projections(rec, pass, i, x);
        let [table, w] = [format!("value_embeds.{i}.weight"), self.attn(i, "ve_gate")];
        let gate = self.config.has_value_embed(i).then(|| Gate {
            ids: &pass.ids,
            table: self.parameters.weight(&table),
            w: self.parameters.get(&w),
            x,
            scale: &pass.scale,
        });
        let store = Store {
            heads,
            kv_heads,
            head_dim,
            ring: *ring,
            eps: self.config.architecture.norm_eps,
            gain: self.config.architecture.qk_gain,
            format: cache.format,
        };
        let CachedPass { cursors, q, .. } = pass;
        kv_cache::store(rec, store, Stored { cursors, cos: &self.cos, sin: &self.sin, projected, gate, q, keys, values });
    }

    /// `x += c_proj(attention(q))` over the cache, which has the new keys and values.
    fn record_cached_attention(&self, rec: &mut Recorder, pass: &CachedPass, cache: &Cache, i: usize, x: &Tensor) {
        let (heads, kv_heads, head_dim) = (self.config.n_head, self.config.n_kv_head, self.config.head_dim());
        let LayerCache { keys, values, ring } = &cache.layers[i];
        let CachedPass { cursors, q, mixed: o, .. } = pass;
        let over = Cached { heads, kv_heads, head_dim, ring: *ring, window: self.windows[i], format: cache.format };
        let operands = CachedOperands { cursors, q, keys, values, o };
        if pass.fresh < CachedPass::SHARED_KEYS {
            attention_decode::forward(rec, over, operands); // [N, H, D]
        } else {
            attention::cached(rec, over, operands); // [N, H, D]
        }
        project(rec, &pass.mixed, None, self.parameters.weight(&self.attn(i, "c_proj")), x, Finish::Into); // [N, C]
    }

    /// Queries, keys and values of `norm(x)`: by one product if their matrices are contiguous.
    fn record_projections<'a>(&self, rec: &mut Recorder, pass: &'a CachedPass, i: usize, x: &Tensor) -> [Projected<'a>; 3] {
        let names = ["c_q", "c_k", "c_v"].map(|part| self.attn(i, part));
        let weights = names.each_ref().map(|name| self.parameters.weight(name));
        let widths = weights.map(Weight::rows);
        let all: usize = widths.iter().sum();
        let n = x.len() / self.config.n_embd;
        let tensor = &pass.heads;
        if let Some(joined) = Weight::joined(&weights) {
            self.project_normed(rec, pass, x, &joined, &tensor.view(0, &[n, all]), Finish::Store); // [N, (H + 2K)·D]
            let starts = [0, widths[0], widths[0] + widths[1]];
            return starts.map(|start| Projected { tensor, start, stride: all });
        }
        let mut start = 0;
        let mut projected = [Projected { tensor, start, stride: all }; 3];
        for ((w, width), place) in weights.into_iter().zip(widths).zip(&mut projected) {
            self.project_normed(rec, pass, x, w, &tensor.view(start, &[n, width]), Finish::Store); // [N, width]
            *place = Projected { tensor, start, stride: width };
            start = (start + n * width).next_multiple_of(BORDER);
        }
        projected
    }

    /// `y = finish(norm(x)·Wᵀ)`, W `[out, in]`; writes the norm's factors to the pass's `scale`.
    fn project_normed(&self, rec: &mut Recorder, pass: &CachedPass, x: &Tensor, w: &Weight, y: &Tensor, finish: Finish) {
        if pass.scale.len() <= matvec::MOST_ROWS {
            project(rec, x, Some(Norm { eps: self.config.architecture.norm_eps, scale: &pass.scale }), w, y, finish);
        } else {
            norm::forward(rec, x, &pass.h, &pass.scale, self.config.architecture.norm_eps); // [N, C]
            project(rec, &pass.h, None, w, y, finish);
        }
    }
}

/// `y = finish(x·Wᵀ)`, W `[out, in]`, with the kernel that suits the number of rows. Only the one for few rows fuses the norm.
pub(super) fn project(rec: &mut Recorder, x: &Tensor, norm: Option<Norm<'_>>, w: &Weight, y: &Tensor, finish: Finish) {
    let (n, rows) = (w.rows(), x.len() / w.columns());
    if rows <= matvec::MOST_ROWS {
        matvec::forward(rec, x, norm, w, y, finish);
        return;
    }
    let add = if finish == Finish::Into { Add::Into } else { Add::Nothing };
    linear(rec, x, w, y, add, Inputs::F32);
    match finish {
        Finish::Relu2 => relu2::forward(rec, y),
        Finish::Softcap(cap) => cross_entropy::softcap(rec, Chunk { first: 0, rows, vocab: n, cap }, y),
        Finish::Store | Finish::Into => {}
    }
}
