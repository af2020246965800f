//! The safetensors files of a Hugging Face folder: one, or several with an index of their tensors.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::assembled::ForeignTensors;
use super::{ImportError, json};
use crate::checkpoint::header::{self, FormatError, PREFIX, Placed, TensorSpec};
use crate::checkpoint::{Sink, StreamError, stored};
use crate::files::StandIn;
use crate::files::plain::open_regular;
use crate::files::shown::short;

/// The file of a model in a single file.
pub(super) const SINGLE: &str = "model.safetensors";

/// The index of a model in several files.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// The most files of one model.
const MOST_FILES: usize = 1000;

/// The tensors of a model in safetensors files, their headers checked.
pub(super) struct Shards {
    folder: PathBuf,
    files: Vec<Shard>,
    /// By file, and in each by offset.
    tensors: Vec<(usize, Placed)>,
}

struct Shard {
    name: String,
    file: File,
    data_start: u64,
}

#[derive(Deserialize)]
struct Index {
    weight_map: Map<String, Value>,
}

impl Shards {
    /// Whether a folder has such files.
    pub fn are_in(folder: &Path) -> bool {
        folder.join(SINGLE).symlink_metadata().is_ok() || folder.join(INDEX).symlink_metadata().is_ok()
    }

    /// Opens `model.safetensors`, or else the files in the index.
    pub fn open(folder: &Path) -> Result<Self, ImportError> {
        let mut shards = Self { folder: folder.to_path_buf(), files: Vec::new(), tensors: Vec::new() };
        if folder.join(SINGLE).symlink_metadata().is_ok() {
            shards.add(SINGLE)?;
        } else {
            shards.add_indexed(&folder.join(INDEX))?;
        }
        Ok(shards)
    }

    /// The names of the files.
    pub fn names(&self) -> Vec<String> {
        self.files.iter().map(|shard| shard.name.clone()).collect()
    }

    fn add_indexed(&mut self, path: &Path) -> Result<(), ImportError> {
        let index: Index = json::read(path)?;
        let refused = |problem: String| Err(ImportError::refused(path, problem));
        let mut names: Vec<&str> = Vec::new();
        for (tensor, file) in &index.weight_map {
            let Some(name) = file.as_str().filter(|name| is_beside(name)) else {
                return refused(format!("places tensor {} in {}, which is no file beside it", short(tensor), short(&file.to_string())));
            };
            if !names.contains(&name) {
                names.push(name);
            }
            if names.len() > MOST_FILES {
                return refused(format!("names more than {MOST_FILES} files"));
            }
        }
        names.sort_unstable();
        for name in &names {
            self.add(name)?;
        }
        let mut listed: HashMap<&str, usize> = HashMap::new();
        for (tensor, file) in &index.weight_map {
            let file = names.iter().position(|name| Some(*name) == file.as_str()).unwrap_or_default();
            listed.insert(tensor, file);
        }
        let mut held = vec![0usize; names.len()];
        for (file, placed) in &self.tensors {
            match listed.get(placed.spec.name.as_str()) {
                Some(listed) if listed == file => held[*file] += 1,
                Some(listed) => {
                    let (name, other) = (short(&placed.spec.name), &self.files[*listed].name);
                    return refused(format!("says that tensor {name} is in {other}, but it is in {} too", self.files[*file].name));
                }
                None => return refused(format!("does not name tensor {} of {}", short(&placed.spec.name), self.files[*file].name)),
            }
        }
        // A tensor that is listed for a file but not in it.
        let of_file = |file: usize| listed.values().filter(|listed| **listed == file).count();
        if let Some(file) = (0..names.len()).find(|&file| held[file] != of_file(file)) {
            let missing = listed.iter().find(|(name, listed)| **listed == file && !self.holds(file, name)).map_or("", |(name, _)| *name);
            return refused(format!("says that tensor {} is in {}, but it is not there", short(missing), names[file]));
        }
        Ok(())
    }

