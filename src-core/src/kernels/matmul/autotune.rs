//! Finds the fastest matmul kernel for a shape on this adapter: measured once, and remembered by the device.
//!
//! The candidates of [`Numerics::Exact`] give the same bits, so the choice only affects speed; with
//! [`Numerics::Fast`] it can affect bits, too. Nothing is measured unless [`Gpu::autotune_in`] was called: tests and short
//! commands use the built-in choice. So does a dry run, where no choice is remembered.

use std::time::Instant;

use crate::gpu::{DType, Gpu, GpuError, Memory, Numerics, Recorder, SHORT_LOOPS};

use crate::kernels::weight::Weight;
use crate::weights::Storage;

use super::{Add, Kernel, Product, matmul_with};

/// The kernel of `numerics` for `product` on this adapter.
pub fn choose(gpu: &Gpu, product: &Product<'_>, numerics: Numerics) -> Kernel {
    let mut candidates = Kernel::candidates(gpu.capabilities(), product, numerics);
    let runs = |kernel: &Kernel| kernel.turns(product.k) + SHORT_LOOPS <= gpu.capabilities().loop_turns as usize;
    if candidates.iter().any(runs) {
        candidates.retain(runs);
    }
    let options: Vec<String> = candidates.iter().map(|candidate| format!("{candidate:?}")).collect();
    let Product { layout, m, n, k, batch, stored, .. } = product;
    let weight = if *stored == Storage::PLAIN { String::new() } else { format!(" {}", stored.format) };
    let rounded = if product.rounds() { format!(", {} inputs", product.inputs.precision) } else { String::new() };
    let question = format!("{layout:?} {m}x{n}x{k} b{batch}{weight}{rounded}");
    let fastest = |class: &str| {
        if options.len() < 2 {
            return None;
        }
        // Includes their number, so that choices from before a kernel was added do not apply.
        let question = format!("{question}, {} kernels{class}", options.len());
        // A device that fails here will fail again where the error is reported.
        gpu.choose(&question, &options, || measure(gpu, product, &candidates).ok())
    };
    let likely = || {
        let default = Kernel::default_for(gpu.capabilities(), product, numerics);
        candidates.iter().position(|&candidate| candidate == default).unwrap_or(0)
    };
    candidates[match numerics {
        Numerics::Exact => fastest("").unwrap_or_else(likely),
        Numerics::Fast => gpu.fixed_choice(&question, &options, || fastest(", fast").unwrap_or_else(likely)),
    }]
}

/// The index of the fastest candidate.
fn measure(gpu: &Gpu, product: &Product<'_>, candidates: &[Kernel]) -> Result<usize, GpuError> {
    const REPEATS: usize = 5;
    let Product { m, n, k, batch, strides, stored, .. } = *product;
    let scratch = |index: usize, size: usize, dtype: DType| {
        let len = strides[index] * (batch - 1) + size;
        gpu.zeros("autotune", &[len], dtype, Memory::Workspace)
    };
    let of_b = stored.shape(n, k).into_iter().product();
    let (a, c) = (scratch(0, m * k, DType::F32)?, scratch(2, m * n, DType::F32)?);
    let b = scratch(1, of_b, Weight::dtype(stored.format))?;
    let mut best = (f64::INFINITY, 0);
    for (index, &kernel) in candidates.iter().enumerate() {
        let mut rec = Recorder::new(gpu);
        matmul_with(&mut rec, &a, &b, &c, Product { add: Add::Nothing, ..*product }, kernel);
        let recording = rec.finish()?;
        recording.run();
        gpu.wait()?;
        for _ in 0..REPEATS {
            let start = Instant::now();
            recording.run();
            gpu.wait()?;
            let seconds = start.elapsed().as_secs_f64();
            if seconds < best.0 {
                best = (seconds, index);
            }
        }
    }
    Ok(best.1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::gpu::Forced;
    use crate::kernels::matmul::Layout;

    #[test]
    fn a_choice_of_the_fast_class_is_recorded_and_taken_again() {
        let open = || Gpu::open_as(std::env::var("NC_ADAPTER").ok().as_deref(), Some(Forced::GpuNoSubgroups)).unwrap();
        let (gpu, product) = (open(), Product::new(Layout::NN, 128, 768, 8192));
        let exact = choose(&gpu, &product, Numerics::Exact);
        assert!(matches!(exact, Kernel::Tile(_)) && gpu.fixed_choices().is_empty());
        let fast = choose(&gpu, &product, Numerics::Fast);
        assert!(matches!(fast, Kernel::Split { .. }));

        // Another device uses what the first recorded, whatever it would choose itself.
        let mut record = gpu.fixed_choices();
        let other = open();
        other.fix_choices(record.clone());
        assert_eq!(choose(&other, &product, Numerics::Fast), fast);
        record.values_mut().for_each(|choice| *choice = format!("{exact:?}"));
        other.fix_choices(record);
        assert_eq!(choose(&other, &product, Numerics::Fast), exact);

        // An unknown kernel is replaced.
        other.fix_choices(gpu.fixed_choices().into_keys().map(|question| (question, "Sieve".to_owned())).collect());
        assert_eq!(choose(&other, &product, Numerics::Fast), fast);
        assert_eq!(other.fixed_choices(), gpu.fixed_choices());
    }

    #[test]
    fn a_dry_run_uses_choices_and_makes_none() {
        let folder = tempfile::tempdir().unwrap();
        let gpu = Gpu::open_as(std::env::var("NC_ADAPTER").ok().as_deref(), Some(Forced::GpuNoSubgroups)).unwrap();
        gpu.autotune_in(folder.path());
        let dry = gpu.counting().unwrap();
        let (small, split) = (Product::new(Layout::NN, 64, 64, 64), Product::new(Layout::NN, 128, 768, 8192));
        let built_in = |product: &Product<'_>, numerics| Kernel::default_for(gpu.capabilities(), product, numerics);
        assert_eq!(choose(&dry, &small, Numerics::Exact), built_in(&small, Numerics::Exact));
        assert_eq!(choose(&dry, &split, Numerics::Fast), built_in(&split, Numerics::Fast));
        assert!(!folder.path().join("autotune.json").exists() && gpu.fixed_choices().is_empty());

        let measured = choose(&gpu, &small, Numerics::Exact);
        assert_eq!(choose(&dry, &small, Numerics::Exact), measured);
        let fixed = choose(&gpu, &small, Numerics::Fast);
        assert_eq!(choose(&dry, &small, Numerics::Fast), fixed);
        let unknown: BTreeMap<String, String> = gpu.fixed_choices().into_keys().map(|question| (question, "Sieve".to_owned())).collect();
        gpu.fix_choices(unknown.clone());
        choose(&dry, &small, Numerics::Fast);
        assert_eq!(gpu.fixed_choices(), unknown);
    }
}
