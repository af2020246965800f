//! Which GPU to use: the best real one first, a software driver last, or the one that the user names.

use super::dx12::Compiler;
use super::{Capabilities, GpuError, Needs};

/// An adapter as `nc-core info` shows it.
#[derive(Clone, Debug)]
pub struct AdapterSummary {
    /// Index in the list, which `--adapter` accepts.
    pub index: usize,
    /// The description by the driver and the API.
    pub info: wgpu::AdapterInfo,
    /// Optional features that the adapter has.
    pub features: wgpu::Features,
    /// The adapter's limits.
    pub limits: wgpu::Limits,
    /// What kernels may use on this adapter.
    pub capabilities: Capabilities,
    /// Bytes of memory, dedicated or shared with the machine; `None` if the adapter does not report it.
    pub memory: Option<u64>,
    /// Why it cannot be used, if so.
    pub refusal: Option<GpuError>,
    /// The compiler of its shaders, if that is not part of its driver.
    pub compiler: Option<String>,
}

/// Every adapter on this machine, best first. `--adapter INDEX` is an index into this list.
pub fn adapters() -> Vec<AdapterSummary> {
    enumerate()
        .into_iter()
        .enumerate()
        .map(|(index, adapter)| {
            let info = adapter.get_info();
            AdapterSummary {
                index,
                features: adapter.features(),
                limits: adapter.limits(),
                capabilities: Capabilities::of(&adapter, adapter.features()),
                memory: memory(&adapter),
                refusal: check(&adapter).err(),
                compiler: compiler(info.backend).map(ToString::to_string),
                info,
            }
        })
        .collect()
}

/// Rejects an adapter on which some kernel cannot run.
fn check(adapter: &wgpu::Adapter) -> Result<(), GpuError> {
    Needs::LEAST.check(&adapter.get_info().name, &adapter.limits())
}

/// The compiler of shaders for an adapter of `backend`, if that is not part of its driver.
pub(super) fn compiler(backend: wgpu::Backend) -> Option<&'static Compiler> {
    (backend == wgpu::Backend::Dx12).then(Compiler::of_this_program)
}

/// The adapter that `wanted` names (an index, or part of a name in any case), or the best one that has what the kernels
/// need.
pub(super) fn choose(wanted: Option<&str>) -> Result<wgpu::Adapter, GpuError> {
    let mut found = enumerate();
    if found.is_empty() {
        return Err(GpuError::no_adapter());
    }
    let Some(wanted) = wanted else {
        let position = found.iter().position(|adapter| check(adapter).is_ok()).unwrap_or(0);
        let best = found.swap_remove(position);
        return check(&best).map(|()| best);
    };
    let position = match wanted.parse::<usize>() {
        Ok(index) => (index < found.len()).then_some(index),
        Err(_) => found.iter().position(|adapter| adapter.get_info().name.to_lowercase().contains(&wanted.to_lowercase())),
    };
    match position {
        Some(index) => {
            let adapter = found.swap_remove(index);
            check(&adapter).map(|()| adapter)
        }
        None => Err(GpuError::UnknownAdapter {
            wanted: wanted.to_owned(),
            available: found
                .iter()
                .enumerate()
                .map(|(index, adapter)| format!("{index} {}", adapter.get_info().name))
                .collect::<Vec<_>>()
                .join(", "),
        }),
    }
}

fn enumerate() -> Vec<wgpu::Adapter> {
    let mut backend_options = wgpu::BackendOptions::default();
    if cfg!(windows) {
        backend_options.dx12.shader_compiler = Compiler::of_this_program().for_wgpu();
    }
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12,
        backend_options,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let mut found = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    found.retain(|adapter| adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS));
    found.sort_by_key(|adapter| rank(adapter.get_info().device_type));
    found
}

/// The largest device-local heap of Vulkan: the card's memory, or with a software driver the machine's.
#[cfg(not(target_vendor = "apple"))]
pub(super) fn memory(adapter: &wgpu::Adapter) -> Option<u64> {
    const DEVICE_LOCAL: u32 = 1;
    // SAFETY: this only queries the adapter, which outlives the query.
    let properties = unsafe {
        let adapter = adapter.as_hal::<wgpu::hal::api::Vulkan>()?;
        adapter.shared_instance().raw_instance().get_physical_device_memory_properties(adapter.raw_physical_device())
    };
    let heaps = &properties.memory_heaps[..properties.memory_heap_count as usize];
    heaps.iter().filter(|heap| heap.flags.as_raw() & DEVICE_LOCAL != 0).map(|heap| heap.size).max()
}

/// Metal does not report it before a device is opened; a Mac's GPU shares the machine's memory.
#[cfg(target_vendor = "apple")]
pub(super) fn memory(_adapter: &wgpu::Adapter) -> Option<u64> {
    super::memory::host_memory()
}

fn rank(kind: wgpu::DeviceType) -> u8 {
    match kind {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

pub(super) fn how_to_get_a_driver() -> &'static str {
    if cfg!(target_os = "macos") {
        "Metal comes with macOS 10.15 or newer: update the system"
    } else if cfg!(windows) {
        "install your graphics card's current driver (DirectX 12 or Vulkan)"
    } else {
        "install your card's Vulkan driver, or `apt install mesa-vulkan-drivers` (Debian, Ubuntu), `dnf install mesa-vulkan-drivers` (Fedora), which also runs on the CPU"
    }
}
