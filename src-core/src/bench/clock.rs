//! Times a recording several times: the median is used, and for a roof the minimum.

use std::time::Instant;

use crate::gpu::{Clock, Gpu, GpuError, Recording};

/// The median of `values`, which are not empty.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The minimum of `values`; infinity if there are none.
pub fn least(values: Vec<f64>) -> f64 {
    values.into_iter().fold(f64::INFINITY, f64::min)
}

/// Median seconds of `run` over `repeats` calls.
pub fn median_seconds<E>(repeats: usize, mut run: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let mut seconds = Vec::with_capacity(repeats);
    for _ in 0..repeats {
        let start = Instant::now();
        run()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    Ok(median(seconds))
}

/// Seconds that the GPU spends on `recording` in each of `repeats` runs after a warm-up, since drivers
/// compile at first use. With timestamps this is the sum of the times of its dispatches; without, it includes the
/// cost of submitting and waiting.
pub fn gpu_seconds(gpu: &Gpu, recording: &Recording, repeats: usize) -> Result<Vec<f64>, GpuError> {
    recording.run();
    gpu.wait()?;
    let mut seconds = Vec::with_capacity(repeats);
    for _ in 0..repeats {
        seconds.push(match Clock::of(gpu) {
            Clock::Timestamps => recording.profile(Clock::Timestamps)?.iter().map(|kernel| kernel.seconds).sum(),
            Clock::Submissions => {
                let start = Instant::now();
                recording.run();
                gpu.wait()?;
                start.elapsed().as_secs_f64()
            }
        });
    }
    Ok(seconds)
}
