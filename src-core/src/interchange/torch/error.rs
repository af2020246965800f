//! What can be wrong with a file of torch or Python, each as one sentence that names the file.

use std::io;
use std::path::PathBuf;

use super::dtype::TorchDtype;
use crate::files::StandIn;
use crate::tokenizer::TokenizerError;

/// A `.pt` or `.pkl` file was not read.
#[derive(Debug, thiserror::Error)]
pub enum TorchError {
    /// The system failed to read it.
    #[error("cannot read {path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is a stand-in for another file.
    #[error("{path} {found}", path = path.display())]
    StandIn {
        /// The file.
        path: PathBuf,
        /// What it is, and what to do.
        found: StandIn,
    },
    /// It is not the zip archive that `torch.save` writes.
    #[error("{path} {problem}", path = path.display())]
    Zip {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: ZipProblem,
    },
    /// Its pickle is rejected. Nothing in it was executed.
    #[error("{path} is refused: at byte {offset} its pickle {problem}", path = path.display())]
    Pickle {
        /// The file.
        path: PathBuf,
        /// The offset of the faulty opcode in the pickle: in `data.pkl` of a `.pt` file.
        offset: usize,
        /// What is wrong with it; continues a sentence after "its pickle".
        problem: PickleProblem,
    },
    /// A tensor is invalid.
    #[error("{path} is refused: tensor {name}{place} {problem}", path = path.display(),
        place = offset.map_or(String::new(), |offset| format!(", made at byte {offset} of data.pkl,")))]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor, quoted.
        name: String,
        /// The offset in the pickle where it is built, if it is.
        offset: Option<usize>,
        /// What is wrong with it; continues a sentence after its name.
        problem: TensorProblem,
    },
    /// The pickle is well-formed, but does not contain a tokenizer.
    #[error("{path}: {source}", path = path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TokenizerError,
    },
    /// The consumer of the elements failed.
    #[error(transparent)]
    Sink(io::Error),
}

