//! How the words of a matrix lie in a buffer.
//!
//! A *load* is what a lane reads at once: four weights along a row, or eight of `q4`. In order [`Rows`](Order::Rows) a row is its
//! loads followed by its scales. In [`Panels`](Order::Panels), for CPU adapters, a panel of rows has its loads in the order in
//! which the lanes of `matvec_lane.wgsl` and `matmul_lane.wgsl` read them: `[columns / load, rows]`; with blocks, after each
//! block the scales of all rows. Scales are f16, two in a word.

use std::borrow::Cow;

use half::f16;
use rayon::prelude::*;

use super::{BLOCK, Format, Matrix, Values};

/// In which order the loads of a matrix are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// Row after row.
    Rows,
    /// Panels of this many rows, an even number; the last one is padded with zeros.
    Panels(usize),
}

/// The format of a matrix, and its order in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Storage {
    /// What a weight is.
    pub format: Format,
    /// Where it is.
    pub order: Order,
}

impl Storage {
    /// Floats, row after row: as training needs them.
    pub const PLAIN: Storage = Storage { format: Format::F32, order: Order::Rows };

    /// Weights of a load.
    fn load_weights(self) -> usize {
        if self.format == Format::Q4 { 8 } else { 4 }
    }

    /// Words of a load.
    fn load_words(self) -> usize {
        match self.format {
            Format::F32 => 4,
            Format::Bf16 | Format::F16 => 2,
            Format::Q8 | Format::Q4 => 1,
        }
    }

    /// Words of the scales of `count` blocks.
    fn scale_words(self, count: usize) -> usize {
        if self.format.has_blocks() { count.div_ceil(2) } else { 0 }
    }

    /// The buffer's shape in words, `[units, words]`, for a matrix `[rows, columns]`: a unit is a row or a panel.
    pub fn shape(self, rows: usize, columns: usize) -> [usize; 2] {
        let loads = columns / self.load_weights() * self.load_words();
        match self.order {
            Order::Rows if self.format == Format::F32 => [rows, columns],
            Order::Rows => [rows, loads + self.scale_words(columns / BLOCK)],
            Order::Panels(panel) => [rows.div_ceil(panel), loads * panel + columns / BLOCK * self.scale_words(panel)],
        }
    }

    /// Bytes of a matrix `[rows, columns]`.
    pub fn bytes(self, rows: usize, columns: usize) -> u64 {
        self.shape(rows, columns).into_iter().map(|size| size as u64).product::<u64>() * 4
    }

    /// The words of `matrix`, which must be in this format.
    pub fn arrange(self, matrix: &Matrix) -> Cow<'_, [u32]> {
        assert_eq!(matrix.format(), self.format);
        let [units, words] = self.shape(matrix.rows, matrix.columns);
        if let (Values::F32(values), Order::Rows) = (&matrix.values, self.order) {
            return Cow::Borrowed(bytemuck::cast_slice(values));
        }
        let mut all = vec![0; units * words];
        all.par_chunks_exact_mut(words).enumerate().for_each(|(unit, words)| {
            let mut out = Words { words, at: 0 };
            match self.order {
                Order::Rows => {
                    self.put_loads(&mut out, matrix, unit..unit + 1, 0..matrix.columns);
                    let blocks = matrix.columns / BLOCK;
                    out.put_scales((0..blocks).map(|block| matrix.scale(unit, block)), self.format.has_blocks());
                }
                Order::Panels(panel) => {
                    let (rows, step) = (unit * panel..(unit + 1) * panel, if self.format.has_blocks() { BLOCK } else { matrix.columns });
                    for first in (0..matrix.columns).step_by(step) {
                        self.put_loads(&mut out, matrix, rows.clone(), first..first + step);
                        out.put_scales(rows.clone().map(|row| matrix.scale(row, first / BLOCK)), self.format.has_blocks());
                    }
                }
            }
        });
        Cow::Owned(all)
    }

    /// For each load along `columns` those of all `rows`; rows past the last one are left zero.
    fn put_loads(self, out: &mut Words<'_>, matrix: &Matrix, rows: std::ops::Range<usize>, columns: std::ops::Range<usize>) {
        for first in columns.step_by(self.load_weights()) {
            for row in rows.clone() {
                if row < matrix.rows {
                    matrix.put_load(row * matrix.columns + first, &mut out.words[out.at..]);
                }
                out.at += self.load_words();
            }
        }
    }
}

/// The words of a row or a panel, and how many are written.
struct Words<'a> {
    words: &'a mut [u32],
    at: usize,
}

