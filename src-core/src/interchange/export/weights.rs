//! The weights of an export: assigns tensors to files, and writes them in the requested type.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::ExportError;
use crate::checkpoint::tensor_source::{WriteError, write_tensor};
use crate::checkpoint::{MODEL_FILE, TensorFile, TensorSpec, header};
use crate::files::durable::CHUNK;
use crate::files::shown::short;

/// The index file, if the weights are in more than one file.
pub(super) const INDEX_FILE: &str = "model.safetensors.index.json";

/// A tensor to export.
pub(super) struct Outgoing {
    /// Its name in the checkpoint.
    pub source: String,
    /// Its name, shape and format in the export: the first rows of that in the checkpoint.
    pub spec: TensorSpec,
}

impl Outgoing {
    fn elements(&self) -> usize {
        self.spec.elements().unwrap_or(0)
    }

    fn bytes(&self) -> u64 {
        self.spec.bytes().unwrap_or(0) as u64
    }
}

/// Files of weights, before they are written.
pub(super) struct Plan {
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
    pub fn new(tensors: Vec<Outgoing>, most: u64) -> Result<Self, ExportError> {
        let mut groups: Vec<(u64, Vec<Outgoing>)> = Vec::new();
        for tensor in tensors {
            let bytes = tensor.bytes();
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
            .map(|((_, tensors), number)| Ok(Planned { name: name(number), header: header(&tensors)?, tensors }));
        Ok(Self { files: planned.collect::<Result<_, ExportError>>()? })
    }

    /// The names of the files.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }

    /// The bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.header.len() as u64 + data_bytes(file)).sum()
    }

    /// The content of [`INDEX_FILE`]; none if there is only one file.
    pub fn index(&self) -> Option<Value> {
        (self.files.len() > 1).then(|| {
            let places = self.files.iter().flat_map(|file| file.tensors.iter().map(|tensor| (tensor.spec.name.clone(), json!(file.name))));
            let total: u64 = self.files.iter().map(data_bytes).sum();
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
                let index = source.specs().position(|spec| spec.name == tensor.source);
                let index = index.ok_or_else(|| ExportError::Unwritable(format!("it has no tensor {}", short(&tensor.source))))?;
                write_tensor(&mut out, source, index, tensor.spec.format, tensor.elements()).map_err(|error| match error {
                    WriteError::Source(error) => ExportError::Source(error),
                    WriteError::Range(source) => ExportError::TooLarge { tensor: short(&tensor.source), source },
                    WriteError::Io(error) => failed(error),
                })?;
            }
            let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
            file.sync_all().map_err(failed)?;
        }
        Ok(())
    }
}

fn data_bytes(file: &Planned) -> u64 {
    file.tensors.iter().map(Outgoing::bytes).sum()
}

/// The bytes before the tensors, which follow in this order.
fn header(tensors: &[Outgoing]) -> Result<Vec<u8>, ExportError> {
    let specs: Vec<TensorSpec> = tensors.iter().map(|tensor| tensor.spec.clone()).collect();
    // transformers rejects a file that does not name the framework of its tensors.
    let framework = [("format".to_owned(), "pt".to_owned())].into();
    let (header, _) = header::build(&specs, Some(framework)).map_err(ExportError::Unwritable)?;
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Format;

    fn outgoing(name: &str, elements: usize) -> Outgoing {
        Outgoing { source: name.to_owned(), spec: TensorSpec::plain(name, [elements]) }
    }

    #[test]
    fn files_are_filled_in_order_up_to_their_limit() {
        let tensors = || [("a", 10), ("b", 5), ("c", 1), ("d", 40), ("e", 2)].map(|(name, size)| outgoing(name, size)).into();
        let plan = Plan::new(tensors(), 64).unwrap();
        let names: Vec<Vec<&str>> =
            plan.files.iter().map(|file| file.tensors.iter().map(|tensor| tensor.spec.name.as_str()).collect()).collect();
        assert_eq!(names, [vec!["a", "b", "c"], vec!["d"], vec!["e"]]);
        assert_eq!(plan.files().nth(1), Some("model-00002-of-00003.safetensors"));
        let index = plan.index().unwrap();
        assert_eq!(index["metadata"], json!({"total_parameters": 58, "total_size": 232}));
        assert_eq!(index["weight_map"]["e"], "model-00003-of-00003.safetensors");

        let narrow =
            tensors().into_iter().map(|tensor: Outgoing| Outgoing { spec: TensorSpec { format: Format::Bf16, ..tensor.spec }, ..tensor });
        let whole = Plan::new(narrow.collect(), u64::MAX).unwrap();
        assert_eq!((whole.files().collect::<Vec<_>>(), whole.index()), (vec![MODEL_FILE], None));
        assert_eq!(whole.bytes(), whole.files[0].header.len() as u64 + 116);
        assert!(Plan::new(vec![outgoing("a", 1), outgoing("a", 1)], 64).is_err());
    }
}
