//! Checks of the parts of a model other than products and attention.

use super::Check;
use super::checker::Checker;
use super::data::{add, sizes, wide};
use crate::gpu::GpuError;
use crate::kernels::kv_cache::Cursor;
use crate::kernels::rotary::Rotary;
use crate::kernels::weight::Weight;
use crate::kernels::{axpy, backout, cross_entropy, dot, embed_smear, embedding, norm, relu2, residual, rotary, smear, value_gate};
use crate::weights::Format;

type Outcome = Result<(), GpuError>;

pub(super) const CHECKS: &[Check] = &[
    Check { name: "axpy", shaders: &["axpy"], run: check_axpy },
    Check { name: "backout", shaders: &["backout"], run: check_backout },
    Check { name: "cross_entropy", shaders: &["cross_entropy"], run: check_cross_entropy },
    Check { name: "dot", shaders: &["dot"], run: check_dot },
    Check { name: "embed_smear", shaders: &["embed_smear"], run: check_embed_smear },
    Check { name: "embedding", shaders: &["embedding"], run: check_embedding },
    Check { name: "norm", shaders: &["norm"], run: check_norm },
    Check { name: "relu2", shaders: &["relu2"], run: check_relu2 },
    Check { name: "residual", shaders: &["residual"], run: check_residual },
    Check { name: "rotary", shaders: &["rotary"], run: check_rotary },
    Check { name: "smear", shaders: &["smear"], run: check_smear },
    Check { name: "value_gate", shaders: &["value_gate"], run: check_value_gate },
];

const EPS: f32 = 1e-6;

fn check_axpy(c: &mut Checker<'_>) -> Outcome {
    for len in c.shapes(&[4, 252, 256, 260], 2048 * 768) {
        c.of(format!("[{len}]"));
        let [x, y] = c.random(len, 1.0);
        let want = axpy::twin::forward(-0.75, &wide(&x), &wide(&y));
        let [x, y] = c.tensors(&[len], [&x, &y])?;
        c.run(|rec| axpy::forward(rec, -0.75, &x, &y))?;
        c.close("y", &y, &want, 1e-6)?;
    }
    Ok(())
}

fn check_relu2(c: &mut Checker<'_>) -> Outcome {
    // The largest has more workgroups than one dimension of a grid may have.
    for len in c.shapes(&[4, 252, 256, 260], 4 * (65_535 * 64 + 65)) {
        c.of(format!("[{len}]"));
        let [x, g] = c.random(len, 2.0);
        let y_want = relu2::twin::forward(&wide(&x));
        let dx_want = relu2::twin::backward(&y_want, &wide(&g));
        let [y, dx] = c.tensors(&[len], [&x, &g])?;
        c.run(|rec| {
            relu2::forward(rec, &y);
            relu2::backward(rec, &y, &dx);
        })?;
        c.close("y", &y, &y_want, 1e-6)?;
        c.close("dx", &dx, &dx_want, 1e-6)?;
    }
    Ok(())
}

fn check_norm(c: &mut Checker<'_>) -> Outcome {
    for [rows, channels] in c.shapes(&[[1, 4], [3, 128], [5, 132], [67, 260]], [2048, 768]) {
        c.of(format!("[{rows}, {channels}]"));
        let [x, g, before] = c.random(rows * channels, 2.0);
        let (y_want, scale_want) = norm::twin::forward(&wide(&x), rows, EPS.into());
        let dx_want = add(&before, &norm::twin::backward(&y_want, &scale_want, &wide(&g)));
        let [x, g, dx] = c.tensors(&[rows, channels], [&x, &g, &before])?;
        let (y, scale) = (c.empty(&[rows, channels])?, c.empty(&[rows])?);
        c.run(|rec| {
            norm::forward(rec, &x, &y, &scale, EPS);
            norm::backward(rec, &y, &scale, &g, &dx);
        })?;
        c.close("y", &y, &y_want, 1e-6)?;
        c.close("scale", &scale, &scale_want, 1e-6)?;
        c.close("dx", &dx, &dx_want, 2e-6)?;
    }
    Ok(())
}

