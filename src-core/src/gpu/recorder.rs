//! Command streams that are recorded once and replayed every step.

use std::sync::Arc;

use super::memory::Entry;
use super::{DType, Gpu, GpuError, Memory, Numerics, Pipeline, Shader, Tensor, Value, Variant};

/// One kernel call, with borrowed operands, for [`Recorder::dispatch`].
pub struct Dispatch<'a, P> {
    /// The shader file.
    pub shader: &'static Shader,
    /// Its entry point.
    pub entry: &'static str,
    /// The values of the template.
    pub values: &'a [(&'static str, Value)],
    /// The uniform at binding 0.
    pub params: P,
    /// Tensors by binding number.
    pub bind: &'a [(u32, &'a Tensor)],
    /// Workgroups in x, y and z.
    pub groups: [u32; 3],
}

/// A one-dimensional grid of `groups` workgroups, folded into y past the 65,535 that a dimension may have. The kernel
/// finds its index with `flat`; the few surplus workgroups must return.
pub fn grid(groups: usize) -> [u32; 3] {
    const MOST: usize = 65_535;
    if groups <= MOST {
        return [groups as u32, 1, 1];
    }
    let rows = groups.div_ceil(MOST);
    [groups.div_ceil(rows) as u32, rows as u32, 1]
}

/// Collects commands. The first failure is kept and returned by [`finish`](Self::finish), so that code which records a
/// model reads as the model. In a dry run it only collects what the commands need of memory.
pub struct Recorder {
    gpu: Gpu,
    numerics: Numerics,
    commands: Vec<Pending>,
    uniforms: Vec<u8>,
    /// Words of each scratch slot.
    scratch: [usize; SCRATCH_SLOTS],
    /// Of the tensors in the commands.
    entries: Vec<Arc<Entry>>,
    failure: Option<GpuError>,
}

/// Iterations of the short loops of a kernel, in addition to its long ones.
pub const SHORT_LOOPS: usize = 500;

/// Scratch buffers of a recording.
const SCRATCH_SLOTS: usize = 3;

enum Pending {
    Dispatch {
        pipeline: Pipeline,
        uniform: usize,
        uniform_size: usize,
        bind: Vec<(u32, Tensor)>,
        scratch: Vec<(u32, usize, usize)>,
        groups: [u32; 3],
    },
    Copy {
        from: Tensor,
        to: Tensor,
    },
    Clear {
        tensor: Tensor,
    },
}

impl Recorder {
    /// An empty recorder, of [`Numerics::Exact`].
    pub fn new(gpu: &Gpu) -> Self {
        Self::with_numerics(gpu, Numerics::Exact)
    }

    /// An empty recorder, in which kernels of `numerics` may be chosen.
    pub fn with_numerics(gpu: &Gpu, numerics: Numerics) -> Self {
        Self {
            gpu: gpu.clone(),
            numerics,
            commands: Vec::new(),
            uniforms: Vec::new(),
            scratch: [0; SCRATCH_SLOTS],
            entries: Vec::new(),
            failure: None,
        }
    }

    /// The device of the recording.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Which kernels may be chosen.
    pub fn numerics(&self) -> Numerics {
        self.numerics
    }

    /// Records a kernel call. An empty grid records nothing.
    ///
    /// # Panics
    /// If a tensor's element type is not the one that the shader declares.
    pub fn dispatch<P: bytemuck::Pod>(&mut self, call: Dispatch<'_, P>) {
        self.dispatch_with_scratch(call, &[]);
    }

    /// Records a kernel call that also binds scratch: (binding number, slot, number of 32-bit words, of any element type). Later calls
    /// can read what a call writes there, until one of them writes to the slot again. A slot's buffer is as large as its largest use.
    pub fn dispatch_with_scratch<P: bytemuck::Pod>(&mut self, call: Dispatch<'_, P>, scratch: &[(u32, usize, usize)]) {
        if self.failure.is_some() || call.groups.contains(&0) {
            return;
        }
        for &(_, slot, len) in scratch {
            self.scratch[slot] = self.scratch[slot].max(len);
        }
        self.entries.extend(call.bind.iter().map(|(_, tensor)| tensor.entry().clone()));
        let uniform = self.uniforms.len();
        self.uniforms.extend_from_slice(bytemuck::bytes_of(&call.params));
        let uniform_size = size_of::<P>().next_multiple_of(16);
        self.uniforms.resize((uniform + uniform_size).next_multiple_of(256), 0);
        if self.gpu.only_counts() {
            return;
        }
        let variant = Variant { shader: call.shader, entry: call.entry, values: call.values.to_vec() };
        let pipeline = match self.gpu.pipeline(&variant) {
            Ok(pipeline) => pipeline,
            Err(error) => {
                self.failure = Some(error);
                return;
            }
        };
        // Scratch holds what the call before wrote there: floats, or words of shorter ones.
        for (number, dtype) in call.bind.iter().map(|&(number, tensor)| (number, tensor.dtype())) {
            // Bindings that the shader lacks are left to wgpu, which knows what an entry point uses.
            let declared = pipeline.elements.get(&number).copied().unwrap_or(dtype);
            assert!(declared == dtype, "{variant} reads {declared:?} at binding {number}, which holds {dtype:?}");
        }
        self.commands.push(Pending::Dispatch {
            pipeline,
            uniform,
            uniform_size,
            bind: call.bind.iter().map(|&(number, tensor)| (number, tensor.clone())).collect(),
            scratch: scratch.to_vec(),
            groups: call.groups,
        });
    }

