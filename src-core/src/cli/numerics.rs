//! `--numerics`: which kernels may be chosen.

use crate::gpu::Numerics;
use crate::kernels::precision::Precision;

/// The option, for commands that train.
#[derive(clap::Args)]
pub struct NumericsArgs {
    /// Which kernels may be chosen [default: exact in f32, fast in 16 bits]
    #[arg(long, value_enum, help_heading = "Optimization")]
    numerics: Option<Class>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Class {
    /// Kernels that all give the same bits
    Exact,
    /// Also faster kernels that round differently; a resumed run uses the same ones again
    Fast,
}

impl NumericsArgs {
    /// The class for training in `precision`: who rounds inputs to 16 bits wants speed, and matrix units are in the fast class.
    pub fn numerics(&self, precision: Precision) -> Numerics {
        match self.numerics {
            Some(Class::Exact) => Numerics::Exact,
            Some(Class::Fast) => Numerics::Fast,
            None if precision.is_f32() => Numerics::Exact,
            None => Numerics::Fast,
        }
    }

    /// The class of a run that starts from one of class `base`, perhaps in another `precision`.
    pub fn numerics_or(&self, precision: Option<Precision>, base: Numerics) -> Numerics {
        match (self.numerics, precision) {
            (None, None) => base,
            (_, precision) => self.numerics(precision.unwrap_or_default()),
        }
    }
}
