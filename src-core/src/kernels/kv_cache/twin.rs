//! What a KV cache keeps of numbers, on the CPU. What is computed before they are stored is the twins' of
//! [`rotary`](crate::kernels::rotary) and [`value_gate`](crate::kernels::value_gate).

use half::{bf16, f16};

use crate::weights::{Matrix, Order, Storage};

use super::CacheFormat;

/// The number of the format that is nearest to x, ties to even; the largest one where a finite x is larger still.
pub fn kept(x: f64, format: CacheFormat) -> f64 {
    let within = |largest: f64| if x.is_infinite() { x as f32 } else { x.clamp(-largest, largest) as f32 };
    match format {
        CacheFormat::F32 => x,
        CacheFormat::F16 => f16::from_f32(within(f16::MAX.to_f64())).to_f64(),
        CacheFormat::Bf16 => bf16::from_f32(within(bf16::MAX.to_f64())).to_f64(),
    }
}

/// Whether a cache may keep `got` of a number that is computed with an error of up to `error` and should be `want`.
pub fn may_keep(got: f64, want: f64, error: f64, format: CacheFormat) -> bool {
    // Rounding never changes the order of two numbers.
    (kept(want - error, format)..=kept(want + error, format)).contains(&got)
}

/// The elements of a tensor that holds `numbers`, of which there are whole groups of four, none out of range.
pub fn elements(numbers: &[f32], format: CacheFormat) -> Vec<u32> {
    let format = format.of_weights();
    let matrix = Matrix::new(numbers.to_vec(), 1, numbers.len(), format).expect("numbers in the range of the format");
    Storage { format, order: Order::Rows }.arrange(&matrix).into_owned()
}

/// The numbers in such elements.
pub fn numbers(elements: &[u32], format: CacheFormat) -> Vec<f32> {
    let halves = || elements.iter().flat_map(|&word| [word as u16, (word >> 16) as u16]);
    match format {
        CacheFormat::F32 => elements.iter().map(|&bits| f32::from_bits(bits)).collect(),
        CacheFormat::F16 => halves().map(|bits| f16::from_bits(bits).to_f32()).collect(),
        CacheFormat::Bf16 => halves().map(|bits| bf16::from_bits(bits).to_f32()).collect(),
    }
}
