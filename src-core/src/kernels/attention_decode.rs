//! Attention of new tokens over a KV cache, one query at a time: for decoding, and for prefill of a few tokens.
//!
//! [`attention`](super::attention) reuses every key that it loads for many queries; with one query per sequence there
//! is no reuse, and all that matters is that every key and value is read once, by as many lanes as possible. Two
//! shader files, one operation:
//!
//! - `attention_decode_lane.wgsl`: lanes along the positions, because sums over lanes are expensive on CPU adapters.
//! - `attention_decode_row.wgsl`: teams of lanes along the channels, so that loads are coalesced, and heads split into shares;
//!   for GPUs, whatever their subgroups are.

use crate::gpu::{Capabilities, Dispatch, Recorder, Shader, Tensor, Value, Values, Variant};

use super::attention::{Cached, CachedOperands};
use super::kv_cache::CacheFormat;

static LANE: Shader = crate::shader!("attention_decode_lane");
static ROW: Shader = crate::shader!("attention_decode_row");

/// Lanes per workgroup of the row form: no GPU's subgroup is larger.
const LANES: u32 = 64;

/// The fewest positions of a share, if heads are split into shares.
const SHARE: usize = 256;

/// The most shares per head.
const MOST_SHARES: usize = 64;

/// The recorder's scratch slot for the partial results of a head's shares: one buffer serves all layers.
const SCRATCH_SLOT: usize = 0;

/// What the shares of a head pass on has one format, whatever that of the cache is.
const COMBINED: CacheFormat = CacheFormat::F32;

/// Which of the two shaders, and into how many shares the row form splits a head's positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kernel {
    Lane,
    Row { shares: usize },
}

/// Lanes that share a position in the row form: each holds two quads of q and of o. With more quads, Intel's compiler drops to 8
/// lanes per subgroup and M1's spills; with fewer, the products' sums over lanes cost more.
fn team(head_dim: usize) -> u32 {
    ((head_dim as u32).div_ceil(8)).next_power_of_two().max(4)
}

impl Kernel {
    fn for_adapter(capabilities: Capabilities, dims: &Cached) -> Self {
        if capabilities.cpu_subgroup().is_some() {
            return Kernel::Lane;
        }
        Kernel::Row { shares: (dims.window + 1).min(dims.ring).div_ceil(SHARE).min(MOST_SHARES) }
    }

    fn shader(self) -> &'static Shader {
        match self {
            Kernel::Lane => &LANE,
            Kernel::Row { .. } => &ROW,
        }
    }

    fn shares(self) -> usize {
        match self {
            Kernel::Lane => 1,
            Kernel::Row { shares } => shares,
        }
    }

    fn values(self, capabilities: Capabilities, head_dim: usize, format: CacheFormat) -> Values {
        let of = [format.value(), ("head_dim", Value::Int(head_dim as u32))];
        let form = match self {
            Kernel::Lane => vec![("lanes", Value::Int(capabilities.fixed_subgroup().unwrap_or(1)))],
            Kernel::Row { shares } => {
                vec![("lanes", Value::Int(LANES)), ("team", Value::Int(team(head_dim))), ("shared", (shares > 1).into())]
            }
        };
        [&of[..], &form].concat()
    }
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Shape {
    heads: u32,
    kv_heads: u32,
    fresh: u32,
    ring: u32,
    window: u32,
    shares: u32,
    scale: f32,
}

/// `o = softmax(q·kᵀ / √D)·v` of the new tokens over the cached keys in their window, including their own.
///
/// The output of tokens past a cursor's count is left as it was.
pub fn forward(rec: &mut Recorder, dims: Cached, of: CachedOperands<'_>) {
    let kernel = Kernel::for_adapter(rec.gpu().capabilities(), &dims);
    forward_with(rec, dims, kernel, of);
}

/// Elements of the partial results of `shares` shares of the heads of `tokens` tokens: D, a maximum and a sum each, in groups of
/// four.
fn parts_len(dims: &Cached, shares: usize, tokens: usize) -> usize {
    if shares > 1 { tokens * dims.heads * shares * (dims.head_dim + 4) } else { 0 }
}

