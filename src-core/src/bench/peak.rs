//! The roof of an adapter: the peak bandwidth and throughput of kernels that do nothing else. It is the best of several
//! runs: whatever slows one down is not the adapter.

use crate::gpu::{Capabilities, DType, Dispatch, Gpu, GpuError, Memory, Recorder, Shader, Value, Values, Variant, grid};

use super::clock::{gpu_seconds, least};

static FMA: Shader = crate::shader!("peak_fma");
static MATRIX: Shader = crate::shader!("peak_matrix");
static MEMORY: Shader = crate::shader!("peak_memory");

/// The roof, in bytes and floating-point operations per second. A fused multiply-add is two operations.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Roof {
    /// Bytes read and written per second by a copy.
    pub copy: f64,
    /// Bytes read per second.
    pub read: f64,
    /// Bytes of the buffers that were copied and read.
    pub buffer_bytes: u64,
    /// Operations per second in f32.
    pub f32_fma: f64,
    /// Operations per second in f16, if shaders may use it.
    pub f16_fma: Option<f64>,
    /// Operations per second of matrix units with f16 inputs and f32 sums, if wgpu offers them.
    pub matrix: Vec<MatrixRoof>,
}

/// The throughput of matrix units.
#[derive(Clone, Debug, serde::Serialize)]
pub struct MatrixRoof {
    /// Rows and columns of the tiles.
    pub side: u32,
    /// Operations per second.
    pub flops: f64,
}

/// Invocations per workgroup.
fn lanes(capabilities: Capabilities) -> u32 {
    if capabilities.cpu { 64 } else { 256 }
}

/// Chains of vec4s per invocation: on CPUs as many as there are registers, on GPUs enough to hide latency.
fn quads(capabilities: Capabilities) -> u32 {
    if capabilities.cpu { 3 } else { 8 }
}

/// Workgroups: enough to fill the largest GPU several times.
fn groups(capabilities: Capabilities) -> usize {
    if capabilities.cpu { 64 } else { 4096 }
}

/// Independent sums per subgroup for matrix units.
const CHAINS: u32 = 4;
/// Invocations per workgroup for matrix tiles.
const MATRIX_LANES: u32 = 128;

/// Quads that an invocation copies or reads.
const TURNS: u32 = 16;

fn fma_values(capabilities: Capabilities, half: bool) -> Values {
    vec![
        ("f16", half.into()),
        ("lanes", lanes(capabilities).into()),
        ("quads", quads(capabilities).into()),
        ("type", Value::Word(if half { "f16" } else { "f32" })),
    ]
}

fn memory_values() -> Values {
    vec![("lanes", 64.into()), ("turns", TURNS.into())]
}

fn matrix_values(side: u32) -> Values {
    vec![("chains", CHAINS.into()), ("f16", true.into()), ("lanes", MATRIX_LANES.into()), ("matrices", true.into()), ("side", side.into())]
}

/// Every specialisation of these shaders that such an adapter may use.
pub fn variants(capabilities: Capabilities) -> Vec<Variant> {
    let fma = |half| Variant { shader: &FMA, entry: "forward", values: fma_values(capabilities, half) };
    let memory = ["copy", "sum"].map(|entry| Variant { shader: &MEMORY, entry, values: memory_values() });
    let matrix = capabilities.matrices.sides().map(|side| Variant { shader: &MATRIX, entry: "forward", values: matrix_values(side) });
    [false, true].into_iter().filter(|&half| !half || capabilities.f16).map(fma).chain(memory).chain(matrix).collect()
}

/// Runs that are timed.
const REPEATS: usize = 7;
/// A peak is measured over at least this many seconds, so that start-up does not matter.
const LEAST_SECONDS: f64 = 0.02;
/// No loop runs past 65,535 iterations (`docs/LOG.md`).
const MOST_TURNS: u32 = 32_768;

/// Bytes read and written per second by a copy, bytes read per second, and the size of the buffers: `wanted` bytes each, or
/// less if the adapter does not have as much.
pub fn memory(gpu: &Gpu, wanted: u64) -> Result<(f64, f64, u64), GpuError> {
    let mut bytes = wanted.min(gpu.binding_limit());
    let (source, to) = loop {
        let quads = (bytes / 16) as usize;
        let both = || -> Result<_, GpuError> {
            let zeros = |label| gpu.zeros(label, &[quads, 4], DType::F32, Memory::Workspace);
            Ok((zeros("copy source")?, zeros("copy target")?))
        };
        match both() {
            Ok(both) => break both,
            Err(error) if error.is_out_of_memory() && bytes > 1 << 20 => bytes /= 2,
            Err(error) => return Err(error),
        }
    };
    let quads = source.len() / 4;
    let groups = quads.div_ceil(64 * TURNS as usize);
    let [x, y, z] = grid(groups);
    let sums = gpu.zeros("read sums", &[(x * y * z) as usize * 64], DType::F32, Memory::Workspace)?;
    let time = |entry: &'static str, result: &_, number| {
        let mut rec = Recorder::new(gpu);
        let values = memory_values();
        let bind = [(1, &source), (number, result)];
        rec.dispatch(Dispatch { shader: &MEMORY, entry, values: &values, params: [quads as u32, 0], bind: &bind, groups: [x, y, z] });
        gpu_seconds(gpu, &rec.finish()?, REPEATS).map(least)
    };
    let size = source.bytes() as f64;
    Ok((2.0 * size / time("copy", &to, 2)?, size / time("sum", &sums, 3)?, source.bytes()))
}

