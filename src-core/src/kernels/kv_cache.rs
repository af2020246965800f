//! The KV cache: where keys and values of sequences are kept, how new ones are stored, and how a sequence is copied.

use crate::gpu::{Capabilities, DType, Dispatch, Gpu, GpuError, Memory, Recorder, Shader, Tensor, Value, Variant, grid};

use crate::weights::{Format, Order};

use super::rows;
use super::value_gate::GATE_CHANNELS;
use super::weight::{Weight, in_format};

mod format;
pub mod twin;

pub use format::{CacheFormat, UnknownCacheFormat};

static SHADER: Shader = crate::shader!("kv_cache");
static FORK: Shader = crate::shader!("kv_fork");

/// The position of one sequence of a pass. The engine owns these numbers and passes them down with every pass.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Cursor {
    /// Tokens that the cache holds: the position of the first new one.
    pub position: u32,
    /// New tokens of the pass; the rest is padding.
    pub count: u32,
    /// The sequence's row in the cache.
    pub row: u32,
    /// Id of the last token that the cache holds; any id if it holds none.
    pub before: u32,
}

impl Cursor {
    /// 32-bit words of a cursor in a tensor.
    const WORDS: usize = size_of::<Self>() / 4;

    /// A tensor for `sequences` cursors.
    pub fn allocate(gpu: &Gpu, sequences: usize) -> Result<Tensor, GpuError> {
        gpu.zeros("cursors", &[sequences, Self::WORDS], DType::U32, Memory::Activations)
    }

    /// A tensor that holds `cursors`.
    pub fn upload(gpu: &Gpu, cursors: &[Cursor]) -> Result<Tensor, GpuError> {
        let tensor = Self::allocate(gpu, cursors.len())?;
        gpu.write(&tensor, cursors);
        Ok(tensor)
    }
}

/// The number of sequences in `cursors`, which divides `rows` tokens.
pub(super) fn check_cursors(cursors: &Tensor, rows: usize) -> usize {
    let sequences = cursors.len() / Cursor::WORDS;
    assert!(sequences > 0 && rows.is_multiple_of(sequences), "{rows} tokens of {sequences} sequences");
    sequences
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Shape {
    rows: u32,
    heads: u32,
    kv_heads: u32,
    half_quads: u32,
    fresh: u32,
    ring: u32,
    eps: f32,
    gain: f32,
    at: [[u32; 4]; 3],
    quads: u32,
    _pad: [u32; 3],
}

/// Parameters of [`store`] other than its tensors.
#[derive(Clone, Copy, Debug)]
pub struct Store {
    /// Query heads, H.
    pub heads: usize,
    /// Key-value heads, K.
    pub kv_heads: usize,
    /// Channels per head, D: a multiple of 8.
    pub head_dim: usize,
    /// Slots per sequence in this layer's KV cache.
    pub ring: usize,
    /// ε, added to the mean square.
    pub eps: f32,
    /// Factor applied to the normed head.
    pub gain: f32,
    /// The format of the cache.
    pub format: CacheFormat,
}

/// One of the projections of a batch of tokens, perhaps next to others in one tensor.
#[derive(Clone, Copy, Debug)]
pub struct Projected<'a> {
    /// The tensor.
    pub tensor: &'a Tensor,
    /// Elements before the first token's.
    pub start: usize,
    /// Elements from one token to the next.
    pub stride: usize,
}

/// The gate of a layer's value embedding.
#[derive(Clone, Copy, Debug)]
pub struct Gate<'a> {
    /// Token ids, `[N]` i32.
    pub ids: &'a Tensor,
    /// The value embedding, `[V, K · D]`, in any format.
    pub table: &'a Weight,
    /// The gate's weights, `[K, 12]`.
    pub w: &'a Tensor,
    /// The residual stream before its norm, `[N, C]`.
    pub x: &'a Tensor,
    /// The norm's factors, `[N]`.
    pub scale: &'a Tensor,
}

