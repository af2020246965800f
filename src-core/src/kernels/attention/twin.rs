//! Attention on the CPU in f64, written from its definition, with all scores stored.

use super::Attention;

/// What [`forward`] computes.
pub struct Forward {
    /// `[B, T, H, D]`
    pub o: Vec<f64>,
    /// Log-sum-exp of the scaled scores, `[B, T, H]`.
    pub lse: Vec<f64>,
}

/// What [`backward`] computes.
pub struct Backward {
    /// `[B, T, H, D]`
    pub dq: Vec<f64>,
    /// `[B, T, K, D]`
    pub dk: Vec<f64>,
    /// `[B, T, K, D]`
    pub dv: Vec<f64>,
}

/// `q` is `[B, T, H, D]`; `k` and `v` are `[B, T, K, D]`.
pub fn forward(q: &[f64], k: &[f64], v: &[f64], dims: &Attention) -> Forward {
    let width = dims.head_dim;
    let mut out = Forward { o: vec![0.0; q.len()], lse: Vec::with_capacity(q.len() / width) };
    each_query(dims, |query, keys| {
        let (p, lse) = probabilities(&q[query..][..width], k, &keys, width);
        for (key, p) in keys.iter().zip(&p) {
            add(&mut out.o[query..][..width], *p, &v[*key..][..width]);
        }
        out.lse.push(lse);
    });
    out
}

/// Gradients of [`forward`] for the gradient `d_o` of its output.
pub fn backward(q: &[f64], k: &[f64], v: &[f64], d_o: &[f64], dims: &Attention) -> Backward {
    let width = dims.head_dim;
    let scale = 1.0 / (width as f64).sqrt();
    let mut out = Backward { dq: vec![0.0; q.len()], dk: vec![0.0; k.len()], dv: vec![0.0; v.len()] };
    each_query(dims, |query, keys| {
        let (row, gradient) = (&q[query..][..width], &d_o[query..][..width]);
        let (p, _) = probabilities(row, k, &keys, width);
        let dp: Vec<f64> = keys.iter().map(|&key| dot(gradient, &v[key..][..width])).collect();
        let mean = dot(&p, &dp);
        for ((&key, p), dp) in keys.iter().zip(&p).zip(&dp) {
            let ds = p * (dp - mean) * scale;
            add(&mut out.dq[query..][..width], ds, &k[key..][..width]);
            add(&mut out.dk[key..][..width], ds, row);
            add(&mut out.dv[key..][..width], *p, gradient);
        }
    });
    out
}

/// Calls `visit` with the offset of each query and of each key that it sees, in the order of `[B, T, H]`.
fn each_query(dims: &Attention, mut visit: impl FnMut(usize, Vec<usize>)) {
    let group = dims.heads / dims.kv_heads;
    for sequence in 0..dims.batch {
        for row in 0..dims.seq {
            for head in 0..dims.heads {
                let query = ((sequence * dims.seq + row) * dims.heads + head) * dims.head_dim;
                let keys = (row.saturating_sub(dims.window)..=row)
                    .map(|column| ((sequence * dims.seq + column) * dims.kv_heads + head / group) * dims.head_dim);
                visit(query, keys.collect());
            }
        }
    }
}

fn probabilities(row: &[f64], k: &[f64], keys: &[usize], width: usize) -> (Vec<f64>, f64) {
    let scale = 1.0 / (width as f64).sqrt();
    let scores: Vec<f64> = keys.iter().map(|&key| dot(row, &k[key..][..width]) * scale).collect();
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let lse = top + scores.iter().map(|s| (s - top).exp()).sum::<f64>().ln();
    (scores.iter().map(|s| (s - lse).exp()).collect(), lse)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], factor: f64, x: &[f64]) {
    to.iter_mut().zip(x).for_each(|(to, x)| *to += factor * x);
}
