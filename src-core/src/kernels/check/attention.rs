//! Checks of attention in all its forms, and of the KV cache.

use super::Check;
use super::checker::Checker;
use super::data::wide;
use crate::gpu::{GpuError, Tensor};
use crate::kernels::attention::{Attention, Cached, CachedOperands, twin};
use crate::kernels::kv_cache::{CacheFormat, Cursor, Gate, Projected, Store, Stored};
use crate::kernels::rotary::Rotary;
use crate::kernels::{attention, attention_decode, kv_cache, norm, rotary, value_gate};
use crate::weights::Format;

type Outcome = Result<(), GpuError>;

pub(super) const CHECKS: &[Check] = &[
    Check { name: "attention", shaders: &["attention_lane", "attention_tile", "attention_delta"], run: check_attention },
    Check { name: "attention_decode", shaders: &["attention_decode_lane", "attention_decode_row"], run: check_over_a_cache },
    Check { name: "kv_cache", shaders: &["kv_cache", "kv_fork"], run: check_kv_cache },
];

fn check_attention(c: &mut Checker<'_>) -> Outcome {
    let dims = |seq, heads, kv_heads, head_dim, window| Attention { batch: 2, seq, heads, kv_heads, head_dim, window };
    let small = [dims(7, 1, 1, 16, 7), dims(33, 4, 2, 24, 11), dims(65, 2, 1, 64, 65), dims(66, 2, 2, 128, 32), dims(40, 1, 1, 256, 40)];
    for dims in c.shapes(&small, Attention { batch: 1, seq: 512, heads: 2, kv_heads: 2, head_dim: 128, window: 128 }) {
        let Attention { batch, seq, heads, kv_heads, head_dim, window } = dims;
        c.of(format!("[{batch}, {seq}, {heads}/{kv_heads}, {head_dim}], window {window}"));
        let (queries, keys) = ([batch, seq, heads, head_dim], [batch, seq, kv_heads, head_dim]);
        let (asked, kept) = (queries.iter().product(), keys.iter().product());
        let ([q], [k]) = (c.random(asked, 2.0), c.random(kept, 2.0));
        let ([v], [d_o]) = (c.random(kept, 1.0), c.random(asked, 1.0));
        let [wide_q, wide_k, wide_v, wide_d_o] = [&q, &k, &v, &d_o].map(|data| wide(data));
        let want = twin::forward(&wide_q, &wide_k, &wide_v, &dims);
        let slopes = twin::backward(&wide_q, &wide_k, &wide_v, &wide_d_o, &dims);

        let [q, d_o] = c.tensors(&queries, [&q, &d_o])?;
        let [k, v] = c.tensors(&keys, [&k, &v])?;
        let (o, dq, dk, dv) = (c.empty(&queries)?, c.empty(&queries)?, c.empty(&keys)?, c.empty(&keys)?);
        let (lse, delta) = (c.empty(&queries[..3])?, c.empty(&queries[..3])?);
        c.run(|rec| {
            let operands = attention::Operands { q: &q, k: &k, v: &v, o: &o, lse: &lse };
            attention::forward(rec, dims, operands);
            let gradients = attention::Gradients { d_o: &d_o, delta: &delta, dq: &dq, dk: &dk, dv: &dv };
            attention::backward(rec, dims, operands, gradients);
        })?;
        c.close("o", &o, &want.o, 1e-6)?;
        c.close("lse", &lse, &want.lse, 1e-6)?;
        c.close("dq", &dq, &slopes.dq, 5e-6)?;
        c.close("dk", &dk, &slopes.dk, 5e-6)?;
        c.close("dv", &dv, &slopes.dv, 2e-6)?;
    }
    Ok(())
}

/// New tokens over a KV cache: the kernel for decoding and the one for prefill.
fn check_over_a_cache(c: &mut Checker<'_>) -> Outcome {
    let small = [
        (vec![0, 3, 9], 1, [2, 1, 8], 20),
        (vec![14, 15, 40], 2, [2, 2, 24], 15),
        (vec![255, 256, 700], 1, [4, 2, 128], 600),
        (vec![33], 1, [1, 1, 256], 30),
        (vec![63, 70], 17, [2, 1, 64], 64),
    ];
    let small = CacheFormat::ALL.map(|format| small.clone().map(|shape| (shape, format))).concat();
    for ((held, fresh, [heads, kv_heads, head_dim], window), format) in
        c.shapes(&small, ((vec![2000; 2], 1, [6, 6, 128], 2048), CacheFormat::F32))
    {
        c.of(format!("{fresh} after {held:?}, [{heads}/{kv_heads}, {head_dim}], window {window}, {format}"));
        let dims = Cached { heads, kv_heads, head_dim, ring: window + fresh, window, format };
        let (operands, want) = cached(c, &held, fresh, dims)?;
        let [cursors, q, keys, values] = &operands;
        let (decoded, prefilled) = (c.empty(&[want.len()])?, c.empty(&[want.len()])?);
        c.run(|rec| {
            attention_decode::forward(rec, dims, CachedOperands { cursors, q, keys, values, o: &decoded });
            attention::cached(rec, dims, CachedOperands { cursors, q, keys, values, o: &prefilled });
        })?;
        c.close("o of decoding", &decoded, &want, 2e-6)?;
        c.close("o of prefill", &prefilled, &want, 2e-6)?;
    }
    Ok(())
}

