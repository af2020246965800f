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
use crate::weights::{BLOCK, Format};

/// Bytes of the length before the header.
pub(crate) const PREFIX: u64 = 8;

/// The longest header that is read or written: enough for about 40,000 tensors, hundreds of times as many as a model has.
pub(crate) const LONGEST: u64 = 4 << 20;

/// The most axes of a shape.
const MOST_AXES: usize = 8;

/// The key that the format reserves for metadata.
const METADATA: &str = "__metadata__";

/// What is added to the name of a tensor in blocks for that of its scales.
const SCALES: &str = ".scales";

/// Name, shape and format of a tensor. Training writes f32 only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Unique in its file.
    pub name: String,
    /// Lengths of the axes, outermost first; no axes is a scalar. A format with blocks has two, and whole blocks.
    pub shape: Vec<usize>,
    /// What an element is in the file.
    pub format: Format,
}

impl TensorSpec {
    /// A tensor of floats.
    pub fn plain(name: impl Into<String>, shape: impl Into<Vec<usize>>) -> Self {
        Self { name: name.into(), shape: shape.into(), format: Format::F32 }
    }

    /// The number of elements, if it does not overflow.
    pub fn elements(&self) -> Option<usize> {
        product(&self.shape)
    }

    /// Bytes of its data, scales included.
    pub(crate) fn bytes(&self) -> Option<usize> {
        self.entries().iter().try_fold(0usize, |sum, entry| sum.checked_add(entry.bytes()?))
    }

    /// The entries of a header that hold it: itself, and its scales if it is in blocks.
    fn entries(&self) -> Vec<Entry> {
        let narrowed = |by: usize| {
            let mut shape = self.shape.clone();
            shape.last_mut().into_iter().for_each(|columns| *columns /= by);
            shape
        };
        let own = |dtype, shape| Entry { name: self.name.clone(), dtype, shape };
        let scales = || Entry { name: format!("{}{SCALES}", self.name), dtype: Dtype::F16, shape: narrowed(BLOCK) };
        match self.format {
            Format::F32 => vec![own(Dtype::F32, self.shape.clone())],
            Format::Bf16 => vec![own(Dtype::BF16, self.shape.clone())],
            Format::F16 => vec![own(Dtype::F16, self.shape.clone())],
            Format::Q8 => vec![own(Dtype::I8, self.shape.clone()), scales()],
            Format::Q4 => vec![own(Dtype::U8, narrowed(2)), scales()],
        }
    }

    /// Whether it has whole blocks, if its format has blocks.
    fn is_whole(&self) -> bool {
        !self.format.has_blocks() || (self.shape.len() == 2 && self.shape[1].is_multiple_of(BLOCK))
    }
}

fn product(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, &length| product.checked_mul(length))
}

/// An entry of a header.
struct Entry {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
}

impl Entry {
    fn bytes(&self) -> Option<usize> {
        product(&self.shape)?.checked_mul(self.dtype.bitsize() / 8).filter(|&bytes| bytes <= isize::MAX as usize)
    }
}