impl Words<'_> {
    fn put_scales(&mut self, scales: impl Iterator<Item = f16>, has_blocks: bool) {
        if !has_blocks {
            return;
        }
        let mut count = 0;
        for scale in scales {
            self.words[self.at + count / 2] |= u32::from(scale.to_bits()) << (16 * (count % 2));
            count += 1;
        }
        self.at += count.div_ceil(2);
    }
}

impl Matrix {
    /// Writes the load that begins with element `at`.
    fn put_load(&self, at: usize, out: &mut [u32]) {
        let pairs = |bits: [u16; 4]| [u32::from(bits[0]) | u32::from(bits[1]) << 16, u32::from(bits[2]) | u32::from(bits[3]) << 16];
        match &self.values {
            Values::F32(values) => out[..4].copy_from_slice(bytemuck::cast_slice(&values[at..at + 4])),
            Values::Bf16(values) => out[..2].copy_from_slice(&pairs(std::array::from_fn(|i| values[at + i].to_bits()))),
            Values::F16(values) => out[..2].copy_from_slice(&pairs(std::array::from_fn(|i| values[at + i].to_bits()))),
            Values::Blocks { four: false, codes, .. } => {
                out[0] = u32::from_le_bytes(std::array::from_fn(|i| codes[at + i] as u8));
            }
            Values::Blocks { four: true, codes, .. } => {
                out[0] = (0..8).fold(0, |word, i| word | (u32::from(codes[at + i] as u8) & 15) << (4 * i));
            }
        }
    }

    /// The scale of a block; zero past the last row.
    fn scale(&self, row: usize, block: usize) -> f16 {
        match &self.values {
            Values::Blocks { scales, .. } if row < self.rows => scales[row * (self.columns / BLOCK) + block],
            _ => f16::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A matrix `[3, 64]` whose codes and scales name their place.
    fn blocks(four: bool) -> Matrix {
        let codes = (0..3 * 64).map(|i| (i % 15) as i8 - 7).collect();
        let scales = (0..6).map(|i| f16::from_f32(1.0 + i as f32)).collect();
        Matrix { rows: 3, columns: 64, values: Values::Blocks { four, codes, scales } }
    }

    #[test]
    fn rows_are_loads_and_then_scales() {
        let storage = |format| Storage { format, order: Order::Rows };
        assert_eq!(storage(Format::Q8).shape(3, 64), [3, 16 + 1]);
        let q8 = storage(Format::Q8).arrange(&blocks(false)).into_owned();
        assert_eq!(q8[0].to_le_bytes().map(|byte| byte as i8), [-7, -6, -5, -4]);
        assert_eq!(q8[17].to_le_bytes().map(|byte| byte as i8), [-3, -2, -1, 0]); // element 64 is 64 mod 15 − 7
        assert_eq!(q8[16 + 17], u32::from(f16::from_f32(3.0).to_bits()) | u32::from(f16::from_f32(4.0).to_bits()) << 16);

        assert_eq!(storage(Format::Q4).shape(3, 96), [3, 12 + 2]);
        let q4 = storage(Format::Q4).arrange(&blocks(true)).into_owned();
        assert_eq!(q4[0], 0x0fed_cba9); // −7 … 0 as nibbles
        assert_eq!(storage(Format::Bf16).shape(3, 12), [3, 6]);
        assert_eq!(storage(Format::F32).shape(3, 12), [3, 12]);
    }

    #[test]
    fn panels_hold_what_lanes_read_together() {
        let storage = |format| Storage { format, order: Order::Panels(2) };
        let q8 = storage(Format::Q8).arrange(&blocks(false)).into_owned();
        assert_eq!(storage(Format::Q8).shape(3, 64), [2, 2 * 16 + 2]);
        let byte = |word: usize| q8[word].to_le_bytes()[0] as i8;
        // The first load of rows 0 and 1, the second of both; after eight loads of each, the scales of both.
        assert_eq!([byte(0), byte(1), byte(2), byte(3)], [-7, -3, -3, 1]);
        assert_eq!(q8[16], u32::from(f16::from_f32(1.0).to_bits()) | u32::from(f16::from_f32(3.0).to_bits()) << 16);
        // The second panel has row 2 and a row of zeros.
        assert_eq!([byte(34), byte(35)], [1, 0]);

        let values: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let plain = storage(Format::F32).arrange(&Matrix { rows: 3, columns: 4, values: Values::F32(values) }).into_owned();
        let expect: Vec<f32> = (0..12).map(|i| i as f32).chain([0.0; 4]).collect();
        assert_eq!(bytemuck::cast_slice::<u32, f32>(&plain), expect);
    }
}