    /// Whether an invocation may take `turns` iterations in a kernel's long loops on this driver. If not, the recording fails,
    /// with `what` in the error: the driver would silently end the loop early. A dry run has no loops to end.
    pub fn allows_turns(&mut self, turns: usize, what: impl FnOnce() -> String) -> bool {
        let most = self.gpu.capabilities().loop_turns;
        let allowed = turns.saturating_add(SHORT_LOOPS) <= most as usize || self.gpu.only_counts();
        if !allowed && self.failure.is_none() {
            let adapter = self.gpu.info().name.clone();
            self.failure = Some(GpuError::TooManyTurns { what: what(), turns, most, adapter });
        }
        allowed
    }

    /// Records a copy between tensors of the same size in different buffers.
    pub fn copy(&mut self, from: &Tensor, to: &Tensor) {
        assert_eq!(from.bytes(), to.bytes(), "a copy from {:?} to {:?}", from.shape(), to.shape());
        self.entries.extend([from, to].map(|tensor| tensor.entry().clone()));
        if !self.gpu.only_counts() {
            self.commands.push(Pending::Copy { from: from.clone(), to: to.clone() });
        }
    }

    /// Records zeroing `tensor`.
    pub fn clear(&mut self, tensor: &Tensor) {
        self.entries.push(tensor.entry().clone());
        if !self.gpu.only_counts() {
            self.commands.push(Pending::Clear { tensor: tensor.clone() });
        }
    }

    /// Creates the bind groups. After this the stream can be replayed without further allocation; in a dry run it is empty.
    pub fn finish(self) -> Result<Recording, GpuError> {
        if let Some(error) = self.failure {
            return Err(error);
        }
        let size = self.uniforms.len().max(16) as u64;
        let uniforms = self.gpu.buffer("uniforms", size, wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST)?;
        let entry = self.gpu.ledger().enter(Memory::Staging, size);
        self.gpu.fill(&uniforms, 0, &self.uniforms);
        let mut slots: Vec<Option<Tensor>> = Vec::with_capacity(SCRATCH_SLOTS);
        for len in self.scratch {
            let allocate = || self.gpu.zeros("scratch", &[len], DType::F32, Memory::Workspace);
            slots.push((len > 0).then(allocate).transpose()?);
        }
        let device = self.gpu.device();
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let mut last = String::new();
        let commands = self
            .commands
            .into_iter()
            .map(|command| match command {
                Pending::Dispatch { pipeline, uniform, uniform_size, mut bind, scratch, groups } => {
                    for (number, slot, len) in scratch {
                        bind.extend(slots[slot].as_ref().map(|tensor| (number, tensor.view(0, &[len]))));
                    }
                    last = pipeline.key.to_string();
                    let mut entries = vec![wgpu::BindGroupEntry {
                        binding: 0,
                        resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                            buffer: &uniforms,
                            offset: uniform as u64,
                            size: wgpu::BufferSize::new(uniform_size as u64),
                        }),
                    }];
                    entries
                        .extend(bind.iter().map(|(number, tensor)| wgpu::BindGroupEntry { binding: *number, resource: tensor.binding() }));
                    let descriptor = wgpu::BindGroupDescriptor { label: Some(&pipeline.key), layout: &pipeline.layout, entries: &entries };
                    let bind_group = device.create_bind_group(&descriptor);
                    Command::Dispatch { pipeline, bind_group, groups }
                }
                Pending::Copy { from, to } => Command::Copy { from, to },
                Pending::Clear { tensor } => Command::Clear { tensor },
            })
            .collect();
        if let Some(error) = pollster::block_on(scope.pop()) {
            return Err(GpuError::Refused { what: format!("the bindings of a kernel (the last was {last})"), reason: error.to_string() });
        }
        let mut entries = self.entries;
        entries.extend(slots.iter().flatten().map(|tensor| tensor.entry().clone()));
        entries.sort_by_key(Arc::as_ptr);
        entries.dedup_by_key(|entry| Arc::as_ptr(entry));
        Ok(Recording { gpu: self.gpu, commands, _uniforms: uniforms, _entry: entry, _entries: entries })
    }
}

