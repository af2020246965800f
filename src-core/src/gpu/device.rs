//! An open device: allocation, pipelines, submission, and what to do when it fails.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use super::choices::Choices;
use super::memory::Ledger;
use super::{Capabilities, DType, Forced, GpuError, Memory, MemoryUse, Submission, Tensor, Variant, adapter, interface, memory};

/// An open GPU. Clones share the device.
#[derive(Clone)]
pub struct Gpu {
    inner: Arc<Inner>,
    ledger: Arc<Ledger>,
    /// Stands for every buffer, if nothing is to exist but its entry in the ledger.
    stand_in: Option<wgpu::Buffer>,
}

struct Inner {
    adapter: wgpu::Adapter,
    info: wgpu::AdapterInfo,
    limits: wgpu::Limits,
    features: wgpu::Features,
    capabilities: Capabilities,
    device: wgpu::Device,
    queue: wgpu::Queue,
    memory_limit: Option<u64>,
    pipelines: Mutex<HashMap<String, Pipeline>>,
    choices: Mutex<Option<Choices>>,
    /// Question → choice, for choices that must be repeated exactly.
    fixed: Mutex<BTreeMap<String, String>>,
    lost: Arc<OnceLock<GpuError>>,
    fault: Arc<Mutex<Option<GpuError>>>,
}

/// A compiled specialisation of a shader's entry point.
#[derive(Clone)]
pub struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
    pub(super) key: Arc<str>,
    /// Element types of the shader's storage buffers, by binding number.
    pub(super) elements: Arc<BTreeMap<u32, DType>>,
}

/// Optional features that kernels use if they exist.
const WANTED: wgpu::Features = wgpu::Features::SUBGROUP
    .union(wgpu::Features::SUBGROUP_BARRIER)
    .union(wgpu::Features::SHADER_F16)
    .union(wgpu::Features::SHADER_INT64)
    .union(wgpu::Features::TIMESTAMP_QUERY)
    .union(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX)
    .union(FOR_BURN);

/// Burn queries the adapter, not the device, for what its kernels may use, so the device that it shares must have all of it.
const FOR_BURN: wgpu::Features =
    if cfg!(feature = "burn") { wgpu::Features::SHADER_F64.union(wgpu::Features::SHADER_FLOAT32_ATOMIC) } else { wgpu::Features::empty() };

/// The most bytes of a tensor in a dry run, so that the sum over all tensors does not overflow.
const MOST_COUNTED: u64 = 1 << 48;

/// The opt-in that experimental features need.
fn experiments(features: wgpu::Features) -> wgpu::ExperimentalFeatures {
    if features.intersects(wgpu::Features::all_experimental_mask()) {
        // SAFETY: only our shaders use them, and they stay within their buffers.
        unsafe { wgpu::ExperimentalFeatures::enabled() }
    } else {
        wgpu::ExperimentalFeatures::disabled()
    }
}

impl Gpu {
    /// Opens the adapter that `wanted` names (an index or part of a name), or the best one, with every limit raised to
    /// the adapter's. The environment variable `NC_MEMORY_LIMIT` limits the bytes of all tensors together, and
    /// `NC_CAPABILITIES` forces [`Capabilities`].
    pub fn open(wanted: Option<&str>) -> Result<Self, GpuError> {
        Self::open_as(wanted, Forced::from_environment()?)
    }