/// What [`store`] reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// Where each sequence's new tokens stand.
    pub cursors: &'a Tensor,
    /// The cosines of [`rotary::tables`](super::rotary::tables), `[T, D/2]`, with a row for every position that the cursors
    /// reach.
    pub cos: &'a Tensor,
    /// The sines, of the same shape.
    pub sin: &'a Tensor,
    /// Queries `[N, H, D]`, keys and values `[N, K, D]`.
    pub projected: [Projected<'a>; 3],
    /// The layer's value embedding, if it has one.
    pub gate: Option<Gate<'a>>,
    /// The queries as attention takes them, `[N, H, D]`; written.
    pub q: &'a Tensor,
    /// The cache's keys, `[rows, ring, K, D]` in its format.
    pub keys: &'a Tensor,
    /// The cache's values, `[rows, ring, K, D]` in its format.
    pub values: &'a Tensor,
}

/// Rotates the queries and keys of new tokens by their positions, norms and scales them. The queries go to `q`, keys and values
/// to slot `position mod ring` of their sequence, values with their gated value embedding if there is one. Tokens past
/// a cursor's count are not stored.
pub fn store(rec: &mut Recorder, dims: Store, of: Stored<'_>) {
    let Stored { cursors, cos, sin, projected, gate, q, keys, values } = of;
    let Store { heads, kv_heads, head_dim, ring, eps, gain, format: cache } = dims;
    let tokens = q.len() / (heads * head_dim);
    let fresh = tokens / check_cursors(cursors, tokens);
    let kept = kv_heads * head_dim;
    let holds = |from: &Projected<'_>, width: usize| from.tensor.len() >= from.start + (tokens - 1) * from.stride + width;
    assert!(
        head_dim.is_multiple_of(8)
            && q.len() == tokens * heads * head_dim
            && projected.iter().zip([heads * head_dim, kept, kept]).all(|(from, width)| holds(from, width))
            && keys.len().is_multiple_of(cache.elements(ring * kept))
            && keys.len() == values.len()
            && fresh <= ring,
        "{dims:?} of {projected:?} into {:?} and {:?}",
        q.shape(),
        keys.shape()
    );
    let rows = tokens * (heads + 2 * kv_heads);
    let [from_q, from_k, from_v] = projected.map(|from| from.tensor);
    let mut bind = vec![(1, cursors), (2, cos), (3, sin), (4, from_q), (5, from_k), (6, from_v), (7, q), (8, keys), (9, values)];
    let mut quads = 0;
    let mut format = Format::F32;
    if let Some(Gate { ids, table, w, x, scale }) = gate {
        assert!(table.columns() == kept && table.storage().order == Order::Rows, "{gate:?}");
        format = table.format();
        assert!(ids.len() == tokens && scale.len() == tokens && w.len() == kv_heads * GATE_CHANNELS, "{gate:?}");
        quads = x.len() / tokens / 4;
        bind.extend([(10, ids), (11, table.words()), (12, w), (13, x), (14, scale)]);
    }
    rec.dispatch(Dispatch {
        shader: &SHADER,
        entry: "store",
        values: &[in_format(format), in_cache(cache), ("gated", gate.is_some().into()), rows::lanes(rec, head_dim / 8)],
        params: Shape {
            rows: rows as u32,
            heads: heads as u32,
            kv_heads: kv_heads as u32,
            half_quads: (head_dim / 8) as u32,
            fresh: fresh as u32,
            ring: ring as u32,
            eps,
            gain,
            at: projected.map(|from| [(from.start / 4) as u32, (from.stride / 4) as u32, 0, 0]),
            quads: quads as u32,
            _pad: [0; 3],
        },
        bind: &bind,
        groups: grid(rows),
    });
}

