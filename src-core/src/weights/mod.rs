//! Formats of weights: what a matrix becomes in 16, 8 or 4 bits, and how its words lie in a buffer. Runs on the CPU, and is the
//! definition of what the shaders read (`shaders/shared/weights.wgsl`).
//!
//! | format | bits per weight | a weight is |
//! |---|---|---|
//! | `f32` | 32 | itself |
//! | `bf16` | 16 | rounded to nearest, ties to even |
//! | `f16` | 16 | the same; values above 65,504 are refused |
//! | `q8` | 8.5 | s · q with q from −127 to 127, and an f16 scale s for each [`BLOCK`] of a row |
//! | `q4` | 4.5 | s · q with q from −8 to 7, the same |

mod blocks;
mod matrix;
mod storage;

pub use matrix::{Matrix, OutOfRange, Values};
pub use storage::{Order, Storage};

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Weights of a row that share a scale.
pub const BLOCK: usize = 32;

/// How the weights of a matrix are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// 32-bit floats.
    #[default]
    F32,
    /// The upper halves of 32-bit floats.
    Bf16,
    /// IEEE half precision.
    F16,
    /// Blocks of 8-bit integers with a scale.
    Q8,
    /// Blocks of 4-bit integers with a scale.
    Q4,
}

impl Format {
    /// All formats, widest first.
    pub const ALL: [Format; 5] = [Format::F32, Format::Bf16, Format::F16, Format::Q8, Format::Q4];

    /// Its name, as files, shaders and the command line spell it.
    pub fn word(self) -> &'static str {
        match self {
            Format::F32 => "f32",
            Format::Bf16 => "bf16",
            Format::F16 => "f16",
            Format::Q8 => "q8",
            Format::Q4 => "q4",
        }
    }

    /// Whether weights come in blocks with a scale.
    pub fn has_blocks(self) -> bool {
        matches!(self, Format::Q8 | Format::Q4)
    }

    /// The format for rows of `columns` weights: this one, or [`F32`](Format::F32) if they do not fill whole blocks, or for 16 bits
    /// whole groups of four.
    pub fn for_rows_of(self, columns: usize) -> Format {
        let unit = if self.has_blocks() { BLOCK } else { 4 };
        if columns.is_multiple_of(unit) { self } else { Format::F32 }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// There is no format of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no format {0:?} of weights; there are f32, bf16, f16, q8 and q4")]
pub struct UnknownFormat(pub String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(word: &str) -> Result<Self, UnknownFormat> {
        Self::ALL.into_iter().find(|format| format.word() == word).ok_or_else(|| UnknownFormat(word.to_owned()))
    }
}

#[cfg(test)]
mod testing {
    use rand::{Rng, SeedableRng};

    /// `len` numbers from −`magnitude` to `magnitude`.
    pub fn random(seed: u64, len: usize, magnitude: f32) -> Vec<f32> {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        (0..len).map(|_| rng.random_range(-magnitude..=magnitude)).collect()
    }
}
