//! How far the bits of a result may depend on which kernel computed it.

use serde::{Deserialize, Serialize};

/// A class of kernels. Which of them are compatible is for each operation to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Numerics {
    /// Kernels that give the same bits as one another: f32, each sum in one chain. Then a choice among them changes speed and nothing else.
    #[default]
    Exact,
    /// Also kernels that give other bits: split sums. Each of them gives the same bits every time on one adapter, so whoever
    /// wants the same bits again must run the same kernels again.
    Fast,
}

impl Numerics {
    /// Whether this is the default: what a configuration need not say.
    pub fn is_exact(&self) -> bool {
        *self == Numerics::Exact
    }
}