/// Operations per second of fused multiply-adds, in f16 if `half`.
pub fn fma(gpu: &Gpu, half: bool) -> Result<f64, GpuError> {
    let capabilities = gpu.capabilities();
    let invocations = groups(capabilities) * lanes(capabilities) as usize;
    let sums = gpu.zeros("peak sums", &[invocations, 4], DType::F32, Memory::Workspace)?;
    let each_turn = (invocations as u64 * u64::from(quads(capabilities)) * 4 * 4 * 2) as f64;
    highest(gpu, each_turn, |rec, turns| {
        rec.dispatch(Dispatch {
            shader: &FMA,
            entry: "forward",
            values: &fma_values(capabilities, half),
            // Exactly one half, in either type: chains converge to 2.
            params: [turns, 0.5f32.to_bits(), 1.0f32.to_bits(), 0],
            bind: &[(1, &sums)],
            groups: grid(groups(capabilities)),
        });
    })
}

/// Operations per second of matrix units on tiles of `side`.
pub fn matrix(gpu: &Gpu, side: u32) -> Result<f64, GpuError> {
    let groups = if gpu.capabilities().cpu { 64 } else { 2048 };
    let tile = (side * side) as usize;
    let ones = vec![half::f16::from_f32(0.01); 2 * tile];
    let tiles = gpu.upload("matrix tiles", &[2, tile], DType::F16, Memory::Workspace, &ones)?;
    // Different values in every sum, so that none can be shared.
    let start: Vec<f32> = (0..groups * CHAINS as usize * tile).map(|i| (i % 1009) as f32).collect();
    let sums = gpu.upload("matrix sums", &[start.len()], DType::F32, Memory::Workspace, &start)?;
    let subgroups = gpu.zeros("subgroups", &[groups], DType::U32, Memory::Workspace)?;
    let record = |rec: &mut Recorder, turns: u32| {
        rec.dispatch(Dispatch {
            shader: &MATRIX,
            entry: "forward",
            values: &matrix_values(side),
            params: [turns, 0, 0, 0],
            bind: &[(1, &tiles), (2, &sums), (3, &subgroups)],
            groups: [groups as u32, 1, 1],
        });
    };
    let mut rec = Recorder::new(gpu);
    record(&mut rec, 1);
    rec.finish()?.run();
    let counted: u64 = gpu.read::<u32>(&subgroups)?.into_iter().map(u64::from).sum();
    let each_turn = counted as f64 * f64::from(CHAINS) * 2.0 * f64::from(side).powi(3);
    highest(gpu, each_turn, record)
}

/// `each_turn` operations times the iterations per second, with enough iterations for a long measurement.
fn highest(gpu: &Gpu, each_turn: f64, record: impl Fn(&mut Recorder, u32)) -> Result<f64, GpuError> {
    let mut turns = 64;
    loop {
        let mut rec = Recorder::new(gpu);
        record(&mut rec, turns);
        let recording = rec.finish()?;
        let quick = least(gpu_seconds(gpu, &recording, 1)?);
        if quick >= LEAST_SECONDS || turns >= MOST_TURNS {
            return Ok(each_turn * f64::from(turns) / least(gpu_seconds(gpu, &recording, REPEATS)?));
        }
        // At most eight times longer than before: no submission may take seconds.
        let factor = (2.0 * LEAST_SECONDS / quick.max(1e-6)).clamp(2.0, 8.0);
        turns = ((f64::from(turns) * factor) as u32).min(MOST_TURNS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::Bench;

    /// The chains converge to the right values, so they were run to their end; and rates are plausible.
    #[test]
    fn peaks_are_measured_by_work_that_is_done() {
        let gpu = Bench::new().gpu().clone();
        let (copy, read, bytes) = memory(&gpu, 1 << 20).unwrap();
        assert_eq!(bytes, 1 << 20);
        let halves = [false, true].into_iter().filter(|&half| !half || gpu.capabilities().f16);
        let rates: Vec<f64> = halves.map(|half| fma(&gpu, half).unwrap()).chain([copy, read]).collect();
        assert!(rates.iter().all(|rate| (1e6..1e16).contains(rate)), "{rates:?}");

        let capabilities = gpu.capabilities();
        let lanes = lanes(capabilities) as usize;
        let sums = gpu.zeros("sums", &[lanes, 4], DType::F32, Memory::Workspace).unwrap();
        let mut rec = Recorder::new(&gpu);
        rec.dispatch(Dispatch {
            shader: &FMA,
            entry: "forward",
            values: &fma_values(capabilities, false),
            params: [64, 0.5f32.to_bits(), 1.0f32.to_bits(), 0],
            bind: &[(1, &sums)],
            groups: [1, 1, 1],
        });
        rec.finish().unwrap().run();
        let settled = 2.0 * quads(capabilities) as f32;
        assert_eq!(gpu.read::<f32>(&sums).unwrap(), vec![settled; 4 * lanes]);
    }

    /// If an adapter has matrix units, a product of tiles of 0.01 adds side · 1e-4 to every element.
    #[test]
    fn matrix_units_are_measured_where_there_are_some() {
        let gpu = Bench::new().gpu().clone();
        for side in gpu.capabilities().matrices.sides() {
            let rate = matrix(&gpu, side).unwrap();
            assert!((1e6..1e17).contains(&rate), "{rate} at {side}");
        }
    }
}