/// Cursors, queries of the new tokens, keys and values in their slots, and the expected outputs.
fn cached(c: &mut Checker<'_>, held: &[usize], fresh: usize, dims: Cached) -> Result<([Tensor; 4], Vec<f64>), GpuError> {
    let Cached { heads, kv_heads, head_dim, ring, window, format } = dims;
    let rounded = |numbers: Vec<f32>| kv_cache::twin::numbers(&kv_cache::twin::elements(&numbers, format), format);
    let (asked, kept) = (heads * head_dim, kv_heads * head_dim);
    let [mut keys, mut values] = c.random(held.len() * ring * kept, 1.0);
    let (mut cursors, mut queries, mut want) = (Vec::new(), Vec::new(), Vec::new());
    for (i, &held_here) in held.iter().enumerate() {
        let seq = held_here + fresh;
        let ([q], [k, v]) = (c.random(fresh * asked, 2.0), c.random(seq * kept, 2.0).map(rounded));
        // The twin takes whole sequences; the earlier queries do not matter.
        let whole: Vec<f64> = std::iter::repeat_n(0.0, held_here * asked).chain(wide(&q)).collect();
        let dims = Attention { batch: 1, seq, heads, kv_heads, head_dim, window };
        want.extend(attention_decode::twin::forward(&whole, &wide(&k), &wide(&v), &dims, fresh));
        queries.extend(q);
        // Rows of the cache in reverse order; later positions overwrite earlier ones.
        let row = held.len() - 1 - i;
        for position in 0..seq {
            let slot = (row * ring + position % ring) * kept;
            keys[slot..][..kept].copy_from_slice(&k[position * kept..][..kept]);
            values[slot..][..kept].copy_from_slice(&v[position * kept..][..kept]);
        }
        cursors.push(Cursor { position: held_here as u32, count: fresh as u32, row: row as u32, before: 0 });
    }
    let cursors = Cursor::upload(c.gpu(), &cursors)?;
    let q = c.tensor(&[queries.len()], &queries)?;
    let (keys, values) = (c.cache(&[keys.len()], &keys, format)?, c.cache(&[values.len()], &values, format)?);
    Ok(([cursors, q, keys, values], want))
}

fn check_kv_cache(c: &mut Checker<'_>) -> Outcome {
    for [positions, fresh, heads, kv_heads, head_dim] in c.shapes(&[[1, 1, 1, 1, 8], [3, 2, 4, 2, 40], [2, 1, 2, 2, 32]], [8, 1, 6, 6, 128])
    {
        for gated in Format::ALL.map(Some).into_iter().chain([None]) {
            for cache in CacheFormat::ALL {
                check_store(c, [positions, fresh], [heads, kv_heads, head_dim], gated, cache)?;
            }
        }
    }
    for [rows, ring, width, held] in c.shapes(&[[2, 1, 4, 1], [3, 41, 100, 30]], [8, 2049, 768, 2000]) {
        for format in CacheFormat::ALL {
            c.of(format!("{held} of [{rows}, {ring}, {width}], {format}"));
            let [cache] = c.random(rows * ring * width, 1.0);
            let tensor = c.cache(&[rows, ring, 1, width], &cache, format)?;
            let cursors = Cursor::upload(c.gpu(), &[Cursor { position: held as u32, count: rows as u32 - 1, ..Cursor::default() }])?;
            c.run(|rec| kv_cache::fork(rec, &tensor, &cursors))?;
            let mut want = kv_cache::twin::elements(&cache, format);
            let width = format.elements(width);
            for row in 1..rows {
                want.copy_within(..held * width, row * ring * width);
            }
            c.same("fork", &c.gpu().read::<u32>(&tensor)?, &want);
        }
    }
    Ok(())
}