    fn holds(&self, file: usize, name: &str) -> bool {
        self.tensors.iter().any(|(of, placed)| *of == file && placed.spec.name == name)
    }

    /// Opens a file and checks its header against its length.
    fn add(&mut self, name: &str) -> Result<(), ImportError> {
        let path = self.folder.join(name);
        let format = |problem| ImportError::Format { path: path.clone(), problem };
        let mut file = open_regular(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => ImportError::refused(&path, "is missing"),
            _ => ImportError::io(&path)(error),
        })?;
        if let Some(found) = StandIn::in_file(&mut file).map_err(ImportError::io(&path))? {
            return Err(format(FormatError::StandIn(found)));
        }
        let bytes = file.metadata().map_err(ImportError::io(&path))?.len();
        if bytes < PREFIX {
            return Err(format(FormatError::TooShort(bytes)));
        }
        let mut prefix = [0; PREFIX as usize];
        file.read_exact(&mut prefix).map_err(ImportError::io(&path))?;
        let length = header::length(prefix, bytes).map_err(format)?;
        let mut json = vec![0; length as usize];
        file.read_exact(&mut json).map_err(ImportError::io(&path))?;
        let data_start = PREFIX + length;
        let tensors = header::parse(&json, bytes - data_start).map_err(format)?;
        self.tensors.extend(tensors.into_iter().map(|placed| (self.files.len(), placed)));
        self.files.push(Shard { name: name.to_owned(), file, data_start });
        Ok(())
    }
}

/// Whether a name from the index is that of a safetensors file in the same folder, and not a path elsewhere.
fn is_beside(name: &str) -> bool {
    name.ends_with(".safetensors") && !name.starts_with('.') && !name.contains(['/', '\\', ':', '\0'])
}

impl ForeignTensors for Shards {
    fn path(&self) -> &Path {
        &self.folder
    }

    fn specs(&self) -> Vec<TensorSpec> {
        self.tensors.iter().map(|(_, placed)| placed.spec.clone()).collect()
    }

    fn stream(&mut self, index: usize, sink: &mut Sink<'_>) -> Result<(), StreamError> {
        let (file, placed) = &self.tensors[index];
        let shard = &mut self.files[*file];
        let path = self.folder.join(&shard.name);
        let failed = |source| StreamError::Source(Box::new(ImportError::Io { path: path.clone(), source }));
        for piece in stored::pieces(&mut shard.file, shard.data_start, placed) {
            sink(&piece.map_err(failed)?).map_err(StreamError::Sink)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    #[test]
    fn names_that_lead_elsewhere_are_not_beside() {
        assert!(is_beside("model-00001-of-00002.safetensors"));
        for name in
            ["../x.safetensors", "/x.safetensors", "a/x.safetensors", "a\\x.safetensors", "c:x.safetensors", "x.bin", ".safetensors"]
        {
            assert!(!is_beside(name), "{name}");
        }
    }

    #[test]
    fn narrow_types_become_the_same_numbers_in_f32() {
        let folder = tempfile::tempdir().unwrap();
        let numbers: Vec<f32> = (0..100_000).map(|i| (i % 97) as f32 * 0.25 - 12.0).collect();
        let narrow: Vec<u8> = numbers.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect();
        let half: Vec<u8> = numbers.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect();
        let header = r#"{"b":{"dtype":"BF16","shape":[1000,100],"data_offsets":[0,200000]},
            "h":{"dtype":"F16","shape":[100000],"data_offsets":[200000,400000]}}"#;
        let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &narrow, &half].concat();
        std::fs::write(folder.path().join(SINGLE), file).unwrap();
        let mut shards = Shards::open(folder.path()).unwrap();
        for index in 0..2 {
            let mut read = Vec::new();
            shards
                .stream(index, &mut |piece| {
                    read.extend_from_slice(piece);
                    Ok(())
                })
                .unwrap();
            assert!(read == numbers, "{index}");
        }
    }
}
