//! A `.pt` file open for reading its tensors, one at a time and streamed, so that a model of any size
//! needs little memory.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use half::{bf16, f16};

use super::dtype::TorchDtype;
use super::error::{TensorProblem, TorchError, ZipProblem};
use super::pickle::{self, Pickle};
use super::tensor::{self, GLOBALS, Place, Refusal, TorchTensor};
use super::zip::{Archive, ZipError};
use crate::files::StandIn;
use crate::files::plain::open_regular;
use crate::files::shown::short;

/// The most elements that [`TorchFile::stream`] passes on at once: 512 KiB of f32.
pub const LONGEST_PIECE: usize = 1 << 17;

/// The most elements that [`TorchFile::integers`] reads.
pub const MOST_INTEGERS: u64 = 1 << 22;

/// A file of `torch.save` with tensors by name, or a single one. Its directory and its pickle have been checked.
#[derive(Debug)]
pub struct TorchFile<R = File> {
    path: PathBuf,
    archive: Archive<R>,
    tensors: Vec<TorchTensor>,
    places: Vec<Place>,
}

impl TorchFile {
    /// Opens a file: reads its directory and its pickle, but no tensor.
    pub fn open(path: &Path) -> Result<Self, TorchError> {
        let io = |source| TorchError::Io { path: path.to_path_buf(), source };
        let mut file = open_regular(path).map_err(io)?;
        match StandIn::in_file(&mut file).map_err(io)? {
            Some(found) => Err(TorchError::StandIn { path: path.to_path_buf(), found }),
            None => Self::from_reader(file, path),
        }
    }
}

