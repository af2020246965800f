//! The model in f64 on the CPU, forward only, made of the kernels' twins: what logits and losses must be. Differences of
//! its loss are the gradients, without a line of the backward pass.

use std::collections::BTreeMap;

use nc_core::kernels::attention::{self, Attention};
use nc_core::kernels::matmul::{self, Layout};
use nc_core::kernels::rotary::{self, Rotary};
use nc_core::kernels::{backout, cross_entropy, embedding, norm, relu2, residual, smear, value_gate};
use nc_core::model::{Config, Group};

/// Parameters by name, row major.
pub type Values = BTreeMap<String, Vec<f64>>;

/// Parameters under which every part counts: no projection is zero, every gate is off its middle, and the logits reach
/// into the bend of the softcap. They are numbers of f32, and those of one name do not depend on what else there is.
pub fn values(config: &Config) -> Values {
    let specs = config.param_specs().into_iter();
    specs
        .map(|spec| {
            let inputs = *spec.shape.last().unwrap_or(&1) as f64;
            let (middle, width) = match spec.group {
                Group::Wte | Group::ValueEmbeds => (0.0, 1.4),
                Group::Matrix => (0.0, 1.7 / inputs.sqrt()),
                Group::LmHead => (0.0, 8.0 / inputs.sqrt()),
                Group::ResidLambdas | Group::X0Lambdas => (0.8, 0.4),
                Group::Smear if spec.len() == 1 => (0.6, 0.3),
                Group::Smear => (0.0, 0.9),
            };
            let values = noise(&spec.name, spec.len()).map(|x| f64::from((middle + width * x) as f32)).collect();
            (spec.name, values)
        })
        .collect()
}

/// Numbers from −1 to 1 that look random, always the same ones for a name.
pub fn noise(name: &str, len: usize) -> impl Iterator<Item = f64> {
    // Knuth's multiplier; the first numbers after a short name are not used.
    let mut state = name.bytes().fold(1u64, |state, byte| (state ^ u64::from(byte)).wrapping_mul(6_364_136_223_846_793_005));
    let next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    std::iter::repeat_with(next).skip(8).take(len)
}

/// Logits of every token after the softcap, padding included: `[N, padded V]`, for `ids` in rows of `seq` tokens.
pub fn logits(config: &Config, values: &Values, seq: usize, ids: &[i32]) -> Vec<f64> {
    let cap = f64::from(config.architecture.softcap);
    raw_logits(config, values, seq, ids).into_iter().map(|logit| cross_entropy::twin::softcap(logit, cap)).collect()
}

/// The mean loss of the targets that are not −1.
pub fn loss(config: &Config, values: &Values, seq: usize, ids: &[i32], targets: &[i32]) -> f64 {
    let raw = raw_logits(config, values, seq, ids);
    let cap = f64::from(config.architecture.softcap);
    let (losses, _) = cross_entropy::twin::backward(&raw, config.padded_vocab(), config.vocab_size, targets, cap, 0.0);
    losses.iter().sum::<f64>() / targets.iter().filter(|&&target| target >= 0).count() as f64
}

fn raw_logits(config: &Config, values: &Values, seq: usize, ids: &[i32]) -> Vec<f64> {
    let (rows, parts) = (ids.len(), &config.architecture);
    let norm = |x: &[f64]| norm::twin::forward(x, rows, f64::from(parts.norm_eps)).0;
    let linear = |x: &[f64], name: &str| {
        let (w, inner) = (&values[name], x.len() / rows);
        matmul::twin::matmul(Layout::NT, rows, w.len() / inner, inner, x, w)
    };
    let add = |x: &mut [f64], more: Vec<f64>| x.iter_mut().zip(more).for_each(|(x, more)| *x += more);

    let mut x = norm(&embedding::twin::forward(ids, &values["transformer.wte.weight"], config.n_embd));
    if parts.smear {
        x = smear::twin::forward(seq, rows, &x, &values["smear_gate.weight"], values["smear_lambda"][0]).0;
    }
    let (x0, mut middle) = (x.clone(), Vec::new());
    for (i, window) in config.window_sizes().into_iter().enumerate() {
        if parts.lambdas {
            x = residual::twin::forward(&x, &x0, values["resid_lambdas"][i], values["x0_lambdas"][i]);
        }
        let h = norm(&x);
        let attn = |part: &str| format!("transformer.h.{i}.attn.{part}.weight");
        let [q, k, mut v] = ["c_q", "c_k", "c_v"].map(|part| linear(&h, &attn(part)));
        if config.has_value_embed(i) {
            v = value_gate::twin::forward(ids, &values[&format!("value_embeds.{i}.weight")], &values[&attn("ve_gate")], &h, &v).0;
        }
        let (q, k) = (turned(config, seq, config.n_head, &q), turned(config, seq, config.n_kv_head, &k));
        let (heads, kv_heads, head_dim) = (config.n_head, config.n_kv_head, config.head_dim());
        let dims = Attention { batch: rows / seq, seq, heads, kv_heads, head_dim, window };
        add(&mut x, linear(&attention::twin::forward(&q, &k, &v, &dims).o, &attn("c_proj")));
        let hidden = relu2::twin::forward(&linear(&norm(&x), &format!("transformer.h.{i}.mlp.c_fc.weight")));
        add(&mut x, linear(&hidden, &format!("transformer.h.{i}.mlp.c_proj.weight")));
        if i == config.middle_layer() {
            middle = x.clone();
        }
    }
    if parts.backout {
        x = backout::twin::forward(&x, &middle, values["backout_lambda"][0]);
    }
    linear(&norm(&x), "lm_head.weight")
}

/// Queries or keys, rotated and normed.
fn turned(config: &Config, seq: usize, heads: usize, x: &[f64]) -> Vec<f64> {
    let (head_dim, parts) = (config.head_dim(), &config.architecture);
    let (cos, sin) = rotary::tables(seq, head_dim, parts.rope_base);
    let [cos, sin] = [cos, sin].map(|table| table.into_iter().map(f64::from).collect::<Vec<_>>());
    let dims = Rotary { seq, heads, head_dim, offset: 0, eps: parts.norm_eps, gain: parts.qk_gain };
    rotary::twin::forward(dims, &cos, &sin, x).0
}
