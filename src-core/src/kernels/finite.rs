//! Finds tensors that hold an infinity or a NaN.

use crate::gpu::{Dispatch, Recorder, Shader, Tensor, Value, Variant, grid};

static SHADER: Shader = crate::shader!("finite");

/// Elements that an invocation looks at.
const TURNS: usize = 16;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Shape {
    len: u32,
    slot: u32,
}

/// Sets `found[slot]` to 1 if an element of `x` is not finite. `found` is u32 `[slots]`; other slots are left as they are, and so
/// is this one if everything is finite.
pub fn forward(rec: &mut Recorder, x: &Tensor, found: &Tensor, slot: usize) {
    assert!(slot < found.len(), "no slot {slot} in {:?}", found.shape());
    let wide = x.len().is_multiple_of(4);
    let elements = if wide { x.len() / 4 } else { x.len() };
    rec.dispatch(Dispatch {
        shader: &SHADER,
        entry: "forward",
        values: &values(wide),
        params: Shape { len: elements as u32, slot: slot as u32 },
        bind: &[(1, x), (2, found)],
        groups: grid(elements.div_ceil(64 * TURNS)),
    });
}

fn values(wide: bool) -> [(&'static str, Value); 2] {
    [("turns", (TURNS as u32).into()), ("wide", wide.into())]
}

/// Every specialisation of this shader.
pub fn variants() -> Vec<Variant> {
    [false, true].map(|wide| Variant { shader: &SHADER, entry: "forward", values: values(wide).to_vec() }).to_vec()
}

/// The same on the CPU in f64.
pub mod twin {
    /// Whether an element of `x` is not finite.
    pub fn forward(x: &[f64]) -> bool {
        x.iter().any(|value| !value.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{DType, Memory};
    use crate::kernels::testing::{Bench, random, wide};
    use proptest::prelude::*;

    /// The slots after `x` was looked at.
    fn found(x: &[f32], slot: usize) -> Vec<u32> {
        let bench = Bench::new();
        let x = bench.tensor(&[x.len()], x);
        let found = bench.gpu().zeros("found", &[3], DType::U32, Memory::Workspace).unwrap();
        bench.run(|rec| forward(rec, &x, &found, slot));
        bench.gpu().read(&found).unwrap()
    }

    proptest! {
        #![proptest_config(Bench::cases(32))]

        #[test]
        fn finite_equals_its_twin(
            len in prop_oneof![1usize..30, 1000usize..1040, 4000usize..9000], at: prop::sample::Index, kind in 0usize..4, slot in 0usize..3, seed: u64,
        ) {
            let mut x = random(seed, len, 1e30);
            x[at.index(len)] = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX][kind];
            let mut want = vec![0; 3];
            want[slot] = u32::from(twin::forward(&wide(&x)));
            prop_assert_eq!(found(&x, slot), want);
        }
    }

    #[test]
    fn the_last_element_of_any_length_counts() {
        for len in [1, 2, 4, 63, 64, 65, 4095, 4096, 4097, 4100, 65_536] {
            let mut x = vec![1.0; len];
            assert_eq!(found(&x, 1), [0, 0, 0], "{len}");
            x[len - 1] = f32::NAN;
            assert_eq!(found(&x, 1), [0, 1, 0], "{len}");
        }
    }
}