/// Why a file is not a safetensors file of tensors that are read; continues a sentence after the file's name.
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
    #[error("holds tensor {name} in {dtype}; only {} are read", READ.map(|read| read.to_string()).join(", "))]
    Dtype {
        /// The tensor.
        name: String,
        /// Its type.
        dtype: Dtype,
    },
    /// A tensor of integers has no scales, or such that do not fit it.
    #[error("holds tensor {name} in {dtype}, without its scales, f16 for each {BLOCK} elements of a row")]
    Scales {
        /// The tensor.
        name: String,
        /// Its type.
        dtype: Dtype,
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

/// The types that are read. Integers are weights in blocks, and have scales.
const READ: [Dtype; 5] = [Dtype::F32, Dtype::BF16, Dtype::F16, Dtype::I8, Dtype::U8];

/// A tensor of a header.
#[derive(Debug)]
pub(crate) struct Placed {
    pub spec: TensorSpec,
    /// Where its data starts, counted from the end of the header.
    pub start: u64,
    /// Where its scales start, if it is in blocks.
    pub scales: u64,
}

/// The tensors of a header in the order of their data. `data_bytes` is what the file has after the header.
pub(crate) fn parse(header: &[u8], data_bytes: u64) -> Result<Vec<Placed>, FormatError> {
    let Entries(mut entries) = serde_json::from_slice(header).map_err(FormatError::Header)?;
    entries.sort_by_key(|(_, info)| info.data_offsets);

    let mut end = 0;
    let mut found = Vec::with_capacity(entries.len());
    for (name, TensorInfo { dtype, shape, data_offsets }) in entries {
        if !READ.contains(&dtype) {
            return Err(FormatError::Dtype { name: short(&name), dtype });
        }
        let entry = Entry { name, dtype, shape };
        let too_large = || FormatError::Shape(short(&entry.name));
        // Two elements of q4 are a byte, so that a tensor as floats may be eight times as large.
        let as_floats = product(&entry.shape).and_then(|elements| elements.checked_mul(8)).filter(|&bytes| bytes <= isize::MAX as usize);
        let needed = entry.bytes().filter(|_| as_floats.is_some() && entry.shape.len() <= MOST_AXES).ok_or_else(too_large)? as u64;
        let (start, stop) = (data_offsets.0 as u64, data_offsets.1 as u64);
        if start != end {
            return Err(FormatError::Place { name: short(&entry.name), start, expected: end });
        }
        let given = stop.saturating_sub(start);
        if given != needed {
            return Err(FormatError::Size { name: short(&entry.name), given, needed });
        }
        end = start.checked_add(needed).ok_or_else(too_large)?;
        found.push((entry, start));
    }
    if end != data_bytes {
        return Err(FormatError::DataLength { claimed: end, present: data_bytes });
    }
    with_scales(&found)
}

/// Tensors from entries: those of integers take their scales.
fn with_scales(entries: &[(Entry, u64)]) -> Result<Vec<Placed>, FormatError> {
    let index: HashMap<&str, usize> = entries.iter().enumerate().map(|(at, (entry, _))| (entry.name.as_str(), at)).collect();
    let mut taken = vec![false; entries.len()];
    let mut tensors = Vec::with_capacity(entries.len());
    for (at, (entry, start)) in entries.iter().enumerate() {
        let mut spec = TensorSpec::plain(entry.name.clone(), entry.shape.clone());
        spec.format = match entry.dtype {
            Dtype::BF16 => Format::Bf16,
            Dtype::F16 => Format::F16,
            Dtype::I8 => Format::Q8,
            Dtype::U8 => Format::Q4,
            _ => Format::F32,
        };
        let mut scales = 0;
        if spec.format.has_blocks() {
            if spec.format == Format::Q4 {
                spec.shape.last_mut().into_iter().for_each(|columns| *columns *= 2);
            }
            let wanted = spec.is_whole().then(|| spec.entries().pop()).flatten();
            let other = wanted.as_ref().and_then(|wanted| index.get(wanted.name.as_str())).copied();
            let fits = |other: &usize| {
                let has = &entries[*other].0;
                wanted.as_ref().is_some_and(|wanted| has.dtype == wanted.dtype && has.shape == wanted.shape)
            };
            let other = other.filter(fits).ok_or_else(|| FormatError::Scales { name: short(&entry.name), dtype: entry.dtype })?;
            taken[other] = true;
            scales = entries[other].1;
        }
        tensors.push((at, Placed { spec, start: *start, scales }));
    }
    Ok(tensors.into_iter().filter(|(at, _)| !taken[*at]).map(|(_, placed)| placed).collect())
}

/// The bytes before the data of `specs` in this order, and the size of the whole file; or why it is impossible. `metadata` is for
/// other programs.
pub(crate) fn build(specs: &[TensorSpec], metadata: Option<HashMap<String, String>>) -> Result<(Vec<u8>, u64), String> {
    let mut names = HashSet::new();
    let mut infos = Vec::with_capacity(specs.len());
    let mut end = 0usize;
    for spec in specs {
        let too_large = || format!("tensor {} of shape {:?} is too large", short(&spec.name), spec.shape);
        if spec.shape.len() > MOST_AXES {
            return Err(too_large());
        }
        if !spec.is_whole() {
            return Err(format!("tensor {} of shape {:?} cannot be {}", short(&spec.name), spec.shape, spec.format));
        }
        for entry in spec.entries() {
            let next = entry.bytes().and_then(|bytes| end.checked_add(bytes)).ok_or_else(too_large)?;
            if entry.name == METADATA || !names.insert(entry.name.clone()) {
                return Err(format!("tensor {} occurs twice, or has a name that the format keeps", short(&entry.name)));
            }
            infos.push((entry.name, TensorInfo { dtype: entry.dtype, shape: entry.shape, data_offsets: (end, next) }));
            end = next;
        }
    }
    let metadata = Metadata::new(metadata, infos).map_err(|error| error.to_string())?;
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
        TensorSpec::plain(name, shape)
    }

    fn build(specs: &[TensorSpec]) -> Result<(Vec<u8>, u64), String> {
        super::build(specs, None)
    }

    #[test]
    fn a_built_header_parses_back_in_order_and_is_aligned() {
        let specs = [spec("z", &[2, 3]), spec("a", &[]), spec("none", &[0, 7]), spec("é\"\n", &[1])];
        let (header, total) = build(&specs).unwrap();
        assert_eq!(header.len() % 8, 0);
        assert_eq!(total, header.len() as u64 + 4 * (6 + 1 + 1));
        let parsed = parse(&header[8..], total - header.len() as u64).unwrap();
        let parsed: Vec<_> = parsed.into_iter().map(|placed| (placed.spec, placed.start)).collect();
        assert_eq!(parsed, specs.into_iter().zip([0, 24, 28, 28]).collect::<Vec<_>>());
    }

    #[test]
    fn a_tensor_in_blocks_is_two_entries() {
        let specs: Vec<TensorSpec> = Format::ALL.map(|format| TensorSpec { format, ..spec(format.word(), &[3, 64]) }).into();
        let (header, total) = build(&specs).unwrap();
        let text = std::str::from_utf8(&header[8..]).unwrap();
        assert!(text.contains(r#""q8.scales":{"dtype":"F16","shape":[3,2]"#), "{text}");
        assert!(text.contains(r#""q4":{"dtype":"U8","shape":[3,32]"#), "{text}");
        let parsed = parse(&header[8..], total - header.len() as u64).unwrap();
        let places: Vec<_> = parsed.iter().map(|placed| (placed.start, placed.scales)).collect();
        assert_eq!(places, [(0, 0), (768, 0), (1152, 0), (1536, 1536 + 192), (1740, 1740 + 96)]);
        assert_eq!(parsed.into_iter().map(|placed| placed.spec).collect::<Vec<_>>(), specs);
        for shape in [&[64][..], &[2, 33], &[2, 2, 32]] {
            assert!(build(&[TensorSpec { format: Format::Q8, ..spec("a", shape) }]).is_err(), "{shape:?}");
        }
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
            (r#"{"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#, "in I64; only F32, BF16, F16, I8, U8 are read"),
            (r#"{"a":{"dtype":"I8","shape":[8],"data_offsets":[0,8]}}"#, "without its scales"),
            (r#"{"a":{"dtype":"U8","shape":[2,4],"data_offsets":[0,8]}}"#, "without its scales"),
            (
                r#"{"a":{"dtype":"I8","shape":[0,32],"data_offsets":[0,0]},"a.scales":{"dtype":"F16","shape":[4],"data_offsets":[0,8]}}"#,
                "without its scales",
            ),
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
        let parsed: Vec<_> = parsed.into_iter().map(|placed| (placed.spec, placed.start)).collect();
        assert_eq!(parsed, [(spec("a", &[1]), 0), (spec("b", &[1]), 4)]);
        assert!(parse(br#"{"__metadata__":{"dtype":1}}"#, 0).is_err());
    }

    #[test]
    fn types_have_their_own_widths() {
        let json = r#"{"a":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]},"b":{"dtype":"F32","shape":[1],"data_offsets":[6,10]}}"#;
        let parsed = parse(json.as_bytes(), 10).unwrap();
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
