//! The weights of an export: assigns tensors to files, and writes them in the requested type.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde_json::{Value, json};

use super::{ExportError, NumberType};
use crate::checkpoint::MODEL_FILE;
use crate::checkpoint::TensorFile;
use crate::checkpoint::{StreamError, TensorSource};
use crate::files::durable::CHUNK;
use crate::files::shown::short;

/// The index file, if the weights are in more than one file.
pub(super) const INDEX_FILE: &str = "model.safetensors.index.json";

/// A tensor to export.
pub(super) struct Outgoing {
    /// Its name in the checkpoint.
    pub source: String,
    /// Its name in the export.
    pub name: String,
    /// Its shape in the export: the first rows of that in the checkpoint.
    pub shape: Vec<usize>,
}

impl Outgoing {
    fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Files of weights, before they are written.
pub(super) struct Plan {
    number_type: NumberType,
    files: Vec<Planned>,
}

struct Planned {
    name: String,
    /// Length and JSON at the start of the file.
    header: Vec<u8>,
    tensors: Vec<Outgoing>,
}

impl Plan {
    /// Distributes `tensors` in their order among files of at most `most` bytes of data; a larger tensor gets its own
    /// file.
    pub fn new(tensors: Vec<Outgoing>, number_type: NumberType, most: u64) -> Result<Self, ExportError> {
        let mut groups: Vec<(u64, Vec<Outgoing>)> = Vec::new();
        let mut names = HashSet::new();
        for tensor in tensors {
            if !names.insert(tensor.name.clone()) {
                return Err(ExportError::Unwritable(format!("two tensors have the name {}", short(&tensor.name))));
            }
            let bytes = (tensor.elements() * number_type.bytes()) as u64;
            match groups.last_mut().filter(|(filled, _)| filled.saturating_add(bytes) <= most) {
                Some((filled, group)) => {
                    *filled += bytes;
                    group.push(tensor);
                }
                None => groups.push((bytes, vec![tensor])),
            }
        }
        let count = groups.len();
        let name = |number| match count {
            1 => MODEL_FILE.to_owned(),
            _ => format!("model-{number:05}-of-{count:05}.safetensors"),
        };
        let planned = groups
            .into_iter()
            .zip(1..)
            .map(|((_, tensors), number)| Ok(Planned { name: name(number), header: header(&tensors, number_type)?, tensors }));
        Ok(Self { number_type, files: planned.collect::<Result<_, ExportError>>()? })
    }

    /// The names of the files.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }

    /// The bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.header.len() as u64 + self.data_bytes(file)).sum()
    }

    /// The content of [`INDEX_FILE`]; none if there is only one file.
    pub fn index(&self) -> Option<Value> {
        (self.files.len() > 1).then(|| {
            let places = self.files.iter().flat_map(|file| file.tensors.iter().map(|tensor| (tensor.name.clone(), json!(file.name))));
            let total: u64 = self.files.iter().map(|file| self.data_bytes(file)).sum();
            let parameters: usize = self.files.iter().flat_map(|file| &file.tensors).map(Outgoing::elements).sum();
            json!({
                "metadata": { "total_parameters": parameters, "total_size": total },
                "weight_map": places.collect::<serde_json::Map<_, _>>(),
            })
        })
    }

    /// Writes the files into `folder`, each synced.
    pub fn write(&self, source: &mut TensorFile, folder: &Path) -> Result<(), ExportError> {
        for Planned { name, header, tensors } in &self.files {
            let path = folder.join(name);
            let failed = |error| ExportError::io("write", &path)(error);
            let file = File::create_new(&path).map_err(failed)?;
            let mut out = BufWriter::with_capacity(CHUNK, file);
            out.write_all(header).map_err(failed)?;
            for tensor in tensors {
                let index = source.specs().iter().position(|spec| spec.name == tensor.source);
                let index = index.ok_or_else(|| ExportError::Unwritable(format!("it has no tensor {}", short(&tensor.source))))?;
                let mut left = tensor.elements();
                let mut fits = true;
                let mut sink = |piece: &[f32]| {
                    let piece = &piece[..piece.len().min(left)];
                    left -= piece.len();
                    match self.number_type.encode(piece) {
                        Some(bytes) => out.write_all(&bytes),
                        None => {
                            fits = false;
                            Err(io::ErrorKind::InvalidData.into())
                        }
                    }
                };
                source.stream(index, &mut sink).map_err(|error| match error {
                    StreamError::Sink(_) if !fits => {
                        ExportError::TooLarge { tensor: short(&tensor.source), number_type: self.number_type.name() }
                    }
                    StreamError::Sink(error) => failed(error),
                    StreamError::Source(error) => ExportError::Source(error),
                })?;
            }
            let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
            file.sync_all().map_err(failed)?;
        }
        Ok(())
    }