/// The value `cache` of the shader that stores: its value `format` is that of the value embedding.
fn in_cache(format: CacheFormat) -> (&'static str, Value) {
    ("cache", format.word().into())
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct ForkShape {
    slot: u32,
    ring: u32,
    rows: u32,
}

/// Copies rows of `cache`, `[rows, ring, K, D]` in any format, to the rows after them: for each of `cursors` the row it names, to as
/// many next rows as its count, as many slots as its position. All three are read when the recording runs. K·D is a multiple of four.
/// No copy may reach a row that another cursor names.
pub fn fork(rec: &mut Recorder, cache: &Tensor, cursors: &Tensor) {
    let &[rows, ring, heads, width] = cache.shape() else { panic!("a cache of {:?}", cache.shape()) };
    let (slot, wide) = (heads * width, cache.dtype() == DType::F32);
    let quad = if wide { 4 } else { 2 };
    let copies = cursors.len() / Cursor::WORDS;
    assert!(slot.is_multiple_of(quad) && copies > 0, "{:?} is not in groups of four", cache.shape());
    let [x, y, _] = grid((ring * slot / quad).div_ceil(1024));
    rec.dispatch(Dispatch {
        shader: &FORK,
        entry: "forward",
        values: &[("wide", wide.into())],
        params: ForkShape { slot: (slot / quad) as u32, ring: ring as u32, rows: rows as u32 },
        bind: &[(1, cache), (2, cursors)],
        groups: if rows > 1 { [x, y, copies as u32] } else { [0; 3] },
    });
}

/// Every specialisation of these shaders that such an adapter may use.
pub fn variants(capabilities: Capabilities) -> Vec<Variant> {
    let mut variants = Vec::new();
    for cache in CacheFormat::ALL {
        let gated = Format::ALL.map(|format| (format, true));
        for (format, gated) in gated.into_iter().chain([(Format::F32, false)]) {
            let values = [in_format(format), in_cache(cache), ("gated", gated.into())];
            variants.extend(rows::variants(capabilities, &SHADER, "store", &values));
        }
    }
    variants.extend([true, false].map(|wide| Variant { shader: &FORK, entry: "forward", values: vec![("wide", wide.into())] }));
    variants
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Bench, random, wide};
    use crate::kernels::{norm, rotary, value_gate};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(Bench::cases(24))]

        #[test]
        fn keys_and_values_land_in_their_slots(
            fresh in 1usize..5, spare in 0usize..4, positions in proptest::collection::vec((0usize..20, 0usize..5), 1..4),
            group in 1usize..3, kv_heads in 1usize..3, eighths in 1usize..5, gated: bool, format in 0usize..5, cache in 0usize..3,
            joined: bool, seed: u64,
        ) {
            let bench = Bench::new();
            let cache = CacheFormat::ALL[cache];
            let (heads, head_dim, ring, channels, vocab) = (group * kv_heads, 8 * eighths, fresh + spare, 16, 7);
            let sequences = positions.len();
            let tokens = sequences * fresh;
            let (asked, kept) = (heads * head_dim, kv_heads * head_dim);
            // Sequences are in the cache in reverse order, and one row is unused.
            let cursors: Vec<Cursor> = positions.iter().enumerate().map(|(i, &(position, count))| Cursor {
                position: position as u32, count: count.min(fresh) as u32, row: (sequences - i) as u32, before: 0,
            }).collect();
            let all = random(seed, tokens * (asked + 2 * kept), 1.0);
            let old = random(seed ^ 3, (sequences + 1) * ring * kept, 1.0);
            let (cos, sin) = rotary::tables(32, head_dim, 100.0);
            let ids: Vec<i32> = (0..tokens).map(|n| (n * 5 % vocab) as i32).collect();
            let w = random(seed ^ 5, kv_heads * GATE_CHANNELS, 1.0);
            let (stored_table, table) = bench.weight(&random(seed ^ 4, vocab * kept, 1.0), vocab, Format::ALL[format]);
            let x = random(seed ^ 6, tokens * channels, 1.0);
            let (h, scale) = norm::twin::forward(&wide(&x), tokens, 1e-6);

            // Interleaved by token, or one after the other.
            let starts = if joined { [0, asked, asked + kept] } else { [0, tokens * asked, tokens * (asked + kept)] };
            let strides = if joined { [asked + 2 * kept; 3] } else { [asked, kept, kept] };
            let (mut q_want, mut keys_want, mut values_want) = (vec![0.0; tokens * asked], wide(&old), wide(&old));
            for (i, cursor) in cursors.iter().enumerate() {
                for t in 0..cursor.count as usize {
                    let (n, position) = (i * fresh + t, cursor.position as usize + t);
                    let from = |part: usize, width: usize| wide(&all[starts[part] + n * strides[part]..][..width]);
                    let turned = |x: Vec<f64>, heads: usize| {
                        let half = head_dim / 2;
                        let at = |table: &[f32]| wide(&table[position * half..][..half]);
                        let dims = rotary::Rotary { seq: 1, heads, head_dim, offset: 0, eps: 1e-6, gain: 1.2 };
                        rotary::twin::forward(dims, &at(&cos), &at(&sin), &x).0
                    };
                    q_want[n * asked..][..asked].copy_from_slice(&turned(from(0, asked), heads));
                    let slot = (cursor.row as usize * ring + position % ring) * kept;
                    keys_want[slot..][..kept].copy_from_slice(&turned(from(1, kept), kv_heads));
                    let mut v = from(2, kept);
                    if gated {
                        let h = &h[n * channels..][..channels];
                        v = value_gate::twin::forward(&ids[n..=n], &wide(&table), &wide(&w), h, &v).0;
                    }
                    values_want[slot..][..kept].copy_from_slice(&v);
                }
            }

            let all = bench.tensor(&[all.len()], &all);
            let projected = [0, 1, 2].map(|part| Projected { tensor: &all, start: starts[part], stride: strides[part] });
            let q = bench.tensor(&[tokens * asked], &vec![0.0; tokens * asked]);
            let [keys, values] = [&old, &old].map(|data| bench.cache(&[sequences + 1, ring * kept], data, cache));
            let scale: Vec<f32> = scale.iter().map(|&r| r as f32).collect();
            let [cos, sin, w, x, scale] = [&cos, &sin, &w, &x, &scale].map(|data| bench.tensor(&[data.len()], data));
            let cursors = Cursor::upload(bench.gpu(), &cursors).unwrap();
            let ids = bench.ids(&[tokens], &ids);
            let gate = gated.then_some(Gate { ids: &ids, table: &stored_table, w: &w, x: &x, scale: &scale });
            let dims = Store { heads, kv_heads, head_dim, ring, eps: 1e-6, gain: 1.2, format: cache };
            let stored = Stored { cursors: &cursors, cos: &cos, sin: &sin, projected, gate, q: &q, keys: &keys, values: &values };
            bench.run(|rec| store(rec, dims, stored));
            bench.close(&q, &q_want, 2e-6);
            for (got, want) in [(&keys, &keys_want), (&values, &values_want)] {
                if cache == CacheFormat::F32 {
                    bench.close(got, want, 2e-6);
                }
                for (&got, &want) in bench.cached(got, cache).iter().zip(want) {
                    let error = 1e-5 * (1.0 + want.abs());
                    prop_assert!(twin::may_keep(f64::from(got), want, error, cache), "{cache} keeps {got} of {want}");
                }
            }
        }

        #[test]
        fn a_fork_copies_what_a_row_holds_to_the_next(
            groups in proptest::collection::vec((1usize..4, proptest::collection::vec(0usize..100, 2)), 1..4), spare in 0usize..2,
            ring in 1usize..70, heads in 1usize..4, quads in 1usize..30, format in 0usize..3, seed: u64,
        ) {
            let (bench, format) = (Bench::new(), CacheFormat::ALL[format]);
            let slot = format.elements(heads * quads * 4);
            // The first of the spare rows, which no group reaches, stays.
            let rows = spare + groups.iter().map(|(rows, _)| rows).sum::<usize>();
            let before = twin::elements(&random(seed, rows * ring * heads * quads * 4, 1.0), format);
            let shape = [rows, ring, heads, slot / heads];
            let cache = bench.gpu().upload("test", &shape, format.dtype(), Memory::Workspace, &before).unwrap();
            let cursors = Cursor::allocate(bench.gpu(), groups.len()).unwrap();
            let mut rec = Recorder::new(bench.gpu());
            fork(&mut rec, &cache, &cursors);
            let recording = rec.finish().unwrap();
            // One recording serves every length.
            for time in 0..2 {
                let mut want = before.clone();
                let (mut first, mut given) = (0, Vec::new());
                for (rows, held) in &groups {
                    let held = held[time];
                    given.push(Cursor { position: held as u32, count: (rows - 1) as u32, row: first as u32, before: 1 });
                    let filled = held.min(ring) * slot;
                    let from = first * ring * slot;
                    for row in first + 1..first + rows {
                        want[row * ring * slot..][..filled].copy_from_slice(&before[from..from + filled]);
                    }
                    first += rows;
                }
                bench.gpu().write(&cache, &before);
                bench.gpu().write(&cursors, &given);
                recording.run();
                assert_eq!(bench.gpu().read::<u32>(&cache).unwrap(), want);
            }
        }
    }

    /// Every number of 16 bits, the middle between it and the next, and what is beside that middle; infinity, NaN, and what is out of
    /// range. Not numbers below those that f32 has with full precision: GPUs may take them for 0.
    fn edges(format: CacheFormat) -> Vec<f32> {
        let number = |bits: u16| twin::numbers(&[u32::from(bits)], format)[0];
        let mut all = vec![65519.0, 65520.0, 65536.0, 1e9, f32::MAX, f32::from_bits(0x7f7f_8000), f32::from_bits(0x7f80_0001)];
        for bits in 0..0x7fff {
            let (this, next) = (number(bits), number(bits + 1));
            let middle = this + 0.5 * (next - this);
            all.extend([this, middle, middle.next_down(), middle.next_up()]);
        }
        all.retain(|x| !x.is_subnormal());
        let negative: Vec<f32> = all.iter().map(|x| -x).collect();
        [all, negative].concat()
    }

    #[test]
    fn numbers_are_rounded_to_the_nearest_even() {
        let bench = Bench::new();
        let (fresh, head_dim) = (1200, 256);
        for format in [CacheFormat::F16, CacheFormat::Bf16] {
            let mut numbers = edges(format);
            assert!(numbers.len() <= fresh * head_dim);
            numbers.resize(fresh * head_dim, 1.0);
            let tensor = bench.tensor(&[fresh, head_dim], &numbers);
            let projected = [Projected { tensor: &tensor, start: 0, stride: head_dim }; 3];
            let (cos, sin) = rotary::tables(fresh, head_dim, 100.0);
            let [cos, sin] = [cos, sin].map(|table| bench.tensor(&[table.len()], &table));
            let cursors = Cursor::upload(bench.gpu(), &[Cursor { count: fresh as u32, ..Cursor::default() }]).unwrap();
            let q = bench.empty(&[fresh * head_dim]);
            let [keys, values] = [(); 2].map(|()| bench.cache(&[1, fresh * head_dim], &vec![0.0; fresh * head_dim], format));
            let dims = Store { heads: 1, kv_heads: 1, head_dim, ring: fresh, eps: 1e-6, gain: 1.2, format };
            let stored = Stored { cursors: &cursors, cos: &cos, sin: &sin, projected, gate: None, q: &q, keys: &keys, values: &values };
            bench.run(|rec| store(rec, dims, stored));
            for (&number, got) in numbers.iter().zip(bench.cached(&values, format)) {
                let want = twin::kept(f64::from(number), format) as f32;
                let same = if want.is_nan() { got.is_nan() } else { got.to_bits() == want.to_bits() };
                assert!(same, "{format} keeps {got:e} of {number:e}, not {want:e}");
            }
        }
    }

    #[test]
    fn a_format_has_a_name_and_a_size() {
        for format in CacheFormat::ALL {
            assert_eq!(format.word().parse(), Ok(format));
            assert_eq!(format.bytes(8), if format == CacheFormat::F32 { 32 } else { 16 });
        }
        let error = "q8".parse::<CacheFormat>().unwrap_err();
        assert_eq!(error.to_string(), "there is no format \"q8\" of a KV cache; there are f32, f16 and bf16");
    }
}