fn forward_with(rec: &mut Recorder, dims: Cached, kernel: Kernel, of: CachedOperands<'_>) {
    let (tokens, sequences) = dims.check(of);
    let CachedOperands { cursors, q, keys, values, o } = of;
    let fresh = tokens / sequences;
    let Cached { heads, kv_heads, head_dim, ring, window, format } = dims;
    let shares = kernel.shares();
    let params = Shape {
        heads: heads as u32,
        kv_heads: kv_heads as u32,
        fresh: fresh as u32,
        ring: ring as u32,
        window: window as u32,
        shares: shares as u32,
        scale: 1.0 / (head_dim as f32).sqrt(),
    };
    let groups = |shares: usize| [heads as u32, shares as u32, tokens as u32];
    let shared = shares > 1;
    let capabilities = rec.gpu().capabilities();
    let scratch = [(6, SCRATCH_SLOT, parts_len(&dims, shares, tokens))];
    let scratch = if shared { &scratch[..] } else { &[] };
    let out = [(1, cursors), (5, o)];
    let first = [&[(1, cursors), (2, q), (3, keys), (4, values)][..], if shared { &[] } else { &out[1..] }].concat();
    let mut record = |entry, format, bind: &[(u32, &Tensor)], groups| {
        let values = &kernel.values(capabilities, head_dim, format);
        rec.dispatch_with_scratch(Dispatch { shader: kernel.shader(), entry, values, params, bind, groups }, scratch);
    };
    record("forward", format, &first, groups(shares));
    if shared {
        record("combine", COMBINED, &out, groups(1));
    }
}

/// Specialisations of the shaders for such an adapter: every head size that a model may have.
pub fn variants(capabilities: Capabilities) -> Vec<Variant> {
    let mut variants = Vec::new();
    for head_dim in (8..=256).step_by(8) {
        let mut add = |kernel: Kernel, entry, format| {
            variants.push(Variant { shader: kernel.shader(), entry, values: kernel.values(capabilities, head_dim, format) });
        };
        for format in CacheFormat::ALL {
            if capabilities.fixed_subgroup().is_some() {
                add(Kernel::Lane, "forward", format);
            }
            add(Kernel::Row { shares: 1 }, "forward", format);
            add(Kernel::Row { shares: 2 }, "forward", format);
        }
        add(Kernel::Row { shares: 2 }, "combine", COMBINED);
    }
    variants
}

/// The same on the CPU in f64: [`attention`](super::attention)'s, of which these are the last queries.
pub mod twin {
    use crate::kernels::attention::{self, Attention};

