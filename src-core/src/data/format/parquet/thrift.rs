//! Validates the parts of parquet files in Thrift's compact protocol: the metadata at their end, the header of each page.
//!
//! The parquet library trusts these bytes in two ways. It skips unknown fields item by item, and items
//! of a list of booleans occupy no bytes there: seven bytes keep it busy for seconds, a kilobyte for an hour. And
//! it assumes the types of known fields, so that two readers may interpret them differently. Here the
//! same bytes are parsed first: known fields must have their types, and every item must occupy bytes.
//! Format: <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>, and `parquet.thrift`.

use Kind::{Bytes, Float, List, Number, Struct, Truth};

/// The deepest nesting that is accepted.
const DEEPEST: usize = 32;

/// Why the bytes are invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// They end too early.
    Ended,
    /// They are not what a parquet file contains.
    Unknown,
}

/// The type of a known field.
#[derive(Debug)]
pub(super) enum Kind {
    Truth,
    /// A whole number of any width but 8 bits.
    Number,
    Byte,
    Float,
    Bytes,
    List(&'static Kind),
    Struct(Fields),
}

/// The known fields of a struct, by their numbers.
pub(super) type Fields = &'static [(i16, Kind)];

const NUMBERS: Kind = List(&Number);
const EMPTY: Kind = Struct(&[]);
const KEY_VALUES: Kind = List(&Struct(&[(1, Bytes), (2, Bytes)]));
const TIME: Kind = Struct(&[(1, Truth), (2, Struct(&[(1, EMPTY), (2, EMPTY), (3, EMPTY)]))]);

const LOGICAL_TYPE: Fields = &[
    (1, EMPTY),
    (2, EMPTY),
    (3, EMPTY),
    (4, EMPTY),
    (5, Struct(&[(1, Number), (2, Number)])),
    (6, EMPTY),
    (7, TIME),
    (8, TIME),
    (10, Struct(&[(1, Kind::Byte), (2, Truth)])),
    (11, EMPTY),
    (12, EMPTY),
    (13, EMPTY),
    (14, EMPTY),
    (15, EMPTY),
    (16, Struct(&[(1, Kind::Byte)])),
    (17, Struct(&[(1, Bytes)])),
    (18, Struct(&[(1, Bytes), (2, Number)])),
    (19, EMPTY),
];

const SCHEMA_ELEMENT: Fields = &[
    (1, Number),
    (2, Number),
    (3, Number),
    (4, Bytes),
    (5, Number),
    (6, Number),
    (7, Number),
    (8, Number),
    (9, Number),
    (10, Struct(LOGICAL_TYPE)),
];

const STATISTICS: Fields = &[(1, Bytes), (2, Bytes), (3, Number), (4, Number), (5, Bytes), (6, Bytes), (7, Truth), (8, Truth), (9, Number)];

const BOX: Kind = Struct(&[(1, Float), (2, Float), (3, Float), (4, Float), (5, Float), (6, Float), (7, Float), (8, Float)]);

const COLUMN_METADATA: Fields = &[
    (1, Number),
    (2, NUMBERS),
    (3, List(&Bytes)),
    (4, Number),
    (5, Number),
    (6, Number),
    (7, Number),
    (8, KEY_VALUES),
    (9, Number),
    (10, Number),
    (11, Number),
    (12, Struct(STATISTICS)),
    (13, List(&Struct(&[(1, Number), (2, Number), (3, Number)]))),
    (14, Number),
    (15, Number),
    (16, Struct(&[(1, Number), (2, NUMBERS), (3, NUMBERS)])),
    (17, Struct(&[(1, BOX), (2, NUMBERS)])),
];

const COLUMN_CHUNK: Fields =
    &[(1, Bytes), (2, Number), (3, Struct(COLUMN_METADATA)), (4, Number), (5, Number), (6, Number), (7, Number), (9, Bytes)];

const ROW_GROUP: Fields = &[
    (1, List(&Struct(COLUMN_CHUNK))),
    (2, Number),
    (3, Number),
    (4, List(&Struct(&[(1, Number), (2, Truth), (3, Truth)]))),
    (5, Number),
    (6, Number),
    (7, Number),
];

/// The metadata at a file's end.
pub(super) const FILE_METADATA: Fields = &[
    (1, Number),
    (2, List(&Struct(SCHEMA_ELEMENT))),
    (3, Number),
    (4, List(&Struct(ROW_GROUP))),
    (5, KEY_VALUES),
    (6, Bytes),
    (7, List(&Struct(&[(1, EMPTY), (2, EMPTY), (3, EMPTY)]))),
    (9, Bytes),
];

const DATA_HEADER: Fields = &[(1, Number), (2, Number), (3, Number), (4, Number), (5, Struct(STATISTICS))];

const DATA_HEADER_2: Fields =
    &[(1, Number), (2, Number), (3, Number), (4, Number), (5, Number), (6, Number), (7, Truth), (8, Struct(STATISTICS))];

/// The header of a page.
pub(super) const PAGE_HEADER: Fields = &[
    (1, Number),
    (2, Number),
    (3, Number),
    (4, Number),
    (5, Struct(DATA_HEADER)),
    (6, EMPTY),
    (7, Struct(&[(1, Number), (2, Number), (3, Truth)])),
    (8, Struct(DATA_HEADER_2)),
];

/// Parses the struct at the start of `bytes`, calls `see` for every number and boolean (1 or 0) in its known fields
/// with the path of field numbers to it, and returns the length of the struct.
pub(super) fn walk(bytes: &[u8], fields: Fields, see: &mut dyn FnMut(&[i16], i64)) -> Result<usize, Fault> {
    let mut walk = Walk { bytes, at: 0, way: Vec::new(), see };
    walk.fields(fields)?;
    Ok(walk.at)
}

/// Types by their numbers in the protocol.
mod code {
    pub(super) const STOP: u8 = 0;
    pub(super) const TRUE: u8 = 1;
    pub(super) const FALSE: u8 = 2;
    pub(super) const BYTE: u8 = 3;
    pub(super) const I16: u8 = 4;
    pub(super) const I64: u8 = 6;
    pub(super) const DOUBLE: u8 = 7;
    pub(super) const BINARY: u8 = 8;
    pub(super) const LIST: u8 = 9;
    pub(super) const SET: u8 = 10;
    pub(super) const MAP: u8 = 11;
    pub(super) const STRUCT: u8 = 12;
    pub(super) const UUID: u8 = 13;
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The path of fields to the current position; 0 is an item of a list.
    way: Vec<i16>,
    see: &'a mut dyn FnMut(&[i16], i64),
}

impl Walk<'_> {
    fn byte(&mut self) -> Result<u8, Fault> {
        let byte = *self.bytes.get(self.at).ok_or(Fault::Ended)?;
        self.at += 1;
        Ok(byte)
    }