/// Why a file is not a zip archive as `torch.save` writes it; continues a sentence after the file's name.
#[derive(Debug, thiserror::Error)]
pub enum ZipProblem {
    /// It begins with something else.
    #[error("is not a file of torch.save: it does not begin as a zip archive")]
    NotZip,
    /// It has the format from before torch 1.6.
    #[error("is in the format that torch wrote before version 1.6: load it with a current torch and save it again")]
    Legacy,
    /// It does not end as a zip archive.
    #[error("is cut short or altered: it does not end with the directory of a zip archive")]
    End,
    /// It is one volume of several.
    #[error("is one volume of a zip archive in several")]
    Volumes,
    /// The directory contradicts itself or the file.
    #[error("has a zip directory that {0}")]
    Directory(&'static str),
    /// An entry is encrypted.
    #[error("has an encrypted entry {0}; torch.save encrypts nothing")]
    Encrypted(String),
    /// An entry is compressed.
    #[error("has entry {name} compressed by method {method}; torch.save compresses nothing")]
    Compressed {
        /// The entry.
        name: String,
        /// The number of the method; 8 is deflate.
        method: u16,
    },
    /// An entry uses a feature of zip that torch does not.
    #[error("has entry {name} with flags {flags:#06x}, which torch.save never sets")]
    Flags {
        /// The entry.
        name: String,
        /// Its general purpose flags.
        flags: u16,
    },
    /// A name is not UTF-8, or not in the folder that all others are in.
    #[error("has an entry {0} that is not in the one folder of the archive")]
    Name(String),
    /// Two entries have one name.
    #[error("has two entries {0}")]
    Duplicate(String),
    /// An entry is not before the directory, or overlaps another one.
    #[error("has entry {0} where it overlaps another, or the directory, or the file's end")]
    Place(String),
    /// An entry's own header differs from the directory.
    #[error("has entry {0} whose header differs from the directory")]
    Local(String),
    /// An entry is longer than such an entry can be.
    #[error("has entry {name} of {bytes} bytes, more than the {most} that are read")]
    Long {
        /// The entry.
        name: String,
        /// Its length.
        bytes: u64,
        /// The longest that is read.
        most: u64,
    },
    /// An entry's bytes are not the ones that were written.
    #[error("was altered: entry {0} does not have the CRC-32 that was written with it")]
    Crc(String),
    /// It has no pickle of tensors.
    #[error("is not a file of torch.save: it has no entry data.pkl")]
    NoPickle,
    /// It is a program.
    #[error("is a TorchScript program; only weights that torch.save wrote are read")]
    TorchScript,
    /// Its numbers are not little-endian.
    #[error("was written in byte order {0}; only \"little\" is read")]
    ByteOrder(String),
}

/// Why a pickle is rejected; continues a sentence after "its pickle".
#[derive(Debug, thiserror::Error)]
pub enum PickleProblem {
    /// It is too long to be such a file.
    #[error("goes on past {0} bytes, which is more than such a file has")]
    TooLong(usize),
    /// Its protocol is missing or unsupported.
    #[error("does not begin with a protocol from 2 to 5")]
    Protocol,
    /// An opcode that these files do not use.
    #[error("has opcode {0}, which such a file does not need; nothing was run")]
    Opcode(&'static str),
    /// A byte that is no opcode at all.
    #[error("has {0:#04x}, which is no opcode")]
    NoOpcode(u8),
    /// A global that these files do not use.
    #[error("names {0}, which is none of the globals that such a file needs; nothing was run")]
    Global(String),
    /// A global that is known, used as it never is.
    #[error("gives {global} to opcode {opcode}, which is not how such a file uses it; nothing was run")]
    Usage {
        /// The global.
        global: String,
        /// The opcode.
        opcode: &'static str,
    },
    /// It ends inside an opcode, or an opcode reaches out of its frame.
    #[error("ends within opcode {0}, or its frame does")]
    CutShort(&'static str),
    /// A frame is longer than the file, or inside another.
    #[error("has a frame of {0} bytes, which do not fit here")]
    Frame(u64),
    /// An opcode pops more than the stack contains.
    #[error("has opcode {0} with too little on the stack")]
    Underflow(&'static str),
    /// An opcode finds something of the wrong type on the stack.
    #[error("has opcode {opcode} where the stack has no {needs}")]
    Operand {
        /// The opcode.
        opcode: &'static str,
        /// What it needs.
        needs: &'static str,
    },
    /// A memo entry that was never written is read.
    #[error("reads memo entry {index} of {count}")]
    Get {
        /// Which one.
        index: u32,
        /// How many there are.
        count: usize,
    },
    /// A memo entry is written out of order.
    #[error("writes memo entry {index} where {count} comes next")]
    Put {
        /// Which one.
        index: u32,
        /// How many there are.
        count: usize,
    },
    /// A limit is exceeded.
    #[error("has more than {most} {what}, which is more than such a file has")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        most: usize,
    },
    /// Text is not UTF-8.
    #[error("has text that is not UTF-8")]
    Utf8,
    /// A whole number does not fit 64 bits.
    #[error("has a whole number of {0} bytes; at most 8 are read")]
    Wide(u8),
    /// A dict's key has an unsupported type.
    #[error("has a dict key that is neither text nor bytes nor a whole number")]
    Key,
    /// A dict has a key twice, and readers would differ in which value they keep.
    #[error("has the key {0} twice in one dict")]
    DuplicateKey(String),
    /// Something is left over at the end.
    #[error("does not end with one value and the end of the file")]
    End,
    /// It is neither a dict of tensors nor a tensor.
    #[error("holds neither tensors by name nor a tensor")]
    NoTensors,
    /// It is not a tiktoken encoding.
    #[error("holds no tiktoken encoding: {0}")]
    NoEncoding(String),
}

/// Why a tensor is rejected; continues a sentence after its name.
#[derive(Debug, thiserror::Error)]
pub enum TensorProblem {
    /// There is something else under its name.
    #[error("is not a tensor that torch.save put there")]
    NotATensor,
    /// The arguments that rebuild it are not those that torch writes.
    #[error("is put together from something else than {0}")]
    Arguments(&'static str),
    /// Its storage is not in the archive.
    #[error("has its elements in storage {0}, which the file does not have")]
    NoStorage(String),
    /// Its storage has another length than the file gives it.
    #[error("says that its storage has {elements} elements of {dtype}; the file has {bytes} bytes there")]
    StorageLength {
        /// Elements according to the pickle.
        elements: i64,
        /// Their type.
        dtype: TorchDtype,
        /// Bytes in the archive.
        bytes: u64,
    },
    /// Its shape cannot be: a negative axis, too many axes, more elements than can be counted.
    #[error("has an impossible shape")]
    Shape,
    /// Its strides are negative or not as many as its axes.
    #[error("has impossible strides")]
    Strides,
    /// It reaches out of its storage.
    #[error("reaches out of its storage of {0} elements")]
    OutOfStorage(u64),
    /// Its elements are not in row-major order.
    #[error("is a view whose elements do not lie row by row: save a contiguous copy of it")]
    View,
    /// It shares some elements of its storage with another tensor.
    #[error("overlaps tensor {0} without being the same")]
    Overlap(String),
    /// Its elements cannot be converted to f32.
    #[error("is of {0}; only float32, float16 and bfloat16 are read as weights")]
    NotFloat(TorchDtype),
    /// Its elements are not integers.
    #[error("is of {0} instead of whole numbers")]
    NotInteger(TorchDtype),
    /// It is too long to be read at once.
    #[error("has {elements} elements, more than the {most} that are read at once")]
    Long {
        /// Its elements.
        elements: u64,
        /// The most that are read at once.
        most: u64,
    },
}