fn check_rotary(c: &mut Checker<'_>) -> Outcome {
    for [seq, heads, head_dim, offset] in c.shapes(&[[1, 1, 8, 3], [7, 2, 40, 0], [33, 3, 128, 5]], [512, 6, 128, 0]) {
        c.of(format!("[{seq}, {heads}, {head_dim}] from position {offset}"));
        let dims = Rotary { seq, heads, head_dim, offset, eps: EPS, gain: 1.2 };
        let [x, g] = c.random(seq * heads * head_dim, 2.0);
        let (cos, sin) = rotary::tables(seq + offset, head_dim, 100_000.0);
        let (cos_wide, sin_wide) = (wide(&cos), wide(&sin));
        let (y_want, scale_want) = rotary::twin::forward(dims, &cos_wide, &sin_wide, &wide(&x));
        let dx_want = rotary::twin::backward(dims, &cos_wide, &sin_wide, &y_want, &scale_want, &wide(&g));
        let [cos, sin] = c.tensors(&[cos.len()], [&cos, &sin])?;
        let [y, dx] = c.tensors(&[seq, heads, head_dim], [&x, &g])?;
        let scale = c.empty(&[seq, heads])?;
        c.run(|rec| {
            rotary::forward(rec, dims, &cos, &sin, &y, &scale);
            rotary::backward(rec, dims, &cos, &sin, &y, &scale, &dx);
        })?;
        c.close("y", &y, &y_want, 1e-6)?;
        c.close("scale", &scale, &scale_want, 1e-6)?;
        c.close("dx", &dx, &dx_want, 2e-6)?;
    }
    Ok(())
}

fn check_residual(c: &mut Checker<'_>) -> Outcome {
    for len in c.shapes(&[4, 28, 36, 260, 8 * 1024 + 4], 2048 * 768) {
        c.of(format!("[{len}]"));
        let (layers, layer) = (3, 1);
        let [x, x0, g, dx0] = c.random(len, 1.0);
        let [r, w, dr, dw] = c.random(layers, 1.0);
        let at = [&r, &w].map(|lambdas: &Vec<f32>| f64::from(lambdas[layer]));
        let y_want = residual::twin::forward(&wide(&x), &wide(&x0), at[0], at[1]);
        let (dx_want, dx0_more, dr_more, dw_more) = residual::twin::backward(&wide(&x), &wide(&x0), at[0], at[1], &wide(&g));
        let dx0_want = add(&dx0, &dx0_more);
        let [mut dr_want, mut dw_want] = [wide(&dr), wide(&dw)];
        dr_want[layer] += dr_more;
        dw_want[layer] += dw_more;
        let [dr_size, dw_size] = [sizes(&g, &x), sizes(&g, &x0)];

        let [x, x0, dx, dx0] = c.tensors(&[len], [&x, &x0, &g, &dx0])?;
        let [r, w, dr, dw] = c.tensors(&[layers], [&r, &w, &dr, &dw])?;
        let (y, scratch) = (c.empty(&[len])?, c.empty(&[residual::scratch_len()])?);
        c.run(|rec| {
            let inputs = residual::Inputs { x: &x, x0: &x0, resid_lambdas: &r, x0_lambdas: &w };
            residual::forward(rec, layer, inputs, &y);
            let gradients = residual::Gradients { dx: &dx, dx0: &dx0, d_resid_lambdas: &dr, d_x0_lambdas: &dw };
            residual::backward(rec, layer, inputs, gradients, &scratch);
        })?;
        c.close("y", &y, &y_want, 1e-6)?;
        c.close("dx", &dx, &dx_want, 1e-6)?;
        c.close("dx0", &dx0, &dx0_want, 1e-6)?;
        c.close_sum("d_resid_lambdas", &dr, &dr_want, dr_size, 1e-6)?;
        c.close_sum("d_x0_lambdas", &dw, &dw_want, dw_size, 1e-6)?;
    }
    Ok(())
}

fn check_backout(c: &mut Checker<'_>) -> Outcome {
    for len in c.shapes(&[4, 28, 36, 260, 8 * 1024 + 4], 2048 * 768) {
        c.of(format!("[{len}]"));
        let [x, mid, g] = c.random(len, 1.0);
        let (lambda, before) = (0.3f32, 0.25f32);
        let y_want = backout::twin::forward(&wide(&x), &wide(&mid), lambda.into());
        let (dx_mid_want, more) = backout::twin::backward(&wide(&mid), lambda.into(), &wide(&g));
        let size = sizes(&g, &mid);

        let [x, mid, g] = c.tensors(&[len], [&x, &mid, &g])?;
        let [lambda, d_lambda] = c.tensors(&[1], [&[lambda], &[before]])?;
        let (y, dx_mid, scratch) = (c.empty(&[len])?, c.empty(&[len])?, c.empty(&[backout::scratch_len()])?);
        c.run(|rec| {
            backout::forward(rec, &x, &mid, &lambda, &y);
            backout::backward(rec, &mid, &lambda, &g, &dx_mid, &d_lambda, &scratch);
        })?;
        c.close("y", &y, &y_want, 1e-6)?;
        c.close("dx_mid", &dx_mid, &dx_mid_want, 1e-6)?;
        c.close_sum("d_lambda", &d_lambda, &[f64::from(before) + more], size, 1e-6)?;
    }
    Ok(())
}