    fn pass(&mut self, count: u64) -> Result<(), Fault> {
        let left = (self.bytes.len() - self.at) as u64;
        if count > left {
            return Err(Fault::Ended);
        }
        self.at += count as usize;
        Ok(())
    }

    /// An unsigned varint: seven bits per byte.
    fn varint(&mut self) -> Result<u64, Fault> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Fault::Unknown)
    }

    fn number(&mut self) -> Result<i64, Fault> {
        let number = self.varint()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    fn fields(&mut self, known: Fields) -> Result<(), Fault> {
        if self.way.len() >= DEEPEST {
            return Err(Fault::Unknown);
        }
        let mut last = 0i16;
        loop {
            let head = self.byte()?;
            let code = head & 0x0F;
            if code == code::STOP {
                return Ok(());
            }
            last = match head >> 4 {
                0 => i16::try_from(self.number()?).map_err(|_| Fault::Unknown)?,
                step => last.checked_add(step.into()).ok_or(Fault::Unknown)?,
            };
            let kind = known.iter().find(|(number, _)| *number == last).map(|(_, kind)| kind);
            self.way.push(last);
            match code {
                // The value is in the type.
                code::TRUE | code::FALSE if kind.is_none() => {}
                code::TRUE | code::FALSE if matches!(kind, Some(Truth)) => (self.see)(&self.way, i64::from(code == code::TRUE)),
                code::TRUE | code::FALSE => return Err(Fault::Unknown),
                _ if matches!(kind, Some(Truth)) => return Err(Fault::Unknown),
                _ => self.value(code, kind)?,
            }
            self.way.pop();
        }
    }

    /// A value that occupies bytes.
    fn value(&mut self, code: u8, kind: Option<&'static Kind>) -> Result<(), Fault> {
        match (code, kind) {
            (code::BYTE, None | Some(Kind::Byte)) => self.pass(1),
            (code::I16..=code::I64, None | Some(Number)) => {
                let number = self.number()?;
                if kind.is_some() {
                    (self.see)(&self.way, number);
                }
                Ok(())
            }
            (code::DOUBLE, None | Some(Float)) => self.pass(8),
            (code::BINARY, None | Some(Bytes)) => {
                let length = self.varint()?;
                self.pass(length)
            }
            (code::LIST, Some(List(item))) => self.list(Some(item)),
            (code::LIST | code::SET, None) => self.list(None),
            (code::MAP, None) => self.map(),
            (code::STRUCT, Some(Struct(known))) => self.fields(known),
            (code::STRUCT, None) => self.fields(&[]),
            (code::UUID, None) => self.pass(16),
            _ => Err(Fault::Unknown),
        }
    }

    fn list(&mut self, kind: Option<&'static Kind>) -> Result<(), Fault> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            count => count.into(),
        };
        self.items(count, &[(head & 0x0F, kind)])
    }

    fn map(&mut self) -> Result<(), Fault> {
        let count = self.varint()?;
        let kinds = if count == 0 { 0 } else { self.byte()? };
        self.items(count, &[(kinds >> 4, None), (kinds & 0x0F, None)])
    }

    fn items(&mut self, count: u64, parts: &[(u8, Option<&'static Kind>)]) -> Result<(), Fault> {
        if self.way.len() >= DEEPEST {
            return Err(Fault::Unknown);
        }
        self.way.push(0);
        // `value` rejects booleans, so a false claim soon runs out of bytes.
        for _ in 0..count {
            for &(code, kind) in parts {
                self.value(code, kind)?;
            }
        }
        self.way.pop();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers that were found, each with its path.
    type Seen = Vec<(Vec<i16>, i64)>;

    fn walked(bytes: &[u8], fields: Fields) -> (Result<usize, Fault>, Seen) {
        let mut seen = Vec::new();
        let result = walk(bytes, fields, &mut |way, number| seen.push((way.to_vec(), number)));
        (result, seen)
    }

    #[test]
    fn a_page_header_tells_its_sizes() {
        // type 2, sizes 300 and -1, a dictionary header of 7 values in encoding 0, not sorted, and an unknown field.
        let header = [0x15, 4, 0x15, 0xD8, 4, 0x15, 1, 0x4C, 0x15, 14, 0x15, 0, 0x12, 0, 0x98, 2, b'h', b'i', 0, 0xFF];
        let (result, seen) = walked(&header, PAGE_HEADER);
        assert_eq!(result, Ok(header.len() - 1));
        let expected = [(vec![1], 2), (vec![2], 300), (vec![3], -1), (vec![7, 1], 7), (vec![7, 2], 0), (vec![7, 3], 0)];
        assert_eq!(seen, expected);
        for length in 0..header.len() - 1 {
            assert_eq!(walked(&header[..length], PAGE_HEADER).0, Err(Fault::Ended), "cut to {length}");
        }
    }

    #[test]
    fn what_takes_no_room_or_is_of_another_type_is_refused() {
        const TWO_BILLION: [u8; 5] = [0xFF, 0xFF, 0xFF, 0xFF, 0x07];
        let with = |head: &[u8], tail: &[u8]| [head, &TWO_BILLION, tail].concat();
        for (what, bytes, fault) in [
            ("a list of truth values", with(&[0x09, 40, 0xF1], &[0]), Fault::Unknown),
            ("a set of them", with(&[0x0A, 40, 0xF2], &[0]), Fault::Unknown),
            ("a map of them", with(&[0x0B, 40], &[0x12, 0]), Fault::Unknown),
            ("a list of lists of them", with(&[0x09, 40, 0x19, 0xF1], &[0]), Fault::Unknown),
            ("a list without its items", with(&[0x09, 40, 0xF5], &[0]), Fault::Ended),
            ("text for a number", vec![0x18, 1, b'a', 0], Fault::Unknown),
            ("a truth value for a number", vec![0x11, 0], Fault::Unknown),
            ("a number for a struct", vec![0x55, 2, 0], Fault::Unknown),
            ("a type that there is not", vec![0x0E, 40, 0], Fault::Unknown),
            ("a number without an end", vec![0x15, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1], Fault::Unknown),
            ("structs in structs without end", vec![0x1C; 100_000], Fault::Unknown),
            ("lists in lists without end", [vec![0x09, 40], vec![0x19; 100_000]].concat(), Fault::Unknown),
        ] {
            assert_eq!(walked(&bytes, PAGE_HEADER).0, Err(fault), "{what}");
        }
        // Unknown fields are allowed if they occupy bytes.
        let unknown = [0x0B, 40, 1, 0x85, 1, b'k', 3, 0x1A, 0x23, 7, 8, 0x1D, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0];
        assert_eq!(walked(&unknown, PAGE_HEADER), (Ok(unknown.len()), Vec::new()));
    }
}
