//! Flash attention (Dao 2023, <https://arxiv.org/abs/2307.08691>): causal, with a sliding window and grouped queries,
//! forward and backward, without ever storing a T × T matrix. Two shader files, one operation:
//!
//! - `attention_lane.wgsl`: register tiles, one subgroup per workgroup. On CPU adapters it is several times as fast as tiles in
//!   workgroup memory, because it has hardly any barriers.
//! - `attention_tile.wgsl`: tiles in workgroup memory, 256 invocations per workgroup if 32 KiB are available, else 128. GPUs
//!   get this one even if their subgroups have a fixed size: the lane form would load one row of keys per lane, which
//!   is not coalesced, and its occupancy would be low: one small subgroup in flight per 64 sums that each lane holds.
//!
//! The backward pass has two kernels, one that owns queries and writes dq, and one that owns keys and writes dk and dv.
//! Both recompute the probabilities from the log-sum-exp that the forward pass saved. No sum is shared between
//! workgroups, so there are no atomics and every run gives the same bits.

use crate::gpu::{Capabilities, Dispatch, Recorder, Shader, Tensor, Values, Variant, grid};

use super::kv_cache::CacheFormat;
use super::rows;

mod cached;

pub use cached::{Cached, CachedOperands};

static LANE: Shader = crate::shader!("attention_lane");
static TILE: Shader = crate::shader!("attention_tile");
static DELTA: Shader = crate::shader!("attention_delta");

/// The shape of an attention operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attention {
    /// Sequences, B.
    pub batch: usize,
    /// Tokens per sequence, T.
    pub seq: usize,
    /// Query heads, H.
    pub heads: usize,
    /// Key-value heads, K, which divides H. Query head h reads head h / (H / K).
    pub kv_heads: usize,
    /// Channels per head, D: a multiple of 4, at most 256.
    pub head_dim: usize,
    /// A query at row r sees columns c with 0 ≤ r − c ≤ window.
    pub window: usize,
}

/// What attention reads, and what [`forward`] writes.
#[derive(Clone, Copy, Debug)]
pub struct Operands<'a> {
    /// Queries, `[B, T, H, D]`.
    pub q: &'a Tensor,
    /// Keys, `[B, T, K, D]`.
    pub k: &'a Tensor,
    /// Values, `[B, T, K, D]`.
    pub v: &'a Tensor,
    /// The output, `[B, T, H, D]`.
    pub o: &'a Tensor,
    /// The natural logarithm of the sum of the exponentials of the scaled scores, `[B, T, H]`, saved for [`backward`].
    pub lse: &'a Tensor,
}

/// The gradients of [`Operands`].
#[derive(Clone, Copy, Debug)]
pub struct Gradients<'a> {
    /// Of o, `[B, T, H, D]`.
    pub d_o: &'a Tensor,
    /// Scratch, `[B, T, H]`; afterwards it holds Σ do·o over D.
    pub delta: &'a Tensor,
    /// Of q, `[B, T, H, D]`.
    pub dq: &'a Tensor,
    /// Of k, `[B, T, K, D]`.
    pub dk: &'a Tensor,
    /// Of v, `[B, T, K, D]`.
    pub dv: &'a Tensor,
}

impl Attention {
    fn queries(&self) -> usize {
        self.batch * self.seq * self.heads
    }

    fn check(&self, queries: &[&Tensor], keys: &[&Tensor], rows: &[&Tensor]) {
        let keys_len = self.batch * self.seq * self.kv_heads * self.head_dim;
        assert!(
            self.head_dim.is_multiple_of(4)
                && (4..=256).contains(&self.head_dim)
                && self.heads.is_multiple_of(self.kv_heads)
                && queries.iter().all(|tensor| tensor.len() == self.queries() * self.head_dim)
                && keys.iter().all(|tensor| tensor.len() == keys_len)
                && rows.iter().all(|tensor| tensor.len() == self.queries()),
            "{self:?} of {queries:?}, {keys:?} and {rows:?}"
        );
    }