    /// The output for the last `new` tokens of one sequence; `q` is `[T, H, D]`, `k` and `v` are `[T, K, D]`.
    pub fn forward(q: &[f64], k: &[f64], v: &[f64], dims: &Attention, new: usize) -> Vec<f64> {
        let o = attention::twin::forward(q, k, v, dims).o;
        o[(dims.seq - new) * dims.heads * dims.head_dim..].to_vec()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::kernels::attention::Attention;
    use crate::kernels::kv_cache::{self, Cursor};
    use crate::kernels::testing::{Bench, random, wide};
    use proptest::prelude::*;

    /// New tokens of some sequences, and a cache that holds them and the tokens before.
    pub struct Case {
        pub dims: Cached,
        pub cursors: Tensor,
        pub q: Tensor,
        pub keys: Tensor,
        pub values: Tensor,
        pub want: Vec<f64>,
    }

    impl Case {
        /// Sequences with `held` tokens each and `fresh` new ones; `spare` more slots than the window needs.
        pub fn new(
            held: &[usize],
            fresh: usize,
            [window, spare]: [usize; 2],
            [group, kv_heads, quads]: [usize; 3],
            format: CacheFormat,
            seed: u64,
        ) -> Self {
            let bench = Bench::new();
            let rounded = |numbers: Vec<f32>| kv_cache::twin::numbers(&kv_cache::twin::elements(&numbers, format), format);
            let (heads, head_dim, ring) = (group * kv_heads, 4 * quads, window + fresh + spare);
            let kept = kv_heads * head_dim;
            let mut cursors = Vec::new();
            let (mut queries, mut want) = (Vec::new(), Vec::new());
            let [mut keys, mut values] = [0, 1].map(|i| random(seed ^ i, held.len() * ring * kept, 1.0));
            for (i, &held_here) in held.iter().enumerate() {
                let seq = held_here + fresh;
                let seed = seed.wrapping_add(10 * i as u64);
                let q = random(seed, seq * heads * head_dim, 2.0);
                let [k, v] = [1, 2].map(|i| rounded(random(seed.wrapping_add(i), seq * kept, 2.0)));
                let dims = Attention { batch: 1, seq, heads, kv_heads, head_dim, window };
                want.extend(twin::forward(&wide(&q), &wide(&k), &wide(&v), &dims, fresh));
                queries.extend_from_slice(&q[held_here * heads * head_dim..]);
                // Rows of the cache in reverse order; later positions overwrite earlier ones.
                let row = held.len() - 1 - i;
                for position in 0..seq {
                    let slot = (row * ring + position % ring) * kept;
                    keys[slot..][..kept].copy_from_slice(&k[position * kept..][..kept]);
                    values[slot..][..kept].copy_from_slice(&v[position * kept..][..kept]);
                }
                cursors.push(Cursor { position: held_here as u32, count: fresh as u32, row: row as u32, before: 0 });
            }
            let q = bench.tensor(&[queries.len()], &queries);
            let [keys, values] = [&keys, &values].map(|numbers| bench.cache(&[numbers.len()], numbers, format));
            let dims = Cached { heads, kv_heads, head_dim, ring, window, format };
            Self { dims, cursors: Cursor::upload(bench.gpu(), &cursors).unwrap(), q, keys, values, want }
        }

        /// Asserts that `record` writes the right output.
        pub fn check(&self, record: impl FnOnce(&mut Recorder, CachedOperands<'_>)) {
            let bench = Bench::new();
            let Self { cursors, q, keys, values, .. } = self;
            let o = bench.empty(&[q.len()]);
            bench.run(|rec| record(rec, CachedOperands { cursors, q, keys, values, o: &o }));
            bench.close(&o, &self.want, 2e-6);
        }
    }

    fn check(case: &Case, shares: usize) {
        let lanes = Bench::new().gpu().capabilities().fixed_subgroup().is_some();
        for kernel in [Kernel::Lane, Kernel::Row { shares }].into_iter().filter(|&kernel| kernel != Kernel::Lane || lanes) {
            case.check(|rec, operands| forward_with(rec, case.dims, kernel, operands));
        }
    }

    proptest! {
        #![proptest_config(Bench::cases(24))]

        #[test]
        fn queries_over_a_cache_equal_their_twin(
            held in proptest::collection::vec(0usize..40, 1..4), fresh in 1usize..4, window in 0usize..50, spare in 0usize..3,
            group in 1usize..3, kv_heads in 1usize..3, quads in 1usize..20, shares in 1usize..4, format in 0usize..3,
            seed: u64,
        ) {
            let format = CacheFormat::ALL[format];
            check(&Case::new(&held, fresh, [window, spare], [group, kv_heads, quads], format, seed), shares);
        }
    }

    #[test]
    fn heads_of_every_form_and_one_past_a_share() {
        let all_forms = [8, 64, 128, 256].map(|head_dim| (head_dim, CacheFormat::F32));
        for (head_dim, format) in all_forms.into_iter().chain([(128, CacheFormat::F16), (128, CacheFormat::Bf16)]) {
            let case = Case::new(&[0, 3, 255, 256, 257], 1, [300, 1], [2, 1, head_dim / 4], format, 7);
            [1, 2, 5].into_iter().for_each(|shares| check(&case, shares));
        }
    }
}
