//! Kernels over the residual stream, over heads, and over tables.

use super::super::work::Work;
use super::{Case, Sizes, filled, filled_all, ids, upload_ids};
use crate::gpu::{DType, Gpu, GpuError, Memory};
use crate::kernels::rotary::Rotary;
use crate::kernels::sample::Draw;
use crate::kernels::weight::Weight;
use crate::kernels::{backout, cross_entropy, embed_smear, embedding, norm, relu2, residual, rotary, sample, smear, value_gate};

/// Norm, residual, backout and smear, forward and backward, and the activation.
pub fn of_the_stream(gpu: &Gpu, sizes: &Sizes) -> Result<Vec<Case>, GpuError> {
    let (rows, channels, words) = (sizes.tokens(), sizes.channels(), sizes.stream());
    let [x, y, dy, dx, x0] = filled_all(gpu, &[rows, channels])?;
    let [scale, sigmoid] = filled_all(gpu, &[rows])?;
    let [lambda, other, d_lambda, d_other] = filled_all(gpu, &[1])?;
    let [gate_w, d_gate_w] = filled_all(gpu, &[smear::GATE_CHANNELS])?;
    let scratch = filled(gpu, &[smear::scratch_len(rows).max(residual::scratch_len()).max(backout::scratch_len())])?;
    let wide = filled(gpu, &[rows, 4 * channels])?;
    let d_wide = filled(gpu, &[rows, 4 * channels])?;
    let shape = format!("[{rows}, {channels}]");
    let (seq, eps) = (sizes.config.sequence_len, 1e-6);
    Ok(vec![
        Case::new("norm forward", shape.clone(), Work::moves(2 * words + rows), {
            let (x, y, scale) = (x.clone(), y.clone(), scale.clone());
            move |rec| norm::forward(rec, &x, &y, &scale, eps)
        }),
        Case::new("norm backward", shape.clone(), Work::moves(4 * words + rows), {
            let (y, scale, dy, dx) = (y.clone(), scale.clone(), dy.clone(), dx.clone());
            move |rec| norm::backward(rec, &y, &scale, &dy, &dx)
        }),
        Case::new("residual forward", shape.clone(), Work::moves(3 * words), {
            let (x, x0, r, w, y) = (x.clone(), x0.clone(), lambda.clone(), other.clone(), y.clone());
            move |rec| residual::forward(rec, 0, residual::Inputs { x: &x, x0: &x0, resid_lambdas: &r, x0_lambdas: &w }, &y)
        }),
        Case::new("residual backward", shape.clone(), Work::moves(6 * words), {
            let (x, x0, r, w, dx, dx0) = (x.clone(), x0.clone(), lambda.clone(), other.clone(), dx.clone(), dy.clone());
            let (dr, dw, scratch) = (d_lambda.clone(), d_other.clone(), scratch.clone());
            move |rec| {
                let inputs = residual::Inputs { x: &x, x0: &x0, resid_lambdas: &r, x0_lambdas: &w };
                let gradients = residual::Gradients { dx: &dx, dx0: &dx0, d_resid_lambdas: &dr, d_x0_lambdas: &dw };
                residual::backward(rec, 0, inputs, gradients, &scratch);
            }
        }),
        Case::new("backout forward", shape.clone(), Work::moves(3 * words), {
            let (x, x_mid, lambda, y) = (x.clone(), x0.clone(), lambda.clone(), y.clone());
            move |rec| backout::forward(rec, &x, &x_mid, &lambda, &y)
        }),
        Case::new("backout backward", shape.clone(), Work::moves(3 * words), {
            let (x_mid, lambda, dy, dx, d, scratch) =
                (x0.clone(), lambda.clone(), dy.clone(), dx.clone(), d_lambda.clone(), scratch.clone());
            move |rec| backout::backward(rec, &x_mid, &lambda, &dy, &dx, &d, &scratch)
        }),
        Case::new("smear forward", shape.clone(), Work::moves(2 * words + rows), {
            let (x, w, lambda, y, sigmoid) = (x.clone(), gate_w.clone(), lambda.clone(), y.clone(), sigmoid.clone());
            move |rec| smear::forward(rec, seq, smear::Inputs { e: &x, gate_w: &w, lambda: &lambda }, &y, &sigmoid)
        }),
        Case::new("smear backward", shape.clone(), Work::moves(3 * words + rows), {
            move |rec| {
                let inputs = smear::Inputs { e: &x, gate_w: &gate_w, lambda: &lambda };
                let gradients = smear::Gradients { dx: &dy, de: &dx, d_gate_w: &d_gate_w, d_lambda: &d_lambda };
                smear::backward(rec, seq, inputs, &sigmoid, gradients, &scratch);
            }
        }),
        Case::new("relu2 forward", format!("[{rows}, {}]", 4 * channels), Work::moves(8 * words), {
            let wide = wide.clone();
            move |rec| relu2::forward(rec, &wide)
        }),
        Case::new("relu2 backward", format!("[{rows}, {}]", 4 * channels), Work::moves(12 * words), move |rec| {
            relu2::backward(rec, &wide, &d_wide);
        }),
    ])
}

