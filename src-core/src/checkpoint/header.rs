//! The header of a safetensors file: 8 bytes of length, then JSON with each tensor's type, shape and offsets.
//!
//! A header is untrusted: it may be truncated, altered or malicious. Everything it claims is checked against the
//! file's length before anything is allocated. Format: <https://huggingface.co/docs/safetensors>.

use std::collections::{HashMap, HashSet};
use std::fmt;

use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use crate::files::StandIn;
use crate::files::shown::short;

/// Bytes of the length before the header.
pub(crate) const PREFIX: u64 = 8;

/// The longest header that is read or written: enough for about 40,000 tensors, hundreds of times as many as a model has.
pub(crate) const LONGEST: u64 = 4 << 20;

/// The most axes of a shape.
const MOST_AXES: usize = 8;

/// The key that the format reserves for metadata.
const METADATA: &str = "__metadata__";

/// Name and shape of a tensor. Elements are f32, the only type in checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Unique in its file.
    pub name: String,
    /// Lengths of the axes, outermost first; no axes is a scalar.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// The number of elements, if it does not overflow.
    pub fn elements(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |product, &length| product.checked_mul(length))
    }

    /// Bytes of its data.
    pub(crate) fn bytes(&self) -> Option<usize> {
        self.elements()?.checked_mul(size_of::<f32>()).filter(|&bytes| bytes <= isize::MAX as usize)
    }
}

/// Why a file is not a safetensors file of f32 tensors; continues a sentence after the file's name.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// There is not even a header length.
    #[error("has {0} bytes, too few for a safetensors file")]
    TooShort(u64),
    /// The header's length does not fit the file.
    #[error("claims a header of {claimed} bytes, but only {left} follow")]
    HeaderOutOfFile {
        /// Bytes according to the first 8 bytes.
        claimed: u64,
        /// Bytes in the file after those 8.
        left: u64,
    },
    /// The header is unreasonably long.
    #[error("claims a header of {0} bytes, more than the {LONGEST} that are read")]
    HeaderTooLong(u64),
    /// It is not a safetensors file at all.
    #[error("{0}")]
    StandIn(StandIn),
    /// The header is not the expected JSON, or has a tensor twice.
    #[error("has a header that cannot be read: {0}")]
    Header(serde_json::Error),
    /// A tensor has an unsupported type.
    #[error("holds tensor {name} in {dtype}; only {} is read", read.iter().map(Dtype::to_string).collect::<Vec<_>>().join(", "))]
    Dtype {
        /// The tensor.
        name: String,
        /// Its type.
        dtype: Dtype,
        /// The supported types.
        read: &'static [Dtype],
    },
    /// A shape has too many axes or elements.
    #[error("gives tensor {0} a shape that is too large")]
    Shape(String),
    /// A tensor's data does not have the length of its shape.
    #[error("gives tensor {name} {given} bytes where its shape needs {needed}")]
    Size {
        /// The tensor.
        name: String,
        /// Bytes between its offsets.
        given: u64,
        /// Bytes according to its shape.
        needed: u64,
    },
    /// A tensor does not start where the one before it ends.
    #[error("places tensor {name} at byte {start}, where byte {expected} is next: tensors overlap or leave a gap")]
    Place {
        /// The tensor.
        name: String,
        /// Its claimed start.
        start: u64,
        /// The end of the previous tensor.
        expected: u64,
    },
    /// The tensors do not end where the file ends.
    #[error("has {present} bytes of tensors where its header says {claimed}")]
    DataLength {
        /// Bytes according to the header.
        claimed: u64,
        /// Bytes in the file.
        present: u64,
    },
}

/// The length of the header, from the first 8 bytes of a file of `file_bytes` bytes.
pub(crate) fn length(prefix: [u8; PREFIX as usize], file_bytes: u64) -> Result<u64, FormatError> {
    let claimed = u64::from_le_bytes(prefix);
    let left = file_bytes.saturating_sub(PREFIX);
    if claimed > left {
        Err(FormatError::HeaderOutOfFile { claimed, left })
    } else if claimed > LONGEST {
        Err(FormatError::HeaderTooLong(claimed))
    } else {
        Ok(claimed)
    }
}

/// The tensors of a header, all of them f32, and where each one's data starts: see [`parse_as`].
pub(crate) fn parse(header: &[u8], data_bytes: u64) -> Result<Vec<(TensorSpec, u64)>, FormatError> {
    let tensors = parse_as(header, data_bytes, &[Dtype::F32])?;
    Ok(tensors.into_iter().map(|tensor| (tensor.spec, tensor.start)).collect())
}

