//! A matrix in a format, on the CPU.

use half::{bf16, f16};
use rayon::prelude::*;

use super::{BLOCK, Format, blocks};

/// A matrix `[rows, columns]` in a format, row major.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// Rows.
    pub rows: usize,
    /// Weights of a row. A format with blocks has whole blocks.
    pub columns: usize,
    /// The weights.
    pub values: Values,
}

/// The weights of a [`Matrix`].
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// As they are.
    F32(Vec<f32>),
    /// Rounded.
    Bf16(Vec<bf16>),
    /// Rounded.
    F16(Vec<f16>),
    /// Codes `[rows, columns]` and scales `[rows, columns / 32]`; with `four` codes are from −8 to 7.
    Blocks {
        /// Whether codes have four bits.
        four: bool,
        /// The integers.
        codes: Vec<i8>,
        /// The scale of each block.
        scales: Vec<f16>,
    },
}

/// A weight is too large for a format.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("a weight of {value} is out of the range of f16, which ends at 65504; bf16 holds it")]
pub struct OutOfRange {
    /// The weight.
    pub value: f32,
}

impl Matrix {
    /// The matrix of `values` `[rows, columns]` in `format`, or in f32 if rows do not fill its blocks.
    ///
    /// # Errors
    /// If a finite value is infinite in f16.
    pub fn new(values: Vec<f32>, rows: usize, columns: usize, format: Format) -> Result<Self, OutOfRange> {
        assert_eq!(values.len(), rows * columns, "[{rows}, {columns}]");
        let values = match format.for_rows_of(columns) {
            Format::F32 => Values::F32(values),
            Format::Bf16 => Values::Bf16(values.into_iter().map(bf16::from_f32).collect()),
            Format::F16 => {
                let beyond = |value: &&f32| value.is_finite() && f16::from_f32(**value).is_infinite();
                if let Some(&value) = values.iter().find(beyond) {
                    return Err(OutOfRange { value });
                }
                Values::F16(values.into_iter().map(f16::from_f32).collect())
            }
            format @ (Format::Q8 | Format::Q4) => {
                let blocks: Vec<_> = values.par_chunks_exact(BLOCK).map(|block| blocks::encode(block, format)).collect();
                Values::Blocks {
                    four: format == Format::Q4,
                    codes: blocks.iter().flat_map(|(_, codes)| codes).copied().collect(),
                    scales: blocks.iter().map(|(scale, _)| *scale).collect(),
                }
            }
        };
        Ok(Self { rows, columns, values })
    }

    /// The format that it is in.
    pub fn format(&self) -> Format {
        match self.values {
            Values::F32(_) => Format::F32,
            Values::Bf16(_) => Format::Bf16,
            Values::F16(_) => Format::F16,
            Values::Blocks { four: false, .. } => Format::Q8,
            Values::Blocks { four: true, .. } => Format::Q4,
        }
    }

    /// The weights as floats, `[rows, columns]`: exactly what kernels compute with.
    pub fn to_f32(&self) -> Vec<f32> {
        match &self.values {
            Values::F32(values) => values.clone(),
            Values::Bf16(values) => values.iter().map(|value| value.to_f32()).collect(),
            Values::F16(values) => values.iter().map(|value| value.to_f32()).collect(),
            Values::Blocks { codes, scales, .. } => {
                let scaled = |(codes, scale): (&[i8], &f16)| {
                    let scale = scale.to_f32();
                    codes.iter().map(move |&code| scale * f32::from(code)).collect::<Vec<_>>()
                };
                codes.chunks_exact(BLOCK).zip(scales).flat_map(scaled).collect()
            }
        }
    }

    /// [`to_f32`](Self::to_f32) without a copy of floats.
    pub fn into_f32(self) -> Vec<f32> {
        match self.values {
            Values::F32(values) => values,
            _ => self.to_f32(),
        }
    }

    /// The same weights in `format`: unchanged if they are in it already.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn in_format(self, format: Format) -> Result<Self, OutOfRange> {
        if self.format() == format.for_rows_of(self.columns) {
            return Ok(self);
        }
        let (rows, columns) = (self.rows, self.columns);
        Self::new(self.into_f32(), rows, columns, format)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::testing::random;

    #[test]
    fn a_format_holds_what_it_gave() {
        let values = random(1, 6 * 64, 1.0);
        for format in Format::ALL {
            let matrix = Matrix::new(values.clone(), 6, 64, format).unwrap();
            assert_eq!(matrix.format(), format);
            let again = matrix.clone().in_format(format).unwrap();
            assert_eq!(again, matrix);
            let error = matrix.to_f32().iter().zip(&values).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
            let size = values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>();
            let bar = match format {
                Format::F32 => 0.0,
                Format::Bf16 => 2e-3,
                Format::F16 => 3e-4,
                Format::Q8 => 6e-3,
                Format::Q4 => 0.1,
            };
            assert!((error / size).sqrt() <= bar, "{format}: {}", (error / size).sqrt());
        }
    }

    #[test]
    fn halves_are_rounded_to_the_nearest_even() {
        // Between 1 and the next bf16, 1 + 2⁻⁷: the middle goes to the even one.
        let values = vec![1.0 + 0.00390625, 1.0 + 3.0 * 0.00390625, 1.0 + 0.004, -1.0];
        let bf16 = Matrix::new(values.clone(), 1, 4, Format::Bf16).unwrap().to_f32();
        assert_eq!(bf16, [1.0, 1.015625, 1.0078125, -1.0]);
        let f16 = Matrix::new(vec![1.0 + 0.00048828125, 65504.0, -65519.0, 6e-8], 1, 4, Format::F16).unwrap().to_f32();
        assert_eq!(f16, [1.0, 65504.0, -65504.0, 5.9604645e-8]);
    }

    #[test]
    fn what_a_format_cannot_hold_is_refused_or_stays_f32() {
        let error = Matrix::new(vec![1.0, 2.0, -1e5, 0.0], 1, 4, Format::F16).unwrap_err();
        assert_eq!(error.to_string(), "a weight of -100000 is out of the range of f16, which ends at 65504; bf16 holds it");
        assert!(Matrix::new(vec![f32::INFINITY; 4], 1, 4, Format::F16).is_ok());
        for (columns, format, got) in
            [(12, Format::Q8, Format::F32), (12, Format::Bf16, Format::Bf16), (6, Format::F16, Format::F32), (32, Format::Q4, Format::Q4)]
        {
            assert_eq!(Matrix::new(vec![0.5; 2 * columns], 2, columns, format).unwrap().format(), got, "{columns} in {format}");
        }
    }
}