pub(super) enum Command {
    Dispatch { pipeline: Pipeline, bind_group: wgpu::BindGroup, groups: [u32; 3] },
    Copy { from: Tensor, to: Tensor },
    Clear { tensor: Tensor },
}

/// A recorded command stream.
pub struct Recording {
    pub(super) gpu: Gpu,
    pub(super) commands: Vec<Command>,
    _uniforms: wgpu::Buffer,
    _entry: Entry,
    /// Kept for the ledger: bind groups keep the buffers of tensors, not their entries.
    _entries: Vec<Arc<Entry>>,
}

/// Work that was submitted to the GPU.
#[derive(Clone, Debug)]
pub struct Submission(pub(super) Option<wgpu::SubmissionIndex>);

/// Command buffers hold at most this many dispatches, so that no submission exceeds the operating system's time limit for a
/// GPU job (two seconds on Windows).
const DISPATCHES_PER_SUBMISSION: usize = 256;

impl Recording {
    /// Number of dispatches.
    pub fn dispatches(&self) -> usize {
        self.commands.iter().filter(|command| matches!(command, Command::Dispatch { .. })).count()
    }

    /// Submits the stream. Returns at once; use [`Gpu::wait`], [`Gpu::wait_until`] or a [`Readback`](super::Readback) to wait
    /// for its end.
    pub fn run(&self) -> Submission {
        let mut rest = self.commands.as_slice();
        let mut last = None;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(DISPATCHES_PER_SUBMISSION));
            let mut encoder = self.encoder();
            encode(&mut encoder, now, None);
            last = Some(self.gpu.queue().submit([encoder.finish()]));
            rest = later;
        }
        Submission(last)
    }

    /// Submits the stream and the copies of `tensors` into `readback` as one submission: for short streams whose result is
    /// waited for.
    pub fn run_and_read(&self, readback: &mut super::Readback, tensors: &[&Tensor]) {
        let mut encoder = self.encoder();
        encode(&mut encoder, &self.commands, None);
        readback.submit(encoder, tensors);
    }

    pub(super) fn encoder(&self) -> wgpu::CommandEncoder {
        self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("recording") })
    }
}

