//! Whether the bits of a result may depend on which kernel computed it.

use serde::{Deserialize, Serialize};

/// A class of kernels. Each operation defines which of its kernels belong to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Numerics {
    /// Kernels that give the same bits: f32, each sum in one chain. The choice among them only changes the speed.
    #[default]
    Exact,
    /// Also kernels that give other bits: split sums, matrix units. Each of them gives the same bits every time on one adapter, so to
    /// reproduce the bits, the same kernels must run again.
    Fast,
}

impl Numerics {
    /// Whether this is the default, which configurations omit.
    pub fn is_exact(&self) -> bool {
        *self == Numerics::Exact
    }
}
