//! Attention, the plain form; the tiled kernels replace it.
#![allow(missing_docs, clippy::too_many_arguments)]
use crate::gpu::*;
static SHADER: Shader = crate::shader!("attention_plain");
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    pub batch: usize,
    pub seq: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub window: usize,
}
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Shape {
    v: [u32; 6],
    scale: f32,
    p: u32,
}
fn call(rec: &mut Recorder, entry: &'static str, d: Attention, n: usize, bind: &[(u32, &Tensor)]) {
    let v = [d.batch * d.seq, d.seq, d.heads, d.kv_heads, d.head_dim / 4, d.window].map(|x| x as u32);
    let params = Shape { v, scale: (d.head_dim as f32).powf(-0.5), p: 0 };
    rec.dispatch(Dispatch { shader: &SHADER, entry, values: &[], params, bind, groups: grid(n.div_ceil(64)) });
}
pub fn forward(rec: &mut Recorder, q: &Tensor, k: &Tensor, v: &Tensor, o: &Tensor, lse: &Tensor, d: Attention) {
    call(rec, "forward", d, d.batch * d.seq * d.heads, &[(1, q), (2, k), (3, v), (4, o), (5, lse)]);
}
pub fn backward(
    rec: &mut Recorder,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    o: &Tensor,
    lse: &Tensor,
    d_o: &Tensor,
    delta: &Tensor,
    dq: &Tensor,
    dk: &Tensor,
    dv: &Tensor,
    d: Attention,
) {
    let n = d.batch * d.seq;
    let b = [(1, q), (2, k), (3, v), (4, o), (5, lse), (6, d_o), (7, dq), (10, delta)];
    call(rec, "backward_q", d, n * d.heads, &b);
    let b = [(1, q), (2, k), (3, v), (5, lse), (6, d_o), (8, dk), (9, dv), (10, delta)];
    call(rec, "backward_kv", d, n * d.kv_heads, &b);
}
pub fn variants() -> Vec<Variant> {
    ["forward", "backward_q", "backward_kv"].map(|entry| Variant { shader: &SHADER, entry, values: vec![] }).to_vec()
}