/// A tensor of a header.
pub(crate) struct Placed {
    pub spec: TensorSpec,
    pub dtype: Dtype,
    /// Where its data starts, counted from the end of the header.
    pub start: u64,
}

/// The tensors of a header in the order of their data, if all have types in `read`. `data_bytes` is what the file
/// has after the header.
pub(crate) fn parse_as(header: &[u8], data_bytes: u64, read: &'static [Dtype]) -> Result<Vec<Placed>, FormatError> {
    let Entries(mut entries) = serde_json::from_slice(header).map_err(FormatError::Header)?;
    entries.sort_by_key(|(_, info)| info.data_offsets);

    let mut end = 0;
    let mut tensors = Vec::with_capacity(entries.len());
    for (name, info) in entries {
        let dtype = info.dtype;
        if !read.contains(&dtype) {
            return Err(FormatError::Dtype { name: short(&name), dtype, read });
        }
        let spec = TensorSpec { name, shape: info.shape };
        // No type wider than f32 is ever requested, so a shape that fits as f32 does not overflow.
        let room = spec.bytes().filter(|_| spec.shape.len() <= MOST_AXES).ok_or_else(|| FormatError::Shape(short(&spec.name)))?;
        let needed = room as u64 * dtype.bitsize() as u64 / Dtype::F32.bitsize() as u64;
        let (start, stop) = (info.data_offsets.0 as u64, info.data_offsets.1 as u64);
        if start != end {
            return Err(FormatError::Place { name: short(&spec.name), start, expected: end });
        }
        let given = stop.saturating_sub(start);
        if given != needed {
            return Err(FormatError::Size { name: short(&spec.name), given, needed });
        }
        end = start.checked_add(needed).ok_or_else(|| FormatError::Shape(short(&spec.name)))?;
        tensors.push(Placed { spec, dtype, start });
    }
    if end != data_bytes {
        return Err(FormatError::DataLength { claimed: end, present: data_bytes });
    }
    Ok(tensors)
}

/// The bytes before the data of `specs` in this order, and the size of the whole file; or why it is impossible.
pub(crate) fn build(specs: &[TensorSpec]) -> Result<(Vec<u8>, u64), String> {
    let mut names = HashSet::new();
    let mut infos = Vec::with_capacity(specs.len());
    let mut end = 0usize;
    for spec in specs {
        if spec.name == METADATA || !names.insert(spec.name.as_str()) {
            return Err(format!("tensor {} occurs twice, or has a name that the format keeps", short(&spec.name)));
        }
        let next = spec.bytes().and_then(|bytes| end.checked_add(bytes)).filter(|_| spec.shape.len() <= MOST_AXES);
        let next = next.ok_or_else(|| format!("tensor {} of shape {:?} is too large", short(&spec.name), spec.shape))?;
        infos.push((spec.name.clone(), TensorInfo { dtype: Dtype::F32, shape: spec.shape.clone(), data_offsets: (end, next) }));
        end = next;
    }
    let metadata = Metadata::new(None, infos).map_err(|error| error.to_string())?;
    let mut json = serde_json::to_vec(&metadata).map_err(|error| error.to_string())?;
    json.resize(json.len().next_multiple_of(PREFIX as usize), b' '); // data starts aligned
    if json.len() as u64 > LONGEST {
        return Err(format!("{} tensors are more than a file can list", specs.len()));
    }
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.append(&mut json);
    let total = (header.len() as u64).checked_add(end as u64).ok_or("its tensors are too large")?;
    Ok((header, total))
}

