//! Reads a safetensors file one tensor at a time, so that a model is uploaded to the GPU without being in memory as a whole.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::header::{self, FormatError, PREFIX, Placed, TensorSpec};
use super::stored;
use super::tensor_source::{Sink, SourceError, StreamError, TensorSource};
use crate::files::StandIn;
use crate::files::plain::open_regular;
use crate::files::shown::short;
use crate::weights::{Format, Matrix};

/// A safetensors file whose header has been checked, open for reading its tensors by name.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: File,
    /// In the order of the file.
    tensors: Vec<Placed>,
    /// Where the data begins.
    data_start: u64,
    index: HashMap<String, usize>,
}

/// A file of tensors could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TensorFileError {
    /// It is not a safetensors file of tensors that are read.
    #[error("{path} {problem}", path = path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: FormatError,
    },
    /// It has no tensor of that name.
    #[error("{path} has no tensor {name}", path = path.display())]
    NoSuchTensor {
        /// The file.
        path: PathBuf,
        /// The name, quoted.
        name: String,
    },
    /// The system failed to read it.
    #[error("cannot read {path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// A file's tensors are not those of the model: the checkpoint is of another config.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Mismatch {
    /// The file.
    pub path: PathBuf,
    /// Tensors of the model that the file does not have.
    pub missing: Vec<String>,
    /// Tensors of the file that the model does not have.
    pub extra: Vec<String>,
    /// Name, shape in the file, shape in the model.
    pub reshaped: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reshaped: Vec<_> =
            self.reshaped.iter().map(|(name, has, wants)| format!("{} is {has:?} instead of {wants:?}", short(name))).collect();
        let missing: Vec<_> = self.missing.iter().map(|name| format!("{} is missing", short(name))).collect();
        let extra: Vec<_> = self.extra.iter().map(|name| format!("{} is not in the model", short(name))).collect();
        write!(f, "{} is of another config: ", self.path.display())?;
        for (position, list) in [reshaped, missing, extra].iter().filter(|list| !list.is_empty()).enumerate() {
            const SHOWN: usize = 3;
            f.write_str(if position > 0 { "; " } else { "" })?;
            f.write_str(&list[..list.len().min(SHOWN)].join(", "))?;
            if list.len() > SHOWN {
                write!(f, " and {} more such", list.len() - SHOWN)?;
            }
        }
        Ok(())
    }
}

impl TensorFile {
    /// Opens a file and checks its header against its length. Reads no tensor.
    pub fn open(path: &Path) -> Result<Self, TensorFileError> {
        let failed = |source| TensorFileError::Io { path: path.to_path_buf(), source };
        let file = open_regular(path).map_err(failed)?;
        Self::from_file(file, path)
    }