/// The sum over a whole tensor; smear and value_gate check the weighted one, which is their last stage.
fn check_dot(c: &mut Checker<'_>) -> Outcome {
    for len in c.shapes(&[4, 28, 32, 36, 1020, 4 * 4097], 2048 * 768) {
        c.of(format!("[{len}]"));
        let [a, b] = c.random(len, 1.0);
        let [before] = c.random(6, 1.0);
        let mut want = wide(&before);
        want[3] += -0.5 * dot::twin::dot(&wide(&a), &wide(&b));
        let size = sizes(&a, &b);
        let [a, b] = c.tensors(&[len], [&a, &b])?;
        let (out, scratch) = (c.tensor(&[6], &before)?, c.empty(&[dot::scratch_len()])?);
        c.run(|rec| dot::accumulate(rec, &a, &b, -0.5, &out, 3, &scratch))?;
        c.close_sum("sum", &out, &want, size, 1e-6)?;
    }
    Ok(())
}

fn check_smear(c: &mut Checker<'_>) -> Outcome {
    for [batch, seq, channels] in c.shapes(&[[1, 1, 24], [2, 9, 28], [3, 129, 132]], [2, 1024, 768]) {
        c.of(format!("[{batch}, {seq}, {channels}]"));
        let rows = batch * seq;
        let [e, g] = c.random(rows * channels, 1.0);
        let [w, dw] = c.random(smear::GATE_CHANNELS, 1.0);
        let (lambda, before) = (0.8f32, 0.5f32);
        let (x_want, s_want) = smear::twin::forward(seq, rows, &wide(&e), &wide(&w), lambda.into());
        let (de_want, dw_more, d_lambda_more) = smear::twin::backward(seq, &wide(&e), &wide(&w), lambda.into(), &s_want, &wide(&g));
        let dw_want = add(&dw, &dw_more);
        // The terms are g·e of adjacent rows times at most 1.
        let size = sizes(&g[channels..], &e);

        let [e, g] = c.tensors(&[rows, channels], [&e, &g])?;
        let [w, dw] = c.tensors(&[smear::GATE_CHANNELS], [&w, &dw])?;
        let [lambda, d_lambda] = c.tensors(&[1], [&[lambda], &[before]])?;
        let (x, de) = (c.empty(&[rows, channels])?, c.empty(&[rows, channels])?);
        let (sigmoid, scratch) = (c.empty(&[rows])?, c.empty(&[smear::scratch_len(rows)])?);
        c.run(|rec| {
            let inputs = smear::Inputs { e: &e, gate_w: &w, lambda: &lambda };
            smear::forward(rec, seq, inputs, &x, &sigmoid);
            let gradients = smear::Gradients { dx: &g, de: &de, d_gate_w: &dw, d_lambda: &d_lambda };
            smear::backward(rec, seq, inputs, &sigmoid, gradients, &scratch);
        })?;
        c.close("x", &x, &x_want, 2e-6)?;
        c.close("sigmoid", &sigmoid, &s_want, 5e-6)?;
        c.close("de", &de, &de_want, 5e-6)?;
        c.close("d_gate_w", &dw, &dw_want, 1e-5)?;
        c.close_sum("d_lambda", &d_lambda, &[f64::from(before) + d_lambda_more], size, 3e-6)?;
    }
    Ok(())
}