    /// [`open`](Self::open)s an adapter as if it had no more than `forced`, whatever the environment says.
    pub fn open_as(wanted: Option<&str>, forced: Option<Forced>) -> Result<Self, GpuError> {
        let adapter = adapter::choose(wanted)?;
        let info = adapter.get_info();
        if let Some(compiler) = adapter::compiler(info.backend) {
            tracing::info!(adapter = info.name, %compiler, "shaders are compiled");
        }
        let memory_limit = memory::limit(info.device_type == wgpu::DeviceType::Cpu)?;
        let limits = adapter.limits();
        let mut features = adapter.features() & WANTED;
        if forced == Some(Forced::GpuNoSubgroups) {
            features.remove(wgpu::Features::SUBGROUP | wgpu::Features::SUBGROUP_BARRIER);
        }
        let have = Capabilities::of(&adapter, features);
        let capabilities = forced.map_or(have, |forced| have.forced(forced));
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("nc-core"),
            required_features: features,
            required_limits: limits.clone(),
            experimental_features: experiments(features),
            memory_hints: wgpu::MemoryHints::Performance,
            ..Default::default()
        }))
        .map_err(|error| GpuError::OpenDevice { adapter: info.name.clone(), reason: error.to_string() })?;

        let lost = Arc::new(OnceLock::new());
        let on_loss = lost.clone();
        device.set_device_lost_callback(move |_, reason| {
            let _ = on_loss.set(GpuError::Lost { reason });
        });
        let fault = Arc::new(Mutex::new(None));
        let on_fault = fault.clone();
        device.on_uncaptured_error(Arc::new(move |error| {
            let mut first = on_fault.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            first.get_or_insert(GpuError::Refused { what: "a command".into(), reason: error.to_string() });
        }));

        Ok(Self {
            inner: Arc::new(Inner {
                adapter,
                info,
                limits,
                features,
                capabilities,
                device,
                queue,
                memory_limit,
                pipelines: Mutex::default(),
                choices: Mutex::default(),
                fixed: Mutex::default(),
                lost,
                fault,
            }),
            ledger: Arc::default(),
            stand_in: None,
        })
    }

    /// The same device for a dry run, with a ledger of its own: what is allocated and recorded on it is counted to the byte, but
    /// takes no memory, compiles no pipeline and computes nothing. It may be more than the device has. The autotuner's choices
    /// are used, and none is made.
    pub fn counting(&self) -> Result<Self, GpuError> {
        let stand_in = match &self.stand_in {
            Some(buffer) => buffer.clone(),
            None => self.buffer("stand-in", 4, wgpu::BufferUsages::STORAGE)?,
        };
        Ok(Self { inner: self.inner.clone(), ledger: Arc::default(), stand_in: Some(stand_in) })
    }

    /// Whether this is a device for a dry run, on which contents need not be computed.
    pub fn only_counts(&self) -> bool {
        self.stand_in.is_some()
    }

    /// The adapter's name, driver and kind.
    pub fn info(&self) -> &wgpu::AdapterInfo {
        &self.inner.info
    }

    /// The wgpu adapter, for sharing this device with another library.
    pub fn adapter(&self) -> &wgpu::Adapter {
        &self.inner.adapter
    }

    /// The device's limits.
    pub fn limits(&self) -> &wgpu::Limits {
        &self.inner.limits
    }

    /// Bytes of memory of the adapter, dedicated or shared with the machine; `None` if it does not report it.
    pub fn adapter_memory(&self) -> Option<u64> {
        adapter::memory(&self.inner.adapter)
    }

    /// Optional features that the device was opened with.
    pub fn features(&self) -> wgpu::Features {
        self.inner.features
    }

    /// What the adapter can do, or what was forced.
    pub fn capabilities(&self) -> Capabilities {
        self.inner.capabilities
    }

    /// Enables choosing kernels by measuring them on this device; choices are kept in `folder/autotune.json`. Without it
    /// every kernel is the built-in choice, as suits tests and short commands.
    pub fn autotune_in(&self, folder: &Path) {
        let info = self.info();
        let adapter = format!("{} {} {} {}", info.name, info.driver, info.driver_info, self.capabilities().key());
        *self.inner.choices.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(Choices::open(folder, adapter));
    }

    /// Which of `options` to use: the one that [`autotune_in`](Self::autotune_in)'s file has for `question`, else the
    /// one that `measure` finds, which is remembered. `None` if measuring is not enabled, impossible in a dry run, or fails.
    pub fn choose(&self, question: &str, options: &[String], measure: impl FnOnce() -> Option<usize>) -> Option<usize> {
        let choices = || self.inner.choices.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let known = choices().as_ref()?.get(question).and_then(|known| options.iter().position(|option| option == known));
        if known.is_some() || self.only_counts() {
            return known;
        }
        let best = measure()?;
        if let Some(choices) = choices().as_mut() {
            choices.set(question.to_owned(), options[best].clone());
        }
        Some(best)
    }

    /// Replaces the choices that [`fixed_choice`](Self::fixed_choice) returns.
    pub fn fix_choices(&self, choices: BTreeMap<String, String>) {
        *self.fixed() = choices;
    }

    /// The choices of [`fix_choices`](Self::fix_choices), and all made since: with them the same kernels are chosen again.
    pub fn fixed_choices(&self) -> BTreeMap<String, String> {
        self.fixed().clone()
    }

    /// The option that was chosen for `question` before, else the one that `make` finds, which is kept: for choices that
    /// change bits. An option that no longer exists is replaced. A dry run keeps and replaces nothing.
    pub fn fixed_choice(&self, question: &str, options: &[String], make: impl FnOnce() -> usize) -> usize {
        let known = self.fixed().get(question).cloned();
        let found = known.as_ref().and_then(|known| options.iter().position(|option| option == known));
        if self.only_counts() {
            return found.unwrap_or_else(make);
        }
        if let (Some(known), None) = (&known, found) {
            tracing::warn!(question, known, "this kernel no longer exists: results will differ in their last bits");
        }
        found.unwrap_or_else(|| {
            let made = make();
            self.fixed().insert(question.to_owned(), options[made].clone());
            made
        })
    }

    fn fixed(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.inner.fixed.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The wgpu device.
    pub fn device(&self) -> &wgpu::Device {
        &self.inner.device
    }

    /// The wgpu queue.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.inner.queue
    }

    /// Bytes allocated through this device.
    pub fn memory(&self) -> MemoryUse {
        self.ledger.in_use()
    }

    /// Resets the peak in [`memory`](Self::memory) to what is in use now.
    pub fn forget_peak_memory(&self) {
        self.ledger.forget_peak();
    }

    /// The most bytes of one tensor on this adapter.
    pub fn binding_limit(&self) -> u64 {
        self.inner.limits.max_storage_buffer_binding_size.min(self.inner.limits.max_buffer_size)
    }

    /// A zeroed tensor. Fails with [`GpuError::TooLarge`] past the binding limit and [`GpuError::OutOfMemory`] if the
    /// driver has no more memory, or if the tensors together would exceed `NC_MEMORY_LIMIT` bytes or, on an adapter that
    /// shares it, the machine's memory. In a dry run only sizes that nothing has are too large.
    pub fn zeros(&self, label: &str, shape: &[usize], dtype: DType, kind: Memory) -> Result<Tensor, GpuError> {
        let bytes = shape.iter().try_fold(dtype.bytes(), |bytes, &axis| bytes.checked_mul(axis as u64));
        let counts = self.only_counts();
        let limit = if counts { MOST_COUNTED } else { self.binding_limit() };
        let size = bytes.map(|bytes| bytes.max(4).next_multiple_of(4)).filter(|&bytes| bytes <= limit).ok_or_else(|| {
            GpuError::TooLarge { label: label.to_owned(), bytes: bytes.unwrap_or(u64::MAX), limit, adapter: self.inner.info.name.clone() }
        })?;
        let in_use = self.memory().current;
        if !counts && self.inner.memory_limit.is_some_and(|most| in_use.saturating_add(size) > most) {
            return Err(GpuError::OutOfMemory { label: label.to_owned(), bytes: size, in_use });
        }
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let buffer = self.buffer(label, size, usage)?;
        Ok(Tensor::new(buffer, shape, dtype, self.ledger.enter(kind, size)))
    }

    /// A tensor that holds `data`, whose type must have the size of `dtype`.
    pub fn upload<E: bytemuck::Pod>(
        &self,
        label: &str,
        shape: &[usize],
        dtype: DType,
        kind: Memory,
        data: &[E],
    ) -> Result<Tensor, GpuError> {
        let tensor = self.zeros(label, shape, dtype, kind)?;
        self.write(&tensor, data);
        Ok(tensor)
    }

    /// Replaces the contents of `tensor` before the next submission runs.
    pub fn write<E: bytemuck::Pod>(&self, tensor: &Tensor, data: &[E]) {
        let bytes: &[u8] = bytemuck::cast_slice(data);
        assert_eq!(bytes.len() as u64, tensor.bytes(), "{} bytes do not fill a tensor of {:?}", bytes.len(), tensor.shape());
        if bytes.len().is_multiple_of(4) {
            self.fill(&tensor.buffer, tensor.offset, bytes);
        } else {
            let mut padded = bytes.to_vec();
            padded.resize(bytes.len().next_multiple_of(4), 0);
            self.fill(&tensor.buffer, tensor.offset, &padded);
        }
    }

    /// Writes to a buffer, unless this is a dry run.
    pub(super) fn fill(&self, buffer: &wgpu::Buffer, offset: u64, bytes: &[u8]) {
        if !self.only_counts() {
            self.inner.queue.write_buffer(buffer, offset, bytes);
        }
    }

    /// Waits for all submitted work and reads `tensor` back. Fails in a dry run.
    pub fn read<E: bytemuck::Pod>(&self, tensor: &Tensor) -> Result<Vec<E>, GpuError> {
        let mut readback = super::Readback::new(self, tensor.bytes())?;
        readback.start(&[tensor]);
        readback.wait()
    }

    /// Waits until all submitted work is done, and reports the first thing that went wrong since the last call.
    pub fn wait(&self) -> Result<(), GpuError> {
        self.wait_for(None)
    }

    /// Waits until this submission is done, but not for later ones, and reports like [`wait`](Self::wait).
    pub fn wait_until(&self, submission: Submission) -> Result<(), GpuError> {
        match submission.0 {
            Some(index) => self.wait_for(Some(index)),
            None => self.check(),
        }
    }

    /// Waits until `submission`, or everything that was submitted, is done.
    pub(super) fn wait_for(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<(), GpuError> {
        let polled = self.inner.device.poll(wgpu::PollType::Wait { submission_index: submission, timeout: None });
        self.check()?;
        polled.map(|_| ()).map_err(|error| GpuError::Lost { reason: error.to_string() })
    }

    /// Reports the first thing that went wrong since the last call, without waiting.
    pub fn check(&self) -> Result<(), GpuError> {
        if let Some(error) = self.inner.lost.get() {
            return Err(error.clone());
        }
        match self.inner.fault.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// The pipeline of `variant`, compiled at most once.
    pub fn pipeline(&self, variant: &Variant) -> Result<Pipeline, GpuError> {
        let key = variant.key();
        if let Some(found) = self.inner.pipelines.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get(&key) {
            return Ok(found.clone());
        }
        let refused = |reason: String| GpuError::Refused { what: format!("shader {key}"), reason };
        let text = variant.render(self.inner.capabilities).map_err(|error| refused(format!("{error:#}")))?;
        let elements = interface::elements(&text).map_err(refused)?;
        let scope = self.inner.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let descriptor = wgpu::ShaderModuleDescriptor { label: Some(&key), source: wgpu::ShaderSource::Wgsl(text.into()) };
        // SAFETY: the loops of all shaders here are bounded by uniforms that the program sets; bounds checks stay on.
        let module = unsafe {
            let checks = wgpu::ShaderRuntimeChecks { force_loop_bounding: false, ..wgpu::ShaderRuntimeChecks::checked() };
            self.inner.device.create_shader_module_trusted(descriptor, checks)
        };
        let pipeline = self.inner.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&key),
            layout: None,
            module: &module,
            entry_point: Some(variant.entry),
            compilation_options: wgpu::PipelineCompilationOptions { zero_initialize_workgroup_memory: false, ..Default::default() },
            cache: None,
        });
        if let Some(error) = pollster::block_on(scope.pop()) {
            return Err(refused(error.to_string()));
        }
        let layout = pipeline.get_bind_group_layout(0);
        let built = Pipeline { pipeline, layout, key: key.as_str().into(), elements: elements.into() };
        self.inner.pipelines.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(key, built.clone());
        Ok(built)
    }

    /// The keys of all pipelines created so far.
    pub fn pipeline_keys(&self) -> Vec<String> {
        self.inner.pipelines.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).keys().cloned().collect()
    }

    /// A buffer that is not counted with the tensors; in a dry run, the one that stands for all.
    pub(super) fn buffer(&self, label: &str, size: u64, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer, GpuError> {
        if let Some(buffer) = &self.stand_in {
            return Ok(buffer.clone());
        }
        let device = &self.inner.device;
        let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let buffer = device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false });
        let refused = pollster::block_on(validation.pop());
        let exhausted = pollster::block_on(memory.pop());
        if exhausted.is_some() {
            return Err(GpuError::OutOfMemory { label: label.to_owned(), bytes: size, in_use: self.memory().current });
        }
        match refused {
            Some(error) => Err(GpuError::Refused { what: format!("the buffer {label}"), reason: error.to_string() }),
            None => Ok(buffer),
        }
    }

    pub(super) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }
}
