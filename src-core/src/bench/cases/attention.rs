//! Attention over whole sequences and over a KV cache, and the cache itself.

use super::super::work::{Work, pairs};
use super::{Case, Sizes, filled, filled_all, filled_values};
use crate::gpu::{DType, Gpu, GpuError, Memory};
use crate::kernels::attention::{self, Attention, Cached, CachedOperands, Gradients, Operands};
use crate::kernels::attention_decode;
use crate::kernels::kv_cache::{self, CacheFormat, Cursor, Projected, Store, Stored};
use crate::kernels::rotary;

/// Forward and backward, with the full window and with a short one.
pub fn of_training(gpu: &Gpu, sizes: &Sizes) -> Result<Vec<Case>, GpuError> {
    let (batch, seq, heads, head_dim) = (sizes.batch, sizes.config.sequence_len, sizes.config.n_head, sizes.config.head_dim());
    let shape = [batch, seq, heads, head_dim];
    let [q, k, v, d_o] = filled_all(gpu, &shape)?;
    let [o, dq, dk, dv] = filled_all(gpu, &shape)?;
    let [lse, delta] = filled_all(gpu, &shape[..3])?;
    let words: usize = shape.iter().product();
    let rows = words / head_dim;
    let short = sizes.config.window_sizes().into_iter().min().unwrap_or(seq);
    let mut cases = Vec::new();
    for window in if short < seq { vec![seq, short] } else { vec![seq] } {
        let dims = Attention { batch, seq, heads, kv_heads: heads, head_dim, window };
        let name = format!("[{batch}, {seq}, {heads}, {head_dim}], window {window}");
        let pairs = batch * heads * pairs(seq, window);
        let given = [&q, &k, &v, &o, &lse].map(Clone::clone);
        let [q, k, v, o, lse] = given.clone();
        let [d_o, delta, dq, dk, dv] = [&d_o, &delta, &dq, &dk, &dv].map(Clone::clone);
        let forward = Work::attention(pairs, head_dim, 4 * words + rows);
        cases.push(Case::new("attention forward", name.clone(), forward, move |rec| {
            let [q, k, v, o, lse] = &given;
            attention::forward(rec, dims, Operands { q, k, v, o, lse });
        }));
        let backward = Work::attention_backward(pairs, head_dim, 8 * words + 2 * rows);
        cases.push(Case::new("attention backward", name, backward, move |rec| {
            let operands = Operands { q: &q, k: &k, v: &v, o: &o, lse: &lse };
            attention::backward(rec, dims, operands, Gradients { d_o: &d_o, delta: &delta, dq: &dq, dk: &dk, dv: &dv });
        }));
    }
    Ok(cases)
}

/// One token after a full context, for one row and for eight, over a cache in 32 and in 16 bits; storing keys and values of tokens; a fork.
pub fn of_decoding(gpu: &Gpu, sizes: &Sizes) -> Result<Vec<Case>, GpuError> {
    let (seq, heads, head_dim) = (sizes.config.sequence_len, sizes.config.n_head, sizes.config.head_dim());
    let width = heads * head_dim;
    let mut cases = Vec::new();
    for (rows, format) in [(1, CacheFormat::F32), (8, CacheFormat::F32), (8, CacheFormat::F16), (8, CacheFormat::Bf16)] {
        let dims = Cached { heads, kv_heads: heads, head_dim, ring: seq + 1, window: seq, format };
        let cursor = |row: usize| Cursor { position: seq as u32, count: 1, row: row as u32, before: 0 };
        let cursors = Cursor::upload(gpu, &(0..rows).map(cursor).collect::<Vec<_>>())?;
        let held = rows * (seq + 1) * width;
        let elements = kv_cache::twin::elements(&filled_values(held), format);
        let kept = || gpu.upload("case", &[elements.len()], format.dtype(), Memory::Workspace, &elements);
        let (keys, values) = (kept()?, kept()?);
        let [q, o] = filled_all(gpu, &[rows, width])?;
        let work = Work::attention(rows * heads * (seq + 1), head_dim, format.elements(2 * held) + 2 * rows * width);
        let name = format!("{rows} × {seq} held, {heads} heads of {head_dim}, {format}");
        cases.push(Case::new("attention_decode", name, work, move |rec| {
            attention_decode::forward(rec, dims, CachedOperands { cursors: &cursors, q: &q, keys: &keys, values: &values, o: &o });
        }));
    }
    cases.push(store(gpu, sizes)?);
    let cache = filled(gpu, &[8, seq + 1, heads, head_dim])?;
    let cursors = Cursor::upload(gpu, &[Cursor { position: seq as u32, ..Cursor::default() }])?;
    let work = Work::moves(8 * seq * width);
    cases.push(Case::new("kv_cache fork", format!("1 row to 8, {seq} × {width} each"), work, move |rec| {
        kv_cache::fork(rec, &cache, &cursors);
    }));
    Ok(cases)
}

fn store(gpu: &Gpu, sizes: &Sizes) -> Result<Case, GpuError> {
    let (seq, heads, head_dim) = (sizes.config.sequence_len, sizes.config.n_head, sizes.config.head_dim());
    let (fresh, width) = (seq, heads * head_dim);
    let cursors = Cursor::upload(gpu, &[Cursor { position: 0, count: fresh as u32, row: 0, before: 0 }])?;
    let (cos, sin) = rotary::tables(seq, head_dim, 100_000.0);
    let upload = |table: &[f32]| gpu.upload("case", &[table.len()], DType::F32, Memory::Workspace, table);
    let (cos, sin) = (upload(&cos)?, upload(&sin)?);
    let [from_q, from_k, from_v, q, keys] = filled_all(gpu, &[fresh, width])?;
    let values = filled(gpu, &[fresh, width])?;
    let dims = Store { heads, kv_heads: heads, head_dim, ring: fresh, eps: 1e-6, gain: 1.2, format: CacheFormat::F32 };
    let work = Work::moves(6 * fresh * width + cos.len() + sin.len());
    Ok(Case::new("kv_cache store", format!("{fresh} tokens, {heads} heads of {head_dim}"), work, move |rec| {
        let projected = [&from_q, &from_k, &from_v].map(|tensor| Projected { tensor, start: 0, stride: width });
        let (q, keys, values) = (&q, &keys, &values);
        kv_cache::store(rec, dims, Stored { cursors: &cursors, cos: &cos, sin: &sin, projected, gate: None, q, keys, values });
    }))
}
