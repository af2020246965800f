//! Every kernel against its f64 twin, on any adapter: what the tests assert, as a list that a program can run
//! and report on. A check covers small shapes, shapes at the edges of tiles and workgroups, and one of a real model.

pub(crate) mod data;

mod attention;
mod checker;
mod model;
mod optimizer;
mod products;
mod sample;

use crate::gpu::{Gpu, GpuError};
use checker::Checker;

/// The check of one kernel module.
#[derive(Clone, Copy)]
pub struct Check {
    /// The module's name.
    pub name: &'static str,
    /// The shader files that it runs, in whichever form the adapter gets. Together, the checks run every shader.
    pub shaders: &'static [&'static str],
    run: fn(&mut Checker<'_>) -> Result<(), GpuError>,
}

/// A result of a kernel compared with its twin's.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Which result, such as `dx`.
    pub what: String,
    /// The shape of the operands.
    pub shape: String,
    /// The difference from the twin's: for floats relative to the size of the result, for integers the number of wrong ones.
    pub error: f64,
    /// The largest error that passes.
    pub bar: f64,
}

impl Comparison {
    /// Whether the error is within the bar.
    pub fn passed(&self) -> bool {
        self.error <= self.bar
    }
}

impl Check {
    /// Runs the check; with `realistic`, also on the shape of a real model.
    ///
    /// # Errors
    /// If the device rejects a shader or is lost.
    pub fn run(&self, gpu: &Gpu, realistic: bool) -> Result<Vec<Comparison>, GpuError> {
        let mut checker = Checker::new(gpu, realistic);
        (self.run)(&mut checker)?;
        Ok(checker.finish())
    }
}

/// The checks of all kernels, by name.
pub fn all() -> Vec<Check> {
    let mut all = [model::CHECKS, products::CHECKS, attention::CHECKS, optimizer::CHECKS, sample::CHECKS].concat();
    all.sort_by_key(|check| check.name);
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::gpu::{Capabilities, Forced, MatrixShapes, Subgroups};
    use crate::kernels;

    /// Capabilities of all kinds, so that their variants are all variants.
    fn kinds() -> Vec<Capabilities> {
        let matrices = MatrixShapes { eight: true, sixteen: true };
        let most = Capabilities {
            f16: true,
            int64: true,
            matrices,
            integer_dot: true,
            subgroups: Some(Subgroups { least: 8, most: 8 }),
            ..Capabilities::LEAST
        };
        Forced::ALL.into_iter().map(|forced| most.forced(forced)).chain([Capabilities::LEAST]).collect()
    }

    /// A kernel without a check fails here: name its shader in the list of the check that runs it.
    #[test]
    fn every_shader_has_a_check_and_every_check_a_shader() {
        let shaders: BTreeSet<&str> = kinds().into_iter().flat_map(kernels::variants).map(|variant| variant.shader.name).collect();
        let checked: BTreeSet<&str> = all().iter().flat_map(|check| check.shaders.iter().copied()).collect();
        assert_eq!(shaders, checked);
    }

    /// The lists are right: together, the forms for CPU adapters and for GPUs run every entry point, and all of them pass.
    #[test]
    fn checks_run_every_entry_point_and_come_out() {
        let wanted = std::env::var("NC_ADAPTER").ok();
        let entry = |key: &str| key.split(' ').next().unwrap_or_default().to_owned();
        let (mut ran, mut known) = (BTreeSet::new(), BTreeSet::new());
        for forced in [Forced::Cpu, Forced::GpuVarying] {
            let gpu = Gpu::open_as(wanted.as_deref(), Some(forced)).unwrap();
            known.extend(kernels::variants(gpu.capabilities()).iter().map(|variant| entry(&variant.key())));
            for check in all() {
                for comparison in check.run(&gpu, false).unwrap() {
                    assert!(comparison.passed(), "{} as {}: {comparison:?}", check.name, forced.name());
                }
            }
            ran.extend(gpu.pipeline_keys().iter().map(|key| entry(key)));
        }
        let missed: Vec<&String> = known.difference(&ran).collect();
        assert!(missed.is_empty(), "no check runs {missed:?}");
    }
}
