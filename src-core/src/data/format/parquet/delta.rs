//! Lengths in the delta encoding: the first one, then blocks of bit-packed differences.
//! Format: <https://parquet.apache.org/docs/file-format/data-pages/encodings/>, DELTA_BINARY_PACKED.

use std::io::{self, Read};

use super::hybrid::{damaged, unpack, varint};

/// The largest block, in values. Writers use 128.
const LARGEST_BLOCK: u64 = 1 << 16;

/// Reads a list of at most `most` lengths and advances `bytes` past it.
pub(super) fn lengths(bytes: &mut impl Read, most: u64) -> io::Result<Vec<u32>> {
    let (block, parts, count) = (varint(bytes)?, varint(bytes)?, varint(bytes)?);
    let mut last = signed(varint(bytes)?);
    let sound = (1..=LARGEST_BLOCK).contains(&block) && parts > 0 && block % parts == 0 && (block / parts) % 32 == 0;
    if !sound {
        return Err(damaged("blocks of an impossible size"));
    }
    if count > most {
        return Err(damaged("more lengths than values"));
    }
    let part = (block / parts) as usize;
    let (mut lengths, mut deltas, mut packed) = (Vec::new(), vec![0u64; part], Vec::new());
    let length = |number: i64| u32::try_from(number as i32).map_err(|_| damaged("a length below zero"));
    if count > 0 {
        lengths.push(length(last)?);
    }
    let mut widths = vec![0; parts as usize];
    while (lengths.len() as u64) < count {
        let smallest = signed(varint(bytes)?);
        bytes.read_exact(&mut widths)?;
        for width in &widths {
            let left = count - lengths.len() as u64;
            if left == 0 {
                // Unneeded miniblocks are not written.
                break;
            }
            if *width > 64 {
                return Err(damaged("differences of more than 64 bits"));
            }
            packed.resize(part * usize::from(*width) / 8, 0);
            bytes.read_exact(&mut packed)?;
            let deltas = &mut deltas[..part.min(left as usize)];
            unpack(&packed, (*width).into(), deltas);
            for delta in deltas {
                last = last.wrapping_add(smallest).wrapping_add(*delta as i64);
                lengths.push(length(last)?);
            }
        }
    }
    Ok(lengths)
}

/// A zigzag-encoded number.
fn signed(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_format_are_read() {
        // 1 to 5: differences of 1, which take no bits.
        let mut bytes = &[128, 1, 4, 5, 2, 2, 0, 0, 0, 0, 99][..];
        assert_eq!(lengths(&mut bytes, 5).unwrap(), [1, 2, 3, 4, 5]);
        assert_eq!(bytes, [99], "the rest is left alone");
        // 7, 5, 3, 1, 2, 3, 4, 5: differences from -2 on in two bits, of which 32 are written.
        let packed = [0b1100_0000, 0b0011_1111, 0, 0, 0, 0, 0, 0];
        let bytes = [&[128, 1, 4, 8, 14, 3, 2, 0, 0, 0][..], &packed].concat();
        assert_eq!(lengths(&mut &bytes[..], 8).unwrap(), [7, 5, 3, 1, 2, 3, 4, 5]);
        assert!(lengths(&mut &[128, 1, 4, 0, 0][..], 0).unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (what, bytes) in [
            ("no block", &[0, 4, 1, 0][..]),
            ("a block of 1 GiB", &[128, 128, 128, 128, 4, 4, 1, 0]),
            ("no parts", &[128, 1, 0, 1, 0]),
            ("parts of 16", &[128, 1, 8, 1, 0]),
            ("a length below zero", &[128, 1, 4, 1, 1]),
            ("more than there are", &[128, 1, 4, 9, 0]),
            ("65 bits", &[128, 1, 4, 2, 0, 0, 65, 0, 0, 0]),
            ("an early end", &[128, 1, 4, 2, 0, 0, 1, 0, 0, 0]),
        ] {
            assert!(lengths(&mut &bytes[..], 8).is_err(), "{what}");
        }
    }
}