impl<R: Read + Seek> TorchFile<R> {
    /// The same for an open file; errors refer to it as `path`.
    pub fn from_reader(reader: R, path: &Path) -> Result<Self, TorchError> {
        let zip = |error| zip_error(path, error);
        let problem = |problem| zip_error(path, ZipError::Problem(problem));
        let mut archive = Archive::open(reader).map_err(zip)?;
        if archive.find("constants.pkl").is_some() {
            return Err(problem(ZipProblem::TorchScript));
        }
        // Torch before 2.1 did not record the byte order.
        if let Some(entry) = archive.find("byteorder") {
            const LONGEST_WORD: u64 = 16;
            let order = archive.read(entry, LONGEST_WORD).map_err(zip)?;
            if order != b"little" {
                return Err(problem(ZipProblem::ByteOrder(short(&String::from_utf8_lossy(&order)))));
            }
        }
        let entry = archive.find("data.pkl").ok_or_else(|| problem(ZipProblem::NoPickle))?;
        let bytes = archive.read(entry, pickle::LONGEST as u64).map_err(zip)?;
        let refused = |offset, problem| TorchError::Pickle { path: path.to_path_buf(), offset, problem };
        let pickle = Pickle::read(&bytes, GLOBALS).map_err(|error| refused(error.offset, error.problem))?;
        let found = tensor::tensors(&pickle, |name| archive.find(name).map(|entry| (entry, archive.bytes(entry))));
        let found = found.map_err(|refusal| match refusal {
            Refusal::Pickle(problem) => refused(bytes.len(), problem),
            Refusal::Tensor { name, offset, problem } => TorchError::Tensor { path: path.to_path_buf(), name, offset, problem },
        })?;
        let (tensors, places) = found.into_iter().unzip();
        Ok(Self { path: path.to_path_buf(), archive, tensors, places })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names, shapes and types, in the order of the file. Names are unique.
    pub fn tensors(&self) -> &[TorchTensor] {
        &self.tensors
    }

    /// Streams the elements of the tensor [`Self::tensors`]`[index]` to `sink` as f32, row-major, in pieces of at most
    /// [`LONGEST_PIECE`]. Every float16 and bfloat16 is representable in f32, so nothing is rounded.
    ///
    /// # Errors
    /// If the tensor is not of one of these three types, the file cannot be read or was altered, or `sink` fails. An
    /// alteration is only detected at the end of a tensor: on an error, what `sink` received may have been wrong.
    ///
    /// # Panics
    /// If there is no such tensor.
    pub fn stream(&mut self, index: usize, sink: &mut dyn FnMut(&[f32]) -> io::Result<()>) -> Result<(), TorchError> {
        let decode: fn(&[u8], &mut Vec<f32>) = match self.tensors[index].dtype {
            TorchDtype::F32 => |bytes, out| out.extend(elements(bytes).map(f32::from_le_bytes)),
            TorchDtype::F16 => |bytes, out| out.extend(elements(bytes).map(|element| f16::from_le_bytes(element).to_f32())),
            TorchDtype::BF16 => |bytes, out| out.extend(elements(bytes).map(|element| bf16::from_le_bytes(element).to_f32())),
            other => return Err(self.refuse(index, TensorProblem::NotFloat(other))),
        };
        let mut floats = Vec::new();
        self.pieces(index, &mut |bytes| {
            floats.clear();
            decode(bytes, &mut floats);
            sink(&floats)
        })
    }

    /// The elements of an integer tensor, row-major.
    ///
    /// # Errors
    /// If the tensor is of another type or longer than [`MOST_INTEGERS`], or the file cannot be read or was altered.
    ///
    /// # Panics
    /// If there is no such tensor.
    pub fn integers(&mut self, index: usize) -> Result<Vec<i64>, TorchError> {
        let dtype = self.tensors[index].dtype;
        let decode: fn(&[u8], &mut Vec<i64>) = match dtype {
            TorchDtype::I64 => |bytes, out| out.extend(elements(bytes).map(i64::from_le_bytes)),
            TorchDtype::I32 => |bytes, out| out.extend(elements(bytes).map(|element| i64::from(i32::from_le_bytes(element)))),
            TorchDtype::I16 => |bytes, out| out.extend(elements(bytes).map(|element| i64::from(i16::from_le_bytes(element)))),
            TorchDtype::I8 => |bytes, out| out.extend(elements(bytes).map(|element| i64::from(i8::from_le_bytes(element)))),
            TorchDtype::U8 => |bytes, out| out.extend(bytes.iter().map(|&element| i64::from(element))),
            other => return Err(self.refuse(index, TensorProblem::NotInteger(other))),
        };
        let elements = self.places[index].bytes / dtype.bytes() as u64;
        if elements > MOST_INTEGERS {
            return Err(self.refuse(index, TensorProblem::Long { elements, most: MOST_INTEGERS }));
        }
        let mut integers = Vec::with_capacity(elements as usize);
        self.pieces(index, &mut |bytes| {
            decode(bytes, &mut integers);
            Ok(())
        })?;
        Ok(integers)
    }

    /// Passes the bytes of a tensor to `each` in pieces of whole elements.
    fn pieces(&mut self, index: usize, each: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<(), TorchError> {
        let Place { entry, start, bytes } = self.places[index];
        let result = self.archive.stream(entry, start, bytes, |piece| each(piece).map_err(Failed::Sink));
        result.map_err(|failed| match failed {
            Failed::Zip(error) => zip_error(&self.path, error),
            Failed::Sink(error) => TorchError::Sink(error),
        })
    }

    fn refuse(&self, index: usize, problem: TensorProblem) -> TorchError {
        TorchError::Tensor { path: self.path.clone(), name: short(&self.tensors[index].name), offset: None, problem }
    }
}

/// The elements of `N` bytes each that `bytes` consists of.
fn elements<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks().0.iter().copied()
}

/// Reading failed, or the consumer did.
enum Failed {
    Zip(ZipError),
    Sink(io::Error),
}

impl From<ZipError> for Failed {
    fn from(error: ZipError) -> Self {
        Self::Zip(error)
    }
}

fn zip_error(path: &Path, error: ZipError) -> TorchError {
    let path = path.to_path_buf();
    match error {
        ZipError::Io(source) => TorchError::Io { path, source },
        ZipError::Problem(problem) => TorchError::Zip { path, problem },
    }
}