fn check_value_gate(c: &mut Checker<'_>) -> Outcome {
    for [rows, heads, head_dim, channels, vocab] in
        c.shapes(&[[1, 1, 4, 12, 5], [33, 2, 12, 28, 7], [129, 3, 64, 132, 40]], [2048, 6, 128, 768, 4096])
    {
        c.of(format!("[{rows}, {heads}, {head_dim}], {channels} channels, {vocab} ids"));
        let gates = heads * value_gate::GATE_CHANNELS;
        let ids = tokens(rows, vocab);
        let [table] = c.random(vocab * heads * head_dim, 1.0);
        let [w, dw] = c.random(gates, 1.0);
        let [h, dh] = c.random(rows * channels, 1.0);
        let [v, g] = c.random(rows * heads * head_dim, 1.0);
        for format in Format::ALL {
            let (stored, table) = c.table(&table, vocab, format)?;
            let (want, _) = value_gate::twin::forward(&ids, &table, &wide(&w), &wide(&h), &wide(&v));
            let [w, h, y] = [&w, &h, &v].map(|data| c.tensor(&[data.len()], data));
            let (ids, w, h, y, gate) = (c.ids(&ids)?, w?, h?, y?, c.empty(&[rows, heads])?);
            c.run(|rec| value_gate::forward(rec, value_gate::Inputs { ids: &ids, table: &stored, w: &w, h: &h }, &y, &gate))?;
            c.close(&format!("v from {format}"), &y, &want, 5e-6)?;
        }
        let (v_want, gate_want) = value_gate::twin::forward(&ids, &wide(&table), &wide(&w), &wide(&h), &wide(&v));
        let (dh_more, dw_more) = value_gate::twin::backward(&ids, &wide(&table), &wide(&w), &wide(&h), &gate_want, &wide(&g));
        let (dh_want, dw_want) = (add(&dh, &dh_more), add(&dw, &dw_more));

        let (ids, table) = (c.ids(&ids)?, Weight::plain(&c.tensor(&[vocab, heads * head_dim], &table)?));
        let [w, dw] = c.tensors(&[heads, value_gate::GATE_CHANNELS], [&w, &dw])?;
        let [h, dh] = c.tensors(&[rows, channels], [&h, &dh])?;
        let [v, g] = c.tensors(&[rows, heads, head_dim], [&v, &g])?;
        let (gate, scratch) = (c.empty(&[rows, heads])?, c.empty(&[value_gate::scratch_len(rows, heads)])?);
        c.run(|rec| {
            let inputs = value_gate::Inputs { ids: &ids, table: &table, w: &w, h: &h };
            value_gate::forward(rec, inputs, &v, &gate);
            value_gate::backward(rec, inputs, &gate, value_gate::Gradients { dv: &g, dh: &dh, d_w: &dw }, &scratch);
        })?;
        c.close("v", &v, &v_want, 5e-6)?;
        c.close("gate", &gate, &gate_want, 5e-6)?;
        c.close("dh", &dh, &dh_want, 5e-6)?;
        c.close("dw", &dw, &dw_want, 1e-5)?;
    }
    Ok(())
}

fn check_embedding(c: &mut Checker<'_>) -> Outcome {
    for ([rows, vocab, channels], heads) in
        c.shapes(&[([1, 1, 4], 1), ([9, 3, 40], 2), ([1025, 1, 8], 1), ([200, 300, 96], 3)], ([2048, 4096, 768], 6))
    {
        c.of(format!("{rows} rows of [{vocab}, {channels}], {heads} heads"));
        let ids = tokens(rows, vocab);
        let [table, before] = c.random(vocab * channels, 1.0);
        let [g] = c.random(rows * channels, 1.0);
        let [scale] = c.random(rows * heads, 3.0);
        for format in Format::ALL {
            let (stored, table) = c.table(&table, vocab, format)?;
            let (ids_tensor, y) = (c.ids(&ids)?, c.empty(&[rows, channels])?);
            c.run(|rec| embedding::forward(rec, &ids_tensor, &stored, &y))?;
            c.close(&format!("y from {format}"), &y, &embedding::twin::forward(&ids, &table, channels), 0.0)?;
        }
        let scaled = add(&before, &embedding::twin::backward(&ids, &wide(&g), &wide(&scale), vocab));
        let plain = add(&before, &embedding::twin::backward(&ids, &wide(&g), &vec![1.0; rows], vocab));

        let segments = embedding::segments(&ids, vocab);
        let (order, starts) = (c.words(&segments.order)?, c.words(&segments.starts)?);
        let [d_scaled, d_plain] = c.tensors(&[vocab, channels], [&before, &before])?;
        let g = c.tensor(&[rows, channels], &g)?;
        let scale = c.tensor(&[rows, heads], &scale)?;
        c.run(|rec| {
            embedding::backward(rec, &order, &starts, &g, Some(&scale), &d_scaled);
            embedding::backward(rec, &order, &starts, &g, None, &d_plain);
        })?;
        c.close("d_table", &d_plain, &plain, 1e-6)?;
        c.close("d_table, scaled", &d_scaled, &scaled, 1e-6)?;
    }
    Ok(())
}

