//! The elements of a tensor in a file, in any format: how they are written, and how they are read again.
//!
//! bf16 and f16 are two bytes an element. q8 is a signed byte an element, q4 two elements a byte, the first in the low half, as
//! two's complement; after all of them come the scales, f16, one for each 32 elements of a row.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use half::f16;

use super::header::Placed;
use crate::files::durable::CHUNK;
use crate::weights::{BLOCK, Format, Matrix, OutOfRange, Values};

/// Elements that are converted at a time: whole blocks.
const PIECE: usize = CHUNK / size_of::<f32>();

// Elements are read and written in memory order; the format is little-endian, and so is every machine that wgpu runs on.
const _: () = assert!(cfg!(target_endian = "little") && PIECE.is_multiple_of(BLOCK));

/// Why elements could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EncodeError {
    #[error(transparent)]
    Range(#[from] OutOfRange),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes the elements of one tensor in its format.
pub(crate) struct Encoder {
    format: Format,
    elements: usize,
    /// Elements of a group or block that is not complete.
    pending: Vec<f32>,
    scales: Vec<f16>,
}

impl Encoder {
    /// For a tensor in `format`.
    pub fn new(format: Format) -> Self {
        Self { format, elements: 0, pending: Vec::new(), scales: Vec::new() }
    }

    /// Writes the next elements, up to the last whole block.
    pub fn push(&mut self, piece: &[f32], out: &mut impl Write) -> Result<(), EncodeError> {
        self.elements += piece.len();
        if self.format == Format::F32 {
            return Ok(out.write_all(bytemuck::cast_slice(piece))?);
        }
        let unit = if self.format.has_blocks() { BLOCK } else { 4 };
        self.pending.extend_from_slice(piece);
        let rest = self.pending.split_off(self.pending.len() / unit * unit);
        let whole = std::mem::replace(&mut self.pending, rest);
        self.write(whole, out)
    }

    /// Writes what is left, and the scales; returns the number of elements.
    pub fn finish(mut self, out: &mut impl Write) -> Result<usize, EncodeError> {
        // Only tensors in 16 bits may end within a group of four.
        let mut rest = std::mem::take(&mut self.pending);
        if !rest.is_empty() {
            let (left, mut bytes) = (rest.len(), Vec::new());
            rest.resize(left.next_multiple_of(4), 0.0);
            self.write(rest, &mut bytes)?;
            out.write_all(&bytes[..left * size_of::<f16>()])?;
        }
        out.write_all(bytemuck::cast_slice(&self.scales))?;
        Ok(self.elements)
    }

    fn write(&mut self, values: Vec<f32>, out: &mut impl Write) -> Result<(), EncodeError> {
        let columns = values.len();
        if columns == 0 {
            return Ok(());
        }
        match Matrix::new(values, 1, columns, self.format)?.values {
            Values::F32(values) => out.write_all(bytemuck::cast_slice(&values))?,
            Values::Bf16(values) => out.write_all(bytemuck::cast_slice(&values))?,
            Values::F16(values) => out.write_all(bytemuck::cast_slice(&values))?,
            Values::Blocks { four, codes, scales } => {
                self.scales.extend(scales);
                if four {
                    let packed: Vec<u8> = codes.chunks_exact(2).map(|pair| (pair[0] as u8 & 15) | (pair[1] as u8) << 4).collect();
                    out.write_all(&packed)?;
                } else {
                    out.write_all(bytemuck::cast_slice(&codes))?;
                }
            }
        }
        Ok(())
    }
}

/// Reads `count` values of a type from `start` of the file on.
fn read<T: bytemuck::Pod>(file: &mut File, start: u64, count: usize) -> io::Result<Vec<T>> {
    let mut values = vec![T::zeroed(); count];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(bytemuck::cast_slice_mut(&mut values))?;
    Ok(values)
}

/// Elements `first..first + count` of a tensor in a file whose data begins at byte `data`. In blocks, both are whole blocks.
fn piece(file: &mut File, data: u64, placed: &Placed, first: usize, count: usize) -> io::Result<Values> {
    let (start, scales) = (data + placed.start, data + placed.scales);
    let at = first as u64;
    Ok(match placed.spec.format {
        Format::F32 => Values::F32(read(file, start + 4 * at, count)?),
        Format::Bf16 => Values::Bf16(read(file, start + 2 * at, count)?),
        Format::F16 => Values::F16(read(file, start + 2 * at, count)?),
        format @ (Format::Q8 | Format::Q4) => {
            let four = format == Format::Q4;
            let codes = if four {
                let halves = |byte: u8| [((byte << 4) as i8) >> 4, (byte as i8) >> 4];
                read::<u8>(file, start + at / 2, count / 2)?.into_iter().flat_map(halves).collect()
            } else {
                read(file, start + at, count)?
            };
            let scales = read(file, scales + at / BLOCK as u64 * size_of::<f16>() as u64, count / BLOCK)?;
            Values::Blocks { four, codes, scales }
        }
    })
}

/// A whole tensor in its format. One without two axes is a matrix with a column.
pub(super) fn matrix(file: &mut File, data: u64, placed: &Placed) -> io::Result<Matrix> {
    let (rows, columns) = match placed.spec.shape[..] {
        [rows, columns] => (rows, columns),
        ref shape => (shape.iter().product(), 1),
    };
    Ok(Matrix { rows, columns, values: piece(file, data, placed, 0, rows * columns)? })
}

/// The elements of a tensor as floats, piece by piece.
pub(crate) fn pieces<'f>(file: &'f mut File, data: u64, placed: &'f Placed) -> impl Iterator<Item = io::Result<Vec<f32>>> + 'f {
    let all = placed.spec.elements().unwrap_or(0);
    (0..all).step_by(PIECE).map(move |first| {
        let columns = PIECE.min(all - first);
        let values = piece(file, data, placed, first, columns)?;
        Ok(Matrix { rows: 1, columns, values }.into_f32())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::TensorSpec;

    #[test]
    fn what_is_written_in_pieces_is_read_back_in_every_format() {
        let values: Vec<f32> = (0..6 * 96).map(|i| ((i * 7919) % 1009) as f32 / 500.0 - 1.0).collect();
        for format in Format::ALL {
            let whole = Matrix::new(values.clone(), 6, 96, format).unwrap();
            for step in [1, 31, 32, 100, 1000] {
                let (mut encoder, mut bytes) = (Encoder::new(format), Vec::new());
                values.chunks(step).for_each(|piece| encoder.push(piece, &mut bytes).unwrap());
                assert_eq!(encoder.finish(&mut bytes).unwrap(), values.len());
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(&bytes).unwrap();
                let spec = TensorSpec { format, ..TensorSpec::plain("a", [6, 96]) };
                let placed = Placed { spec, start: 0, scales: if format == Format::Q4 { 6 * 48 } else { 6 * 96 } };
                assert_eq!(matrix(&mut file, 0, &placed).unwrap(), whole, "{format} in steps of {step}");
                let streamed: Vec<f32> = pieces(&mut file, 0, &placed).flat_map(Result::unwrap).collect();
                assert_eq!(streamed, whole.to_f32());
                // A copy, which passes through floats, has the same values.
                assert_eq!(Matrix::new(streamed, 6, 96, format).unwrap().to_f32(), whole.to_f32(), "{format}");
            }
        }
    }

    #[test]
    fn an_odd_number_of_halves_is_written_whole() {
        for (format, len) in [(Format::Bf16, 7), (Format::F16, 1), (Format::Bf16, 0)] {
            let (mut encoder, mut bytes) = (Encoder::new(format), Vec::new());
            encoder.push(&vec![1.5; len], &mut bytes).unwrap();
            assert_eq!(encoder.finish(&mut bytes).unwrap(), len);
            assert_eq!(bytes.len(), 2 * len);
        }
        let mut encoder = Encoder::new(Format::F16);
        assert!(matches!(encoder.push(&[1e6; 4], &mut Vec::new()), Err(EncodeError::Range(_))));
    }
}
