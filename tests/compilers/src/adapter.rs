//! The one place that knows what nc-core asks of an adapter: its capabilities, the variants that follow, and which of
//! them it may be given.

use nc_core::gpu::{Capabilities, Gpu, Subgroups, Variant};
use nc_core::kernels;

/// What this adapter can do.
pub fn capabilities(gpu: &Gpu) -> Capabilities {
    gpu.capabilities()
}

/// What adapters of DirectX 12 can do: one without subgroups first (all that FXC serves), then NVIDIA's, AMD's and
/// Intel's, and WARP, the software adapter.
pub fn direct_x() -> [Capabilities; 5] {
    let none = Capabilities { backend: wgpu::Backend::Dx12, workgroup_memory: 32 << 10, invocations: 1024, ..Capabilities::LEAST };
    let with = |least, most, cpu| Capabilities { cpu, int64: true, subgroups: Some(Subgroups { least, most }), f16: true, ..none };
    [none, with(32, 32, false), with(32, 64, false), with(8, 32, false), with(4, 4, true)]
}

/// Every variant that an adapter of these capabilities may be given, each once.
pub fn variants(capabilities: Capabilities) -> Vec<Variant> {
    let mut variants = kernels::variants(capabilities);
    variants.retain(|variant| may_be_given(variant, capabilities));
    variants.sort_by_key(Variant::key);
    variants.dedup_by_key(|variant| variant.key());
    variants
}

/// Register tiles without workgroup memory are for CPU adapters; no GPU chooses among them.
fn may_be_given(variant: &Variant, capabilities: Capabilities) -> bool {
    capabilities.cpu || !variant.shader.name.ends_with("_lane")
}