/// The twin is that of embedding, norm and smear over the whole sequence.
fn check_embed_smear(c: &mut Checker<'_>) -> Outcome {
    for (held, new, channels, vocab) in c.shapes(&[(0, 1, 24, 5), (3, 2, 132, 11), (2, 3, 96, 9)], (5, 32, 768, 4096)) {
        c.of(format!("{new} after {held}, [{vocab}, {channels}]"));
        let ids = tokens(held + new, vocab);
        let [wte] = c.random(vocab * channels, 1.0);
        let [gate_w] = c.random(smear::GATE_CHANNELS, 1.0);
        let before = held.checked_sub(1).map_or(0, |last| ids[last]);
        let cursor = Cursor { position: held as u32, count: new as u32, row: 0, before: before as u32 };
        let cursors = Cursor::upload(c.gpu(), &[cursor])?;
        let (fresh, gate) = (c.ids(&ids[held..])?, c.tensor(&[gate_w.len()], &gate_w)?);
        let lambda = c.tensor(&[1], &[0.7])?;
        for format in Format::ALL {
            let (stored, table) = c.table(&wte, vocab, format)?;
            let (e, _) = norm::twin::forward(&embedding::twin::forward(&ids, &table, channels), ids.len(), EPS.into());
            let (x_want, _) = smear::twin::forward(ids.len(), ids.len(), &e, &wide(&gate_w), 0.7);
            let (smeared, plain) = (c.empty(&[new, channels])?, c.empty(&[new, channels])?);
            let smear = embed_smear::Smear { cursors: &cursors, gate_w: &gate, lambda: &lambda };
            c.run(|rec| {
                embed_smear::forward(rec, &fresh, &stored, EPS, Some(smear), &smeared);
                embed_smear::forward(rec, &fresh, &stored, EPS, None, &plain);
            })?;
            c.close(&format!("x from {format}"), &smeared, &x_want[held * channels..], 2e-6)?;
            c.close(&format!("x from {format} without smear"), &plain, &e[held * channels..], 2e-6)?;
        }
    }
    Ok(())
}

fn check_cross_entropy(c: &mut Checker<'_>) -> Outcome {
    for [rows, vocab] in c.shapes(&[[1usize, 1], [3, 63], [5, 300], [2, 1025]], [64, 32_768]) {
        c.of(format!("[{rows}, {vocab}]"));
        let (cap, padded) = (15.0, vocab.next_multiple_of(64));
        let [raw] = c.random(rows * padded, 20.0);
        // One row in five has no target.
        let targets: Vec<i32> = (0..rows).map(|row| if row % 5 == 4 { -1 } else { (row * 7919 % vocab) as i32 }).collect();
        let (losses_want, gradient_want) = cross_entropy::twin::backward(&wide(&raw), padded, vocab, &targets, cap, 0.25);
        let capped: Vec<f64> = raw.iter().map(|&l| cross_entropy::twin::softcap(l.into(), cap)).collect();

        let chunk = cross_entropy::Chunk { first: 0, rows, vocab, cap: cap as f32 };
        let [softcapped, read, gradient] = c.tensors(&[rows, padded], [&raw, &raw, &raw])?;
        let (targets, weight) = (c.ids(&targets)?, c.tensor(&[1], &[0.25])?);
        let (losses, again) = (c.empty(&[rows])?, c.empty(&[rows])?);
        c.run(|rec| {
            cross_entropy::softcap(rec, chunk, &softcapped);
            cross_entropy::forward(rec, chunk, &read, &targets, &losses);
            cross_entropy::backward(rec, chunk, &gradient, &targets, &again, &weight);
        })?;
        c.close("softcap", &softcapped, &capped, 1e-6)?;
        // A vocabulary of one has no loss and no gradient, except for rounding.
        let floor = (rows as f64).sqrt();
        c.close_beside("losses", &losses, &losses_want, floor, 2e-6)?;
        c.close_beside("losses of backward", &again, &losses_want, floor, 2e-6)?;
        c.close_beside("dlogits", &gradient, &gradient_want, 0.05, 2e-5)?;
    }
    Ok(())
}

/// Tokens with repetitions, which skip some of the table's rows.
fn tokens(rows: usize, vocab: usize) -> Vec<i32> {
    (0..rows).map(|n| (n * n * 31 % vocab) as i32).collect()
}
