//! Weights that `torch.save` wrote, and the tokenizer that Python pickled beside them, read without running anything.
//!
//! A pickle is a program: what loads it may do whatever its author wished. Files of strangers are what an import is
//! for, so they are read by a reader that has no way to call anything. It knows the one layout of zip that torch writes
//! (stored entries), the two dozen opcodes and the handful of globals that these files use, and refuses everything
//! else by name and by byte. That closed set is the reason why this is not left to a library: one for zip files unpacks
//! more than torch packs, one for pickles reads more than a state dict says, and either is a larger surface than these
//! few hundred lines. Nothing is allocated by what a file claims before the claim is held against the file's length.

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