/// Rotary embedding and value embeddings.
pub fn of_heads(gpu: &Gpu, sizes: &Sizes) -> Result<Vec<Case>, GpuError> {
    let (rows, channels, seq) = (sizes.tokens(), sizes.channels(), sizes.config.sequence_len);
    let (heads, head_dim, vocab) = (sizes.config.n_head, sizes.config.head_dim(), sizes.config.padded_vocab());
    let words = rows * heads * head_dim;
    let dims = Rotary { seq, heads, head_dim, offset: 0, eps: 1e-6, gain: 1.2 };
    let (cos, sin) = rotary::tables(seq, head_dim, 100_000.0);
    let upload = |data: &[f32]| gpu.upload("case", &[data.len()], DType::F32, Memory::Workspace, data);
    let (cos, sin) = (upload(&cos)?, upload(&sin)?);
    let tables = cos.len() + sin.len();
    let [x, dy, v, dv] = filled_all(gpu, &[rows, heads, head_dim])?;
    let [scale, gate] = filled_all(gpu, &[rows, heads])?;
    let [h, dh] = filled_all(gpu, &[rows, channels])?;
    let [w, d_w] = filled_all(gpu, &[heads, value_gate::GATE_CHANNELS])?;
    let (table, ids) = (Weight::plain(&filled(gpu, &[vocab, heads * head_dim])?), upload_ids(gpu, &ids(rows, vocab))?);
    let scratch = filled(gpu, &[value_gate::scratch_len(rows, heads)])?;
    let shape = format!("[{rows}, {heads}, {head_dim}]");
    let few = rows * value_gate::GATE_CHANNELS;
    Ok(vec![
        Case::new("rotary forward", shape.clone(), Work::moves(2 * words + tables + rows * heads), {
            let (cos, sin, x, scale) = (cos.clone(), sin.clone(), x.clone(), scale.clone());
            move |rec| rotary::forward(rec, dims, &cos, &sin, &x, &scale)
        }),
        Case::new("rotary backward", shape.clone(), Work::moves(3 * words + tables + rows * heads), move |rec| {
            rotary::backward(rec, dims, &cos, &sin, &x, &scale, &dy);
        }),
        Case::new("value_gate forward", shape.clone(), Work::moves(3 * words + few + rows * heads), {
            let (ids, table, w, h, v, gate) = (ids.clone(), table.clone(), w.clone(), h.clone(), v.clone(), gate.clone());
            move |rec| value_gate::forward(rec, value_gate::Inputs { ids: &ids, table: &table, w: &w, h: &h }, &v, &gate)
        }),
        Case::new("value_gate backward", shape, Work::moves(2 * words + 3 * few + rows * heads), move |rec| {
            let inputs = value_gate::Inputs { ids: &ids, table: &table, w: &w, h: &h };
            value_gate::backward(rec, inputs, &gate, value_gate::Gradients { dv: &dv, dh: &dh, d_w: &d_w }, &scratch);
        }),
    ])
}

/// Embeddings, the loss and sampling.
pub fn of_tables(gpu: &Gpu, sizes: &Sizes) -> Result<Vec<Case>, GpuError> {
    let (rows, channels, vocab) = (sizes.tokens(), sizes.channels(), sizes.config.padded_vocab());
    let words = sizes.stream();
    let [table, d_table] = filled_all(gpu, &[vocab, channels])?;
    let table = Weight::plain(&table);
    let [x, g] = filled_all(gpu, &[rows, channels])?;
    let named = ids(rows, sizes.config.vocab_size);
    let segments = embedding::segments(&named, vocab);
    let upload = |data: &[u32]| gpu.upload("case", &[data.len()], DType::U32, Memory::Workspace, data);
    let (order, starts, ids) = (upload(&segments.order)?, upload(&segments.starts)?, upload_ids(gpu, &named)?);
    let distinct = segments.starts.windows(2).filter(|pair| pair[0] < pair[1]).count();

    let chunk = sizes.chunk();
    let (logits, losses, weight) = (filled(gpu, &[chunk.rows, vocab])?, filled(gpu, &[rows])?, filled(gpu, &[1])?);
    let draws: Vec<Draw> = vec![Draw { temperature: 1.0, top_k: 50, top_p: 0.9, uniform: 0.5, ..Draw::GREEDY }; 8];
    let draws = gpu.upload("case", &[8 * Draw::WORDS], DType::U32, Memory::Workspace, &draws)?;
    let seen = gpu.zeros("case", &[8, chunk.vocab.div_ceil(32)], DType::U32, Memory::Workspace)?;
    let drawn = upload_ids(gpu, &[0; 8])?;
    let scores = filled(gpu, &[8, vocab])?;
    let weights = filled(gpu, &[8, sample::scratch_len(gpu.capabilities(), chunk.vocab, vocab)])?;
    let shape = format!("{rows} rows of [{vocab}, {channels}]");
    let loss = format!("[{}, {vocab}]", chunk.rows);
    Ok(vec![
        Case::new("embedding forward", shape.clone(), Work::moves(2 * words + rows), {
            let (ids, table, x) = (ids.clone(), table.clone(), x.clone());
            move |rec| embedding::forward(rec, &ids, &table, &x)
        }),
        Case::new("embedding backward", shape.clone(), Work::moves(words + 2 * distinct * channels + rows + vocab), move |rec| {
            embedding::backward(rec, &order, &starts, &g, None, &d_table);
        }),
        Case::new("embed_smear", shape, Work::moves(2 * words + rows), {
            let ids = ids.clone();
            move |rec| embed_smear::forward(rec, &ids, &table, 1e-6, None, &x)
        }),
        Case::new("cross_entropy forward", loss.clone(), Work::moves(logits.len() + 2 * chunk.rows), {
            let (logits, ids, losses) = (logits.clone(), ids.clone(), losses.clone());
            move |rec| cross_entropy::forward(rec, chunk, &logits, &ids, &losses)
        }),
        Case::new("cross_entropy backward", loss, Work::moves(2 * logits.len() + 2 * chunk.rows), move |rec| {
            cross_entropy::backward(rec, chunk, &logits, &ids, &losses, &weight);
        }),
        Case::new("sample", format!("8 rows of {}, top-k and top-p", chunk.vocab), Work::moves(2 * scores.len()), move |rec| {
            sample::forward(rec, chunk.vocab, &scores, &draws, &seen, &drawn, &weights);
        }),
    ])
}
