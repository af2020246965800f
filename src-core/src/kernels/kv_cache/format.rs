//! In which format a KV cache keeps keys and values.

use std::fmt;
use std::str::FromStr;

use crate::gpu::{DType, Value};
use crate::weights::Format;

/// What a number in a KV cache is. Shorter ones are rounded to nearest, ties to even, and past their range to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CacheFormat {
    /// 32-bit floats.
    #[default]
    F32,
    /// IEEE half precision, up to 65,504.
    F16,
    /// The upper halves of 32-bit floats.
    Bf16,
}

impl CacheFormat {
    /// All formats, the exact one first.
    pub const ALL: [CacheFormat; 3] = [CacheFormat::F32, CacheFormat::F16, CacheFormat::Bf16];

    /// Its name, as shaders and the command line spell it.
    pub fn word(self) -> &'static str {
        self.of_weights().word()
    }

    /// The same format of weights: what is read in the same way.
    pub fn of_weights(self) -> Format {
        match self {
            CacheFormat::F32 => Format::F32,
            CacheFormat::F16 => Format::F16,
            CacheFormat::Bf16 => Format::Bf16,
        }
    }

    /// Elements of a tensor that holds `numbers` numbers, an even number of them.
    pub fn elements(self, numbers: usize) -> usize {
        if self == CacheFormat::F32 { numbers } else { numbers / 2 }
    }

    /// The element type of that tensor.
    pub fn dtype(self) -> DType {
        if self == CacheFormat::F32 { DType::F32 } else { DType::U32 }
    }

    /// Bytes of `numbers` numbers.
    pub fn bytes(self, numbers: usize) -> u64 {
        self.elements(numbers) as u64 * self.dtype().bytes()
    }

    /// The value `format` of templates that read a cache.
    pub(in crate::kernels) fn value(self) -> (&'static str, Value) {
        ("format", self.word().into())
    }
}

impl fmt::Display for CacheFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// There is no format of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no format {0:?} of a KV cache; there are f32, f16 and bf16")]
pub struct UnknownCacheFormat(pub String);

impl FromStr for CacheFormat {
    type Err = UnknownCacheFormat;

    fn from_str(word: &str) -> Result<Self, UnknownCacheFormat> {
        Self::ALL.into_iter().find(|format| format.word() == word).ok_or_else(|| UnknownCacheFormat(word.to_owned()))
    }
}