/// Tokens of `sequences` sequences at different positions; the last row of the cache is unused.
fn check_store(
    c: &mut Checker<'_>,
    [sequences, fresh]: [usize; 2],
    [heads, kv_heads, head_dim]: [usize; 3],
    gated: Option<Format>,
    cache: CacheFormat,
) -> Outcome {
    let with = gated.map_or(String::new(), |format| format!(", gated, {format}"));
    c.of(format!("{sequences} × {fresh} tokens, [{heads}/{kv_heads}, {head_dim}]{with}, into {cache}"));
    let (tokens, ring, channels, vocab) = (sequences * fresh, fresh + 3, 16, 7);
    let (asked, kept) = (heads * head_dim, kv_heads * head_dim);
    let position = |i: usize| 5 * i + 1;
    let [all] = c.random(tokens * (asked + 2 * kept), 1.0);
    let [old] = c.random((sequences + 1) * ring * kept, 1.0);
    let [table] = c.random(vocab * kept, 1.0);
    let (stored_table, table) = c.table(&table, vocab, gated.unwrap_or_default())?;
    let [w] = c.random(kv_heads * value_gate::GATE_CHANNELS, 1.0);
    let [x] = c.random(tokens * channels, 1.0);
    let (cos, sin) = rotary::tables(position(sequences) + fresh, head_dim, 100.0);
    let ids: Vec<i32> = (0..tokens).map(|n| (n * 5 % vocab) as i32).collect();
    let (h, scale) = norm::twin::forward(&wide(&x), tokens, 1e-6);

    let starts = [0, asked, asked + kept];
    let stride = asked + 2 * kept;
    let (mut q_want, mut keys_want, mut values_want) = (Vec::with_capacity(tokens * asked), wide(&old), wide(&old));
    for n in 0..tokens {
        let position = position(n / fresh) + n % fresh;
        let from = |part: usize, width: usize| wide(&all[n * stride + starts[part]..][..width]);
        let turned = |x: Vec<f64>, heads: usize| {
            let half = head_dim / 2;
            let at = |table: &[f32]| wide(&table[position * half..][..half]);
            rotary::twin::forward(Rotary { seq: 1, heads, head_dim, offset: 0, eps: 1e-6, gain: 1.2 }, &at(&cos), &at(&sin), &x).0
        };
        q_want.extend(turned(from(0, asked), heads));
        let slot = (n / fresh * ring + position % ring) * kept;
        keys_want[slot..][..kept].copy_from_slice(&turned(from(1, kept), kv_heads));
        let mut v = from(2, kept);
        if gated.is_some() {
            v = value_gate::twin::forward(&ids[n..=n], &table, &wide(&w), &h[n * channels..][..channels], &v).0;
        }
        values_want[slot..][..kept].copy_from_slice(&v);
    }

    let cursor = |i: usize| Cursor { position: position(i) as u32, count: fresh as u32, row: i as u32, before: 0 };
    let cursors = Cursor::upload(c.gpu(), &(0..sequences).map(cursor).collect::<Vec<_>>())?;
    let all = c.tensor(&[all.len()], &all)?;
    let projected = starts.map(|start| Projected { tensor: &all, start, stride });
    let (keys, values) = (c.cache(&[old.len()], &old, cache)?, c.cache(&[old.len()], &old, cache)?);
    let [cos, sin] = c.tensors(&[cos.len()], [&cos, &sin])?;
    let scale: Vec<f32> = scale.iter().map(|&r| r as f32).collect();
    let (q, ids, scale) = (c.empty(&[tokens * asked])?, c.ids(&ids)?, c.tensor(&[tokens], &scale)?);
    let (w, x) = (c.tensor(&[w.len()], &w)?, c.tensor(&[x.len()], &x)?);
    let gate = gated.map(|_| Gate { ids: &ids, table: &stored_table, w: &w, x: &x, scale: &scale });
    let dims = Store { heads, kv_heads, head_dim, ring, eps: 1e-6, gain: 1.2, format: cache };
    let stored = Stored { cursors: &cursors, cos: &cos, sin: &sin, projected, gate, q: &q, keys: &keys, values: &values };
    c.run(|rec| kv_cache::store(rec, dims, stored))?;
    c.close("q", &q, &q_want, 2e-6)?;
    close_in_cache(c, "keys", &keys, &keys_want, cache)?;
    close_in_cache(c, "values", &values, &values_want, cache)
}

/// Compares what a cache in `format` holds. In 16 bits nearly every number must be the nearest one, so they are counted that are not
/// even if `want` is a little off.
fn close_in_cache(c: &mut Checker<'_>, what: &str, got: &Tensor, want: &[f64], format: CacheFormat) -> Outcome {
    if format == CacheFormat::F32 {
        return c.close(what, got, want, 2e-6);
    }
    let got = kv_cache::twin::numbers(&c.gpu().read::<u32>(got)?, format);
    let kept = |(&got, &want): (&f32, &f64)| kv_cache::twin::may_keep(f64::from(got), want, 2e-5 * (1.0 + want.abs()), format);
    let kept: Vec<bool> = got.iter().zip(want).map(kept).collect();
    c.same(what, &kept, &vec![true; want.len()]);
    Ok(())
}
