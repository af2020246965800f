//! Which GPU is used: the list, the person's choice, and the device once it is open.

use std::sync::{Mutex, MutexGuard, OnceLock};

use nc_core::gpu::{AdapterSummary, Gpu};

use crate::error::AppResult;
use crate::types::{GpuInfo, GpuKind};

/// The GPUs of this machine. Asking for them takes a moment, so it is done once.
#[derive(Default)]
pub struct Gpus {
    found: OnceLock<Vec<AdapterSummary>>,
    chosen: Mutex<Chosen>,
}

#[derive(Default)]
struct Chosen {
    /// Name of the GPU; the best if absent.
    name: Option<String>,
    /// Its device.
    open: Option<Gpu>,
}

impl Gpus {
    /// The GPUs, with `chosen` to use; where there is none of that name any more, the best.
    pub fn new(chosen: Option<String>) -> Self {
        Self { found: OnceLock::new(), chosen: Mutex::new(Chosen { name: chosen, open: None }) }
    }

    fn found(&self) -> &[AdapterSummary] {
        self.found.get_or_init(nc_core::gpu::adapters)
    }

    fn lock(&self) -> MutexGuard<'_, Chosen> {
        self.chosen.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The adapter that is used, if there is any.
    pub fn summary(&self) -> Option<&AdapterSummary> {
        let found = self.found();
        let name = self.lock().name.clone();
        let usable = || found.iter().find(|adapter| adapter.refusal.is_none());
        name.and_then(|name| found.iter().find(|adapter| adapter.info.name == name)).or_else(usable).or_else(|| found.first())
    }

    /// All GPUs, best first.
    pub fn list(&self) -> Vec<GpuInfo> {
        let chosen = self.summary().map(|adapter| adapter.index);
        self.found().iter().map(|adapter| info(adapter, Some(adapter.index) == chosen)).collect()
    }

    /// Memory of the GPU that is used, where it is known.
    pub fn memory(&self) -> Option<u64> {
        self.summary()?.memory
    }

    /// The memory if somebody has asked for the GPUs before; for lists that must not wait.
    pub fn known_memory(&self) -> Option<u64> {
        self.found.get().and_then(|_| self.memory())
    }

    /// Uses another GPU from now on.
    pub fn choose(&self, name: Option<String>) {
        *self.lock() = Chosen { name, open: None };
    }

    /// What `--adapter` would be given for the GPU that is used: its place in the list.
    pub fn argument(&self) -> Option<String> {
        self.summary().map(|adapter| adapter.index.to_string())
    }

    /// The device of the GPU that is used, opened on first use.
    pub fn open(&self) -> AppResult<Gpu> {
        let argument = self.argument();
        let mut chosen = self.lock();
        // A device that was lost does not come back; another of the same GPU may work.
        if let Some(gpu) = chosen.open.take().filter(|gpu| gpu.check().is_ok()) {
            chosen.open = Some(gpu.clone());
            return Ok(gpu);
        }
        let gpu = Gpu::open(argument.as_deref())?;
        chosen.open = Some(gpu.clone());
        Ok(gpu)
    }
}

fn info(adapter: &AdapterSummary, chosen: bool) -> GpuInfo {
    // wgpu itself is no dependency here: its names are compared instead.
    let kind = match format!("{:?}", adapter.info.device_type).as_str() {
        "DiscreteGpu" => GpuKind::Discrete,
        "IntegratedGpu" => GpuKind::Integrated,
        "VirtualGpu" => GpuKind::Virtual,
        "Cpu" => GpuKind::Software,
        _ => GpuKind::Other,
    };
    GpuInfo {
        index: adapter.index as u64,
        name: adapter.info.name.clone(),
        kind,
        backend: format!("{:?}", adapter.info.backend),
        driver: format!("{} {}", adapter.info.driver, adapter.info.driver_info).trim().to_owned(),
        f16: format!("{:?}", adapter.features).contains("SHADER_F16"),
        memory_bytes: adapter.memory,
        chosen,
    }
}