    /// The same for an open file, at any position.
    pub(super) fn from_file(mut file: File, path: &Path) -> Result<Self, TensorFileError> {
        let failed = |source| TensorFileError::Io { path: path.to_path_buf(), source };
        let format = |problem| TensorFileError::Format { path: path.to_path_buf(), problem };

        if let Some(found) = StandIn::in_file(&mut file).map_err(failed)? {
            return Err(format(FormatError::StandIn(found)));
        }
        let file_bytes = file.metadata().map_err(failed)?.len();
        if file_bytes < PREFIX {
            return Err(format(FormatError::TooShort(file_bytes)));
        }
        let mut prefix = [0; PREFIX as usize];
        file.seek(SeekFrom::Start(0)).and_then(|_| file.read_exact(&mut prefix)).map_err(failed)?;
        let length = header::length(prefix, file_bytes).map_err(format)?;
        let mut json = vec![0; length as usize];
        file.read_exact(&mut json).map_err(failed)?;
        let data_start = PREFIX + length;
        let tensors = header::parse(&json, file_bytes - data_start).map_err(format)?;

        let index = tensors.iter().enumerate().map(|(index, placed)| (placed.spec.name.clone(), index)).collect();
        Ok(Self { path: path.to_path_buf(), file, tensors, data_start, index })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names, shapes and formats, in the order of the file.
    pub fn specs(&self) -> impl ExactSizeIterator<Item = &TensorSpec> {
        self.tensors.iter().map(|placed| &placed.spec)
    }

    /// The format of most of its elements: nanochat's tables are bf16 next to matrices in f32, and in any format the gates are f32.
    pub fn format(&self) -> Format {
        let of = |format| self.specs().filter(|spec| spec.format == format).filter_map(TensorSpec::elements).sum::<usize>();
        Format::ALL.into_iter().rev().max_by_key(|&format| of(format)).unwrap_or_default()
    }

    /// Checks that the file has exactly these tensors, by name and shape, in any order.
    pub fn expect(&self, model: &[(&str, &[usize])]) -> Result<(), Mismatch> {
        let mut mismatch = Mismatch { path: self.path.clone(), missing: Vec::new(), extra: Vec::new(), reshaped: Vec::new() };
        for &(name, shape) in model {
            match self.index.get(name).map(|&index| &self.tensors[index].spec.shape) {
                None => mismatch.missing.push(name.to_owned()),
                Some(has) if has != shape => mismatch.reshaped.push((name.to_owned(), has.clone(), shape.to_vec())),
                Some(_) => {}
            }
        }
        let wanted: std::collections::HashSet<_> = model.iter().map(|(name, _)| *name).collect();
        mismatch.extra.extend(self.specs().map(|spec| &spec.name).filter(|name| !wanted.contains(name.as_str())).cloned());
        let same = mismatch.missing.is_empty() && mismatch.extra.is_empty() && mismatch.reshaped.is_empty();
        if same { Ok(()) } else { Err(mismatch) }
    }

    /// Reads a tensor: its elements as floats, row-major, exactly as they were written.
    pub fn read(&mut self, name: &str) -> Result<Vec<f32>, TensorFileError> {
        Ok(self.read_matrix(name)?.into_f32())
    }

    /// Reads a tensor in its own format. One without two axes is a matrix with a column.
    pub fn read_matrix(&mut self, name: &str) -> Result<Matrix, TensorFileError> {
        let no_such = || TensorFileError::NoSuchTensor { path: self.path.clone(), name: short(name) };
        let index = *self.index.get(name).ok_or_else(no_such)?;
        // The header's check ensures that the count does not overflow and that the file is that long.
        stored::matrix(&mut self.file, self.data_start, &self.tensors[index])
            .map_err(|source| TensorFileError::Io { path: self.path.clone(), source })
    }
}

/// For copying: the tensors in the order of the file.
impl TensorSource for TensorFile {
    fn specs(&self) -> Vec<TensorSpec> {
        self.specs().cloned().collect()
    }

    fn fetch(&mut self, index: usize) -> Result<Cow<'_, [f32]>, SourceError> {
        let name = self.tensors[index].spec.name.clone();
        Ok(Cow::Owned(self.read(&name)?))
    }

    fn stream(&mut self, index: usize, sink: &mut Sink<'_>) -> Result<(), StreamError> {
        let failed = |source| StreamError::Source(Box::new(TensorFileError::Io { path: self.path.clone(), source }));
        for piece in stored::pieces(&mut self.file, self.data_start, &self.tensors[index]) {
            sink(&piece.map_err(failed)?).map_err(StreamError::Sink)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::durable::CHUNK;

    /// More than two pieces, and not a whole number of them.
    const LONG: usize = 2 * CHUNK / size_of::<f32>() + 3;

    fn write(folder: &Path, tensors: &[(&str, Vec<f32>)]) -> PathBuf {
        let specs: Vec<_> = tensors.iter().map(|(name, data)| TensorSpec::plain(*name, [data.len()])).collect();
        let (mut bytes, _) = header::build(&specs, None).unwrap();
        tensors.iter().for_each(|(_, data)| bytes.extend_from_slice(bytemuck::cast_slice(data)));
        let path = folder.join("model.safetensors");
        fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn tensors_are_read_and_streamed_in_any_order() {
        let folder = tempfile::tempdir().unwrap();
        let long: Vec<f32> = (0..LONG).map(|i| i as f32).collect();
        let tensors = [("short", vec![-1.0, -2.0]), ("long", long), ("none", vec![])];
        let mut file = TensorFile::open(&write(folder.path(), &tensors)).unwrap();
        for index in [1, 0, 2, 0, 1] {
            let mut pieces = Vec::new();
            file.stream(index, &mut |piece| {
                assert!(size_of_val(piece) <= CHUNK);
                pieces.extend_from_slice(piece);
                Ok(())
            })
            .unwrap();
            let (name, data) = &tensors[index];
            assert!(pieces == *data && file.read(name).unwrap() == *data, "{name}");
        }
    }

    #[test]
    fn what_is_no_such_file_is_told_by_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let problem = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            match TensorFile::open(&path) {
                Err(TensorFileError::Format { problem, .. }) => problem,
                other => panic!("{other:?}"),
            }
        };
        assert!(matches!(problem(&[0; 7]), FormatError::TooShort(7)));
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n";
        assert!(matches!(problem(pointer), FormatError::StandIn(StandIn::LfsPointer)));
    }
}