/// A header's entries in the order of the file. A map would silently keep one of two tensors with the same name.
struct Entries(Vec<(String, TensorInfo)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;
        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with an entry for each tensor")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut seen = HashSet::new();
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !seen.insert(name.clone()) {
                        return Err(A::Error::custom(format!("tensor {} occurs twice", short(&name))));
                    }
                    if name == METADATA {
                        map.next_value::<HashMap<String, String>>()?;
                    } else {
                        entries.push((name, map.next_value()?));
                    }
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(EntriesVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, shape: &[usize]) -> TensorSpec {
        TensorSpec { name: name.into(), shape: shape.into() }
    }

    #[test]
    fn a_built_header_parses_back_in_order_and_is_aligned() {
        let specs = [spec("z", &[2, 3]), spec("a", &[]), spec("none", &[0, 7]), spec("é\"\n", &[1])];
        let (header, total) = build(&specs).unwrap();
        assert_eq!(header.len() % 8, 0);
        assert_eq!(total, header.len() as u64 + 4 * (6 + 1 + 1));
        let parsed = parse(&header[8..], total - header.len() as u64).unwrap();
        assert_eq!(parsed.into_iter().collect::<Vec<_>>(), specs.into_iter().zip([0, 24, 28, 28]).collect::<Vec<_>>());
    }

    #[test]
    fn what_the_format_cannot_hold_is_not_built() {
        assert!(build(&[spec("a", &[1]), spec("a", &[2])]).unwrap_err().contains("twice"));
        assert!(build(&[spec("__metadata__", &[1])]).is_err());
        assert!(build(&[spec("a", &[usize::MAX, 2])]).unwrap_err().contains("too large"));
        assert!(build(&[spec("a", &[1 << 61])]).unwrap_err().contains("too large"));
        assert!(build(&[spec("a", &[1 << 61]), spec("b", &[1 << 61])]).unwrap_err().contains("too large"));
        assert!(build(&[spec(&"n".repeat(LONGEST as usize), &[1])]).is_err());
    }

    #[test]
    fn every_false_claim_of_a_header_has_its_own_sentence() {
        let cases = [
            (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, "4 bytes where its shape needs 8"),
            (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,12]}}"#, "12 bytes where its shape needs 8"),
            (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, "at byte 8"),
            (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}"#, "cannot be read"),
            (r#"{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}"#, "cannot be read"),
            (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#, "where byte 0 is next"),
            (r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#, "8 bytes of tensors where its header says 16"),
            (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, "8 bytes of tensors where its header says 4"),
            (r#"{"a":{"dtype":"BF16","shape":[4],"data_offsets":[0,8]}}"#, "in BF16; only F32 is read"),
            (r#"{"a":{"dtype":"F33","shape":[4],"data_offsets":[0,8]}}"#, "cannot be read"),
            (r#"{"a":{"dtype":"F32","shape":[9223372036854775807,4],"data_offsets":[0,8]}}"#, "too large"),
            (r#"{"a":{"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]}}"#, "too large"),
            (r#"{"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]}}"#, "cannot be read"),
            (r#"{"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8]}}"#, "too large"),
            (
                r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
                "tensors overlap",
            ),
            (
                r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
                "\"a\" occurs twice",
            ),
            (r#"{"a":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}}"#, "duplicate field"),
            (r#"[1]"#, "cannot be read"),
            (r#"{"a":"#, "cannot be read"),
            ("", "cannot be read"),
        ];
        for (json, expected) in cases {
            let message = parse(json.as_bytes(), 8).unwrap_err().to_string();
            assert!(message.contains(expected), "{json}: {message}");
        }
    }

    #[test]
    fn tensors_come_in_the_order_of_their_data_and_metadata_is_none() {
        let json = r#"{"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},"__metadata__":{"by":"x"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let parsed = parse(json.as_bytes(), 8).unwrap();
        assert_eq!(parsed, [(spec("a", &[1]), 0), (spec("b", &[1]), 4)]);
        assert!(parse(br#"{"__metadata__":{"dtype":1}}"#, 0).is_err());
    }

    #[test]
    fn types_have_their_own_widths() {
        let json = r#"{"a":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]},"b":{"dtype":"F32","shape":[1],"data_offsets":[6,10]}}"#;
        let parsed = parse_as(json.as_bytes(), 10, &[Dtype::BF16, Dtype::F32]).unwrap();
        assert_eq!(parsed.iter().map(|tensor| tensor.start).collect::<Vec<_>>(), [0, 6]);
    }

    #[test]
    fn as_many_axes_are_built_as_are_read() {
        let (header, _) = build(&[spec("a", &[1; MOST_AXES])]).unwrap();
        parse(&header[8..], 4).unwrap();
        assert!(build(&[spec("a", &[1; MOST_AXES + 1])]).unwrap_err().contains("too large"));
    }

    #[test]
    fn a_header_is_as_long_as_the_file_has_room_for_and_no_longer_than_any() {
        let of = |claimed: u64, file_bytes| length(claimed.to_le_bytes(), file_bytes);
        for good in [0, 1000, LONGEST] {
            assert_eq!(of(good, PREFIX + good).unwrap(), good);
            assert!(matches!(of(good + 1, PREFIX + good), Err(FormatError::HeaderOutOfFile { claimed, left }) if claimed == left + 1));
        }
        assert!(matches!(of(LONGEST + 1, u64::MAX), Err(FormatError::HeaderTooLong(claimed)) if claimed == LONGEST + 1));
        assert!(of(u64::MAX, u64::MAX).is_err());
    }
}
