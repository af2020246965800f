//! The time of a recording, kernel by kernel.

use std::time::Instant;

use super::recorder::{Command, encode};
use super::{DType, Gpu, GpuError, Memory, Recording};

/// The time of one kernel's calls in a profiled replay.
#[derive(Clone, Debug)]
pub struct KernelTime {
    /// Shader, entry point and specialisation.
    pub kernel: String,
    /// Number of calls.
    pub calls: usize,
    /// Seconds over all calls.
    pub seconds: f64,
}

/// The clock of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The adapter's timestamps, before and after each call.
    Timestamps,
    /// The program's clock, around a submission for each call, whose overhead (about 0.1 ms) is included.
    Submissions,
}

impl Clock {
    /// The best clock of `gpu`.
    pub fn of(gpu: &Gpu) -> Self {
        if gpu.features().contains(wgpu::Features::TIMESTAMP_QUERY) { Clock::Timestamps } else { Clock::Submissions }
    }

    /// The clock in words, for a table's heading.
    pub fn name(self) -> &'static str {
        match self {
            Clock::Timestamps => "by the adapter's timestamps",
            Clock::Submissions => "by the clock, each call submitted separately",
        }
    }
}

/// Dispatches per read-back of their timestamps.
const DISPATCHES_PER_CHUNK: usize = 256;

impl Recording {
    /// Replays the stream once and returns the time by kernel, longest first, measured with `clock`, which the device must
    /// have. Copies and clears are always timed by separate submissions: timestamps belong to passes.
    pub fn profile(&self, clock: Clock) -> Result<Vec<KernelTime>, GpuError> {
        let mut times: Vec<KernelTime> = Vec::new();
        let mut add = |command: &Command, seconds: f64| {
            let kernel: &str = match command {
                Command::Dispatch { pipeline, .. } => &pipeline.key,
                Command::Copy { .. } => "copy",
                Command::Clear { .. } => "clear",
            };
            match times.iter_mut().find(|time| time.kernel == kernel) {
                Some(time) => {
                    time.calls += 1;
                    time.seconds += seconds;
                }
                None => times.push(KernelTime { kernel: kernel.to_owned(), calls: 1, seconds }),
            }
        };
        self.gpu.wait()?;
        let is_dispatch = |command: &Command| matches!(command, Command::Dispatch { .. });
        for group in self.commands.chunk_by(|a, b| is_dispatch(a) && is_dispatch(b)) {
            if clock == Clock::Timestamps && is_dispatch(&group[0]) {
                for chunk in group.chunks(DISPATCHES_PER_CHUNK) {
                    for (command, seconds) in chunk.iter().zip(self.timestamps(chunk)?) {
                        add(command, seconds);
                    }
                }
                continue;
            }
            for command in group {
                let mut encoder = self.encoder();
                encode(&mut encoder, std::slice::from_ref(command), None);
                let buffer = encoder.finish();
                let start = Instant::now();
                self.gpu.queue().submit([buffer]);
                self.gpu.wait()?;
                add(command, start.elapsed().as_secs_f64());
            }
        }
        times.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        Ok(times)
    }

    /// Runs each of `dispatches` in a separate pass, and returns the seconds of each.
    fn timestamps(&self, dispatches: &[Command]) -> Result<Vec<f64>, GpuError> {
        let count = 2 * dispatches.len() as u32;
        let bytes = u64::from(count) * 8;
        let queries = self.gpu.device().create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("timestamps"),
            ty: wgpu::QueryType::Timestamp,
            count,
        });
        let resolved = self.gpu.buffer("timestamps", bytes, wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC)?;
        let ticks = self.gpu.zeros("timestamps", &[2 * count as usize], DType::I32, Memory::Staging)?;
        let mut encoder = self.encoder();
        for (index, command) in dispatches.iter().enumerate() {
            let first = 2 * index as u32;
            let writes = wgpu::ComputePassTimestampWrites {
                query_set: &queries,
                beginning_of_pass_write_index: Some(first),
                end_of_pass_write_index: Some(first + 1),
            };
            encode(&mut encoder, std::slice::from_ref(command), Some(writes));
        }
        encoder.resolve_query_set(&queries, 0..count, &resolved, 0);
        encoder.copy_buffer_to_buffer(&resolved, 0, &ticks.buffer, ticks.offset, bytes);
        self.gpu.queue().submit([encoder.finish()]);
        let ticks: Vec<u64> = self.gpu.read(&ticks)?;
        let period = f64::from(self.gpu.queue().get_timestamp_period()) * 1e-9;
        Ok(ticks.chunks_exact(2).map(|pair| pair[1].saturating_sub(pair[0]) as f64 * period).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Dispatch, Recorder, Shader};

    static SPIN: Shader = Shader {
        name: "spin",
        source: "
@group(0) @binding(0) var<uniform> turns: u32;
@group(0) @binding(1) var<storage, read_write> x: array<u32>;
@compute @workgroup_size(64)
fn {{ entry }}(@builtin(local_invocation_index) i: u32) {
    for (var turn = 0u; turn < turns; turn++) { x[i] = x[i] * 1664525u + 1013904223u; }
}",
    };

    /// Both clocks measure every call, and distinguish long ones from short ones.
    #[test]
    fn a_profile_counts_every_call_and_tells_long_from_short() {
        const CALLS: usize = DISPATCHES_PER_CHUNK / 2 + 1;
        let gpu = Gpu::open(std::env::var("NC_ADAPTER").ok().as_deref()).unwrap();
        let [x, y] = ["x", "y"].map(|name| gpu.zeros(name, &[64], DType::U32, Memory::Workspace).unwrap());
        let mut rec = Recorder::new(&gpu);
        for (entry, turns) in [("short", 1u32), ("long", 20_000)] {
            for _ in 0..CALLS {
                let values = [("entry", entry.into())];
                rec.dispatch(Dispatch { shader: &SPIN, entry, values: &values, params: turns, bind: &[(1, &x)], groups: [1; 3] });
            }
            rec.copy(&x, &y);
        }
        let recording = rec.finish().unwrap();
        recording.run();
        for clock in [Clock::Submissions, Clock::of(&gpu)] {
            let times = recording.profile(clock).unwrap();
            let of = |word: &str| times.iter().find(|time| time.kernel.contains(word)).unwrap();
            let [short, long, copy] = ["short", "long", "copy"].map(of);
            assert_eq!([short.calls, long.calls, copy.calls], [CALLS, CALLS, 2]);
            assert!(long.seconds > 2.0 * short.seconds && long.seconds < 60.0, "{clock:?}: {times:?}");
        }
    }
}
