//! What the inputs of a product are rounded to in mixed-precision training: Micikevicius et al. 2018,
//! <https://arxiv.org/abs/1710.03740>. Sums are f32 in any case, and so is everything between products.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::weights::Format;

/// The format in which products read their inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// As they are.
    #[default]
    F32,
    /// Rounded to IEEE half precision: 11 bits, up to 65,504. Gradients need a loss scale.
    F16,
    /// Rounded to the upper half of an f32: 8 bits, with f32's range.
    Bf16,
}

impl Precision {
    /// All of them, the most precise first.
    pub const ALL: [Precision; 3] = [Precision::F32, Precision::F16, Precision::Bf16];

    /// The format of a rounded input.
    pub fn format(self) -> Format {
        match self {
            Precision::F32 => Format::F32,
            Precision::F16 => Format::F16,
            Precision::Bf16 => Format::Bf16,
        }
    }

    /// Its name, as files and the command line spell it.
    pub fn word(self) -> &'static str {
        self.format().word()
    }

    /// Whether this is the default, which configurations omit.
    pub fn is_f32(&self) -> bool {
        *self == Precision::F32
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// There is no precision of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no precision {0:?} of training; there are f32, f16 and bf16")]
pub struct UnknownPrecision(pub String);

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(word: &str) -> Result<Self, UnknownPrecision> {
        Self::ALL.into_iter().find(|precision| precision.word() == word).ok_or_else(|| UnknownPrecision(word.to_owned()))
    }
}

/// How a product reads A and B.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// What they are rounded to.
    pub precision: Precision,
    /// They are multiplied with 2 to these powers before, and the product with what undoes both. This is exact, and keeps a matrix
    /// inside the range of f16.
    pub exponents: [i32; 2],
}

impl Inputs {
    /// Inputs as they are.
    pub const F32: Inputs = Inputs { precision: Precision::F32, exponents: [0; 2] };

    /// Both rounded to `precision`, without a factor.
    pub fn rounded(precision: Precision) -> Self {
        Self { precision, exponents: [0; 2] }
    }

    /// The factor of the product that undoes both exponents.
    pub fn undo(self) -> f32 {
        2f32.powi(-self.exponents.iter().sum::<i32>())
    }
}