    fn data_bytes(&self, file: &Planned) -> u64 {
        file.tensors.iter().map(|tensor| (tensor.elements() * self.number_type.bytes()) as u64).sum()
    }
}

/// The bytes before the tensors, which follow in this order.
fn header(tensors: &[Outgoing], number_type: NumberType) -> Result<Vec<u8>, ExportError> {
    let unwritable = |error: &dyn std::fmt::Display| ExportError::Unwritable(error.to_string());
    let mut end = 0;
    let infos = tensors.iter().map(|tensor| {
        let start = end;
        end += tensor.elements() * number_type.bytes();
        let info = TensorInfo { dtype: number_type.dtype(), shape: tensor.shape.clone(), data_offsets: (start, end) };
        (tensor.name.clone(), info)
    });
    // transformers rejects a file that does not name the framework of its tensors.
    let framework = [("format".to_owned(), "pt".to_owned())].into();
    let metadata = Metadata::new(Some(framework), infos.collect()).map_err(|error| unwritable(&error))?;
    let mut json = serde_json::to_vec(&metadata).map_err(|error| unwritable(&error))?;
    json.resize(json.len().next_multiple_of(8), b' '); // the tensors begin aligned
    Ok([&(json.len() as u64).to_le_bytes()[..], &json].concat())
}

// Numbers are written in memory order; the format is little-endian, and so is every machine that wgpu runs on.
const _: () = assert!(cfg!(target_endian = "little"));

impl NumberType {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::Bf16 => Dtype::BF16,
            Self::F16 => Dtype::F16,
        }
    }

    /// The bytes of `values`, rounded to nearest, ties to even; none if a number would become infinite.
    fn encode(self, values: &[f32]) -> Option<Cow<'_, [u8]>> {
        fn narrow<T: bytemuck::NoUninit>(values: &[f32], to: fn(f32) -> T, is_finite: fn(T) -> bool) -> Option<Cow<'static, [u8]>> {
            let narrowed: Vec<T> = values.iter().map(|&value| to(value)).collect();
            let fits = values.iter().zip(&narrowed).all(|(value, narrowed)| !value.is_finite() || is_finite(*narrowed));
            fits.then(|| Cow::Owned(bytemuck::cast_slice(&narrowed).to_vec()))
        }
        match self {
            Self::F32 => Some(Cow::Borrowed(bytemuck::cast_slice(values))),
            Self::Bf16 => narrow(values, bf16::from_f32, bf16::is_finite),
            Self::F16 => narrow(values, f16::from_f32, f16::is_finite),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(name: &str, elements: usize) -> Outgoing {
        Outgoing { source: name.to_owned(), name: name.to_owned(), shape: vec![elements] }
    }

    #[test]
    fn files_are_filled_in_order_up_to_their_limit() {
        let tensors = || [("a", 10), ("b", 5), ("c", 1), ("d", 40), ("e", 2)].map(|(name, size)| outgoing(name, size)).into();
        let plan = Plan::new(tensors(), NumberType::F32, 64).unwrap();
        let names: Vec<Vec<&str>> =
            plan.files.iter().map(|file| file.tensors.iter().map(|tensor| tensor.name.as_str()).collect()).collect();
        assert_eq!(names, [vec!["a", "b", "c"], vec!["d"], vec!["e"]]);
        assert_eq!(plan.files().nth(1), Some("model-00002-of-00003.safetensors"));
        let index = plan.index().unwrap();
        assert_eq!(index["metadata"], json!({"total_parameters": 58, "total_size": 232}));
        assert_eq!(index["weight_map"]["e"], "model-00003-of-00003.safetensors");

        let whole = Plan::new(tensors(), NumberType::Bf16, u64::MAX).unwrap();
        assert_eq!((whole.files().collect::<Vec<_>>(), whole.index()), (vec![MODEL_FILE], None));
        assert_eq!(whole.bytes(), whole.files[0].header.len() as u64 + 116);
        assert!(Plan::new(vec![outgoing("a", 1), outgoing("a", 1)], NumberType::F32, 64).is_err());
    }

    #[test]
    fn numbers_are_rounded_to_even_and_never_become_infinite() {
        let values = [1.0, -0.0, 1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, f32::MIN_POSITIVE / 4.0, f32::INFINITY];
        let halves: Vec<f32> =
            NumberType::Bf16.encode(&values).unwrap().chunks(2).map(|bytes| bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32()).collect();
        assert_eq!(halves, [1.0, -0.0, 1.0, 1.0 + 4.0 / 256.0, f32::MIN_POSITIVE / 4.0, f32::INFINITY]);
        assert_eq!(NumberType::F32.encode(&values).unwrap(), bytemuck::cast_slice::<f32, u8>(&values));
        assert!(NumberType::F16.encode(&[65504.0, 65519.0]).is_some());
        assert!(NumberType::F16.encode(&[0.0, 65520.0]).is_none());
        assert!(NumberType::Bf16.encode(&[f32::MAX]).is_none());
    }
}
