//! Which matmul kernel is fastest for a shape on this adapter: measured once, and remembered in the cache folder.
//!
//! All candidates give the same bits, so a choice can change speed and nothing else. Nothing is measured unless
//! [`enable`] was called: tests and short commands take the built-in choice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::gpu::{DType, Gpu, GpuError, Memory, Recorder};

use super::matmul::{Add, Kernel, Product, matmul_with};

static STATE: Mutex<Option<State>> = Mutex::new(None);

struct State {
    path: PathBuf,
    /// Adapter → shape → tile, as in the file.
    choices: BTreeMap<String, BTreeMap<String, String>>,
}

/// Turns measuring on for this process, with choices kept in `folder/autotune.json`. An unreadable file is made anew.
pub fn enable(folder: &Path) {
    let path = folder.join("autotune.json");
    let choices = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    *STATE.lock().unwrap_or_else(PoisonError::into_inner) = Some(State { path, choices });
}

/// The kernel for `product` on this adapter.
pub fn choose(gpu: &Gpu, product: &Product<'_>) -> Kernel {
    let target = gpu.target();
    let fallback = Kernel::default_for(target, product);
    let candidates = Kernel::candidates(target, product);
    let mut guard = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(state) = guard.as_mut().filter(|_| candidates.len() > 1) else {
        return fallback;
    };
    let adapter = format!("{} {} {}", gpu.info().name, gpu.info().driver, gpu.info().driver_info);
    let shape = format!("{:?} {}x{}x{} b{}", product.layout, product.m, product.n, product.k, product.batch);
    let known = state.choices.get(&adapter).and_then(|shapes| shapes.get(&shape));
    if let Some(kernel) = known.and_then(|name| candidates.iter().find(|candidate| format!("{candidate:?}") == *name)) {
        return *kernel;
    }
    // A device that fails here will fail again where errors are reported.
    let Ok(best) = measure(gpu, product, &candidates) else {
        return fallback;
    };
    state.choices.entry(adapter).or_default().insert(shape, format!("{best:?}"));
    if let Err(error) = save(&state.path, &state.choices) {
        tracing::debug!(%error, "the autotuner's choices were not saved");
    }
    best
}

fn measure(gpu: &Gpu, product: &Product<'_>, candidates: &[Kernel]) -> Result<Kernel, GpuError> {
    const REPEATS: usize = 5;
    let Product { m, n, k, batch, strides, .. } = *product;
    let scratch = |index: usize, size: usize| {
        let len = strides[index] * (batch - 1) + size;
        gpu.zeros("autotune", &[len], DType::F32, Memory::Workspace)
    };
    let (a, b, c) = (scratch(0, m * k)?, scratch(1, k * n)?, scratch(2, m * n)?);
    let mut best = (f64::INFINITY, candidates[0]);
    for &kernel in candidates {
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
                best = (seconds, kernel);
            }
        }
    }
    Ok(best.1)
}

fn save(path: &Path, choices: &BTreeMap<String, BTreeMap<String, String>>) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer_pretty(&file, choices)?;
    file.persist(path)?;
    Ok(())
}
