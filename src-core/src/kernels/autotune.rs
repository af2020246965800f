//! Which matmul kernel is fastest for a shape on this adapter: measured once, and remembered by the device.
//!
//! All candidates give the same bits, so a choice can change speed and nothing else. Nothing is measured unless
//! [`Gpu::autotune_in`] was called: tests and short commands take the built-in choice.

use std::time::Instant;

use crate::gpu::{DType, Gpu, GpuError, Memory, Recorder};

use super::matmul::{Add, Kernel, Product, matmul_with};

/// The kernel for `product` on this adapter.
pub fn choose(gpu: &Gpu, product: &Product<'_>) -> Kernel {
    let candidates = Kernel::candidates(gpu.capabilities(), product);
    let options: Vec<String> = candidates.iter().map(|candidate| format!("{candidate:?}")).collect();
    let Product { layout, m, n, k, batch, .. } = product;
    // With their number, so that a file from before a kernel was added is no answer.
    let question = format!("{layout:?} {m}x{n}x{k} b{batch}, {} kernels", options.len());
    // A device that fails here will fail again where errors are reported.
    let best = if options.len() > 1 { gpu.choose(&question, &options, || measure(gpu, product, &candidates).ok()) } else { None };
    best.map_or_else(|| Kernel::default_for(gpu.capabilities(), product), |best| candidates[best])
}

/// The position of the fastest candidate.
fn measure(gpu: &Gpu, product: &Product<'_>, candidates: &[Kernel]) -> Result<usize, GpuError> {
    const REPEATS: usize = 5;
    let Product { m, n, k, batch, strides, .. } = *product;
    let scratch = |index: usize, size: usize| {
        let len = strides[index] * (batch - 1) + size;
        gpu.zeros("autotune", &[len], DType::F32, Memory::Workspace)
    };
    let (a, b, c) = (scratch(0, m * k)?, scratch(1, k * n)?, scratch(2, m * n)?);
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
