//! The hybrid of run-length encoding and bit packing for levels and dictionary indices.
//! Format: <https://parquet.apache.org/docs/file-format/data-pages/encodings/>, RLE.

use std::io::{self, ErrorKind, Read};

/// The widest number, in bits.
const WIDEST: u32 = 32;

/// Numbers of `width` bits, read one at a time.
pub(super) struct Hybrid<R> {
    bytes: R,
    width: u32,
    run: Run,
}

enum Run {
    Repeated {
        number: u32,
        left: u64,
    },
    /// Groups of eight numbers. `next..end` of the current one remain.
    Packed {
        group: [u32; 8],
        next: usize,
        end: usize,
        groups: u64,
    },
}

impl<R: Read> Hybrid<R> {
    /// Reads numbers of `width` bits from `bytes`.
    pub(super) fn new(bytes: R, width: u32) -> io::Result<Self> {
        if width > WIDEST {
            return Err(damaged("numbers of more than 32 bits"));
        }
        Ok(Self { bytes, width, run: Run::Repeated { number: 0, left: 0 } })
    }

    /// The next number. There has to be one.
    pub(super) fn next(&mut self) -> io::Result<u32> {
        loop {
            match &mut self.run {
                Run::Repeated { number, left } if *left > 0 => {
                    *left -= 1;
                    return Ok(*number);
                }
                Run::Packed { group, next, end, .. } if *next < *end => {
                    *next += 1;
                    return Ok(group[*next - 1]);
                }
                Run::Packed { group, next, end, groups } if *groups > 0 => {
                    *groups -= 1;
                    (*next, *end) = (0, read_group(&mut self.bytes, self.width, group)?);
                }
                _ => self.run = read_run(&mut self.bytes, self.width)?,
            }
        }
    }

    /// Where the numbers come from.
    pub(super) fn into_inner(self) -> R {
        self.bytes
    }
}

fn read_run(bytes: &mut impl Read, width: u32) -> io::Result<Run> {
    let head = varint(bytes)?;
    if head & 1 == 1 {
        return Ok(Run::Packed { group: [0; 8], next: 0, end: 0, groups: head >> 1 });
    }
    let mut number = [0; 4];
    bytes.read_exact(&mut number[..width.div_ceil(8) as usize])?;
    Ok(Run::Repeated { number: u32::from_le_bytes(number), left: head >> 1 })
}

/// Reads a group of eight numbers and returns how many there are: some writers truncate the last group.
fn read_group(bytes: &mut impl Read, width: u32, group: &mut [u32; 8]) -> io::Result<usize> {
    if width == 0 {
        *group = [0; 8];
        return Ok(8);
    }
    let mut packed = [0; WIDEST as usize];
    let read = read_up_to(bytes, &mut packed[..width as usize])?;
    let whole = read * 8 / width as usize;
    if whole == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    unpack(&packed, width, group);
    Ok(whole)
}

/// Unpacks at most 64 numbers of `width` bits, lowest bits first. `packed` holds all of them.
pub(super) fn unpack<N: TryFrom<u64> + Default>(packed: &[u8], width: u32, numbers: &mut [N]) {
    let mut bit = 0;
    for number in numbers {
        let mut value = 0u128;
        for (at, byte) in packed.iter().skip(bit / 8).take(9).enumerate() {
            value |= u128::from(*byte) << (8 * at);
        }
        let value = (value >> (bit % 8)) & ((1 << width) - 1);
        *number = N::try_from(value as u64).unwrap_or_default();
        bit += width as usize;
    }
}

/// An unsigned varint: seven bits per byte.
pub(super) fn varint(bytes: &mut impl Read) -> io::Result<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        bytes.read_exact(&mut byte)?;
        number |= u64::from(byte[0] & 0x7F) << shift;
        if byte[0] & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(damaged("a number without an end"))
}

fn read_up_to(bytes: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match bytes.read(&mut buffer[read..]) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// The page is invalid; `what` says what was found.
pub(super) fn damaged(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(bytes: &[u8], width: u32, count: usize) -> io::Result<Vec<u32>> {
        let mut hybrid = Hybrid::new(bytes, width)?;
        (0..count).map(|_| hybrid.next()).collect()
    }

    #[test]
    fn runs_and_groups_follow_each_other() {
        // The example of the format's page: 0 to 7 in three bits; before it 5 nine times, after it 7 twice.
        let bytes = [9 << 1, 5, 1 << 1 | 1, 0b1000_1000, 0b1100_0110, 0b1111_1010, 2 << 1, 7];
        let expected = [vec![5; 9], (0..8).collect(), vec![7; 2]].concat();
        assert_eq!(numbers(&bytes, 3, expected.len()).unwrap(), expected);
        assert_eq!(numbers(&bytes, 3, expected.len() + 1).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn every_width_is_read() {
        for width in 1..=32u32 {
            let most = u32::MAX >> (32 - width);
            let wanted = [0, 1, most, most / 3, 0, most, most / 7, 1];
            let bits: Vec<bool> = wanted.iter().flat_map(|number| (0..width).map(move |bit| number >> bit & 1 == 1)).collect();
            let bytes: Vec<u8> = bits.chunks(8).map(|byte| (0..8).map(|bit| u8::from(byte[bit]) << bit).sum()).collect();
            assert_eq!(numbers(&[&[3][..], &bytes].concat(), width, 8).unwrap(), wanted.map(|number| number & most), "{width} bits");
        }
        assert_eq!(numbers(&[200, 1, 3], 0, 100 + 8).unwrap(), [0; 108]);
        assert!(numbers(&[2, 0, 0, 0, 0, 0], 33, 1).is_err());
    }

    #[test]
    fn a_last_group_may_be_short_but_not_missing() {
        assert_eq!(numbers(&[3, 0b0101], 4, 2).unwrap(), [5, 0]);
        assert!(numbers(&[3, 0b0101], 4, 3).is_err());
        assert!(numbers(&[3], 4, 1).is_err());
        assert!(numbers(&[0xFF; 12], 4, 1).is_err());
        // An empty run is skipped.
        assert_eq!(numbers(&[0, 9, 1, 2, 9], 4, 1).unwrap(), [9]);
    }
}
