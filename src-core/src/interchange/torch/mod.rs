//! Reads weights of `torch.save`, and tokenizers pickled by Python, without executing anything.
//!
//! A pickle is a program: loading it can do anything that its author wanted. Imports are about files from
//! strangers, so this reader has no way to call anything. It supports the one zip layout that torch writes
//! (stored entries), the two dozen opcodes and the few globals that these files use, and rejects everything
//! else by name and offset. That closed set is the reason for not using a library: one for zip files decompresses
//! more than torch writes, one for pickles reads more than a state dict contains, and either is a larger attack surface than these
//! few hundred lines. Nothing is allocated based on a file's claims before they are checked against its length.

mod dtype;
mod error;
mod file;
mod opcode;
mod pickle;
mod tensor;
mod tiktoken;
mod zip;

pub use dtype::TorchDtype;
pub use error::{PickleProblem, TensorProblem, TorchError, ZipProblem};
pub use file::{LONGEST_PIECE, MOST_INTEGERS, TorchFile};
pub use tensor::TorchTensor;
pub use tiktoken::{read_tiktoken, tiktoken_from_bytes};