/// Encodes commands in order; consecutive dispatches share a pass, since a pass costs more than a dispatch.
/// With `timestamps` there is at most one pass.
pub(super) fn encode(
    encoder: &mut wgpu::CommandEncoder,
    commands: &[Command],
    mut timestamps: Option<wgpu::ComputePassTimestampWrites<'_>>,
) {
    let mut rest = commands;
    while let Some(first) = rest.first() {
        match first {
            Command::Copy { from, to } => {
                encoder.copy_buffer_to_buffer(&from.buffer, from.offset, &to.buffer, to.offset, from.bytes());
                rest = &rest[1..];
            }
            Command::Clear { tensor } => {
                encoder.clear_buffer(&tensor.buffer, tensor.offset, Some(tensor.bytes().next_multiple_of(4)));
                rest = &rest[1..];
            }
            Command::Dispatch { .. } => {
                let mut pass =
                    encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes: timestamps.take() });
                while let Some(Command::Dispatch { pipeline, bind_group, groups }) = rest.first() {
                    pass.set_pipeline(&pipeline.pipeline);
                    pass.set_bind_group(0, bind_group, &[]);
                    pass.dispatch_workgroups(groups[0], groups[1], groups[2]);
                    rest = &rest[1..];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{MemoryUse, Readback};

    static DOUBLE: Shader = Shader {
        name: "double",
        source: "
@group(0) @binding(0) var<uniform> factor: f32;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@compute @workgroup_size(64)
fn forward(@builtin(local_invocation_index) i: u32) { x[i] *= factor; }",
    };

    fn record(dtype: DType) {
        let gpu = Gpu::open(std::env::var("NC_ADAPTER").ok().as_deref()).unwrap();
        let x = gpu.zeros("x", &[64], dtype, Memory::Workspace).unwrap();
        let mut rec = Recorder::new(&gpu);
        rec.dispatch(Dispatch { shader: &DOUBLE, entry: "forward", values: &[], params: 2.0f32, bind: &[(1, &x)], groups: [1; 3] });
        rec.finish().unwrap().run();
        gpu.wait().unwrap();
    }

    #[test]
    fn a_tensor_of_the_declared_type_is_bound() {
        record(DType::F32);
    }

    #[test]
    fn what_a_recording_binds_is_in_the_ledger_for_as_long() {
        let gpu = Gpu::open(std::env::var("NC_ADAPTER").ok().as_deref()).unwrap();
        let x = gpu.zeros("x", &[64], DType::F32, Memory::Workspace).unwrap();
        let mut rec = Recorder::new(&gpu);
        for _ in 0..2 {
            rec.dispatch(Dispatch { shader: &DOUBLE, entry: "forward", values: &[], params: 2.0f32, bind: &[(1, &x)], groups: [1; 3] });
        }
        let recording = rec.finish().unwrap();
        drop(x);
        assert_eq!(gpu.memory().by_kind[Memory::Workspace as usize], 256);
        drop(recording);
        assert_eq!(gpu.memory().current, 0);
    }

    /// A dry run counts what the same code takes on the device, for as long, and does nothing else.
    #[test]
    fn a_dry_run_counts_what_the_device_would_hold() {
        let gpu = Gpu::open(std::env::var("NC_ADAPTER").ok().as_deref()).unwrap();
        let allocate = |gpu: &Gpu| {
            let x = gpu.upload("x", &[33], DType::F16, Memory::Weights, &[0u16; 33]).unwrap();
            let [y, z] = ["y", "z"].map(|name| gpu.zeros(name, &[64], DType::F32, Memory::Activations).unwrap());
            let mut rec = Recorder::new(gpu);
            for len in [64, 128] {
                let call = Dispatch { shader: &DOUBLE, entry: "forward", values: &[], params: 2.0f32, bind: &[], groups: [1; 3] };
                rec.dispatch_with_scratch(call, &[(1, 1, len)]);
            }
            rec.clear(&y);
            rec.copy(&y, &z);
            (x, rec.finish().unwrap(), Readback::new(gpu, 6).unwrap())
        };
        let dry = gpu.counting().unwrap();
        let (x, recording, readback) = allocate(&dry);
        assert_eq!((gpu.memory(), gpu.pipeline_keys()), (MemoryUse::default(), vec![]));
        let real = allocate(&gpu);
        assert_eq!(dry.memory(), gpu.memory());
        assert_eq!(gpu.memory().by_kind, [68, 0, 0, 512, 512, 512 + 8, 0]);

        drop(real);
        recording.run();
        assert!(dry.read::<u16>(&x).is_err());
        drop((x, recording, readback));
        assert_eq!((dry.memory().current, gpu.memory().current), (0, 0));
        // What no device has can be counted, within reason.
        let terabytes = dry.zeros("x", &[1 << 40], DType::F32, Memory::Weights).unwrap();
        assert_eq!(dry.memory().current, terabytes.bytes());
        assert!(matches!(dry.zeros("x", &[usize::MAX], DType::F32, Memory::Weights), Err(GpuError::TooLarge { .. })));
    }

    static COUNT: Shader = Shader {
        name: "count",
        source: "
@group(0) @binding(0) var<uniform> turns: u32;
@group(0) @binding(1) var<storage, read_write> x: array<u32>;
@compute @workgroup_size(1)
fn forward() {
    for (var turn = 0u; turn < turns; turn++) { x[turn & 63u] = turn + 1u; }
}",
    };

    /// The driver behaves as `loop_turns` claims: it either counts iterations up to that limit, or not at all.
    #[test]
    fn loops_run_as_long_as_the_driver_is_said_to_let_them() {
        const TURNS: u32 = 70_000;
        let gpu = Gpu::open(std::env::var("NC_ADAPTER").ok().as_deref()).unwrap();
        let x = gpu.zeros("x", &[64], DType::U32, Memory::Workspace).unwrap();
        let mut rec = Recorder::new(&gpu);
        rec.dispatch(Dispatch { shader: &COUNT, entry: "forward", values: &[], params: TURNS, bind: &[(1, &x)], groups: [1; 3] });
        rec.finish().unwrap().run();
        let reached = gpu.read::<u32>(&x).unwrap().into_iter().max().unwrap();
        let most = gpu.capabilities().loop_turns;
        assert!(reached.abs_diff(TURNS.min(most)) <= 1, "{reached} turns on {:?}, which is said to grant {most}", gpu.info());
    }

    #[test]
    fn a_loop_past_what_the_driver_grants_fails_the_recording() {
        let gpu = Gpu::open(std::env::var("NC_ADAPTER").ok().as_deref()).unwrap();
        let most = gpu.capabilities().loop_turns as usize;
        let mut rec = Recorder::new(&gpu);
        assert!(rec.allows_turns(most - SHORT_LOOPS, || unreachable!()));
        assert!(!rec.allows_turns(most, || "a sum".into()));
        assert!(!rec.allows_turns(usize::MAX, || unreachable!("the first failure is kept")));
        let error = rec.finish().err().unwrap();
        assert!(matches!(error, GpuError::TooManyTurns { .. }), "{error}");
        assert!(error.to_string().starts_with(&format!("a sum would take {most} iterations of a loop")), "{error}");
    }

    #[test]
    #[should_panic(expected = "double/forward reads F32 at binding 1, which holds F16")]
    fn a_tensor_of_another_type_is_a_fault_of_the_program() {
        record(DType::F16);
    }
}
