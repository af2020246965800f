//! Fills the lower triangle of symmetric matrices from the upper one, after products that computed only that.

use crate::gpu::{Dispatch, Recorder, Shader, Tensor, Variant, grid};

static SHADER: Shader = crate::shader!("mirror");

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Shape {
    count: u32,
    quads: u32,
    stride: u32,
}

/// `c[i, j] = c[j, i]` for i > j, in `count` matrices of `side` rows and columns, a multiple of 4, and `stride` elements
/// from one to the next.
pub fn forward(rec: &mut Recorder, c: &Tensor, count: usize, side: usize, stride: usize) {
    let fits = c.len() >= stride * (count - 1) + side * side;
    assert!(fits && side.is_multiple_of(4) && stride.is_multiple_of(4), "mirror {count} × {side} in {:?}", c.shape());
    let quads = side / 4;
    rec.dispatch(Dispatch {
        shader: &SHADER,
        entry: "forward",
        values: &[],
        params: Shape { count: count as u32, quads: quads as u32, stride: (stride / 4) as u32 },
        bind: &[(1, c)],
        groups: grid((count * quads * quads).div_ceil(64)),
    });
}

/// Every specialisation of this shader.
pub fn variants() -> Vec<Variant> {
    vec![Variant { shader: &SHADER, entry: "forward", values: vec![] }]
}

/// The same on the CPU in f64.
pub mod twin {
    /// One matrix with `side` rows and columns.
    pub fn forward(c: &mut [f64], side: usize) {
        for i in 0..side {
            for j in 0..i {
                c[i * side + j] = c[j * side + i];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Bench, random, wide};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(Bench::cases(16))]

        /// The caller fills the blocks on the diagonal: here they are symmetric from the start.
        #[test]
        fn mirror_equals_its_twin(count in 1usize..4, quads in 1usize..40, padding in 0usize..3, seed: u64) {
            let bench = Bench::new();
            let side = 4 * quads;
            let stride = side * side + 4 * padding;
            let mut data = random(seed, count * stride, 1.0);
            for matrix in data.chunks_exact_mut(stride) {
                for (i, j) in (0..side).flat_map(|i| (i / 4 * 4..i).map(move |j| (i, j))) {
                    matrix[i * side + j] = matrix[j * side + i];
                }
            }
            let mut want = wide(&data);
            want.chunks_exact_mut(stride).for_each(|matrix| twin::forward(&mut matrix[..side * side], side));
            let c = bench.tensor(&[count, stride], &data);
            bench.run(|rec| forward(rec, &c, count, side, stride));
            assert_eq!(wide(&bench.values(&c)), want);
        }
    }
}