    fn params(&self) -> Shape {
        Shape {
            seq: self.seq as u32,
            heads: self.heads as u32,
            kv_heads: self.kv_heads as u32,
            window: self.window.min(self.seq) as u32,
            scale: 1.0 / (self.head_dim as f32).sqrt(),
            ring: 0,
            quads: (self.head_dim / 4) as u32,
            _pad: 0,
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Shape {
    seq: u32,
    heads: u32,
    kv_heads: u32,
    window: u32,
    scale: f32,
    ring: u32,
    quads: u32,
    _pad: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Rows {
    rows: u32,
    quads: u32,
    _pad: [u32; 2],
}

/// Which of the two shaders, and how large the workgroups of tiles are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kernel {
    Lane,
    Tile { lanes: u32 },
}

impl Kernel {
    /// Tiles for every adapter, in the 16 KiB of workgroup memory that WebGPU guarantees.
    const SMALL: Self = Kernel::Tile { lanes: 128 };
    /// A tile of twice the size loads each row less often and has fewer barriers. Still larger ones would limit a core with
    /// 64 KiB, such as GCN's, to a single workgroup.
    const LARGE: Self = Kernel::Tile { lanes: 256 };

    fn for_adapter(capabilities: Capabilities) -> Self {
        if capabilities.cpu_subgroup().is_some() {
            Kernel::Lane
        } else if Kernel::LARGE.runs_on(capabilities) {
            Kernel::LARGE
        } else {
            Kernel::SMALL
        }
    }

    fn runs_on(self, capabilities: Capabilities) -> bool {
        match self {
            Kernel::Lane => capabilities.fixed_subgroup().is_some(),
            // Two arrays of 4 vectors per invocation.
            Kernel::Tile { lanes } => lanes <= capabilities.invocations && 2 * 4 * 16 * lanes <= capabilities.workgroup_memory,
        }
    }

    fn shader(self) -> &'static Shader {
        match self {
            Kernel::Lane => &LANE,
            Kernel::Tile { .. } => &TILE,
        }
    }

    /// Rows that a workgroup owns in a pass.
    fn rows(self, pass: &str, head_dim: usize) -> u32 {
        match self {
            // Half as many for large heads, whose sums need twice the registers.
            Kernel::Lane => 16 >> u32::from(head_dim > 128),
            Kernel::Tile { lanes } => tile(lanes, pass, head_dim).0,
        }
    }

    /// The values for a pass over a batch, or over a KV cache of a format.
    fn values(self, pass: &'static str, head_dim: usize, cache: Option<CacheFormat>) -> Values {
        let rows = self.rows(pass, head_dim);
        let mut values: Values =
            vec![("pass", pass.into()), ("head_dim", (head_dim as u32).into()), ("rows", rows.into()), ("cached", cache.is_some().into())];
        values.extend(cache.map(CacheFormat::value));
        if let Kernel::Tile { lanes } = self {
            let (_, tile) = tile(lanes, pass, head_dim);
            let quads = (head_dim / 4) as u32;
            values.push(("tile", tile.into()));
            values.push(("slice", (tile / 4).min(rows / 4).min(quads.next_power_of_two()).into()));
        }
        values
    }

    fn record(self, rec: &mut Recorder, pass: &'static str, heads: usize, bind: &[(u32, &Tensor)], dims: &Attention) {
        rec.dispatch(Dispatch {
            shader: self.shader(),
            entry: pass,
            values: &self.values(pass, dims.head_dim, None),
            params: dims.params(),
            bind,
            groups: [(dims.seq as u32).div_ceil(self.rows(pass, dims.head_dim)), heads as u32, dims.batch as u32],
        });
    }
}

/// Rows that a workgroup of at most `lanes` invocations owns, and rows of the other side that it processes at a time: 4 × 4
/// products of rows per invocation.
///
/// A wider tile with fewer owned rows leaves each invocation fewer sums, which it keeps for 4 owned rows and its share of
/// D. With 8 vectors of them, in both sums of `backward_keys` together, every compiler gets by with 128 registers. Small heads
/// have too little work for a wide tile.
fn tile(lanes: u32, pass: &str, head_dim: usize) -> (u32, u32) {
    let lanes = if head_dim <= 32 { lanes.min(128) } else { lanes };
    let sums = if pass == "backward_keys" { 2 } else { 1 };
    let tile = (lanes / 4).max((head_dim as u32 / 2 * sums).next_power_of_two());
    (16 * lanes / tile, tile)
}

/// `o = softmax(q·kᵀ / √D)·v` over the keys in a query's window.
///
/// Writes `o` and `lse`.
pub fn forward(rec: &mut Recorder, dims: Attention, of: Operands<'_>) {
    let kernel = Kernel::for_adapter(rec.gpu().capabilities());
    forward_with(rec, kernel, &dims, of);
}

fn forward_with(rec: &mut Recorder, kernel: Kernel, dims: &Attention, of: Operands<'_>) {
    let Operands { q, k, v, o, lse } = of;
    dims.check(&[q, o], &[k, v], &[lse]);
    kernel.record(rec, "forward", dims.heads, &[(1, q), (2, k), (3, v), (4, o), (5, lse)], dims);
}

/// [`forward`] for new tokens over a KV cache that already holds their keys and values: prefill of many tokens.
///
/// The output of tokens past a cursor's count is undefined.
pub fn cached(rec: &mut Recorder, dims: Cached, of: CachedOperands<'_>) {
    let kernel = Kernel::for_adapter(rec.gpu().capabilities());
    cached_with(rec, kernel, dims, of);
}

fn cached_with(rec: &mut Recorder, kernel: Kernel, dims: Cached, of: CachedOperands<'_>) {
    let (tokens, sequences) = dims.check(of);
    let CachedOperands { cursors, q, keys, values, o } = of;
    let fresh = tokens / sequences;
    let Cached { heads, kv_heads, head_dim, ring, window, format } = dims;
    rec.dispatch(Dispatch {
        shader: kernel.shader(),
        entry: "forward",
        values: &kernel.values("forward", head_dim, Some(format)),
        params: Shape {
            seq: fresh as u32,
            heads: heads as u32,
            kv_heads: kv_heads as u32,
            window: window.min(ring) as u32,
            scale: 1.0 / (head_dim as f32).sqrt(),
            ring: ring as u32,
            quads: (head_dim / 4) as u32,
            _pad: 0,
        },
        bind: &[(1, q), (2, keys), (3, values), (4, o), (12, cursors)],
        groups: [(fresh as u32).div_ceil(kernel.rows("forward", head_dim)), heads as u32, sequences as u32],
    });
}

/// Gradients of [`forward`], with `o` and `lse` as it left them. Overwrites all of `gradients` but `d_o`.
pub fn backward(rec: &mut Recorder, dims: Attention, of: Operands<'_>, gradients: Gradients<'_>) {
    let kernel = Kernel::for_adapter(rec.gpu().capabilities());
    backward_with(rec, kernel, &dims, of, gradients);
}

fn backward_with(rec: &mut Recorder, kernel: Kernel, dims: &Attention, of: Operands<'_>, gradients: Gradients<'_>) {
    let Operands { q, k, v, o, lse } = of;
    let Gradients { d_o, delta, dq, dk, dv } = gradients;
    dims.check(&[q, o, d_o, dq], &[k, v, dk, dv], &[lse, delta]);
    rec.dispatch(Dispatch {
        shader: &DELTA,
        entry: "forward",
        values: &[rows::lanes(rec, dims.head_dim / 4)],
        params: Rows { rows: dims.queries() as u32, quads: (dims.head_dim / 4) as u32, _pad: [0; 2] },
        bind: &[(1, o), (2, d_o), (3, delta)],
        groups: grid(dims.queries()),
    });
    let given = [(1, q), (2, k), (3, v), (6, d_o), (7, lse), (8, delta)];
    kernel.record(rec, "backward_queries", dims.heads, &[&given[..], &[(9, dq)]].concat(), dims);
    kernel.record(rec, "backward_keys", dims.kv_heads, &[&given[..], &[(10, dk), (11, dv)]].concat(), dims);
}

/// Specialisations of the shaders for such an adapter: every head size that a model may have.
pub fn variants(capabilities: Capabilities) -> Vec<Variant> {
    let kernel = Kernel::for_adapter(capabilities);
    let mut variants = rows::variants(capabilities, &DELTA, "forward", &[]);
    for head_dim in (8..=256).step_by(8) {
        let over_a_batch = ["forward", "backward_queries", "backward_keys"].map(|pass| (pass, None));
        let over_a_cache = CacheFormat::ALL.map(|format| ("forward", Some(format)));
        for (entry, cache) in over_a_batch.into_iter().chain(over_a_cache) {
            variants.push(Variant { shader: kernel.shader(), entry, values: kernel.values(entry, head_dim, cache) });
        }
    }
    variants
}

pub mod twin;

#[cfg(test)]
mod tests;
