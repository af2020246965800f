//! One module per shader file, of the same name: shapes in, dispatches out, each with a CPU twin in f64 that defines what
//! the shader must compute.
//!
//! A function here takes a [`Recorder`](crate::gpu::Recorder) and tensors, checks their shapes (a mismatch is a bug
//! and panics while recording, never while training), and records. `twin` submodules contain the same
//! operation on `f64` slices; tests compare the two over random shapes.

pub mod adamw;
pub mod attention;
pub mod attention_decode;
pub mod axpy;
pub mod backout;
pub mod check;
pub mod cross_entropy;
pub mod dot;
pub mod embed_smear;
pub mod embedding;
pub mod finite;
pub mod kv_cache;
pub mod matmul;
pub mod matvec;
pub mod mirror;
pub mod muon;
pub mod norm;
pub mod pack;
pub mod precision;
pub mod reduce;
pub mod relu2;
pub mod residual;
pub mod rotary;
mod rows;
pub mod sample;
pub mod smear;
pub mod step;
pub mod value_gate;
pub mod weight;

#[cfg(test)]
pub(crate) mod testing;

use crate::gpu::{Capabilities, Tensor, Variant, grid};

/// Every specialisation that the program may use on an adapter of these capabilities: tests validate and translate each of them.
pub fn variants(capabilities: Capabilities) -> Vec<Variant> {
    [
        adamw::variants(),
        attention::variants(capabilities),
        attention_decode::variants(capabilities),
        axpy::variants(),
        backout::variants(capabilities),
        cross_entropy::variants(capabilities),
        dot::variants(capabilities),
        embed_smear::variants(capabilities),
        embedding::variants(capabilities),
        finite::variants(),
        kv_cache::variants(capabilities),
        matmul::variants(capabilities),
        matvec::variants(capabilities),
        mirror::variants(),
        muon::variants(capabilities),
        norm::variants(capabilities),
        pack::variants(),
        reduce::variants(capabilities),
        relu2::variants(),
        residual::variants(capabilities),
        rotary::variants(capabilities),
        sample::variants(capabilities),
        smear::variants(capabilities),
        value_gate::variants(capabilities),
    ]
    .concat()
}

/// Elements of f32 scratch that suffice for every kernel which takes `scratch`, on batches of `rows` rows in a model of
/// `kv_heads` key-value heads.
pub fn scratch_len(rows: usize, kv_heads: usize) -> usize {
    [dot::scratch_len(), residual::scratch_len(), backout::scratch_len(), smear::scratch_len(rows), value_gate::scratch_len(rows, kv_heads)]
        .into_iter()
        .fold(0, usize::max)
}

/// Groups of four elements in `x`, and the grid of a kernel with 64 invocations per workgroup and one group per invocation.
fn elementwise(x: &Tensor) -> (u32, [u32; 3]) {
    assert!(x.len().is_multiple_of(4), "{:?} is not in groups of four", x.shape());
    let quads = x.len() / 4;
    (quads as u32, grid(quads.div_ceil(64)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Needs, Subgroups};

    /// Adapters are rejected exactly if they lack what the kernels need.
    #[test]
    fn the_stated_needs_are_those_of_the_variants() {
        let needs = |capabilities: Capabilities| {
            let each = variants(capabilities).into_iter().map(|variant| variant.needs(capabilities).unwrap());
            each.fold(Needs::default(), Needs::max)
        };
        assert_eq!(needs(Capabilities::LEAST), Needs::LEAST);
        for (cpu, least, most) in [(false, 32, 32), (false, 4, 64), (true, 8, 8)] {
            let more = Capabilities { subgroups: Some(Subgroups { least, most }), cpu, int64: true, ..Capabilities::LEAST };
            assert_eq!(needs(more).max(Needs::LEAST), Needs::LEAST, "{more:?}");
        }
    }
}
